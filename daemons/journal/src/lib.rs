//! The system journal: seek, follow, format.
