//! `kvmctl totp`: the secret of the one-time codes, everybody's or one user's own.

use std::path::Path;

use anyhow::Context;
use auth::totp::{Factor, OWN_SECRETS, Own, Secret};
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
    Del {
        /// Only takes away this user's own secret; everybody's counts for them again, where there is one.
        #[arg(short, long)]
        user: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Name {
    /// What the app calls this machine; its host name by default.
    #[arg(short, long)]
    name: Option<String>,
    /// A secret of this user's own, which counts instead of everybody's.
    #[arg(short, long)]
    user: Option<String>,
}

pub(crate) fn run(
    config: &config::Config,
    layout: &config::Layout,
    verb: Verb,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let own = layout.kvmd_state().join(OWN_SECRETS);
    match verb {
        Verb::Init { force, name: Name { name, user: Some(user) } } => {
            let mut secrets = Own::read(&own)?;
            if !force && secrets.of(&user, &own)?.is_some() {
                return Err(anyhow::anyhow!("{user} has a secret already; --force makes another").into());
            }
            let secret = Secret::generate()?;
            secrets.set(&user, &secret)?;
            secrets.write(&own)?;
            show(&secret, name, Some(&user), console)
        }
        Verb::Init { force, name } => {
            let path = shared(config)?;
            if !force && matches!(read(path)?, Factor::On(_)) {
                return Err(anyhow::anyhow!("there is a secret already; --force makes another").into());
            }
            let secret = Secret::generate()?;
            auth::file::replace(path, format!("{}\n", secret.base32()).as_bytes())?;
            show(&secret, name.name, None, console)
        }
        Verb::Show(Name { name, user: Some(user) }) => match Own::read(&own)?.of(&user, &own)? {
            Some(secret) => show(&secret, name, Some(&user), console),
            None => Err(anyhow::anyhow!("{user} has no secret of their own").into()),
        },
        Verb::Show(name) => match read(shared(config)?)? {
            Factor::On(secret) => show(&secret, name.name, None, console),
            Factor::Off => Err(anyhow::anyhow!("no secret: codes are not asked for").into()),
        },
        Verb::Del { user: Some(user) } => {
            let mut secrets = Own::read(&own)?;
            if !secrets.forget(&user) {
                return Err(anyhow::anyhow!("{user} has no secret of their own").into());
            }
            secrets.write(&own)?;
            Ok(Exit::Good)
        }
        Verb::Del { user: None } => {
            // Left empty, not removed: without the file nobody would get in.
            auth::file::replace(shared(config)?, b"")?;
            Ok(Exit::Good)
        }
    }
}

/// The file of everybody's secret.
fn shared(config: &config::Config) -> Result<&Path, Failure> {
    let path = config.kvmd.auth.totp.secret.file.as_deref();
    Ok(path.context("kvmd.auth.totp.secret.file is empty: codes are switched off by the settings")?)
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

fn show(
    secret: &Secret,
    name: Option<String>,
    user: Option<&str>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let name = name.or_else(host).unwrap_or_else(|| "kvm".to_owned());
    let name = user.map_or_else(|| name.clone(), |user| format!("{user}@{name}"));
    writeln!(console.out, "Secret: {}", secret.base32())?;
    writeln!(console.out, "URI:    {}", secret.uri(ISSUER, &name))?;
    Ok(Exit::Good)
}
