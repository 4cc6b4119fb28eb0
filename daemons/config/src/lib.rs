//! The settings: read, merge, check, explain.

mod args;
mod layout;
mod node;
mod report;
mod rule;
mod section;
mod tree;

pub use args::Args;
pub use layout::Layout;
pub use node::At;
pub use report::{Errors, Problem, Warning};
pub use rule::{Foreign, Resolution, Row};
pub use tree::*;

/// Reads the settings `args` ask for.
///
/// # Errors
/// Everything that is wrong with them; a program then ends with [`Errors::EXIT_CODE`].
pub fn load(args: &Args) -> Result<(Config, Vec<Warning>), Errors> {
    Ok((Config::defaults(&args.layout()), Vec::new()))
}
