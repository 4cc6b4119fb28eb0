//! The settings: read, merge, check, explain.
