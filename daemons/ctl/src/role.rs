//! `kvmctl role`: the file of roles. `kvmd` looks at it every second.

use auth::{Role, Roles, htpasswd::Entries};
use clap::Subcommand;

use crate::{Console, Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// All users and what they may do.
    List,
    /// Gives a user a role.
    Set {
        /// The user's name.
        user: String,
        /// `viewer`, `operator` or `admin`.
        role: Role,
    },
    /// Takes a user's role away: they have that of the settings (`kvmd.auth.role`) again.
    Unset {
        /// The user's name.
        user: String,
    },
}

pub(crate) fn run(
    config: &config::Config,
    layout: &config::Layout,
    verb: Verb,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let path = layout.kvmd_state().join("roles");
    let others = match config.kvmd.auth.role {
        config::UserRole::Viewer => Role::Viewer,
        config::UserRole::Operator => Role::Operator,
        config::UserRole::Admin => Role::Admin,
    };
    let mut roles = Roles::read(&path, others)?;
    match verb {
        Verb::List => {
            let entries = Entries::read_or_new(&config.kvmd.auth.internal.file)?;
            let mut users: Vec<&str> = entries.entries().map(|(user, _)| user).collect();
            // Users of other services have no line there.
            users.extend(roles.named().map(|(user, _)| user).filter(|user| entries.hash(user).is_none()));
            for user in users {
                writeln!(console.out, "{user} {}", roles.of(user))?;
            }
            return Ok(Exit::Good);
        }
        Verb::Set { user, role } => roles.set(&user, role)?,
        Verb::Unset { user } => {
            if !roles.forget(&user) {
                return Err(anyhow::anyhow!("{user} has no role of their own").into());
            }
        }
    }
    roles.write(&path)?;
    Ok(Exit::Good)
}
