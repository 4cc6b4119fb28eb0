//! The `kvmctl` program.

fn main() {}
