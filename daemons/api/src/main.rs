//! The `kvmd` program.

fn main() {}
