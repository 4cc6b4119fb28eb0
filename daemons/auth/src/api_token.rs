//! API tokens: what programs show instead of somebody's password (`Authorization: Bearer kvmt_…`).
//!
//! An admin makes one for a purpose, with a role, and if wished an end and the subsystems it is for. It is shown once and
//! kept as its SHA-256 (256 random bits need no salt). It belongs to nobody: it lives on when who made it is gone, until it
//! is revoked or ends.
//!
//! ```text
//!   (none) ──open──▶ good ──revoke, end──▶ over (its sockets are told within a second)
//! ```
//!
//! What was opened or revoked is on the disk before that is answered. When a token was last used is written at most once
//! an hour: cards die of writes. Ends are times of day: a clock that stands wrong ends them wrongly, and a token that has
//! ended by a clock that was wrong is good again when the clock is right.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    error::{Error, random},
    file,
    role::Role,
};

/// What every token begins with, so that people and scanners know one when they see it.
pub const PREFIX: &str = "kvmt_";
/// Tokens at once.
pub const LIMIT: usize = 128;

const DIGITS: usize = 64;
const LONGEST_NAME: usize = 64;
const MAX_BYTES: u64 = 1 << 20;
/// How old the time of the last use may be on the disk.
const USE_GAP_S: u64 = 3600;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a write that failed.
const RETRY: Duration = Duration::from_secs(30);
/// How long who makes or revokes a token waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

type Hash = [u8; 32];

/// What a token shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is for: 1 to 64 letters, digits, blanks and `._@-`. No two have the same.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it may be used for; nothing = everything.
    pub scopes: BTreeSet<String>,
    /// How long it is good; `None` = until it is revoked.
    pub lifetime: Option<Duration>,
    /// Who made it.
    pub by: String,
}

/// What is known of a token. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// What it may be called in an address: 16 hex digits that say nothing of it.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The subsystems it is for; none = all.
    pub scopes: BTreeSet<String>,
    /// When it was made.
    pub created: u64,
    /// When it ends.
    pub expires: Option<u64>,
    /// When it was last used.
    pub last_used: Option<u64>,
    /// Who made it.
    pub by: String,
}

impl ApiToken {
    /// Whether it has ended by then.
    #[must_use]
    pub fn is_over(&self, wall_s: u64) -> bool {
        self.expires.is_some_and(|end| end <= wall_s)
    }
}

/// A token that was good when it was shown.
#[derive(Debug, Clone)]
pub struct Grant {
    /// As in [`ApiToken::id`].
    pub id: Arc<str>,
    /// What it is for.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    scopes: Arc<BTreeSet<String>>,
    ended: CancellationToken,
}

impl Grant {
    /// Whether it is for this subsystem.
    #[must_use]
    pub fn reaches(&self, subsystem: &str) -> bool {
        self.scopes.is_empty() || self.scopes.contains(subsystem)
    }

    /// Returns when it was revoked or has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether that is so.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }
}

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// Nobody has to log in here: there is nothing to show it for.
    #[error("nobody has to log in here")]
    NotNeeded,
    /// Not a name.
    #[error(
        "a name is 1 to {LONGEST_NAME} letters, digits, blanks and . _ @ -, and begins with a letter or digit"
    )]
    BadName,
    /// Another has this name.
    #[error("there is a token {0:?} already")]
    NameTaken(String),
    /// [`LIMIT`] are there.
    #[error("there are {LIMIT} tokens already")]
    TooMany,
    /// No random bytes, or the disk took nothing.
    #[error(transparent)]
    Failed(Arc<Error>),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// Whether a text can be a token at all.
#[must_use]
pub fn is_one(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix(PREFIX).is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(hex))
}

#[derive(Debug)]
struct Entry {
    shown: ApiToken,
    grant: Grant,
    /// The last use as the disk knows it.
    written_use: u64,
}

impl Entry {
    fn new(shown: ApiToken) -> Self {
        let grant = Grant {
            id: shown.id.as_str().into(),
            name: shown.name.as_str().into(),
            role: shown.role,
            scopes: Arc::new(shown.scopes.clone()),
            ended: CancellationToken::new(),
        };
        Self { written_use: shown.last_used.unwrap_or(0), shown, grant }
    }
}

/// All tokens. A pure machine: time is an argument.
#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Hash, Entry>,
    /// The disk does not know all it should.
    unsaved: bool,
}

impl Table {
    fn open(&mut self, wanted: Wanted, secret: &str, id: String, wall_s: u64) -> Result<ApiToken, Refused> {
        if !is_name(&wanted.name) {
            return Err(Refused::BadName);
        }
        if self.entries.values().any(|entry| entry.shown.name == wanted.name) {
            return Err(Refused::NameTaken(wanted.name));
        }
        if self.entries.len() >= LIMIT {
            return Err(Refused::TooMany);
        }
        let shown = ApiToken {
            id,
            name: wanted.name,
            role: wanted.role,
            scopes: wanted.scopes,
            created: wall_s,
            expires: wanted.lifetime.map(|lifetime| wall_s.saturating_add(lifetime.as_secs())),
            last_used: None,
            by: wanted.by,
        };
        self.entries.insert(Sha256::digest(secret).into(), Entry::new(shown.clone()));
        self.unsaved = true;
        Ok(shown)
    }

    fn find(&mut self, secret: &str, wall_s: u64) -> Option<Grant> {
        let hash: Hash = Sha256::digest(secret).into();
        let entry = self.entries.get_mut(&hash).filter(|entry| !entry.shown.is_over(wall_s))?;
        if entry.grant.ended.is_cancelled() {
            // The clock was set back: it is good again, what ended with it stays ended.
            entry.grant.ended = CancellationToken::new();
        }
        entry.shown.last_used = Some(wall_s);
        self.unsaved |= wall_s.abs_diff(entry.written_use) >= USE_GAP_S;
        Some(entry.grant.clone())
    }

    fn revoke(&mut self, id: &str) -> Option<ApiToken> {
        let hash = self.entries.iter().find(|(_, entry)| entry.shown.id == id).map(|(hash, _)| *hash)?;
        let entry = self.entries.remove(&hash)?;
        entry.grant.ended.cancel();
        self.unsaved = true;
        Some(entry.shown)
    }

    fn expire(&mut self, wall_s: u64) {
        self.entries
            .values()
            .filter(|entry| entry.shown.is_over(wall_s))
            .for_each(|entry| entry.grant.ended.cancel());
    }

    fn list(&self) -> Vec<ApiToken> {
        let mut all: Vec<ApiToken> = self.entries.values().map(|entry| entry.shown.clone()).collect();
        all.sort_unstable_by(|one, two| (one.created, &one.name).cmp(&(two.created, &two.name)));
        all
    }

    fn save(&mut self) -> BTreeMap<String, ApiToken> {
        self.unsaved = false;
        let saved = |(hash, entry): (&Hash, &mut Entry)| {
            entry.written_use = entry.shown.last_used.unwrap_or(0);
            (hex::encode(hash), entry.shown.clone())
        };
        self.entries.iter_mut().map(saved).collect()
    }

    fn restore(saved: BTreeMap<String, ApiToken>) -> Self {
        let read = |(text, shown): (String, ApiToken)| {
            let mut hash = Hash::default();
            hex::decode_to_slice(text, &mut hash).ok().map(|()| (hash, Entry::new(shown)))
        };
        Self { entries: saved.into_iter().filter_map(read).take(LIMIT).collect(), unsaved: false }
    }
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b" ._@-".contains(&byte);
    name.len() <= LONGEST_NAME
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && !name.ends_with(' ')
}

/// The tokens and their file.
pub(crate) struct Book {
    path: PathBuf,
    table: Mutex<Table>,
    /// Writes never overlap: an older state cannot land on a newer one.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Book {
    /// Reads the file. With one that cannot be read no token is good, and none is forgotten before another is made.
    pub(crate) fn open(path: PathBuf) -> Self {
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| Error::Read { path: path.clone(), source: error.into() })
        };
        let table = match path.exists().then(|| file::read(&path, MAX_BYTES).and_then(parse)) {
            None => Table::default(),
            Some(Ok(saved)) => Table::restore(saved),
            Some(Err(error)) => {
                log::error!("No API token is good until this is mended: {error}");
                Table::default()
            }
        };
        Self { path, table: Mutex::new(table), turn: Arc::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Vec<ApiToken> {
        self.table().list()
    }

    pub(crate) fn find(&self, secret: &str, wall: Duration) -> Option<Grant> {
        self.table().find(secret, wall.as_secs())
    }

    /// Makes a token. One that the disk did not take is none.
    pub(crate) async fn make(
        self: &Arc<Self>,
        wanted: Wanted,
        wall: Duration,
    ) -> Result<(String, ApiToken), Refused> {
        let (mut secret, mut id) = ([0; DIGITS / 2], [0; 8]);
        random(&mut secret)?;
        random(&mut id)?;
        let secret = format!("{PREFIX}{}", hex::encode(secret));
        let made = self.table().open(wanted, &secret, hex::encode(id), wall.as_secs())?;
        if let Err(error) = self.save_soon().await {
            self.table().revoke(&made.id);
            return Err(Refused::Failed(error));
        }
        Ok((secret, made))
    }

    /// Ends a token. With a disk that takes nothing it is over all the same, and written as soon as that is possible.
    pub(crate) async fn revoke(self: &Arc<Self>, id: &str) -> Result<Option<ApiToken>, Arc<Error>> {
        let revoked = self.table().revoke(id);
        if revoked.is_some() {
            self.save_soon().await?;
        }
        Ok(revoked)
    }

    /// Waits for its turn, as long as that takes.
    async fn save(self: &Arc<Self>) -> Result<(), Arc<Error>> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.write(turn).await
    }

    /// Once begun this runs to its end, also when nobody waits for it any more.
    async fn write(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> Result<(), Arc<Error>> {
        let book = Arc::clone(self);
        let write = move || {
            let _turn = turn;
            let saved = book.table().save();
            let text = serde_json::to_vec(&saved)
                .map_err(|error| Error::Write { path: book.path.clone(), source: error.into() })?;
            file::replace(&book.path, &text).inspect_err(|_| book.table().unsaved = true)
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or(Err(Error::Unfinished)).map_err(Arc::new)
    }

    /// As [`Book::save`], but not for ever on a disk that hangs. What was begun goes on; what was not is left to
    /// [`Book::keep`], so that nothing gathers that waits.
    async fn save_soon(self: &Arc<Self>) -> Result<(), Arc<Error>> {
        let saved = tokio::time::timeout(PATIENCE, self.save()).await;
        saved.unwrap_or_else(|_| Err(Arc::new(Error::Unfinished)))
    }

    /// Ends tokens in time, whatever the disk does, until `stop`.
    pub(crate) async fn expire(&self, clock: &dyn Clock, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            self.table().expire(clock.now().wall.as_secs());
        }
    }

    /// Writes what nobody waited for, until `stop`.
    pub(crate) async fn keep(self: &Arc<Self>, clock: &dyn Clock, stop: &CancellationToken) {
        let mut retry_at = Duration::ZERO;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = clock.now();
            let unsaved = self.table().unsaved;
            if unsaved
                && now.boot >= retry_at
                && let Some(Err(error)) = stop.run_until_cancelled(self.save()).await
            {
                log::warn!("API tokens cannot be written down: {error}");
                retry_at = now.boot + RETRY;
            }
        }
        let last = tokio::time::timeout(PATIENCE, self.save_the_last()).await;
        if let Err(error) = last.unwrap_or_else(|_| Err(Arc::new(Error::Unfinished))) {
            log::warn!("API tokens could not be written down: {error}");
        }
    }

    /// Waits for what is being written, too.
    async fn save_the_last(self: &Arc<Self>) -> Result<(), Arc<Error>> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let unsaved = self.table().unsaved;
        if unsaved { self.write(turn).await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(name: &str) -> Wanted {
        let name = name.to_owned();
        Wanted { name, role: Role::Operator, scopes: BTreeSet::new(), lifetime: None, by: "admin".to_owned() }
    }

    fn secret(digit: &str) -> String {
        format!("{PREFIX}{}", digit.repeat(DIGITS))
    }

    #[test]
    fn a_token_is_its_prefix_and_64_hex_digits() {
        assert!(is_one(&secret("a")));
        for bad in ["", "kvmt_", &"a".repeat(64), &secret("g"), &secret("A"), &format!("{}a", secret("a"))] {
            assert!(!is_one(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_is_good_until_its_last_second() {
        let mut table = Table::default();
        let limited = Wanted { lifetime: Some(Duration::from_secs(60)), ..wanted("ci") };
        let made = table.open(limited, &secret("a"), "1".into(), 1_000).unwrap();
        assert_eq!((made.expires, made.last_used), (Some(1_060), None));
        let grant = table.find(&secret("a"), 1_059).unwrap();
        assert_eq!((&*grant.name, grant.role), ("ci", Role::Operator));
        assert!(table.find(&secret("a"), 1_060).is_none(), "over even before anybody looked");
        assert!(table.find(&secret("b"), 1_000).is_none());
        table.expire(1_059);
        assert!(!grant.ended.is_cancelled());
        table.expire(1_060);
        assert!(grant.ended.is_cancelled());
        let again = table.find(&secret("a"), 1_059).unwrap();
        assert!(!again.ended.is_cancelled() && grant.ended.is_cancelled(), "the clock was set back");
    }

    #[test]
    fn a_revoked_token_is_over_at_once_and_nobody_else_s_is() {
        let mut table = Table::default();
        table.open(wanted("one"), &secret("a"), "1".into(), 0).unwrap();
        table.open(wanted("two"), &secret("b"), "2".into(), 0).unwrap();
        let (one, two) = (table.find(&secret("a"), 0).unwrap(), table.find(&secret("b"), 0).unwrap());
        assert_eq!(table.revoke("1").map(|token| token.name).as_deref(), Some("one"));
        assert!(one.ended.is_cancelled() && !two.ended.is_cancelled());
        assert!(table.find(&secret("a"), 0).is_none() && table.find(&secret("b"), 0).is_some());
        assert!(table.revoke("1").is_none());
    }

    #[test]
    fn names_are_plain_and_of_one_token_each_and_there_is_a_last_one() {
        let mut table = Table::default();
        for bad in ["", " ", "-x", "a\nb", "a ", "ä", &"x".repeat(65)] {
            assert!(matches!(table.open(wanted(bad), "", "0".into(), 0), Err(Refused::BadName)), "{bad:?}");
        }
        for number in 0..LIMIT {
            table.open(wanted(&format!("CI {number}")), &number.to_string(), number.to_string(), 0).unwrap();
        }
        assert!(matches!(table.open(wanted("CI 0"), "x", "x".into(), 0), Err(Refused::NameTaken(_))));
        assert!(matches!(table.open(wanted("more"), "x", "x".into(), 0), Err(Refused::TooMany)));
    }

    #[test]
    fn a_use_is_written_once_an_hour() {
        let mut table = Table::default();
        table.open(wanted("ci"), &secret("a"), "1".into(), 10_000).unwrap();
        table.find(&secret("a"), 10_000);
        table.save();
        let mut writes = 0;
        for second in 10_000..10_000 + 2 * USE_GAP_S {
            table.find(&secret("a"), second);
            if table.unsaved {
                table.save();
                writes += 1;
            }
        }
        assert_eq!(writes, 1);
        assert_eq!(table.list()[0].last_used, Some(9_999 + 2 * USE_GAP_S), "it is known all the same");
    }

    #[test]
    fn a_scope_shuts_out_what_it_does_not_name() {
        let mut table = Table::default();
        let scopes = BTreeSet::from(["atx".to_owned()]);
        table.open(Wanted { scopes, ..wanted("ci") }, &secret("a"), "1".into(), 0).unwrap();
        table.open(wanted("all"), &secret("b"), "2".into(), 0).unwrap();
        let (atx, all) = (table.find(&secret("a"), 0).unwrap(), table.find(&secret("b"), 0).unwrap());
        assert!(atx.reaches("atx") && !atx.reaches("hid") && !atx.reaches("") && all.reaches("hid"));
    }

    #[tokio::test]
    async fn what_was_made_and_revoked_is_on_the_disk_and_no_secret_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let book = Arc::new(Book::open(path.clone()));
        let (one, _) = book.make(wanted("one"), Duration::ZERO).await.unwrap();
        let (two, made) = book.make(wanted("two"), Duration::ZERO).await.unwrap();
        book.revoke(&made.id).await.unwrap();
        assert!(book.revoke(&made.id).await.unwrap().is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&one[PREFIX.len()..]) && !text.contains("two"));
        let again = Book::open(path.clone());
        assert!(again.find(&one, Duration::ZERO).is_some() && again.find(&two, Duration::ZERO).is_none());
        std::fs::write(&path, "{").unwrap();
        assert!(Book::open(path).find(&one, Duration::ZERO).is_none(), "damaged: nobody is let in");
    }

    #[tokio::test]
    async fn a_token_that_the_disk_did_not_take_is_none_and_a_revoked_one_is_over_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/tokens.json");
        let book = Arc::new(Book::open(path.clone()));
        let (secret, made) = book.make(wanted("one"), Duration::ZERO).await.unwrap();
        std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        std::fs::write(dir.path().join("state"), "in the way").unwrap();
        assert!(matches!(book.make(wanted("two"), Duration::ZERO).await, Err(Refused::Failed(_))));
        assert_eq!(book.list().len(), 1);
        assert!(book.revoke(&made.id).await.is_err());
        assert!(book.find(&secret, Duration::ZERO).is_none());
        assert!(book.table().unsaved, "to be tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_keeps_nobody_waiting_and_no_token_good() {
        struct Passing(tokio::time::Instant);
        impl Clock for Passing {
            fn now(&self) -> crate::clock::Now {
                let passed = self.0.elapsed();
                crate::clock::Now { boot: passed, wall: passed }
            }
            fn boot_id(&self) -> String {
                String::new()
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let book = Arc::new(Book::open(dir.path().join("tokens.json")));
        let limited = Wanted { lifetime: Some(Duration::from_secs(60)), ..wanted("ends") };
        let (secret, _) = book.make(limited, Duration::ZERO).await.unwrap();
        let grant = book.find(&secret, Duration::ZERO).unwrap();
        // Somebody writes, and does not come to an end.
        let _hangs = Arc::clone(&book.turn).lock_owned().await;
        book.table().unsaved = true;
        let (clock, stop) = (Passing(tokio::time::Instant::now()), CancellationToken::new());
        let works = async { tokio::join!(book.expire(&clock, &stop), book.keep(&clock, &stop)) };
        let waits = async {
            assert!(matches!(book.make(wanted("two"), Duration::ZERO).await, Err(Refused::Failed(_))));
            grant.ended().await;
        };
        tokio::select! {
            _ = works => unreachable!("nobody stops them"),
            ended = tokio::time::timeout(Duration::from_secs(120), waits) => ended.unwrap(),
        }
        assert_eq!(book.list().len(), 1, "what the disk did not take is none");
        assert_eq!(Arc::strong_count(&book), 1, "nothing waits in the background");
        stop.cancel();
        let end = tokio::time::timeout(PATIENCE * 2, book.keep(&clock, &stop)).await;
        assert!(end.is_ok(), "the end does not wait for the disk for ever");
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_token_that_is_none(text in "(kvmt_)?[0-9a-fA-F]{60,68}|\\PC{0,80}") {
            let is = is_one(&text);
            prop_assert_eq!(is, text.len() == 69 && text.starts_with(PREFIX) && !text.contains(char::is_uppercase));
        }
    }
}
