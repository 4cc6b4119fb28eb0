//! The `kvmd-supervisor` program.

fn main() {}
