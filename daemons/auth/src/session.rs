//! Sessions: tokens, lifetimes, and who is told when one ends. A pure machine: time is an argument.
//!
//! Tokens are known by their SHA-256 only, in memory as on disk: 256 random bits need no salt.
//!
//! Programs that log in anew each time they come, and never out, have sessions of another kind: these end when they are not
//! used, are never written down, and give way among themselves, so that no person's is pushed out.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::millis,
    error::{Error, random},
    origin::{Fingerprint, Origin, Seen},
};

type Hash = [u8; 32];

/// How long a program's session lasts without being used.
pub const PROGRAM_IDLE: Duration = Duration::from_mins(30);
/// Programs' sessions of one user; the one that was not used for longest gives way.
const PROGRAMS: usize = 32;

/// Whose use a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It lasts as long as the settings and the client want.
    Person,
    /// It lasts while it is used.
    Program,
}

/// A new session's token: 64 lower-case hex digits. Shown once, to the client.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub(crate) fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The text for the cookie.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A session that was alive when it was looked up.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its number; never used twice while the daemon runs.
    pub id: u64,
    /// Whose it is.
    pub user: Arc<str>,
    ended: CancellationToken,
    pub(crate) hash: Hash,
}

impl Session {
    /// Returns once the session has ended: by logout, by its age, or pushed out by newer ones. Sockets that were
    /// opened with it wait for this beside their traffic, and close.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether it has ended by now.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// What it may be called in an address: 16 hex digits that say nothing of its token, and are still its own after
    /// a restart of the daemon (the number is not).
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.hash)
    }
}

/// Of another hash than the one that is looked up: what is shown of it leads nowhere.
fn name(hash: &Hash) -> String {
    let digest = Sha256::digest([b"session name ".as_slice(), hash].concat());
    hex::encode(&digest[..8])
}

/// News of a session that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// The session's number.
    pub id: u64,
    /// Whose it was.
    pub user: Arc<str>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    user: Arc<str>,
    /// The last moment, in milliseconds since boot, of one that is put off by using it; `None` = of a person.
    latest: Option<i64>,
    /// Milliseconds; `None` = without end.
    lifetime: Option<i64>,
    /// Milliseconds since boot; `None` = never.
    deadline: Option<i64>,
    holds: u32,
    ended: CancellationToken,
    /// Of what it was made from; `None` = made from something external.
    fingerprint: Option<Fingerprint>,
    seen: Seen,
}

impl Entry {
    /// Not yet looked at.
    fn new(user: Arc<str>, lifetime: Option<i64>, deadline: Option<i64>) -> Self {
        let ended = CancellationToken::new();
        let (id, holds, latest) = (0, 0, None);
        Self { id, user, latest, lifetime, deadline, holds, ended, fingerprint: None, seen: Seen::Never }
    }

    fn kind(&self) -> Kind {
        if self.latest.is_some() { Kind::Program } else { Kind::Person }
    }

    /// It is used.
    fn touch(&mut self, now: i64) {
        if let (Some(latest), Some(idle)) = (self.latest, self.lifetime) {
            self.deadline = Some(now.saturating_add(idle).min(latest));
        }
    }

    fn shown(&self, hash: Hash) -> Session {
        Session { id: self.id, user: Arc::clone(&self.user), ended: self.ended.clone(), hash }
    }
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    entries: HashMap<Hash, Entry>,
    next_id: u64,
    per_user: usize,
    extend: bool,
    /// How often something to be written down has changed.
    changes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct SavedSession {
    hash: String,
    user: String,
    lifetime_ms: Option<i64>,
    /// From the moment of writing; `None` = without end.
    remaining_ms: Option<i64>,
    held: bool,
    /// `None` = made from something external.
    fingerprint: Option<String>,
}

/// The file.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedSessions {
    /// Of the fingerprints.
    pub(crate) key: [u8; 32],
    pub(crate) sessions: Vec<SavedSession>,
}

/// The shorter of what the client asked for and what the settings allow; zero means "no limit" on either side.
pub(crate) fn lifetime(asked: Duration, global: Duration) -> Option<Duration> {
    match (asked.is_zero(), global.is_zero()) {
        (true, true) => None,
        (true, false) => Some(global),
        (false, true) => Some(asked),
        (false, false) => Some(asked.min(global)),
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

impl Sessions {
    pub(crate) fn new(per_user: usize, extend: bool) -> Self {
        Self { entries: HashMap::new(), next_id: 0, per_user: per_user.max(1), extend, changes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the last change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// A new session; the user's oldest of the kind give way when there are too many.
    pub(crate) fn open(
        &mut self,
        token: &Token,
        user: &str,
        (origin, seen): (Origin, Seen),
        (kind, lifetime): (Kind, Option<Duration>),
        now: i64,
    ) -> Vec<SessionEnd> {
        let most = match kind {
            Kind::Person => self.per_user,
            Kind::Program => PROGRAMS,
        };
        let own = self.entries.iter().filter(|(_, entry)| &*entry.user == user && entry.kind() == kind);
        let age = |entry: &Entry| (entry.deadline.filter(|_| kind == Kind::Program), entry.id);
        let mut own: Vec<_> = own.map(|(hash, entry)| (age(entry), *hash)).collect();
        own.sort_unstable_by_key(|(age, _)| *age);
        let excess = (own.len() + 1).saturating_sub(most);
        let ended = own.iter().take(excess).filter_map(|(_, hash)| self.end(hash)).collect();
        let lifetime = lifetime.map(millis);
        let deadline = lifetime.map(|ms| now.saturating_add(ms));
        let mut entry =
            Entry { fingerprint: origin.fingerprint(), seen, ..Entry::new(user.into(), lifetime, deadline) };
        if kind == Kind::Program {
            entry.latest = Some(deadline.unwrap_or(i64::MAX));
            let idle = millis(PROGRAM_IDLE);
            entry.lifetime = Some(lifetime.map_or(idle, |lifetime| lifetime.min(idle)));
            entry.touch(now);
        }
        self.insert(hash(token.as_str()), entry);
        ended
    }

    fn insert(&mut self, hash: Hash, entry: Entry) {
        let entry = Entry { id: self.next_id, ..entry };
        self.next_id += 1;
        self.changed(entry.kind());
        self.entries.insert(hash, entry);
    }

    /// Programs' sessions are not written down.
    fn changed(&mut self, kind: Kind) {
        self.changes += u64::from(kind == Kind::Person);
    }

    fn end(&mut self, hash: &Hash) -> Option<SessionEnd> {
        let entry = self.entries.remove(hash)?;
        self.changed(entry.kind());
        entry.ended.cancel();
        Some(SessionEnd { id: entry.id, user: entry.user })
    }

    /// The session of a token, unless it is unknown or over. This is a use of it.
    pub(crate) fn find(&mut self, token: &str, now: i64) -> Option<Session> {
        let hash = hash(token);
        if self.is_over(self.entries.get(&hash)?, now) {
            return None;
        }
        let entry = self.entries.get_mut(&hash)?;
        entry.touch(now);
        Some(entry.shown(hash))
    }

    /// Every session that is not over, the oldest first.
    pub(crate) fn all(&self, now: i64) -> Vec<Session> {
        let living = self.entries.iter().filter(|(_, entry)| !self.is_over(entry, now));
        let mut all: Vec<Session> = living.map(|(hash, entry)| entry.shown(*hash)).collect();
        all.sort_unstable_by_key(|session| session.id);
        all
    }

    /// Ends this one alone.
    pub(crate) fn end_one(&mut self, session: &Session) -> Option<SessionEnd> {
        self.end(&session.hash)
    }

    fn is_over(&self, entry: &Entry, now: i64) -> bool {
        let held = self.extend && entry.holds > 0 && entry.kind() == Kind::Person;
        !held && entry.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// A socket lives by this session now.
    pub(crate) fn hold(&mut self, hash: &Hash) {
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.holds = entry.holds.saturating_add(1);
            let kind = entry.kind();
            self.changed(kind);
        }
    }

    /// A socket is gone. With `extend`, the lifetime starts again when it was the last.
    pub(crate) fn release(&mut self, hash: &Hash, now: i64) {
        let extend = self.extend;
        let Some(entry) = self.entries.get_mut(hash) else { return };
        entry.holds = entry.holds.saturating_sub(1);
        let kind = entry.kind();
        if extend && entry.holds == 0 && kind == Kind::Person {
            entry.deadline = entry.lifetime.map(|ms| now.saturating_add(ms));
        }
        self.changed(kind);
    }

    /// Ends every session of a user.
    pub(crate) fn logout(&mut self, user: &str) -> Vec<SessionEnd> {
        self.end_where(|_, entry| &*entry.user == user)
    }

    /// Whose sessions there are, and when what they were made from was last seen; and a mark for [`Sessions::judge`].
    pub(crate) fn seen(&self) -> (Vec<(Arc<str>, Seen)>, u64) {
        let distinct: HashSet<_> =
            self.entries.values().map(|entry| (Arc::clone(&entry.user), entry.seen)).collect();
        (distinct.into_iter().collect(), self.next_id)
    }

    /// Ends the sessions of a user that were made from something else than there is now. Later ones than the mark may
    /// know more than what was looked at after it, and are left alone.
    pub(crate) fn judge(&mut self, user: &str, mark: u64, (origin, seen): (Origin, Seen)) -> Vec<SessionEnd> {
        let meant = |entry: &Entry| &*entry.user == user && entry.id < mark;
        let ended = self.end_where(|_, entry| {
            meant(entry) && (origin == Origin::Absent || entry.fingerprint != origin.fingerprint())
        });
        self.entries.values_mut().filter(|entry| meant(entry)).for_each(|entry| entry.seen = seen);
        ended
    }

    /// Ends what is over.
    pub(crate) fn expire(&mut self, now: i64) -> Vec<SessionEnd> {
        self.end_where(|sessions, entry| sessions.is_over(entry, now))
    }

    fn end_where(&mut self, which: impl Fn(&Self, &Entry) -> bool) -> Vec<SessionEnd> {
        let hashes: Vec<Hash> =
            self.entries.iter().filter(|(_, entry)| which(self, entry)).map(|(hash, _)| *hash).collect();
        hashes.iter().filter_map(|hash| self.end(hash)).collect()
    }

    /// When the next session ends if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        let held = |entry: &Entry| self.extend && entry.holds > 0 && entry.kind() == Kind::Person;
        let waiting = |entry: &&Entry| !held(entry);
        self.entries.values().filter(waiting).filter_map(|entry| entry.deadline).min()
    }

    pub(crate) fn save(&self, now: i64) -> Vec<SavedSession> {
        let mut all: Vec<(&Hash, &Entry)> =
            self.entries.iter().filter(|(_, entry)| entry.kind() == Kind::Person).collect();
        all.sort_unstable_by_key(|(_, entry)| entry.id);
        let saved = |(hash, entry): (&Hash, &Entry)| {
            let held = self.extend && entry.holds > 0;
            let running = entry.deadline.map(|deadline| deadline.saturating_sub(now));
            SavedSession {
                hash: hex::encode(hash),
                user: entry.user.to_string(),
                lifetime_ms: entry.lifetime,
                remaining_ms: if held { entry.lifetime } else { running },
                held,
                fingerprint: entry.fingerprint.map(hex::encode),
            }
        };
        all.into_iter().map(saved).collect()
    }

    /// Takes over what was saved `elapsed_ms` ago, oldest first. A session that was held when the daemon went away
    /// starts its lifetime anew within the same boot: its socket was alive a moment ago.
    pub(crate) fn restore(&mut self, saved: Vec<SavedSession>, now: i64, elapsed_ms: i64, same_boot: bool) {
        // What is over by now is left out: the file is to forget it too.
        self.changes += 1;
        for one in saved {
            let mut hash = Hash::default();
            if hex::decode_to_slice(&one.hash, &mut hash).is_err() {
                continue;
            }
            let mut fingerprint = one.fingerprint.as_ref().map(|_| Fingerprint::default());
            if let (Some(text), Some(bytes)) = (&one.fingerprint, &mut fingerprint)
                && hex::decode_to_slice(text, bytes).is_err()
            {
                continue;
            }
            let elapsed = if one.held && same_boot { 0 } else { elapsed_ms };
            let deadline = one.remaining_ms.map(|ms| now.saturating_add(ms).saturating_sub(elapsed));
            if deadline.is_none_or(|deadline| deadline > now) {
                let entry = Entry { fingerprint, ..Entry::new(one.user.into(), one.lifetime_ms, deadline) };
                self.insert(hash, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MADE: (Origin, Seen) = (Origin::Entry([1; 32]), Seen::Never);

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn opened(sessions: &mut Sessions, user: &str, lifetime: Option<Duration>, now: i64) -> Token {
        let token = Token::generate().unwrap();
        sessions.open(&token, user, MADE, (Kind::Person, lifetime), now);
        token
    }

    #[test]
    fn a_token_is_64_hex_digits_and_never_shown_by_debug() {
        let token = Token::generate().unwrap();
        assert_eq!(crate::syntax::token(token.as_str()), Ok(token.as_str()));
        assert!(!format!("{token:?}").contains(token.as_str()));
        assert_ne!(token, Token::generate().unwrap());
    }

    #[test]
    fn the_shorter_of_two_lifetimes_counts_and_zero_is_no_limit() {
        let s = Duration::from_secs;
        assert_eq!(lifetime(s(0), s(0)), None);
        assert_eq!(lifetime(s(0), s(5)), Some(s(5)));
        assert_eq!(lifetime(s(7), s(0)), Some(s(7)));
        assert_eq!(lifetime(s(100), s(3)), Some(s(3)));
        assert_eq!(lifetime(s(2), s(3)), Some(s(2)));
    }

    #[test]
    fn a_session_lives_to_its_last_millisecond() {
        let mut sessions = Sessions::new(10, false);
        let token = opened(&mut sessions, "admin", secs(2), 1_000);
        assert_eq!(&*sessions.find(token.as_str(), 2_999).unwrap().user, "admin");
        assert!(sessions.find(token.as_str(), 3_000).is_none(), "over even before anybody cleaned up");
        assert_eq!(sessions.next_deadline(), Some(3_000));
        assert_eq!(sessions.expire(2_999), []);
        assert_eq!(sessions.expire(3_000).len(), 1);
        assert_eq!(sessions.next_deadline(), None);
    }

    fn program(sessions: &mut Sessions, lifetime: Option<Duration>, now: i64) -> Token {
        let token = Token::generate().unwrap();
        sessions.open(&token, "admin", MADE, (Kind::Program, lifetime), now);
        token
    }

    #[test]
    fn a_program_s_session_ends_when_it_is_not_used_and_at_its_last_moment() {
        let mut sessions = Sessions::new(10, true);
        let idle = millis(PROGRAM_IDLE);
        let (used, left) = (program(&mut sessions, None, 0), program(&mut sessions, None, 0));
        let limited = program(&mut sessions, Some(PROGRAM_IDLE * 2), 0);
        for step in 1..10 {
            let now = step * (idle - 1);
            assert!(sessions.find(used.as_str(), now).is_some());
            assert_eq!(sessions.find(limited.as_str(), now).is_some(), step < 3, "{step}");
        }
        assert!(sessions.find(left.as_str(), idle).is_none());
        let hash = sessions.find(used.as_str(), 9 * (idle - 1)).unwrap().hash;
        sessions.hold(&hash);
        assert!(sessions.find(used.as_str(), 10 * idle).is_none(), "a socket is no use");
    }

    #[test]
    fn programs_push_out_one_another_and_no_person_and_are_not_written_down() {
        let mut sessions = Sessions::new(2, false);
        let person = opened(&mut sessions, "admin", None, 0);
        let changes = sessions.changes();
        let first = program(&mut sessions, None, 0);
        let second = program(&mut sessions, None, 1);
        assert!(sessions.find(first.as_str(), 2).is_some());
        for number in 0..PROGRAMS - 1 {
            program(&mut sessions, None, 3 + i64::try_from(number).unwrap());
        }
        assert!(sessions.find(second.as_str(), 100).is_none(), "it was not used for longest");
        for alive in [&person, &first] {
            assert!(sessions.find(alive.as_str(), 100).is_some());
        }
        assert_eq!((sessions.changes(), sessions.save(100).len()), (changes, 1));
        assert_eq!(sessions.all(100).len(), 1 + PROGRAMS);
        assert_eq!(sessions.logout("admin").len(), 1 + PROGRAMS);
    }

    #[test]
    fn a_huge_lifetime_does_not_overflow() {
        let mut sessions = Sessions::new(10, false);
        let token = opened(&mut sessions, "admin", secs(u64::MAX), i64::MAX - 1);
        assert!(sessions.find(token.as_str(), i64::MAX - 1).is_some());
    }

    #[test]
    fn logout_ends_all_sessions_of_the_user_and_tells_their_sockets() {
        let mut sessions = Sessions::new(10, false);
        let one = opened(&mut sessions, "admin", None, 0);
        let two = opened(&mut sessions, "admin", None, 0);
        let other = opened(&mut sessions, "jane", None, 0);
        let seen = sessions.find(two.as_str(), 0).unwrap();
        assert!(!seen.has_ended());
        assert_eq!(sessions.logout("admin").len(), 2);
        assert!(seen.has_ended());
        assert!(sessions.find(one.as_str(), 0).is_none());
        assert!(sessions.find(other.as_str(), 0).is_some());
    }

    #[test]
    fn one_session_can_be_ended_alone_and_is_known_by_a_name_that_is_not_its_token() {
        let mut sessions = Sessions::new(10, false);
        let one = opened(&mut sessions, "admin", None, 0);
        let two = opened(&mut sessions, "admin", secs(1), 0);
        let [first, second] = &sessions.all(0)[..] else { panic!("two sessions") };
        assert_eq!((first.name().len(), first.name() == second.name()), (16, false));
        assert!(!one.as_str().contains(&first.name()));
        assert!(!hex::encode(first.hash).contains(&first.name()));
        assert_eq!(sessions.all(1_000).len(), 1, "what is over is not listed");
        let first = first.clone();
        assert_eq!(sessions.end_one(&first).map(|end| end.id), Some(first.id));
        assert!(first.has_ended() && sessions.end_one(&first).is_none());
        assert!(sessions.find(one.as_str(), 0).is_none() && sessions.find(two.as_str(), 0).is_some());
    }

    #[test]
    fn a_held_session_cannot_expire_and_starts_again_when_let_go() {
        let mut sessions = Sessions::new(10, true);
        let token = opened(&mut sessions, "admin", secs(10), 0);
        let hash = sessions.find(token.as_str(), 0).unwrap().hash;
        sessions.hold(&hash);
        sessions.hold(&hash);
        assert_eq!(sessions.next_deadline(), None);
        assert_eq!(sessions.expire(1_000_000), []);
        sessions.release(&hash, 1_000_000);
        assert!(sessions.find(token.as_str(), 2_000_000).is_some(), "one socket is left");
        sessions.release(&hash, 2_000_000);
        assert!(sessions.find(token.as_str(), 2_009_999).is_some());
        assert!(sessions.find(token.as_str(), 2_010_000).is_none());
    }

    #[test]
    fn without_extend_a_socket_prolongs_nothing() {
        let mut sessions = Sessions::new(10, false);
        let token = opened(&mut sessions, "admin", secs(10), 0);
        let hash = sessions.find(token.as_str(), 0).unwrap().hash;
        sessions.hold(&hash);
        assert!(sessions.find(token.as_str(), 10_000).is_none());
        sessions.release(&hash, 9_000);
        assert_eq!(sessions.expire(10_000).len(), 1);
    }

    #[test]
    fn the_oldest_session_of_the_same_user_gives_way() {
        let mut sessions = Sessions::new(2, false);
        let other = opened(&mut sessions, "jane", None, 0);
        let first = opened(&mut sessions, "admin", None, 0);
        let second = opened(&mut sessions, "admin", None, 0);
        let seen = sessions.find(first.as_str(), 0).unwrap();
        let third = opened(&mut sessions, "admin", None, 0);
        assert!(seen.has_ended());
        for alive in [&second, &third, &other] {
            assert!(sessions.find(alive.as_str(), 0).is_some());
        }
    }

    #[test]
    fn only_sessions_made_from_something_else_are_ended_and_none_younger_than_the_look() {
        let seen = Seen::At(None);
        for (made, now, lives) in [
            (Origin::Entry([1; 32]), Origin::Entry([1; 32]), true),
            (Origin::Entry([1; 32]), Origin::Entry([2; 32]), false),
            (Origin::Entry([1; 32]), Origin::Absent, false),
            (Origin::Entry([1; 32]), Origin::External, false),
            (Origin::External, Origin::External, true),
            (Origin::External, Origin::Absent, false),
            (Origin::External, Origin::Entry([1; 32]), false),
        ] {
            let mut sessions = Sessions::new(10, false);
            let open = |sessions: &mut Sessions, user: &str| {
                let token = Token::generate().unwrap();
                sessions.open(&token, user, (made, Seen::Never), (Kind::Person, None), 0);
                token
            };
            let (one, other) = (open(&mut sessions, "admin"), open(&mut sessions, "jane"));
            let (_, mark) = sessions.seen();
            let younger = open(&mut sessions, "admin");
            let watching = sessions.find(one.as_str(), 0).unwrap();
            assert_eq!(sessions.judge("admin", mark, (now, seen)).is_empty(), lives, "{made:?} {now:?}");
            assert_eq!(watching.has_ended(), !lives);
            for alive in [&other, &younger] {
                assert!(sessions.find(alive.as_str(), 0).is_some());
            }
            let looked_at = sessions.seen().0.contains(&(Arc::from("admin"), seen));
            assert_eq!(looked_at, lives);
        }
    }

    fn reopened(before: &Sessions, saved_at: i64, now: i64, elapsed: i64, same_boot: bool) -> Sessions {
        let text = serde_json::to_string(&before.save(saved_at)).unwrap();
        let mut after = Sessions::new(before.per_user, before.extend);
        after.restore(serde_json::from_str(&text).unwrap(), now, elapsed, same_boot);
        after
    }

    #[test]
    fn sessions_survive_a_restart_with_what_was_left_of_their_time() {
        let mut before = Sessions::new(10, false);
        let endless = opened(&mut before, "admin", None, 0);
        let short = opened(&mut before, "admin", secs(60), 0);
        let text = serde_json::to_string(&before.save(10_000)).unwrap();
        assert!(!text.contains(endless.as_str()), "the file knows hashes only");
        assert_eq!(reopened(&before, 0, 0, 0, true).save(0), before.save(0), "fingerprints too");
        let mut after = reopened(&before, 10_000, 500, 20_000, false);
        assert!(after.find(endless.as_str(), i64::MAX).is_some());
        assert!(after.find(short.as_str(), 500 + 29_999).is_some());
        assert!(after.find(short.as_str(), 500 + 30_000).is_none());
        assert!(reopened(&before, 10_000, 500, 50_000, false).find(short.as_str(), 500).is_none());
    }

    #[test]
    fn a_session_held_when_the_daemon_died_starts_anew_but_not_after_a_reboot() {
        let mut before = Sessions::new(10, true);
        let token = opened(&mut before, "admin", secs(60), 0);
        let hash = before.find(token.as_str(), 0).unwrap().hash;
        before.hold(&hash);
        let mut after = reopened(&before, 0, 500_000, 500_000, true);
        assert!(
            after.find(token.as_str(), 559_999).is_some() && after.find(token.as_str(), 560_000).is_none()
        );
        assert!(reopened(&before, 0, 5, 500_000, false).find(token.as_str(), 5).is_none());
    }

    proptest! {
        #[test]
        fn no_session_outlives_its_deadline_and_none_ends_unannounced(
            steps in prop::collection::vec((0_u8..5, 0_usize..6, 1_u64..20, 0_i64..5_000), 0..80), extend in any::<bool>(),
        ) {
            let mut sessions = Sessions::new(3, extend);
            let (mut now, mut tokens, mut seen) = (0_i64, Vec::<Token>::new(), HashMap::new());
            for (step, which, lifetime, pause) in steps {
                now += pause;
                let user = format!("u{}", which % 2);
                let found = tokens.get(which).and_then(|token| sessions.find(token.as_str(), now));
                match (step, found) {
                    (0, _) => {
                        let token = Token::generate().unwrap();
                        for end in sessions.open(&token, &user, MADE, (Kind::Person, secs(lifetime)), now) {
                            seen.remove(&end.id);
                        }
                        let session = sessions.find(token.as_str(), now).unwrap();
                        seen.insert(session.id, session);
                        tokens.push(token);
                    }
                    (1, Some(session)) => sessions.hold(&session.hash),
                    (2, Some(session)) => sessions.release(&session.hash, now),
                    (3, _) => {
                        for end in sessions.logout(&user) {
                            seen.remove(&end.id);
                        }
                    }
                    _ => {
                        for end in sessions.expire(now) {
                            seen.remove(&end.id);
                        }
                        prop_assert!(sessions.next_deadline().is_none_or(|deadline| deadline > now));
                    }
                }
                prop_assert_eq!(sessions.entries.len(), seen.len());
                prop_assert!(seen.values().all(|session| !session.has_ended()));
                prop_assert!(sessions.entries.len() <= 6, "three for each of two users");
            }
        }
    }
}
