//! The guard itself: what is kept about who may come in, and what is decided by it.

use std::{
    collections::HashSet,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};

use crate::{
    access::Allowed,
    api_token,
    cache::{Basis, Cache, SETTLE},
    carrier::Peer,
    clock::Clock,
    error::{Denied, Error, random},
    file::Stamp,
    keeper::State,
    ledger::{Ledger, Outcome},
    origin::{self, Origin, Seen},
    peer::{PeerRules, SystemAccounts},
    right::{Right, Rights},
    role::{Role, Roles},
    service::Service,
    session::{Kind, SavedSessions, Session, SessionEnd, Sessions, Token, lifetime},
    syntax,
    throttle::{self, Limits, Net, Throttle},
    totp::{self, Factor},
};

/// How the guard works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where sessions and counters are kept (`sessions.json`, `throttle.json`), API tokens (`tokens.json`), who has
    /// which role (`roles`) and who has a secret for codes of their own (`totp.users`); made when missing.
    pub state_dir: PathBuf,
    /// The role of users whom the file of roles does not name (`auth.role`).
    pub role: Role,
    /// The longest lifetime of a session; zero = without end (`auth.expire`).
    pub expire: Duration,
    /// Whether an open WebSocket keeps its session alive (`auth.extend`).
    pub extend: bool,
    /// The TOTP secret file; empty path = no codes (`auth.totp.secret.file`).
    pub totp_secret: PathBuf,
    /// Who needs no password on the unix socket (`auth.usc`).
    pub peers: PeerRules,
    /// When to refuse even to look at a password (`auth.throttle`).
    pub throttle: Limits,
    /// Sessions of one user; the oldest give way.
    pub sessions_per_user: usize,
    /// Password checks running at once.
    pub checks_at_once: usize,
    /// Password checks waiting for their turn; more are refused as [`Denied::Busy`].
    pub checks_waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/kvmd/kvmd"),
            role: Role::Admin,
            expire: Duration::ZERO,
            extend: false,
            totp_secret: PathBuf::from("/var/lib/kvmd/kvmd/totp.secret"),
            peers: PeerRules::default(),
            throttle: Limits::default(),
            sessions_per_user: 1_024,
            checks_at_once: 2,
            checks_waiting: 256,
        }
    }
}

/// A password that was right.
struct Verdict {
    made_from: (Origin, Seen),
    basis: Option<Basis>,
    valid_for: Duration,
}

/// The roles, and what they were read from.
struct Known {
    roles: Roles,
    /// The file's text, so that each text is complained about once.
    text: Option<String>,
    /// It could not be read, and that was said.
    unreadable: bool,
    stamp: Option<Stamp>,
    /// Since when the stamp is this one, on the boot clock: a clock that stands wrong says nothing about a file's age. None:
    /// to be read again in any case.
    since: Option<Duration>,
    /// And when the file was read.
    read_at: Duration,
}

impl Known {
    /// The file could have been written again within the granularity of its time stamp, when it was read soon after it
    /// had changed.
    fn is_settled(&self, stamp: Option<Stamp>) -> bool {
        let long_after = |since: Duration| self.read_at >= since + SETTLE;
        self.stamp == stamp && self.since.is_some_and(long_after)
    }
}

pub(crate) struct Guard {
    settings: Settings,
    service: Arc<dyn Service>,
    pub(crate) clock: Arc<dyn Clock>,
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
    cache: Mutex<Cache<(Origin, Seen)>>,
    rights: Mutex<Rights>,
    roles: RwLock<Known>,
    pub(crate) tokens: Arc<api_token::Book>,
    checks: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    ended: broadcast::Sender<SessionEnd>,
    ledger: Ledger,
    origin_key: origin::Key,
    /// It has been said that what sessions were made from cannot be looked at.
    blind: AtomicBool,
    pub(crate) deadlines_changed: Notify,
    pub(crate) sessions_changed: Notify,
    pub(crate) throttle_changed: Notify,
}

/// A panic while the lock was held left the tables as they were between two steps; they hold no broken invariant.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    pub(crate) fn new(
        settings: Settings,
        service: Arc<dyn Service>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        const NEWS: usize = 64;
        let (now, boot_id) = (clock.now(), clock.boot_id());
        let mut sessions = Sessions::new(settings.sessions_per_user, settings.extend);
        let mut origin_key = origin::Key::new()?;
        if let Some(State { epoch, content }) =
            State::<SavedSessions>::read(&settings.state_dir.join("sessions.json"))
        {
            origin_key = origin::Key(content.key);
            let elapsed = epoch.elapsed_ms(now, &boot_id);
            sessions.restore(content.sessions, now.boot_ms(), elapsed, epoch.same_boot(&boot_id));
        }
        let limits = settings.throttle.clone();
        let throttle = match State::<throttle::Saved>::read(&settings.state_dir.join("throttle.json")) {
            Some(saved) => {
                let elapsed = saved.epoch.elapsed_ms(now, &boot_id);
                Throttle::restore(limits, &saved.content, now.boot_ms(), elapsed)
            }
            None => {
                let mut salt = [0; 16];
                random(&mut salt)?;
                Throttle::new(limits, salt)
            }
        };
        Ok(Self {
            sessions: Mutex::new(sessions),
            throttle: Mutex::new(throttle),
            cache: Mutex::new(Cache::new()?),
            rights: Mutex::default(),
            roles: RwLock::new(Known {
                roles: Roles::all(Role::Viewer),
                text: None,
                unreadable: false,
                stamp: None,
                since: None,
                read_at: Duration::ZERO,
            }),
            tokens: Arc::new(api_token::Book::open(settings.state_dir.join("tokens.json"))),
            checks: Arc::new(Semaphore::new(settings.checks_at_once.max(1))),
            waiting: Arc::new(Semaphore::new(settings.checks_waiting.max(1))),
            ended: broadcast::channel(NEWS).0,
            ledger: Ledger::new(),
            origin_key,
            blind: AtomicBool::new(false),
            deadlines_changed: Notify::new(),
            sessions_changed: Notify::new(),
            throttle_changed: Notify::new(),
            settings,
            service,
            clock,
        })
    }

    /// Locks first, then memory, then the real check. The right lasts as long as what it was checked against.
    pub(crate) async fn check_password(
        self: &Arc<Self>,
        user: &str,
        passwd: &str,
        from: Option<IpAddr>,
    ) -> Result<(Allowed, Right), Denied> {
        let (user, passwd) = (syntax::user(user)?, syntax::password(passwd)?);
        if self.is_locked(from.map(Net::from), user) {
            return Err(Denied::Forbidden);
        }
        let made_from = match self.remembers(user, passwd) {
            Some(made_from) => made_from,
            None => self.check_anew(user, passwd, from).await?,
        };
        let right = lock(&self.rights).grant(user, made_from);
        Ok((Allowed { user: user.to_owned() }, right))
    }

    /// The real check, on a blocking thread. Answers what a session would be made from.
    pub(crate) async fn check_anew(
        self: &Arc<Self>,
        user: &str,
        passwd: &str,
        from: Option<IpAddr>,
    ) -> Result<(Origin, Seen), Denied> {
        let (user, passwd) = (syntax::user(user)?, syntax::password(passwd)?);
        let net = from.map(Net::from);
        if self.is_locked(net, user) {
            return Err(Denied::Forbidden);
        }
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Denied::Busy)?;
        let turn = Arc::clone(&self.checks).acquire_owned().await.map_err(|_| Denied::Busy)?;
        drop(place);
        // Others may have used up the tries while this one waited.
        if self.is_locked(net, user) {
            return Err(Denied::Forbidden);
        }
        let (guard, user, passwd) = (Arc::clone(self), user.to_owned(), passwd.to_owned());
        let check = move || guard.check_and_count(&user, &passwd, net, turn);
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(Some(made_from))) => Ok(made_from),
            Ok(Ok(None)) => Err(Denied::Forbidden),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Unfinished.into()),
        }
    }

    fn is_locked(&self, net: Option<Net>, user: &str) -> bool {
        net.is_some_and(|net| lock(&self.throttle).is_locked(net, user, self.clock.now().boot_ms()))
    }

    fn remembers(&self, user: &str, passwd: &str) -> Option<(Origin, Seen)> {
        let basis = self.basis(user)?;
        let cache = lock(&self.cache);
        cache.knows(&cache.key(user, passwd), &basis, self.clock.now())
    }

    fn own_secrets(&self) -> PathBuf {
        self.settings.state_dir.join(totp::OWN_SECRETS)
    }

    fn basis(&self, user: &str) -> Option<Basis> {
        let service = self.service.stamp(user)?;
        let totp = if self.settings.totp_secret.as_os_str().is_empty() {
            None
        } else {
            Some(Stamp::of(&self.settings.totp_secret)?)
        };
        Some(Basis { service, totp, own: Stamp::of(&self.own_secrets()) })
    }

    /// Runs to its end even when the client is gone, its turn included: hanging up early neither saves the count nor
    /// lets more checks run at once.
    fn check_and_count(
        &self,
        user: &str,
        passwd: &str,
        net: Option<Net>,
        turn: OwnedSemaphorePermit,
    ) -> Result<Option<(Origin, Seen)>, Error> {
        let _until_counted = turn;
        let verdict = self
            .check_now(user, passwd)
            .inspect_err(|error| log::error!("Cannot check passwords: {error}"))?;
        if let Some(net) = net {
            self.count(net, user, verdict.is_some());
        }
        let Some(Verdict { made_from, basis, valid_for }) = verdict else { return Ok(None) };
        if let Some(basis) = basis {
            let mut cache = lock(&self.cache);
            let key = cache.key(user, passwd);
            cache.remember(key, basis, made_from, valid_for, self.clock.now());
        }
        Ok(Some(made_from))
    }

    /// Password and code are both looked at whatever the other is, so that the time tells neither.
    fn check_now(&self, user: &str, typed: &str) -> Result<Option<Verdict>, Error> {
        let basis = self.basis(user);
        let wall = self.clock.now().wall;
        let (passwd, valid_for) = match Factor::of(user, &self.own_secrets(), &self.settings.totp_secret)? {
            Factor::Off => (typed, Some(Duration::MAX)),
            Factor::On(secret) => {
                let (passwd, code) = totp::split(typed);
                let until = secret.accepts(code, wall.as_secs());
                (passwd, until.map(|until| Duration::from_secs(until).saturating_sub(wall)))
            }
        };
        let made_from = origin::look(&*self.service, &self.origin_key, user, wall)?;
        // A check can take a second, and what it began with be gone by then, whoever has been judged meanwhile.
        let right = self.service.check(user, passwd)?
            && origin::look(&*self.service, &self.origin_key, user, wall)?.0 == made_from.0;
        Ok(valid_for.filter(|_| right).map(|valid_for| Verdict { made_from, basis, valid_for }))
    }

    fn count(&self, net: Net, user: &str, right: bool) {
        let now = self.clock.now().boot_ms();
        let mut throttle = lock(&self.throttle);
        let changed = if right {
            throttle.succeeded(net, user)
        } else {
            if throttle.failed(net, user, now) {
                log::warn!(
                    "Too many wrong passwords from {net}: locked for {:?}",
                    self.settings.throttle.lock
                );
            }
            true
        };
        if changed {
            self.throttle_changed.notify_one();
        }
    }

    /// The token, and the number of the change that has to be on the disk.
    pub(crate) fn open_session(
        &self,
        user: &str,
        made_from: (Origin, Seen),
        (kind, expire): (Kind, Duration),
    ) -> Result<(Token, u64), Error> {
        let token = Token::generate()?;
        let lifetime = lifetime(expire, self.settings.expire);
        let now = self.clock.now().boot_ms();
        let (pushed_out, change) = {
            let mut sessions = lock(&self.sessions);
            (sessions.open(&token, user, made_from, (kind, lifetime), now), sessions.changes())
        };
        self.announce(pushed_out);
        self.deadlines_changed.notify_one();
        // Even when the client leaves before it is written.
        self.sessions_changed.notify_one();
        Ok((token, change))
    }

    /// The session of a token.
    pub(crate) fn session(&self, token: &str) -> Option<Session> {
        lock(&self.sessions).find(token, self.clock.now().boot_ms())
    }

    pub(crate) fn all_sessions(&self) -> Vec<Session> {
        lock(&self.sessions).all(self.clock.now().boot_ms())
    }

    /// Ends sessions, and waits until that is on the disk. Answers how many there were.
    pub(crate) async fn end_sessions(
        self: &Arc<Self>,
        which: impl FnOnce(&mut Sessions) -> Vec<SessionEnd>,
    ) -> Result<usize, Arc<Error>> {
        let (ended, change) = {
            let mut sessions = lock(&self.sessions);
            (which(&mut sessions), sessions.changes())
        };
        let count = self.announce(ended);
        if count > 0 {
            self.settle(change).await?;
        }
        Ok(count)
    }

    /// A socket lives by this session now.
    pub(crate) fn hold(&self, session: &Session) {
        lock(&self.sessions).hold(&session.hash);
        self.deadlines_changed.notify_one();
        self.sessions_changed.notify_one();
    }

    /// It does no more.
    pub(crate) fn release(&self, session: &Session) {
        lock(&self.sessions).release(&session.hash, self.clock.now().boot_ms());
        self.deadlines_changed.notify_one();
        self.sessions_changed.notify_one();
    }

    /// News of sessions that end.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SessionEnd> {
        self.ended.subscribe()
    }

    /// Which user a process on the unix socket counts as.
    pub(crate) fn peer_user(&self, uid: u32, gids: &[u32]) -> Option<Peer> {
        let user = self.settings.peers.user(&SystemAccounts, uid, gids)?;
        Some(Peer { user, uid })
    }

    fn announce(&self, ended: Vec<SessionEnd>) -> usize {
        let count = ended.len();
        for end in ended {
            // Nobody listening is fine.
            let _ = self.ended.send(end);
        }
        if count > 0 {
            self.sessions_changed.notify_one();
        }
        count
    }

    pub(crate) fn time_to_next_end(&self) -> Option<Duration> {
        let deadline = lock(&self.sessions).next_deadline()?;
        let left = deadline.saturating_sub(self.clock.now().boot_ms()).max(0);
        Some(Duration::from_millis(left.unsigned_abs()))
    }

    pub(crate) fn end_expired(&self) {
        let ended = lock(&self.sessions).expire(self.clock.now().boot_ms());
        self.announce(ended);
    }

    /// Whether anybody is in whose password may become another.
    pub(crate) fn has_somebody(&self) -> bool {
        let lives = lock(&self.rights).tidy();
        lives || !lock(&self.sessions).is_empty()
    }

    /// Ends sessions and rights whose password has been changed, or whose user is gone. False when that could not be told
    /// of everybody. Reads files.
    pub(crate) fn judge(&self) -> bool {
        let mut told = true;
        let (mut users, sessions_mark) = lock(&self.sessions).seen();
        let (more, rights_mark) = lock(&self.rights).seen();
        users.extend(more);
        let looked = users.into_iter().filter(|(user, seen)| *seen != Seen::At(self.service.stamp(user)));
        for user in looked.map(|(user, _)| user).collect::<HashSet<_>>() {
            match origin::look(&*self.service, &self.origin_key, &user, self.clock.now().wall) {
                Ok(found) => {
                    self.blind.store(false, Ordering::Relaxed);
                    let rights = lock(&self.rights).judge(&user, rights_mark, found);
                    let ended = lock(&self.sessions).judge(&user, sessions_mark, found);
                    let count = self.announce(ended);
                    if count + rights > 0 {
                        log::info!("{user} has another password or is gone: {count} sessions ended");
                    }
                }
                Err(error) => {
                    told = false;
                    if !self.blind.swap(true, Ordering::Relaxed) {
                        log::warn!("Whether sessions still are by right cannot be told: {error}");
                    }
                }
            }
        }
        told
    }

    pub(crate) fn role(&self, user: &str) -> Role {
        self.roles.read().unwrap_or_else(PoisonError::into_inner).roles.of(user)
    }

    fn roles_file(&self) -> PathBuf {
        self.settings.state_dir.join("roles")
    }

    /// Whether the file of roles has to be read. Looks at its metadata alone.
    pub(crate) fn has_other_roles(&self) -> bool {
        let stamp = Stamp::of(&self.roles_file());
        !self.roles.read().unwrap_or_else(PoisonError::into_inner).is_settled(stamp)
    }

    /// Reads who has which role, then ends what is no longer by right, and then lets the roles count: whoever loses a role
    /// by being removed has none at all by then. Until the file can be read, everybody has the least. Reads files.
    pub(crate) fn read_roles_and_judge(&self) {
        let path = self.roles_file();
        let now = self.clock.now().boot;
        let stamp = Stamp::of(&path);
        let read = Roles::text(&path);
        let told = self.judge();
        let mut known = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Err(error) => {
                if !known.unreadable {
                    log::error!("Everybody may only look until this is mended: {error}");
                }
                let roles = Roles::all(Role::Viewer);
                *known = Known { roles, text: None, unreadable: true, stamp, since: None, read_at: now };
            }
            // Who was removed must not be in when the roles count.
            Ok(_) if !told => known.since = None,
            Ok(text) => {
                if known.text.as_ref() != Some(&text) {
                    known.roles = Roles::parse(&text, self.settings.role);
                    known.text = Some(text);
                }
                if known.stamp != stamp || known.since.is_none() {
                    (known.stamp, known.since) = (stamp, Some(now));
                }
                (known.read_at, known.unreadable) = (now, false);
            }
        }
    }

    /// Waits until a change is on the disk, but not for ever on a disk that hangs.
    pub(crate) async fn settle(self: &Arc<Self>, change: u64) -> Outcome {
        const PATIENCE: Duration = Duration::from_secs(10);
        let guard = Arc::clone(self);
        let settled = self.ledger.settle(change, move || guard.save_sessions());
        tokio::time::timeout(PATIENCE, settled).await.unwrap_or_else(|_| Err(Arc::new(Error::Unfinished)))
    }

    /// Writes the sessions, unless what is on the disk is true.
    pub(crate) async fn write_sessions(self: &Arc<Self>) -> Outcome {
        let (guard, change) = (Arc::clone(self), lock(&self.sessions).changes());
        self.ledger.mend(change, move || guard.save_sessions()).await
    }

    fn save_sessions(&self) -> (u64, Result<(), Error>) {
        let (change, sessions) = {
            let sessions = lock(&self.sessions);
            (sessions.changes(), sessions.save(self.clock.now().boot_ms()))
        };
        let state = State::new(&*self.clock, SavedSessions { key: self.origin_key.0, sessions });
        (change, state.write(&self.settings.state_dir.join("sessions.json")))
    }

    pub(crate) fn save_throttle(&self) -> Result<(), Error> {
        let counters = lock(&self.throttle).save(self.clock.now().boot_ms());
        State::new(&*self.clock, counters).write(&self.settings.state_dir.join("throttle.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Now, file, service::Forbidden};

    /// The time of day stands at 1970; the boot clock goes on when told.
    #[derive(Default)]
    struct Behind(Mutex<Duration>);

    impl Clock for Behind {
        fn now(&self) -> Now {
            Now { boot: *lock(&self.0), wall: Duration::ZERO }
        }

        fn boot_id(&self) -> String {
            "this boot".to_owned()
        }
    }

    #[test]
    fn roles_are_read_until_their_file_cannot_have_changed_unseen_whatever_the_time_of_day() {
        let dir = tempfile::tempdir().unwrap();
        let (path, clock) = (dir.path().join("roles"), Arc::new(Behind::default()));
        file::replace(&path, b"jane:viewer\nbob:nonsense\n").unwrap();
        let settings = Settings { state_dir: dir.path().to_owned(), ..Settings::default() };
        let guard = Guard::new(settings, Arc::new(Forbidden), clock.clone()).unwrap();
        let mut reads = 0;
        for _ in 0..10 {
            if guard.has_other_roles() {
                guard.read_roles_and_judge();
                reads += 1;
            }
            *lock(&clock.0) += Duration::from_secs(1);
        }
        assert_eq!((reads, guard.role("jane"), guard.role("admin")), (3, Role::Viewer, Role::Admin));
        file::replace(&path, b"admin:viewer\n").unwrap();
        assert!(guard.has_other_roles());
        guard.read_roles_and_judge();
        assert_eq!(guard.role("admin"), Role::Viewer);
    }

    #[test]
    fn roles_that_could_not_be_read_are_tried_again_although_the_file_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Behind::default());
        std::fs::create_dir(dir.path().join("roles")).unwrap();
        let settings = Settings { state_dir: dir.path().to_owned(), ..Settings::default() };
        let guard = Guard::new(settings, Arc::new(Forbidden), clock.clone()).unwrap();
        for _ in 0..10 {
            assert!(guard.has_other_roles());
            guard.read_roles_and_judge();
            assert_eq!(guard.role("admin"), Role::Viewer);
            *lock(&clock.0) += Duration::from_secs(1);
        }
    }
}
