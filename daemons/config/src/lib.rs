//! The settings: read, merge, check, explain.
//!
//! PiKVM's YAML with PiKVM's keys, so that an existing `/etc/kvmd` can be copied over, and some keys of our own
//! (said so in their documentation). Nothing else in the tree reads a settings file.
//!
//! ```text
//! files ──file,yaml──▶ Node ──legacy──▶ today's keys ──merge──▶ one tree ──section,rule──▶ Config
//!                       │ where it stands                                    │
//!                       └──────────────▶ FILE:LINE: key: expected …, found … ◀┴──check── between values
//! ```
//!
//! * [`load`] reads everything and says everything that is wrong, not just the first thing.
//! * [`Config`] is typed; its fields are named as the keys. Each section is declared once (`tree/`), and type,
//!   default, rule, `show` and the documentation page come from that declaration.
//! * [`Layout`] is where things lie, [`Args`] the flags every daemon takes.
//!
//! What it does not do: write settings, watch files for changes, know what a driver's own options mean
//! ([`Foreign`]). Sections that later work reads are kept as [`Foreign`] maps too.

mod args;
mod check;
mod explain;
mod file;
mod layout;
mod legacy;
mod merge;
mod node;
mod plain;
mod report;
mod rule;
mod section;
mod tree;
mod yaml;

pub use args::Args;
pub use explain::{Change, documentation, to_yaml};
pub use layout::Layout;
pub use node::At;
pub use plain::{Kind, Plain, parse_plain};
pub use report::{Errors, Problem, Warning};
pub use rule::{Foreign, Resolution, Row};
pub use tree::*;

/// Reads the settings `args` ask for.
///
/// # Errors
/// Everything that is wrong with them; a program then ends with [`Errors::EXIT_CODE`].
pub fn load(args: &Args) -> Result<(Config, Vec<Warning>), Errors> {
    load_with(args, &args.layout())
}

fn load_with(args: &Args, layout: &Layout) -> Result<(Config, Vec<Warning>), Errors> {
    let mut reader = report::Reader::default();
    let tree = file::read_all(args, layout, &mut reader);
    let mut config = Config::defaults(layout);
    section::read(&mut config, &tree, "", layout, &mut reader);
    check::settle(&mut config, &tree, &mut reader);
    if reader.problems.is_empty() {
        return Ok((config, reader.warnings));
    }
    Err(Errors::new(reader.problems, reader.warnings))
}
