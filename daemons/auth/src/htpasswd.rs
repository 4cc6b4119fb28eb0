//! The htpasswd file: `user:hash` lines.
//!
//! Lines that are no entries (comments, blank ones) are kept where they are. The first line of a user counts.

use std::path::Path;

use crate::{
    error::{Error, random},
    file, hash, syntax,
};

const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Entry { user: String, hash: String },
    Other(String),
}

/// The parsed file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    lines: Vec<Line>,
}

impl Entries {
    /// Parses the text of a file; whatever is no entry is carried along.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| match line.split_once(':') {
            Some((user, hash)) if !user.starts_with('#') && !user.is_empty() => {
                Line::Entry { user: user.to_owned(), hash: hash.trim_end().to_owned() }
            }
            _ => Line::Other(line.to_owned()),
        };
        Self { lines: text.lines().map(line).collect() }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Read`], also when it is missing or larger than 1 MiB.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self::parse(&file::read(path, MAX_BYTES)?))
    }

    /// As [`Entries::read`], but a file that is not there yet is an empty one (for tools that are about to write it).
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read_or_new(path: &Path) -> Result<Self, Error> {
        match Self::read(path) {
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            other => other,
        }
    }

    /// Replaces the file as a whole, mode 0600.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        file::replace(path, self.text().as_bytes())
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Entry { user, hash } => {
                    text.push_str(user);
                    text.push(':');
                    text.push_str(hash);
                }
                Line::Other(other) => text.push_str(other),
            }
            text.push('\n');
        }
        text
    }

    /// Users and their hashes, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry { user, hash } => Some((user.as_str(), hash.as_str())),
            Line::Other(_) => None,
        })
    }

    /// The hash of a user.
    #[must_use]
    pub fn hash(&self, user: &str) -> Option<&str> {
        self.entries().find(|(name, _)| *name == user).map(|(_, hash)| hash)
    }

    /// Adds a user, `{SSHA512}`.
    ///
    /// # Errors
    /// [`Error::UserExists`], [`Error::Invalid`], [`Error::Random`].
    pub fn add(&mut self, user: &str, password: &str) -> Result<(), Error> {
        let user = syntax::user(user)?;
        if self.hash(user).is_some() {
            return Err(Error::UserExists(user.to_owned()));
        }
        let hash = hash::ssha512(syntax::password(password)?)?;
        self.lines.push(Line::Entry { user: user.to_owned(), hash });
        Ok(())
    }

    /// Gives a user another password, `{SSHA512}`.
    ///
    /// # Errors
    /// [`Error::NoUser`], [`Error::Invalid`], [`Error::Random`].
    pub fn set(&mut self, user: &str, password: &str) -> Result<(), Error> {
        let user = syntax::user(user)?;
        let new = hash::ssha512(syntax::password(password)?)?;
        let first = self.lines.iter_mut().find_map(|line| match line {
            Line::Entry { user: name, hash } if name == user => Some(hash),
            _ => None,
        });
        *first.ok_or_else(|| Error::NoUser(user.to_owned()))? = new;
        Ok(())
    }

    /// Sets a user's hash as it is, for hashes made elsewhere; adds the user if need be.
    pub fn put(&mut self, user: &str, hash: &str) {
        let _ = self.del(user);
        self.lines.push(Line::Entry { user: user.to_owned(), hash: hash.to_owned() });
    }

    /// Removes every line of a user.
    ///
    /// # Errors
    /// [`Error::NoUser`].
    pub fn del(&mut self, user: &str) -> Result<(), Error> {
        let before = self.lines.len();
        self.lines.retain(|line| !matches!(line, Line::Entry { user: name, .. } if name == user));
        if self.lines.len() == before { Err(Error::NoUser(user.to_owned())) } else { Ok(()) }
    }

    /// Whether the password is the user's.
    ///
    /// For a user who is not there another entry's hash is computed and thrown away, always the same one for the
    /// same name, so that neither the time nor its spread over many names tells who exists.
    #[must_use]
    pub fn check(&self, user: &str, password: &str, key: &DecoyKey) -> bool {
        match self.hash(user) {
            Some(stored) if hash::is_known(stored) => hash::verify(stored, password),
            known => {
                if known.is_some() {
                    log::warn!("The password of user {user} is kept in an unknown form; set it again");
                }
                let _ = std::hint::black_box(hash::verify(self.decoy(user, key), password));
                false
            }
        }
    }

    fn decoy(&self, user: &str, key: &DecoyKey) -> &str {
        const EMPTY_FILE: &str = "{SSHA512}WBoekxidz/sJt4wcdukOgClmzKzuI9Sk5FOD/vDuLfd3F6cUZQEHX07uXoscBRoIyf38B9ziGtnGENshuHaYjjAxMjM0NTY3ODlhYmNkZWY=";
        let usable: Vec<&str> =
            self.entries().map(|(_, hash)| hash).filter(|hash| hash::is_known(hash)).collect();
        let count = usable.len().max(1) as u64;
        let at = usize::try_from(key.digest(user) % count).unwrap_or(0);
        usable.get(at).copied().unwrap_or(EMPTY_FILE)
    }
}

/// Whether a file has users. One that cannot be read is taken for one that has: what cannot be seen is not given away.
#[must_use]
pub fn has_users(path: &Path) -> bool {
    match Entries::read(path) {
        Ok(entries) => entries.entries().next().is_some(),
        Err(Error::Read { source, .. }) => source.kind() != std::io::ErrorKind::NotFound,
        Err(_) => true,
    }
}

/// A random key per process, so that nobody can tell which entry stands in for which name.
#[derive(Clone)]
pub struct DecoyKey([u8; 32]);

impl DecoyKey {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn new() -> Result<Self, Error> {
        let mut key = [0; 32];
        random(&mut key)?;
        Ok(Self(key))
    }

    fn digest(&self, user: &str) -> u64 {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::new().chain_update(self.0).chain_update(user).finalize();
        digest.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str =
        "# staff\nadmin:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n\njane:$apr1$ab$S8K6Sgp3W8c9Jb6LxgywZ.\n";

    fn key() -> DecoyKey {
        DecoyKey::new().unwrap()
    }

    #[test]
    fn what_cannot_be_seen_has_users_and_what_is_not_there_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        assert!(!has_users(&path));
        for (text, has) in [("", false), ("# nobody\n", false), ("a:x\n", true), ("\u{0}:", true)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(has_users(&path), has, "{text:?}");
        }
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(has_users(&path), "not text");
        assert!(has_users(dir.path()), "not a file");
    }

    #[test]
    fn a_hash_made_elsewhere_replaces_the_user_s() {
        let mut entries = Entries::parse("# c\na:1\nb:2\na:3\n");
        entries.put("a", "$6$x");
        entries.put("c", "$6$y");
        assert_eq!(entries.text(), "# c\nb:2\na:$6$x\nc:$6$y\n");
    }

    #[test]
    fn users_come_in_with_their_own_password_only() {
        let entries = Entries::parse(FILE);
        assert!(entries.check("admin", "admin", &key()));
        assert!(entries.check("jane", "", &key()));
        assert!(!entries.check("admin", "", &key()));
        assert!(!entries.check("ghost", "admin", &key()));
        assert!(!entries.check("# staff", "", &key()));
        assert!(!Entries::default().check("admin", "admin", &key()));
    }

    #[test]
    fn an_unknown_user_never_gets_in_by_the_decoys_password() {
        let entries = Entries::parse("admin:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n");
        assert_eq!(entries.decoy("ghost", &key()), entries.hash("admin").unwrap());
        assert!(!entries.check("ghost", "admin", &key()));
    }

    #[test]
    fn the_decoy_of_a_name_stays_the_same_and_differs_between_names() {
        let text: String = (0..64).map(|n| format!("u{n}:{{SHA}}{n}\n")).collect();
        let (entries, key) = (Entries::parse(&text), key());
        assert_eq!(entries.decoy("ghost", &key), entries.decoy("ghost", &key));
        let distinct: std::collections::HashSet<_> =
            (0..64).map(|n| entries.decoy(&format!("x{n}"), &key)).collect();
        assert!(distinct.len() > 16, "{}", distinct.len());
    }

    #[test]
    fn an_unknown_scheme_matches_nothing_not_even_itself() {
        assert!(!Entries::parse("admin:secret\n").check("admin", "secret", &key()));
        assert!(!Entries::parse("admin:\n").check("admin", "", &key()));
    }

    #[test]
    fn editing_keeps_comments_and_order() {
        let mut entries = Entries::parse(FILE);
        entries.add("bob", "b").unwrap();
        entries.set("admin", "new").unwrap();
        entries.del("jane").unwrap();
        let users: Vec<_> = entries.entries().map(|(user, _)| user).collect();
        assert_eq!(users, ["admin", "bob"]);
        assert!(entries.text().starts_with("# staff\nadmin:{SSHA512}"));
        assert!(entries.check("admin", "new", &key()) && entries.check("bob", "b", &key()));
    }

    #[test]
    fn edits_that_make_no_sense_are_refused() {
        let mut entries = Entries::parse(FILE);
        assert!(matches!(entries.add("admin", "x"), Err(Error::UserExists(_))));
        assert!(matches!(entries.set("ghost", "x"), Err(Error::NoUser(_))));
        assert!(matches!(entries.del("ghost"), Err(Error::NoUser(_))));
        assert!(matches!(entries.add("a:b", "x"), Err(Error::Invalid(_))));
        assert!(matches!(entries.add("bob", "a\nroot:x"), Err(Error::Invalid(_))));
        assert_eq!(entries, Entries::parse(FILE));
    }

    #[test]
    fn a_missing_file_is_an_error_to_check_and_empty_to_edit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        assert!(matches!(Entries::read(&path), Err(Error::Read { .. })));
        let mut entries = Entries::read_or_new(&path).unwrap();
        entries.add("admin", "admin").unwrap();
        entries.write(&path).unwrap();
        assert_eq!(Entries::read(&path).unwrap(), entries);
    }

    proptest! {
        #[test]
        fn parsing_and_writing_changes_no_text(lines in prop::collection::vec("[ -~&&[^\\r]]{0,30}[!-~]|", 0..10)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(Entries::parse(&text).text(), text);
        }

        #[test]
        fn no_file_upsets_the_parser(text in "\\PC*") {
            let _ = Entries::parse(&text).check("admin", "admin", &DecoyKey([0; 32]));
        }
    }
}
