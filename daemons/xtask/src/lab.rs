//! The laboratory: a command in a kernel of its own, with a capture card, a USB cable and GPIO lines that are not there.
//!
//! `cargo xtask lab -- COMMAND…` boots User Mode Linux (an ordinary process, `scripts/lab-kernel` builds it) on the file system of this
//! machine, read-only and with memory laid over it, runs COMMAND as root where it was started and with its environment, and ends as it
//! ended. Everything else is thrown away.
//!
//! ```text
//! xtask lab ──leash──▶ xtask lab-keep ──▶ linux (UML) ──▶ xtask lab-init ──▶ COMMAND
//!    ▲  the user's       PID 1 of a        its threads      PID 1 of the
//!    │  process          namespace         and processes    laboratory
//!    └── out, err, status, log: pipes, which are consoles inside
//! ```
//!
//! The leash is a pipe: when the first process is gone, for whatever reason, the keeper ends, and with it its namespace.
//!
//! What it does not do: emulate a processor, start systemd (`--init` does), reach the network.

mod console;
mod host;
mod init;
mod keeper;
mod mounts;
mod options;
mod sims;
mod spec;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

/// `cargo xtask lab`.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    match options::parse(arguments) {
        Ok(Some(options)) => host::run(&options),
        Ok(None) => {
            write!(std::io::stdout(), "{}", options::USAGE)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            write!(std::io::stderr(), "error: {error}\n{}", options::USAGE)?;
            Ok(ExitCode::from(host::FAILED))
        }
    }
}

pub(crate) use init::run as init;
pub(crate) use keeper::run as keep;
