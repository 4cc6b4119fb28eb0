//! Chores of the repository.
//!
//! `cargo xtask arrows` fails when a crate depends on one it must not know, see `arrows`; `cargo xtask lab` runs a command on hardware
//! that is not there, see `lab`.
//!
//! What it does not do: build, test or format; cargo does.

mod arrows;
mod lab;
mod lint;
mod workspace;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next();
    let problems = match verb.as_deref().and_then(OsStr::to_str) {
        Some("arrows") => arrows()?,
        Some("lab") => return lab::run(arguments.collect()),
        Some("lab-keep") => return lab::keep(arguments.collect()),
        Some("lab-init") => match lab::init(Path::new(&arguments.next().context("no specification")?))? {},
        _ => {
            writeln!(std::io::stderr(), "usage: cargo xtask arrows\n       cargo xtask lab --help")?;
            return Ok(ExitCode::from(2));
        }
    };
    let mut out = std::io::stderr();
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{} wrong arrow(s); the layers are in ARCHITECTURE.md and in daemons/xtask/src/arrows.rs",
        problems.len()
    )?;
    Ok(ExitCode::FAILURE)
}

fn arrows() -> Result<Vec<String>> {
    let crates = workspace::read().context("cannot read the workspace")?;
    let mut problems = arrows::check(&crates);
    for member in &crates {
        problems.extend(lint::check(member).with_context(|| format!("cannot look through {}", member.name))?);
    }
    Ok(problems)
}
