//! `kvmctl totp`: the secret of the one-time codes.

use std::path::Path;

use anyhow::Context;
use auth::totp::{Factor, Secret};
use clap::Subcommand;

use crate::{Console, Exit, Failure};

/// Who authenticator apps say the codes are for; PiKVM's, so that instructions fit.
const ISSUER: &str = "PiKVM";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a secret: from now on every password is followed by a code.
    Init {
        /// Also when there is a secret already.
        #[arg(short, long)]
        force: bool,
        #[command(flatten)]
        name: Name,
    },
    /// The secret, as an app wants it.
    Show(Name),
    /// Asks for codes no more.
    Del,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Name {
    /// What the app calls this machine; its host name by default.
    #[arg(short, long)]
    name: Option<String>,
}

pub(crate) fn run(config: &config::Config, verb: Verb, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let path = config.kvmd.auth.totp.secret.file.as_deref();
    let path = path.context("kvmd.auth.totp.secret.file is empty: codes are switched off by the settings")?;
    match verb {
        Verb::Init { force, name } => {
            if !force && matches!(read(path)?, Factor::On(_)) {
                return Err(anyhow::anyhow!("there is a secret already; --force makes another").into());
            }
            let secret = Secret::generate()?;
            auth::file::replace(path, format!("{}\n", secret.base32()).as_bytes())?;
            show(&secret, name.name, console)
        }
        Verb::Show(name) => match read(path)? {
            Factor::On(secret) => show(&secret, name.name, console),
            Factor::Off => Err(anyhow::anyhow!("no secret: codes are not asked for").into()),
        },
        Verb::Del => {
            // Left empty, not removed: without the file nobody would get in.
            auth::file::replace(path, b"")?;
            Ok(Exit::Good)
        }
    }
}

/// What is in the file; one that is not there yet is an empty one.
fn read(path: &Path) -> Result<Factor, auth::Error> {
    match Factor::read(path) {
        Err(auth::Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Factor::Off)
        }
        factor => factor,
    }
}

fn show(secret: &Secret, name: Option<String>, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let name = name.or_else(host).unwrap_or_else(|| "kvm".to_owned());
    writeln!(console.out, "Secret: {}", secret.base32())?;
    writeln!(console.out, "URI:    {}", secret.uri(ISSUER, &name))?;
    Ok(Exit::Good)
}
