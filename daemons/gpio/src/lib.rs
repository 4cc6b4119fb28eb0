//! Named switches: scheme, view, drivers.
