//! Where passwords are checked. One trait, so that other services (HTTP, LDAP, PAM, RADIUS) can come beside htpasswd.

use std::path::PathBuf;

use crate::{
    error::Error,
    file::Stamp,
    htpasswd::{DecoyKey, Entries},
};

/// Something that knows users and passwords. Called on a blocking thread, never on the event loop.
pub trait Service: Send + Sync {
    /// Whether the password (without code) is the user's.
    ///
    /// # Errors
    /// When it cannot be told; nobody gets in meanwhile, and nothing is counted.
    fn check(&self, user: &str, passwd: &str) -> Result<bool, Error>;

    /// What the service keeps about a user: sessions made from it end when it becomes another. Asked before each login's
    /// check, so that what is found is never newer than what was checked.
    ///
    /// # Errors
    /// When it cannot be told; sessions live on meanwhile.
    fn credential(&self, user: &str) -> Result<Credential, Error>;

    /// What an answer for this user rests on, or `None` when answers must not be remembered. Called on the event
    /// loop for each request with a password: it may look at a local file's metadata, no more.
    fn stamp(&self, user: &str) -> Option<Stamp>;
}

/// What a service keeps about a user.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// It is kept elsewhere: nobody tells us when it changes.
    External,
    /// There is no such user.
    Absent,
    /// This, which never changes but with the password.
    Entry(String),
}

/// An htpasswd file, read again for each check.
pub struct Htpasswd {
    path: PathBuf,
    decoy: DecoyKey,
}

impl Htpasswd {
    /// The file need not exist yet; while it does not, checks fail.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Ok(Self { path: path.into(), decoy: DecoyKey::new()? })
    }
}

impl Service for Htpasswd {
    fn check(&self, user: &str, passwd: &str) -> Result<bool, Error> {
        Ok(Entries::read(&self.path)?.check(user, passwd, &self.decoy))
    }

    fn credential(&self, user: &str) -> Result<Credential, Error> {
        let entries = Entries::read(&self.path)?;
        Ok(entries.hash(user).map_or(Credential::Absent, |hash| Credential::Entry(hash.to_owned())))
    }

    fn stamp(&self, _user: &str) -> Option<Stamp> {
        Stamp::of(&self.path)
    }
}

/// The service type `forbidden`: nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forbidden;

impl Service for Forbidden {
    fn check(&self, _user: &str, _passwd: &str) -> Result<bool, Error> {
        Ok(false)
    }

    fn credential(&self, _user: &str) -> Result<Credential, Error> {
        Ok(Credential::Absent)
    }

    fn stamp(&self, _user: &str) -> Option<Stamp> {
        None
    }
}

/// An external service beside the internal one. It has every user except the forced ones, without a second try at
/// the internal one: a user deleted outside is out.
pub struct Split<I, E> {
    /// Knows the users in `force_users`.
    pub internal: I,
    /// Knows everybody else.
    pub external: E,
    /// `internal.force_users`
    pub force_users: Vec<String>,
}

impl<I: Service, E: Service> Split<I, E> {
    fn side(&self, user: &str) -> &dyn Service {
        if self.force_users.iter().any(|forced| forced == user) { &self.internal } else { &self.external }
    }
}

impl<I: Service, E: Service> Service for Split<I, E> {
    fn check(&self, user: &str, passwd: &str) -> Result<bool, Error> {
        self.side(user).check(user, passwd)
    }

    fn credential(&self, user: &str) -> Result<Credential, Error> {
        self.side(user).credential(user)
    }

    fn stamp(&self, user: &str) -> Option<Stamp> {
        self.side(user).stamp(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_again_for_each_check() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        let service = Htpasswd::new(&path).unwrap();
        assert!(service.check("admin", "one").is_err());
        assert_eq!(service.stamp("admin"), None);
        for passwd in ["one", "two"] {
            let mut entries = Entries::default();
            entries.add("admin", passwd).unwrap();
            entries.write(&path).unwrap();
            assert!(service.check("admin", passwd).unwrap());
        }
        assert!(!service.check("admin", "one").unwrap());
    }

    #[test]
    fn forced_users_are_internal_and_nobody_else_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        let mut entries = Entries::default();
        entries.add("admin", "pw").unwrap();
        entries.add("jane", "pw").unwrap();
        entries.write(&path).unwrap();
        let split = Split {
            internal: Htpasswd::new(&path).unwrap(),
            external: Forbidden,
            force_users: vec!["admin".into()],
        };
        assert!(split.check("admin", "pw").unwrap());
        assert!(!split.check("jane", "pw").unwrap());
        assert!(matches!(split.credential("admin"), Ok(Credential::Entry(_))));
        assert!(matches!(split.credential("jane"), Ok(Credential::Absent)));
        assert!(split.stamp("admin").is_some() && split.stamp("jane").is_none());
    }
}
