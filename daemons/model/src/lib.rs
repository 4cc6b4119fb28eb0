//! Every JSON shape on the wire, and the rules for accepting a value.
