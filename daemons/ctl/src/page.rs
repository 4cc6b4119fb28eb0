//! `kvmctl completions` and `kvmctl man`: what a shell and a reader of pages know of the verbs, made from the verbs.

use std::path::PathBuf;

use anyhow::anyhow;
use clap_complete::Shell;

use crate::{Console, Exit, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The directory they are written to.
    dir: PathBuf,
}

pub(crate) fn completions(wanted: &Completions, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(wanted.shell, &mut crate::command(), "kvmctl", &mut script);
    console.out.write_all(&script)?;
    Ok(Exit::Good)
}

/// A page for `kvmctl` and one for each verb: `kvmctl-msd-upload.1`.
pub(crate) fn man(wanted: &Man) -> Result<Exit, Failure> {
    let named = |error: std::io::Error| anyhow!("{}: {error}", wanted.dir.display());
    std::fs::create_dir_all(&wanted.dir).map_err(named)?;
    clap_mangen::generate_to(crate::command(), &wanted.dir).map_err(named)?;
    Ok(Exit::Good)
}
