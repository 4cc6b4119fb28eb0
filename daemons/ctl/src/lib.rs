//! kvmctl: the same from a shell.
