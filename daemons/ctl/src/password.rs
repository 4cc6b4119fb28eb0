//! `kvmctl passwd`: the file of logins.

use std::path::Path;

use auth::{
    Role, Roles,
    htpasswd::Entries,
    totp::{OWN_SECRETS, Own},
};
use clap::Subcommand;

use crate::{Console, Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All users.
    List,
    /// A new user.
    Add(Who),
    /// Another password for a user.
    Set(Who),
    /// Prints the hash of a password, as `kvm.yaml` takes it. Changes nothing.
    Hash {
        /// Reads the password as one line of standard input, instead of asking for it twice.
        #[arg(short = 'i', long)]
        read_stdin: bool,
    },
    /// No such user any more.
    Del {
        /// The user's name.
        user: String,
        /// Says nothing when all went well.
        #[arg(short, long)]
        quiet: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Who {
    /// The user's name.
    user: String,
    /// Reads the password as one line of standard input, instead of asking for it twice.
    #[arg(short = 'i', long)]
    read_stdin: bool,
    /// Says nothing when all went well.
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(
    config: &config::Config,
    layout: &config::Layout,
    verb: Verb,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    if let Verb::Hash { read_stdin } = verb {
        let passwd = typed(read_stdin, console)?;
        writeln!(console.out, "{}", auth::hash::ssha512(auth::syntax::password(&passwd)?)?)?;
        return Ok(Exit::Good);
    }
    let path = &config.kvmd.auth.internal.file;
    let mut entries = Entries::read_or_new(path)?;
    let mut gone = None;
    let (quiet, done) = match verb {
        Verb::Hash { .. } => return Ok(Exit::Good),
        Verb::List => {
            for (user, _) in entries.entries() {
                writeln!(console.out, "{user}")?;
            }
            return Ok(Exit::Good);
        }
        Verb::Add(who) => {
            known(&entries, &who.user, false)?;
            entries.add(&who.user, &ask(&who, console)?)?;
            (who.quiet, format!("{} added", who.user))
        }
        Verb::Set(who) => {
            known(&entries, &who.user, true)?;
            entries.set(&who.user, &ask(&who, console)?)?;
            (
                who.quiet,
                format!("{} has a new password; logins with the old one end within 2 seconds", who.user),
            )
        }
        Verb::Del { user, quiet } => {
            entries.del(&user)?;
            let done =
                format!("{user} deleted, with their role and secret; their logins end within 2 seconds");
            gone = Some(user);
            (quiet, done)
        }
    };
    entries.write(path)?;
    if let Some(user) = gone {
        forget(&layout.kvmd_state(), &user)?;
    }
    if !quiet {
        writeln!(console.err, "{done}")?;
    }
    Ok(Exit::Good)
}

/// Whoever comes by this name later has neither secret nor role of theirs. The role goes last: it takes rights away.
fn forget(state: &Path, user: &str) -> Result<(), auth::Error> {
    let (secrets, roles) = (state.join(OWN_SECRETS), state.join("roles"));
    let mut own = Own::read(&secrets)?;
    if own.forget(user) {
        own.write(&secrets)?;
    }
    let mut given = Roles::read(&roles, Role::Viewer)?;
    if given.forget(user) {
        given.write(&roles)?;
    }
    Ok(())
}

/// Refuses before anybody types a password for nothing.
fn known(entries: &Entries, user: &str, wanted: bool) -> Result<(), auth::Error> {
    let user = auth::syntax::user(user)?;
    match (entries.hash(user).is_some(), wanted) {
        (true, false) => Err(auth::Error::UserExists(user.to_owned())),
        (false, true) => Err(auth::Error::NoUser(user.to_owned())),
        _ => Ok(()),
    }
}

fn ask(who: &Who, console: &mut Console<'_>) -> Result<String, Failure> {
    typed(who.read_stdin, console)
}

/// A password: one line of standard input, or asked for twice.
pub(crate) fn typed(read_stdin: bool, console: &mut Console<'_>) -> Result<String, Failure> {
    if read_stdin {
        return Ok((console.secret)(None)?);
    }
    let first = (console.secret)(Some("Password: "))?;
    if first != (console.secret)(Some("Repeat: "))? {
        return Err(anyhow::anyhow!("the two differ; nothing was changed").into());
    }
    Ok(first)
}
