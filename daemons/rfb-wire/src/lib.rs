//! The RFB protocol as a state machine: bytes in, events and bytes out.
