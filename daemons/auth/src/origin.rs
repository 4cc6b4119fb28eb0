//! What a session was made from, and whether that still is so.
//!
//! A session remembers the entry its password was checked against by an HMAC under a random key that lies beside the
//! sessions: nothing of the entry itself is in the file. Users of external services have no entry: their sessions end
//! only when the user becomes one of ours, or nobody's.
//!
//! The entry is read *before* the password is checked, and the stamp of its file before the entry. So a change in between
//! never leaves a session with a newer entry than the one it was checked against, which would let it live on. It is read
//! once more *behind* the check: who was removed meanwhile does not get in for the moment until the next look.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{
    cache::SETTLE,
    error::{Error, random},
    file::Stamp,
    service::{Credential, Service},
};

/// Stands for an entry.
pub(crate) type Fingerprint = [u8; 32];

/// The key of the fingerprints; kept with the sessions.
#[derive(Clone)]
pub(crate) struct Key(pub(crate) [u8; 32]);

impl Key {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut key = [0; 32];
        random(&mut key)?;
        Ok(Self(key))
    }

    fn fingerprint(&self, user: &str, entry: &str) -> Option<Fingerprint> {
        // HMAC takes keys of any length: there is no error to have.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(&(user.len() as u64).to_le_bytes());
        mac.update(user.as_bytes());
        mac.update(entry.as_bytes());
        Some(mac.finalize().into_bytes().into())
    }
}

/// What there is of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing.
    Absent,
    /// Something that we do not see.
    External,
    /// An entry.
    Entry(Fingerprint),
}

impl Origin {
    pub(crate) fn fingerprint(self) -> Option<Fingerprint> {
        match self {
            Self::Entry(fingerprint) => Some(fingerprint),
            Self::Absent | Self::External => None,
        }
    }
}

/// When it was so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    /// To be looked at again.
    Never,
    /// As long as the service's stamp for the user is this one.
    At(Option<Stamp>),
}

/// Looks a user up. Reads a file.
pub(crate) fn look(
    service: &dyn Service,
    key: &Key,
    user: &str,
    wall: Duration,
) -> Result<(Origin, Seen), Error> {
    let stamp = service.stamp(user);
    let origin = match service.credential(user)? {
        Credential::External => Origin::External,
        Credential::Absent => Origin::Absent,
        Credential::Entry(entry) => key.fingerprint(user, &entry).map_or(Origin::Absent, Origin::Entry),
    };
    let settled = stamp.is_none_or(|stamp| stamp.settled(wall, SETTLE));
    Ok((origin, if settled { Seen::At(stamp) } else { Seen::Never }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_one_user_one_entry_and_one_key() {
        let (one, two) = (Key([1; 32]), Key([2; 32]));
        let known = one.fingerprint("ab", "c");
        assert_eq!(known, one.fingerprint("ab", "c"));
        assert_ne!(known, one.fingerprint("a", "bc"));
        assert_ne!(known, one.fingerprint("ab", "d"));
        assert_ne!(known, two.fingerprint("ab", "c"));
    }
}
