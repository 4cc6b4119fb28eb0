//! What somebody may do who may come in: look, work, or change the appliance itself.
//!
//! Users have the role that a file names (`user:role` lines, beside the sessions); who is in no line has the role of the
//! settings, which is [`Role::Admin`], so that an appliance that knows nothing of roles lets everybody do everything, as
//! PiKVM does. API tokens carry their own role. Who comes by the kernel's word has all rights: on the unix socket the
//! machine's own rules count.
//!
//! The file is looked at every second (module `keeper`). A line that makes no sense gives its user the least; a file
//! that cannot be read gives everybody the least until it can: a role is there to take rights away.

use std::{collections::BTreeMap, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{error::Error, file, syntax};

const MAX_BYTES: u64 = 1 << 20;

/// What somebody may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees the screen and every state; changes nothing.
    Viewer,
    /// Works with the target: keys, mouse, power, drive, switches, pictures.
    Operator,
    /// Changes the appliance itself: its name, network, releases, who may come in.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name on the wire, in files and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// No role has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, operator or admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == text.trim()).ok_or(UnknownRole)
    }
}

/// Which user has which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    named: BTreeMap<String, Role>,
    others: Role,
}

impl Roles {
    /// Everybody has this one.
    #[must_use]
    pub const fn all(others: Role) -> Self {
        Self { named: BTreeMap::new(), others }
    }

    /// Reads `user:role` lines; comments (`#`) and blank lines are nothing. The last line of a user counts.
    #[must_use]
    pub fn parse(text: &str, others: Role) -> Self {
        let mut roles = Self::all(others);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (user, role) = line.split_once(':').unwrap_or((line, ""));
            let role = role.parse().unwrap_or_else(|UnknownRole| {
                log::warn!("Nobody knows the role that the file gives {user:?}: taken for viewer");
                Role::Viewer
            });
            roles.named.insert(user.trim().to_owned(), role);
        }
        roles
    }

    /// Reads the file; one that is not there names nobody.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read(path: &Path, others: Role) -> Result<Self, Error> {
        Ok(Self::parse(&Self::text(path)?, others))
    }

    /// The text of the file; none at all of one that is not there.
    pub(crate) fn text(path: &Path) -> Result<String, Error> {
        Ok(file::read_if_there(path, MAX_BYTES)?.unwrap_or_default())
    }

    /// Replaces the file as a whole, mode 0600.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text: String = self.named().map(|(user, role)| format!("{user}:{role}\n")).collect();
        file::replace(path, text.as_bytes())
    }

    /// The role of a user.
    #[must_use]
    pub fn of(&self, user: &str) -> Role {
        self.named.get(user).copied().unwrap_or(self.others)
    }

    /// Those who have a line.
    pub fn named(&self) -> impl Iterator<Item = (&str, Role)> {
        self.named.iter().map(|(user, role)| (user.as_str(), *role))
    }

    /// Gives a user a role.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no user's name.
    pub fn set(&mut self, user: &str, role: Role) -> Result<(), Error> {
        self.named.insert(syntax::user(user)?.to_owned(), role);
        Ok(())
    }

    /// Takes the line of a user away; false when there was none.
    pub fn forget(&mut self, user: &str) -> bool {
        self.named.remove(user).is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }

    #[test]
    fn who_is_in_no_line_has_the_role_of_the_settings() {
        let roles = Roles::parse("# who\njane: viewer\n\nbob:operator\n", Role::Admin);
        let of = |user| roles.of(user);
        assert_eq!((of("jane"), of("bob"), of("admin")), (Role::Viewer, Role::Operator, Role::Admin));
        assert_eq!(Roles::parse("", Role::Viewer).of("admin"), Role::Viewer);
    }

    #[test]
    fn a_line_that_makes_no_sense_gives_its_user_the_least() {
        for line in ["jane:boss", "jane", "jane:", "jane:Admin"] {
            assert_eq!(Roles::parse(line, Role::Admin).of("jane"), Role::Viewer, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_names_nobody_and_one_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roles");
        let mut roles = Roles::read(&path, Role::Admin).unwrap();
        assert_eq!(roles, Roles::all(Role::Admin));
        roles.set("jane", Role::Viewer).unwrap();
        assert!(roles.set("Jane:admin", Role::Viewer).is_err());
        roles.write(&path).unwrap();
        assert_eq!(Roles::read(&path, Role::Admin).unwrap(), roles);
        assert!(roles.forget("jane") && !roles.forget("jane"));
        assert!(Roles::read(dir.path(), Role::Admin).is_err());
    }

    proptest! {
        #[test]
        fn no_file_gives_anybody_more_than_it_says(text in "([a-z#]{1,3}(:[a-z]{0,9})?\n){0,6}") {
            let roles = Roles::parse(&text, Role::Viewer);
            for (user, role) in roles.named().filter(|(_, role)| *role > Role::Viewer) {
                let line = format!("{user}:{role}");
                prop_assert!(text.lines().any(|found| found == line), "{}", line);
            }
        }
    }
}
