//! The guard itself and the handle to it.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{Access, Allowed, Login},
    api_token::{self, ApiToken},
    cache::{Basis, Cache, SETTLE},
    carrier::{Carrier, Peer, Presented, credentials},
    clock::Clock,
    error::{Denied, Error, random},
    file::Stamp,
    keeper::{self, State},
    ledger::{Ledger, Outcome},
    origin::{self, Origin, Seen},
    peer::{PeerRules, SystemAccounts},
    role::{Role, Roles},
    service::Service,
    session::{SavedSessions, Session, SessionEnd, Sessions, Token, lifetime},
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

/// A handle to the guard. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Mode);

#[derive(Clone)]
enum Mode {
    Open,
    Guarded(Arc<Guard>),
}

impl Auth {
    /// Nobody is asked for anything (`auth.enabled: false`).
    #[must_use]
    pub fn disabled() -> Self {
        Self(Mode::Open)
    }

    /// Takes over sessions and counters of the last run and starts the task that ends sessions in time and writes
    /// the state. The task runs until `stop` and finishes with a last write: wait for it. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Random`]. Damaged or missing state files are only logged.
    pub fn start(
        settings: Settings,
        service: Arc<dyn Service>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let guard = Arc::new(Guard::new(settings, service, clock)?);
        // Passwords may have been changed while nobody looked.
        guard.judge_sessions();
        guard.read_roles();
        let task = tokio::spawn(keeper::keep(Arc::clone(&guard), stop));
        Ok((Self(Mode::Guarded(guard)), task))
    }

    /// Whether anybody is asked at all (`info.auth.enabled`).
    #[must_use]
    pub fn enabled(&self) -> bool {
        matches!(self.0, Mode::Guarded(_))
    }

    /// Whether a request may pass: section 5.1 as a whole. `from` is the network address of the client, `None` for
    /// the unix socket.
    ///
    /// # Errors
    /// Every [`Denied`].
    pub async fn authorize(&self, shown: &Presented<'_>, from: Option<IpAddr>) -> Result<Access, Denied> {
        if !self.enabled() {
            return Ok(Access::Open);
        }
        match credentials(shown)? {
            Carrier::Password { user, passwd, via } => {
                let Allowed { user } = self.check_password(&user, &passwd, from).await?;
                Ok(Access::Password { user, via })
            }
            Carrier::Token(token) => Ok(Access::Session(self.check_token(&token)?)),
            Carrier::Bearer(text) => self.check_api_token(&text),
            Carrier::Peer(peer) => Ok(Access::Peer(peer)),
            Carrier::Nothing => Err(Denied::Unauthorized),
        }
    }

    /// Whether the password (with its code, where codes are asked for) is the user's. Makes no session.
    ///
    /// # Errors
    /// [`Denied::Invalid`], [`Denied::Forbidden`] (wrong, or locked out), [`Denied::Busy`], [`Denied::Failed`].
    pub async fn check_password(
        &self,
        user: &str,
        passwd: &str,
        from: Option<IpAddr>,
    ) -> Result<Allowed, Denied> {
        match &self.0 {
            Mode::Open => Ok(Allowed { user: user.trim().to_owned() }),
            Mode::Guarded(guard) => guard.check_password(user, passwd, from).await,
        }
    }

    /// Checks the password, never from memory, and opens a session. `expire` zero = as long as the settings allow.
    /// The session is on the disk when this answers; with a disk that takes nothing it lives in memory only.
    ///
    /// # Errors
    /// As [`Auth::check_password`].
    pub async fn login(
        &self,
        user: &str,
        passwd: &str,
        expire: Duration,
        from: Option<IpAddr>,
    ) -> Result<Login, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(Login::NotNeeded) };
        let user = syntax::user(user)?;
        let made_from = guard.check_anew(user, passwd, from).await?;
        let (token, change) = guard.open_session(user, made_from, expire)?;
        if let Err(error) = guard.settle(change).await {
            log::warn!("The login of {user} will not outlive a restart: {error}");
        }
        Ok(Login::Session(token))
    }

    /// The session of a token.
    ///
    /// # Errors
    /// [`Denied::Invalid`] for what is no token, [`Denied::Forbidden`] for one that is unknown or over.
    pub fn check_token(&self, token: &str) -> Result<Session, Denied> {
        let token = syntax::token(token)?;
        match &self.0 {
            Mode::Open => Err(Denied::Forbidden),
            Mode::Guarded(guard) => {
                let now = guard.clock.now().boot_ms();
                lock(&guard.sessions).find(token, now).ok_or(Denied::Forbidden)
            }
        }
    }

    /// Ends every session of a user; their sockets are told at once. Answers how many there were, when that is on the
    /// disk: nothing brings them back.
    ///
    /// # Errors
    /// [`Denied::Failed`] when it could not be written: the sessions are over, but would come back if the daemon were
    /// killed before the disk takes writes again (which is tried every second).
    pub async fn logout(&self, user: &str) -> Result<usize, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(0) };
        let (ended, change) = {
            let mut sessions = lock(&guard.sessions);
            (sessions.logout(user), sessions.changes())
        };
        let count = guard.announce(ended);
        if count > 0 {
            guard.settle(change).await.map_err(Denied::Failed)?;
        }
        Ok(count)
    }

    /// Every session there is, the oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let Mode::Guarded(guard) = &self.0 else { return Vec::new() };
        lock(&guard.sessions).all(guard.clock.now().boot_ms())
    }

    /// Ends this session alone. Answers whether it was still there, when its end is on the disk.
    ///
    /// # Errors
    /// As [`Auth::logout`].
    pub async fn end(&self, session: &Session) -> Result<bool, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(false) };
        let (ended, change) = {
            let mut sessions = lock(&guard.sessions);
            (sessions.end_one(session), sessions.changes())
        };
        let count = guard.announce(ended.into_iter().collect());
        if count > 0 {
            guard.settle(change).await.map_err(Denied::Failed)?;
        }
        Ok(count > 0)
    }

    /// Keeps a session alive while a WebSocket opened with it lives (with `extend`; otherwise this changes nothing).
    #[must_use]
    pub fn hold(&self, session: &Session) -> Hold {
        if let Mode::Guarded(guard) = &self.0 {
            lock(&guard.sessions).hold(&session.hash);
            guard.deadlines_changed.notify_one();
            guard.sessions_changed.notify_one();
        }
        Hold { auth: self.clone(), session: session.clone() }
    }

    /// Hears of every session that ends. A socket should rather wait for its own [`Session::ended`]; who falls behind
    /// here by more than 64 loses the oldest.
    #[must_use]
    pub fn subscribe_session_end(&self) -> broadcast::Receiver<SessionEnd> {
        match &self.0 {
            Mode::Open => broadcast::channel(1).1,
            Mode::Guarded(guard) => guard.ended.subscribe(),
        }
    }

    /// An unknown token and one that is over are never counted: nobody guesses 256 bits.
    fn check_api_token(&self, text: &str) -> Result<Access, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(Access::Open) };
        let found = guard.tokens.find(text, guard.clock.now().wall);
        found.map(Access::Token).ok_or(Denied::Forbidden)
    }

    /// Makes an API token, and shows it: this once. It is on the disk when this answers.
    ///
    /// # Errors
    /// Every [`api_token::Refused`].
    pub async fn make_token(
        &self,
        wanted: api_token::Wanted,
    ) -> Result<(String, ApiToken), api_token::Refused> {
        let Mode::Guarded(guard) = &self.0 else { return Err(api_token::Refused::NotNeeded) };
        guard.tokens.make(wanted, guard.clock.now().wall).await
    }

    /// The API tokens there are, the oldest first; those that are over too, until they are revoked.
    #[must_use]
    pub fn tokens(&self) -> Vec<ApiToken> {
        let Mode::Guarded(guard) = &self.0 else { return Vec::new() };
        guard.tokens.list()
    }

    /// Ends an API token; its sockets are told at once. None when there is no such token.
    ///
    /// # Errors
    /// [`Denied::Failed`] when it could not be written: the token is over, but would come back if the daemon were killed
    /// before the disk takes writes again.
    pub async fn revoke_token(&self, id: &str) -> Result<Option<ApiToken>, Denied> {
        let Mode::Guarded(guard) = &self.0 else { return Ok(None) };
        guard.tokens.revoke(id).await.map_err(Denied::Failed)
    }

    /// Whether who passes by this right may do what needs this role, in this subsystem.
    #[must_use]
    pub fn may(&self, access: &Access, role: Role, subsystem: &str) -> bool {
        self.role(access) >= role && access.reaches(subsystem)
    }

    /// What who passes by this right may do. Ask anew for each thing somebody does: roles change while sockets are open.
    #[must_use]
    pub fn role(&self, access: &Access) -> Role {
        match (&self.0, access) {
            (Mode::Open, _) | (_, Access::Open | Access::Peer(_)) => Role::Admin,
            (Mode::Guarded(guard), Access::Password { user, .. }) => guard.role(user),
            (Mode::Guarded(guard), Access::Session(session)) => guard.role(&session.user),
            (Mode::Guarded(_), Access::Token(token)) => token.role,
        }
    }

    /// Which user a process on the unix socket counts as. Ask once per connection; `gids` are all its groups.
    #[must_use]
    pub fn peer_user(&self, uid: u32, gids: &[u32]) -> Option<Peer> {
        let Mode::Guarded(guard) = &self.0 else { return None };
        let user = guard.settings.peers.user(&SystemAccounts, uid, gids)?;
        Some(Peer { user, uid })
    }
}

/// A socket's claim on its session; dropping it lets go.
pub struct Hold {
    auth: Auth,
    session: Session,
}

impl Hold {
    /// The session that is held.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Mode::Guarded(guard) = &self.auth.0 {
            let now = guard.clock.now().boot_ms();
            lock(&guard.sessions).release(&self.session.hash, now);
            guard.deadlines_changed.notify_one();
            guard.sessions_changed.notify_one();
        }
    }
}

/// A password that was right.
struct Verdict {
    made_from: (Origin, Seen),
    basis: Option<Basis>,
    valid_for: Duration,
}

/// The roles, and when they were read.
struct Known {
    roles: Roles,
    seen: Seen,
}

pub(crate) struct Guard {
    settings: Settings,
    service: Arc<dyn Service>,
    pub(crate) clock: Arc<dyn Clock>,
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
    cache: Mutex<Cache>,
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
    fn new(settings: Settings, service: Arc<dyn Service>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
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
            roles: RwLock::new(Known { roles: Roles::all(Role::Viewer), seen: Seen::Never }),
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

    /// Locks first, then memory, then the real check.
    async fn check_password(
        self: &Arc<Self>,
        user: &str,
        passwd: &str,
        from: Option<IpAddr>,
    ) -> Result<Allowed, Denied> {
        let (user, passwd) = (syntax::user(user)?, syntax::password(passwd)?);
        if self.is_locked(from.map(Net::from), user) {
            return Err(Denied::Forbidden);
        }
        if !self.remembers(user, passwd) {
            self.check_anew(user, passwd, from).await?;
        }
        Ok(Allowed { user: user.to_owned() })
    }

    /// The real check, on a blocking thread. Answers what a session would be made from.
    async fn check_anew(
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

    fn remembers(&self, user: &str, passwd: &str) -> bool {
        let Some(basis) = self.basis(user) else { return false };
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
            cache.remember(key, basis, valid_for, self.clock.now());
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
        let right = self.service.check(user, passwd)?;
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
    fn open_session(
        &self,
        user: &str,
        made_from: (Origin, Seen),
        expire: Duration,
    ) -> Result<(Token, u64), Error> {
        let token = Token::generate()?;
        let lifetime = lifetime(expire, self.settings.expire);
        let now = self.clock.now().boot_ms();
        let (pushed_out, change) = {
            let mut sessions = lock(&self.sessions);
            (sessions.open(&token, user, made_from, lifetime, now), sessions.changes())
        };
        self.announce(pushed_out);
        self.deadlines_changed.notify_one();
        // Even when the client leaves before it is written.
        self.sessions_changed.notify_one();
        Ok((token, change))
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

    pub(crate) fn has_sessions(&self) -> bool {
        !lock(&self.sessions).is_empty()
    }

    /// Ends sessions whose password has been changed, or whose user is gone. Reads files.
    pub(crate) fn judge_sessions(&self) {
        let (users, mark) = lock(&self.sessions).seen();
        for (user, seen) in users {
            if seen == Seen::At(self.service.stamp(&user)) {
                continue;
            }
            match origin::look(&*self.service, &self.origin_key, &user, self.clock.now().wall) {
                Ok(found) => {
                    self.blind.store(false, Ordering::Relaxed);
                    let ended = lock(&self.sessions).judge(&user, mark, found);
                    let count = self.announce(ended);
                    if count > 0 {
                        log::info!("{user} has another password or is gone: {count} sessions ended");
                    }
                }
                Err(error) => {
                    if !self.blind.swap(true, Ordering::Relaxed) {
                        log::warn!("Whether sessions still are by right cannot be told: {error}");
                    }
                }
            }
        }
    }

    fn role(&self, user: &str) -> Role {
        self.roles.read().unwrap_or_else(PoisonError::into_inner).roles.of(user)
    }

    /// Reads who has which role, when the file has changed. Until it can be read, everybody has the least.
    pub(crate) fn read_roles(&self) {
        let path = self.settings.state_dir.join("roles");
        let stamp = Stamp::of(&path);
        if self.roles.read().unwrap_or_else(PoisonError::into_inner).seen == Seen::At(stamp) {
            return;
        }
        let roles = Roles::read(&path, self.settings.role).unwrap_or_else(|error| {
            log::error!("Everybody may only look until this is mended: {error}");
            Roles::all(Role::Viewer)
        });
        let settled = stamp.is_none_or(|stamp| stamp.settled(self.clock.now().wall, SETTLE));
        let seen = if settled { Seen::At(stamp) } else { Seen::Never };
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = Known { roles, seen };
    }

    /// Waits until a change is on the disk, but not for ever on a disk that hangs.
    async fn settle(self: &Arc<Self>, change: u64) -> Outcome {
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
