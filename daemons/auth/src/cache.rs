//! Passwords that were right a moment ago, so that programs sending them with every request need no hashing each time.
//!
//! Why this is as safe as checking each time:
//! - Only *right* passwords are kept, so it tells nothing about wrong ones; and locks are looked at before it.
//! - An entry is known by an HMAC of user and password under a random key of this process. Reading the memory of the
//!   table gives no password, and guessing offline needs the key too.
//! - An entry counts only while the files it was checked against are untouched: device, inode, size, time of
//!   modification and of change, looked up at every use. The stamps are taken *before* the files are read, so a change
//!   in between makes the entry useless instead of wrong; a file younger than [`SETTLE`] makes none, because a second
//!   write within the granularity of the file system's clock could not be seen.
//! - It counts for [`Cache::TTL`] at most, and never longer than the TOTP code in it.
//! - Only credential services that can name their files ([`crate::Service::stamp`]) take part; logins never do.

use std::{collections::HashMap, time::Duration};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{
    clock::{Now, millis},
    error::{Error, random},
    file::Stamp,
};

/// Younger files are not trusted to look different after the next write.
pub const SETTLE: Duration = Duration::from_secs(2);

/// The files an answer rests on: those of the credential service, the TOTP secret (`None`: codes are off by settings),
/// and users' own secrets (`None`: nobody has one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Basis {
    /// The password file.
    pub service: Stamp,
    /// The secret file.
    pub totp: Option<Stamp>,
    /// The file of users' own secrets.
    pub own: Option<Stamp>,
}

impl Basis {
    fn settled(&self, wall: Duration) -> bool {
        let settled = |stamp: Stamp| stamp.settled(wall, SETTLE);
        settled(self.service) && self.totp.is_none_or(settled) && self.own.is_none_or(settled)
    }
}

/// An entry's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

#[derive(Debug)]
struct Entry<T> {
    basis: Basis,
    until: i64,
    known: T,
}

/// The table; bounded. With each entry something is kept that was found out with it.
#[derive(Debug)]
pub struct Cache<T> {
    secret: [u8; 32],
    entries: HashMap<Key, Entry<T>>,
}

impl<T: Copy> Cache<T> {
    /// How long a right password is remembered at most.
    pub const TTL: Duration = Duration::from_secs(5);
    const CAPACITY: usize = 256;

    /// An empty one with a new key.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn new() -> Result<Self, Error> {
        let mut secret = [0; 32];
        random(&mut secret)?;
        Ok(Self { secret, entries: HashMap::new() })
    }

    /// The name of the entry for these credentials.
    #[must_use]
    pub fn key(&self, user: &str, passwd: &str) -> Key {
        // HMAC takes keys of any length: there is no error to have.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return Key([0; 32]) };
        // The length keeps "ab"+"c" and "a"+"bc" apart.
        mac.update(&(user.len() as u64).to_le_bytes());
        mac.update(user.as_bytes());
        mac.update(passwd.as_bytes());
        Key(mac.finalize().into_bytes().into())
    }

    /// What was found out with these credentials, if they were right a moment ago, against files that are still the same.
    #[must_use]
    pub fn knows(&self, key: &Key, basis: &Basis, now: Now) -> Option<T> {
        let entry = self.entries.get(key)?;
        (entry.basis == *basis && now.boot_ms() < entry.until).then_some(entry.known)
    }

    /// Remembers credentials that were right against these files, and what was found out; `valid_for` is how long the code
    /// in them will be.
    pub fn remember(&mut self, key: Key, basis: Basis, known: T, valid_for: Duration, now: Now) {
        if !basis.settled(now.wall) {
            return;
        }
        let now_ms = now.boot_ms();
        if self.entries.len() >= Self::CAPACITY && !self.entries.contains_key(&key) {
            self.entries.retain(|_, entry| entry.until > now_ms);
            if self.entries.len() >= Self::CAPACITY {
                let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| *key);
                soonest.and_then(|key| self.entries.remove(&key));
            }
        }
        let until = now_ms.saturating_add(millis(valid_for.min(Self::TTL)));
        self.entries.insert(key, Entry { basis, until, known });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    /// A moment so long after the test's files were written that they are settled.
    fn at(boot_ms: u64) -> Now {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Now { boot: Duration::from_millis(boot_ms), wall: wall + Duration::from_secs(DAY) }
    }

    fn basis(dir: &tempfile::TempDir) -> Basis {
        let stamp = |name: &str| {
            let path = dir.path().join(name);
            if !path.exists() {
                crate::file::replace(&path, b"x").unwrap();
            }
            Stamp::of(&path).unwrap()
        };
        Basis { service: stamp("htpasswd"), totp: Some(stamp("totp")), own: None }
    }

    #[test]
    fn a_right_password_is_known_for_five_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cache, basis) = (Cache::new().unwrap(), basis(&dir));
        let key = cache.key("admin", "pw");
        assert!(cache.knows(&key, &basis, at(0)).is_none());
        cache.remember(key, basis, (), Duration::from_mins(1), at(0));
        assert!(cache.knows(&key, &basis, at(4_999)).is_some());
        assert!(cache.knows(&key, &basis, at(5_000)).is_none());
    }

    #[test]
    fn not_longer_than_the_code_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cache, basis) = (Cache::new().unwrap(), basis(&dir));
        let key = cache.key("admin", "pw123456");
        cache.remember(key, basis, (), Duration::from_secs(1), at(0));
        assert!(
            cache.knows(&key, &basis, at(999)).is_some() && cache.knows(&key, &basis, at(1_000)).is_none()
        );
    }

    #[test]
    fn a_change_of_either_file_ends_it() {
        for changed in ["htpasswd", "totp"] {
            let dir = tempfile::tempdir().unwrap();
            let (mut cache, before) = (Cache::new().unwrap(), basis(&dir));
            let key = cache.key("admin", "pw");
            cache.remember(key, before, (), Duration::from_mins(1), at(0));
            crate::file::replace(&dir.path().join(changed), b"x").unwrap();
            assert!(cache.knows(&key, &basis(&dir), at(1)).is_none(), "{changed}");
        }
    }

    #[test]
    fn a_file_written_just_now_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cache, basis) = (Cache::new().unwrap(), basis(&dir));
        let key = cache.key("admin", "pw");
        let wall = at(0).wall.saturating_sub(Duration::from_secs(DAY));
        cache.remember(key, basis, (), Duration::from_mins(1), Now { wall, ..at(0) });
        assert!(cache.knows(&key, &basis, at(0)).is_none());
    }

    #[test]
    fn other_credentials_have_other_names_and_so_has_another_process() {
        let (one, two) = (Cache::<()>::new().unwrap(), Cache::<()>::new().unwrap());
        assert_eq!(one.key("ab", "c"), one.key("ab", "c"));
        assert_ne!(one.key("ab", "c"), one.key("a", "bc"));
        assert_ne!(one.key("ab", "c"), one.key("ab", "d"));
        assert_ne!(one.key("ab", "c"), two.key("ab", "c"));
    }

    #[test]
    fn the_table_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cache, basis) = (Cache::new().unwrap(), basis(&dir));
        for n in 0..2_000 {
            let key = cache.key("admin", &n.to_string());
            cache.remember(key, basis, (), Duration::from_mins(1), at(n % 50));
            assert!(cache.knows(&key, &basis, at(n % 50)).is_some());
        }
        assert!(cache.entries.len() <= Cache::<()>::CAPACITY);
    }
}
