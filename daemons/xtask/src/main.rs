//! Chores of the repository.
//!
//! `cargo xtask arrows` fails when a crate depends on one it must not know, see `arrows`.
//!
//! What it does not do: build, test or format; cargo does.

mod arrows;
mod lint;
mod workspace;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};

fn main() -> Result<ExitCode> {
    let verb = std::env::args().nth(1);
    let problems = match verb.as_deref() {
        Some("arrows") => arrows()?,
        _ => {
            writeln!(std::io::stderr(), "usage: cargo xtask arrows")?;
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
