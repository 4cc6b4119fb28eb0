//! The guard from outside: files on a real disk, time that only moves when a test says so.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use auth::{
    Access, Auth, Credential, Denied, Error, Htpasswd, Limits, Login, Presented, Service, Settings, Token,
    clock::{Clock, Now},
    file::{self, Stamp},
    htpasswd::Entries,
    totp::Secret,
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// Far in the future, so that files written by a test count as settled; a multiple of 30 s.
const WALL: u64 = 4_000_000_020;

/// Runs with tokio's paused time.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Now {
        let passed = self.0.elapsed();
        Now { boot: Duration::from_secs(1_000) + passed, wall: Duration::from_secs(WALL) + passed }
    }

    fn boot_id(&self) -> String {
        "this boot".to_owned()
    }
}

/// Counts how often the real service is asked.
struct Counting {
    inner: Htpasswd,
    asked: AtomicUsize,
}

impl Service for Counting {
    fn check(&self, user: &str, passwd: &str) -> Result<bool, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inner.check(user, passwd)
    }

    fn credential(&self, user: &str) -> Result<Credential, Error> {
        self.inner.credential(user)
    }

    fn stamp(&self, user: &str) -> Option<Stamp> {
        self.inner.stamp(user)
    }
}

struct House {
    dir: tempfile::TempDir,
    settings: Settings,
    clock: Arc<TestClock>,
    service: Arc<Counting>,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        set_password(dir.path(), "admin");
        file::replace(&path("totp.secret"), b"").unwrap();
        let settings =
            Settings { state_dir: path("state"), totp_secret: path("totp.secret"), ..Settings::default() };
        let service = Arc::new(Counting {
            inner: Htpasswd::new(path("htpasswd")).unwrap(),
            asked: AtomicUsize::new(0),
        });
        Self { dir, settings, clock: Arc::new(TestClock(Instant::now())), service }
    }

    fn start(&self) -> Running {
        let stop = CancellationToken::new();
        let (auth, task) =
            Auth::start(self.settings.clone(), self.service.clone(), self.clock.clone(), stop.clone())
                .unwrap();
        Running { auth, task, stop }
    }

    fn asked(&self) -> usize {
        self.service.asked.load(Ordering::SeqCst)
    }

    fn turn_codes_on(&self) -> Secret {
        file::replace(&self.settings.totp_secret, SECRET.as_bytes()).unwrap();
        Secret::parse(SECRET).unwrap()
    }
}

struct Running {
    auth: Auth,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    async fn login(&self, expire_s: u64) -> Token {
        log_in(&self.auth, "admin", expire_s).await
    }

    async fn check(&self, passwd: &str) -> Result<(), Denied> {
        self.auth.check_password("admin", passwd, HERE).await.map(|_| ())
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// With the password that is the name.
async fn log_in(auth: &Auth, user: &str, expire_s: u64) -> Token {
    match auth.login(user, user, Duration::from_secs(expire_s), HERE).await.unwrap() {
        Login::Session(token) => token,
        Login::NotNeeded => panic!("a login was not needed"),
    }
}

fn set_password(dir: &Path, passwd: &str) {
    let mut entries = Entries::default();
    entries.add("admin", passwd).unwrap();
    entries.write(&dir.join("htpasswd")).unwrap();
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_login_opens_a_session_that_logout_ends() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    let session = kvmd.auth.check_token(token.as_str()).unwrap();
    assert_eq!(&*session.user, "admin");
    let mut news = kvmd.auth.subscribe_session_end();
    assert_eq!(kvmd.auth.logout("admin").await.unwrap(), 1);
    session.ended().await;
    assert_eq!(news.recv().await.unwrap().id, session.id);
    assert!(matches!(kvmd.auth.check_token(token.as_str()), Err(Denied::Forbidden)));
}

#[tokio::test(start_paused = true)]
async fn wrong_unknown_and_malformed_are_told_apart_as_the_contract_says() {
    let house = House::new();
    let kvmd = house.start();
    assert!(matches!(kvmd.check("nope").await, Err(Denied::Forbidden)));
    assert!(matches!(kvmd.auth.check_password("ghost", "admin", HERE).await, Err(Denied::Forbidden)));
    assert!(matches!(kvmd.auth.check_password("Admin", "admin", HERE).await, Err(Denied::Invalid(_))));
    assert!(matches!(kvmd.check("a\tb").await, Err(Denied::Invalid(_))));
    assert!(matches!(kvmd.auth.check_token("xyz"), Err(Denied::Invalid(_))));
    assert!(matches!(kvmd.auth.check_token(&"0".repeat(64)), Err(Denied::Forbidden)));
    let nothing = kvmd.auth.authorize(&Presented::default(), HERE).await;
    assert!(matches!(nothing, Err(Denied::Unauthorized)));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_header_wins_over_a_good_cookie() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    let cookie = Presented { token: Some(token.as_str().as_bytes()), ..Presented::default() };
    assert_eq!(kvmd.auth.authorize(&cookie, HERE).await.unwrap().tag(), "admin (token)");
    let both = Presented { user: Some(b"admin"), passwd: Some(b"bad"), ..cookie };
    assert!(matches!(kvmd.auth.authorize(&both, HERE).await, Err(Denied::Forbidden)));
    let basic = Presented { authorization: Some(b"Basic YWRtaW46YWRtaW4="), ..Presented::default() };
    assert_eq!(kvmd.auth.authorize(&basic, HERE).await.unwrap().tag(), "admin (basic)");
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_noticed_within_a_second_though_nobody_uses_the_token() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(2).await;
    let session = kvmd.auth.check_token(token.as_str()).unwrap();
    let before = Instant::now();
    session.ended().await;
    let lived = before.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&lived), "{lived:?}");
}

#[tokio::test(start_paused = true)]
async fn the_global_expiry_bounds_what_a_client_asks_for() {
    let mut house = House::new();
    house.settings.expire = Duration::from_secs(3);
    let kvmd = house.start();
    let token = kvmd.login(100).await;
    pass(2).await;
    assert!(kvmd.auth.check_token(token.as_str()).is_ok());
    pass(1).await;
    assert!(matches!(kvmd.auth.check_token(token.as_str()), Err(Denied::Forbidden)));
}

#[tokio::test(start_paused = true)]
async fn an_open_socket_extends_its_session_and_lets_go_when_dropped() {
    let mut house = House::new();
    house.settings.extend = true;
    let kvmd = house.start();
    let token = kvmd.login(10).await;
    let session = kvmd.auth.check_token(token.as_str()).unwrap();
    let hold = kvmd.auth.hold(&session);
    pass(1_000).await;
    assert!(!session.has_ended());
    drop(hold);
    pass(9).await;
    assert!(!session.has_ended());
    pass(2).await;
    assert!(session.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_restart_logs_nobody_out() {
    let house = House::new();
    let kvmd = house.start();
    let (endless, short) = (kvmd.login(0).await, kvmd.login(60).await);
    kvmd.stop().await;
    let text = std::fs::read_to_string(house.settings.state_dir.join("sessions.json")).unwrap();
    assert!(!text.contains(endless.as_str()), "tokens are kept as hashes");
    pass(30).await;
    let kvmd = house.start();
    assert!(kvmd.auth.check_token(endless.as_str()).is_ok());
    let session = kvmd.auth.check_token(short.as_str()).unwrap();
    pass(31).await;
    assert!(session.has_ended());
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_answered_outlives_a_kill_at_that_moment() {
    let house = House::new();
    let kvmd = house.start();
    for _ in 0..3 {
        let token = kvmd.login(0).await;
        // Killed: nothing of the first one runs in between.
        assert!(house.start().auth.check_token(token.as_str()).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_was_answered_is_not_undone_by_a_kill_at_that_moment() {
    let house = House::new();
    let kvmd = house.start();
    let tokens = [kvmd.login(0).await, kvmd.login(0).await];
    pass(2).await;
    assert!(house.start().auth.check_token(tokens[0].as_str()).is_ok(), "there is something to undo");
    assert_eq!(kvmd.auth.logout("admin").await.unwrap(), 2);
    let other = house.start();
    for token in tokens {
        assert!(matches!(other.auth.check_token(token.as_str()), Err(Denied::Forbidden)));
    }
}

#[tokio::test(start_paused = true)]
async fn logins_and_logouts_are_written_also_when_the_keeper_has_ended() {
    let house = House::new();
    let Running { auth, task, stop } = house.start();
    stop.cancel();
    task.await.unwrap();
    let token = log_in(&auth, "admin", 0).await;
    assert!(house.start().auth.check_token(token.as_str()).is_ok());
    auth.logout("admin").await.unwrap();
    assert!(house.start().auth.check_token(token.as_str()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_could_not_be_written_says_so_counts_and_is_written_soon_after() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    let (state, aside) = (&house.settings.state_dir, house.dir.path().join("aside"));
    std::fs::rename(state, &aside).unwrap();
    std::fs::write(state, b"in the way").unwrap();
    assert!(matches!(kvmd.auth.logout("admin").await, Err(Denied::Failed(_))));
    assert!(matches!(kvmd.auth.check_token(token.as_str()), Err(Denied::Forbidden)));
    std::fs::remove_file(state).unwrap();
    std::fs::rename(&aside, state).unwrap();
    pass(3).await;
    assert!(house.start().auth.check_token(token.as_str()).is_err());
}

#[tokio::test(start_paused = true)]
async fn damaged_state_files_are_no_reason_not_to_start() {
    let house = House::new();
    for content in ["", "{", "[]", "{\"epoch\":1}"] {
        for name in ["sessions.json", "throttle.json"] {
            file::replace(&house.settings.state_dir.join(name), content.as_bytes()).unwrap();
        }
        let kvmd = house.start();
        kvmd.login(0).await;
        kvmd.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_wrong_passwords_lock_even_the_right_one_and_a_restart_does_not_help() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    for _ in 0..20 {
        assert!(matches!(kvmd.check("bad").await, Err(Denied::Forbidden)));
    }
    let asked = house.asked();
    assert!(matches!(kvmd.check("admin").await, Err(Denied::Forbidden)));
    assert_eq!(house.asked(), asked, "while locked nothing is hashed");
    assert!(kvmd.auth.check_token(token.as_str()).is_ok(), "a session is never locked");
    let elsewhere = Some("2001:db8::1".parse().unwrap());
    assert!(kvmd.auth.check_password("admin", "admin", elsewhere).await.is_ok());
    kvmd.stop().await;
    let kvmd = house.start();
    assert!(matches!(kvmd.check("admin").await, Err(Denied::Forbidden)));
    pass(601).await;
    assert!(kvmd.check("admin").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn unix_peers_and_dead_tokens_never_count() {
    let house = House::new();
    let kvmd = house.start();
    for n in 0..200 {
        assert!(kvmd.auth.check_password("admin", "bad", None).await.is_err());
        assert!(kvmd.auth.check_token(&format!("{n:064x}")).is_err());
    }
    assert!(kvmd.check("admin").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn hanging_up_early_does_not_save_the_count() {
    let house = House::new();
    for n in 1..=20 {
        let door = Door::closed(false);
        let stop = CancellationToken::new();
        let (auth, task) =
            Auth::start(house.settings.clone(), door.clone(), house.clock.clone(), stop.clone()).unwrap();
        let mut check = Box::pin(auth.check_password("admin", "bad", HERE));
        assert!(poll_once(&mut check).is_none(), "check {n} is under way");
        // The client is gone before the answer.
        drop(check);
        door.open();
        pass(1).await;
        stop.cancel();
        task.await.unwrap();
    }
    assert!(matches!(house.start().check("admin").await, Err(Denied::Forbidden)));
}

/// Polls once.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_was_right_a_moment_ago_is_not_hashed_again() {
    let house = House::new();
    let kvmd = house.start();
    for _ in 0..100 {
        kvmd.check("admin").await.unwrap();
    }
    assert_eq!(house.asked(), 1);
    pass(5).await;
    kvmd.check("admin").await.unwrap();
    assert_eq!(house.asked(), 2);
    kvmd.login(0).await;
    assert_eq!(house.asked(), 3, "a login is always checked");
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_is_noticed_at_the_next_request() {
    let house = House::new();
    let kvmd = house.start();
    kvmd.check("admin").await.unwrap();
    set_password(house.dir.path(), "other");
    assert!(matches!(kvmd.check("admin").await, Err(Denied::Forbidden)));
    kvmd.check("other").await.unwrap();
    std::fs::remove_file(house.dir.path().join("htpasswd")).unwrap();
    assert!(matches!(kvmd.check("other").await, Err(Denied::Failed(_))));
}

#[tokio::test(start_paused = true)]
async fn codes_are_asked_for_as_soon_as_there_is_a_secret() {
    let house = House::new();
    let kvmd = house.start();
    kvmd.check("admin").await.unwrap();
    let secret = house.turn_codes_on();
    assert!(matches!(kvmd.check("admin").await, Err(Denied::Forbidden)));
    let code = secret.code(WALL);
    assert!(matches!(kvmd.check(&code).await, Err(Denied::Forbidden)));
    kvmd.check(&format!("admin{code}")).await.unwrap();
    kvmd.check(&format!("admin{code}")).await.unwrap();
    file::replace(&house.settings.totp_secret, b"").unwrap();
    assert!(matches!(kvmd.check(&format!("admin{code}")).await, Err(Denied::Forbidden)));
    kvmd.check("admin").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_remembered_code_dies_with_its_window() {
    let house = House::new();
    let kvmd = house.start();
    let typed = format!("admin{}", house.turn_codes_on().code(WALL));
    pass(58).await;
    kvmd.check(&typed).await.unwrap();
    pass(1).await;
    kvmd.check(&typed).await.unwrap();
    assert_eq!(house.asked(), 1);
    pass(1).await;
    assert!(matches!(kvmd.check(&typed).await, Err(Denied::Forbidden)));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_secret_lets_nobody_in_and_counts_nobody() {
    let house = House::new();
    let kvmd = house.start();
    std::fs::remove_file(&house.settings.totp_secret).unwrap();
    for _ in 0..30 {
        assert!(matches!(kvmd.check("admin").await, Err(Denied::Failed(_))));
    }
    file::replace(&house.settings.totp_secret, b"").unwrap();
    kvmd.check("admin").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_state_directory_that_cannot_be_written_stops_no_login() {
    let mut house = House::new();
    house.settings.state_dir = house.dir.path().join("htpasswd/below-a-file");
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    pass(120).await;
    assert!(kvmd.auth.check_token(token.as_str()).is_ok());
    kvmd.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_password_ends_the_sessions_made_with_the_old_one_and_nobody_elses() {
    let house = House::new();
    let path = house.dir.path().join("htpasswd");
    let mut entries = Entries::read(&path).unwrap();
    entries.add("jane", "jane").unwrap();
    entries.write(&path).unwrap();
    let kvmd = house.start();
    let (admins, janes) = (kvmd.login(0).await, log_in(&kvmd.auth, "jane", 0).await);
    let session = kvmd.auth.check_token(admins.as_str()).unwrap();
    // Written anew, but the same.
    entries.write(&path).unwrap();
    pass(3).await;
    assert!(!session.has_ended());
    let mut news = kvmd.auth.subscribe_session_end();
    entries.set("admin", "other").unwrap();
    entries.write(&path).unwrap();
    pass(2).await;
    assert!(session.has_ended());
    assert_eq!(news.try_recv().unwrap().id, session.id);
    assert!(matches!(kvmd.auth.check_token(admins.as_str()), Err(Denied::Forbidden)));
    assert!(kvmd.auth.check_token(janes.as_str()).is_ok());
    entries.del("jane").unwrap();
    entries.write(&path).unwrap();
    pass(2).await;
    assert!(matches!(kvmd.auth.check_token(janes.as_str()), Err(Denied::Forbidden)));
}

#[tokio::test(start_paused = true)]
async fn a_password_changed_while_nobody_looked_ends_sessions_at_the_start() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    kvmd.stop().await;
    assert!(house.start().auth.check_token(token.as_str()).is_ok());
    let hash = Entries::read(&house.dir.path().join("htpasswd")).unwrap().hash("admin").unwrap().to_owned();
    let kept = std::fs::read_to_string(house.settings.state_dir.join("sessions.json")).unwrap();
    assert!(!kept.contains(&hash), "the entry itself is not kept");
    // The same password, but a new entry: somebody set it anew.
    set_password(house.dir.path(), "admin");
    assert!(matches!(house.start().auth.check_token(token.as_str()), Err(Denied::Forbidden)));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_ends_no_session_until_it_can() {
    let house = House::new();
    let kvmd = house.start();
    let token = kvmd.login(0).await;
    std::fs::remove_file(house.dir.path().join("htpasswd")).unwrap();
    pass(10).await;
    assert!(kvmd.auth.check_token(token.as_str()).is_ok());
    set_password(house.dir.path(), "other");
    pass(2).await;
    assert!(kvmd.auth.check_token(token.as_str()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_of_an_external_service_lives_on_until_the_user_is_ours() {
    let house = House::new();
    let door = Door::closed(true);
    door.open();
    let (auth, _task) =
        Auth::start(house.settings.clone(), door, house.clock.clone(), CancellationToken::new()).unwrap();
    let token = log_in(&auth, "admin", 0).await;
    set_password(house.dir.path(), "other");
    pass(10).await;
    assert!(auth.check_token(token.as_str()).is_ok());
    assert!(house.start().auth.check_token(token.as_str()).is_err());
}

/// A service whose file is changed just after the check.
struct Swapped(Htpasswd, std::path::PathBuf);

impl Service for Swapped {
    fn check(&self, user: &str, passwd: &str) -> Result<bool, Error> {
        let right = self.0.check(user, passwd);
        if passwd == "admin" {
            set_password(&self.1, "other");
        }
        right
    }

    fn credential(&self, user: &str) -> Result<Credential, Error> {
        self.0.credential(user)
    }

    fn stamp(&self, user: &str) -> Option<Stamp> {
        self.0.stamp(user)
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_changed_while_it_is_checked_lets_nobody_in() {
    let house = House::new();
    let service = Htpasswd::new(house.dir.path().join("htpasswd")).unwrap();
    let service = Arc::new(Swapped(service, house.dir.path().to_owned()));
    let (auth, _task) =
        Auth::start(house.settings.clone(), service, house.clock.clone(), CancellationToken::new()).unwrap();
    let late = auth.login("admin", "admin", Duration::ZERO, HERE).await;
    assert!(matches!(late, Err(Denied::Forbidden)), "{late:?}");
    assert!(auth.login("admin", "other", Duration::ZERO, HERE).await.is_ok());
}

/// A service that keeps its callers waiting while its door is closed, and knows how many were inside at once.
struct Door {
    answer: bool,
    closed: Mutex<bool>,
    opened: Condvar,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Door {
    fn closed(answer: bool) -> Arc<Self> {
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { answer, closed: Mutex::new(true), opened: Condvar::new(), inside, most })
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

impl Service for Door {
    fn check(&self, _user: &str, _passwd: &str) -> Result<bool, Error> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        drop(self.opened.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap());
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Ok(self.answer)
    }

    fn credential(&self, _user: &str) -> Result<Credential, Error> {
        Ok(Credential::External)
    }

    fn stamp(&self, _user: &str) -> Option<Stamp> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_logins_runs_two_at_a_time_and_waits_in_a_bounded_queue() {
    let mut house = House::new();
    house.settings.throttle = Limits { per_user: 0, per_address: 0, ..Limits::default() };
    house.settings.checks_waiting = 8;
    let slow = Door::closed(true);
    let (auth, _task) =
        Auth::start(house.settings.clone(), slow.clone(), house.clock.clone(), CancellationToken::new())
            .unwrap();
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let auth = auth.clone();
        flood.spawn(async move { auth.check_password("admin", "admin", HERE).await });
    }
    let (mut busy, mut allowed) = (0, 0);
    // Everybody who found no place is answered at once, though nothing moves.
    while busy < 40 {
        assert!(matches!(flood.join_next().await.unwrap().unwrap(), Err(Denied::Busy)));
        busy += 1;
    }
    slow.open();
    while let Some(result) = flood.join_next().await {
        result.unwrap().unwrap();
        allowed += 1;
    }
    assert_eq!((busy, allowed), (40, 10));
    assert!(slow.most.load(Ordering::SeqCst) <= 2);
}

#[tokio::test(start_paused = true)]
async fn with_auth_disabled_nobody_is_asked() {
    let auth = Auth::disabled();
    assert!(!auth.enabled());
    let odd = Presented { user: Some(b"NOT A USER"), token: Some(b"xyz"), ..Presented::default() };
    assert!(matches!(auth.authorize(&odd, HERE).await, Ok(Access::Open)));
    assert_eq!(auth.login("admin", "wrong", Duration::ZERO, HERE).await.unwrap(), Login::NotNeeded);
    assert_eq!(auth.logout("admin").await.unwrap(), 0);
}
