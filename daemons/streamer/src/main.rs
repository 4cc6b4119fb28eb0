//! The `kvmd-streamer` program.

fn main() {}
