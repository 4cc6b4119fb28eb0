//! The loop that owns every child: events in, the services' machines asked, their actions carried out.
//!
//! Single-threaded on purpose: a child is told of our death by the kernel when the *thread* that started it ends,
//! and reaping, spawning and deciding in one place leaves nothing to lock.

mod answer;
mod drive;
mod stop;
mod unit;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use client::supervisor::Journal;
use life::Life;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::drive::Check;
use self::unit::Hold;
pub use self::unit::{Recipe, Sign, Unit};
use crate::KVMD;
use crate::account::Accounts;
use crate::control::Call;
use crate::gadget::Gadget;
use crate::launch::{self, Started};
use crate::notice::{self, Notice};
use crate::service::{Action, Event, State};
use crate::socket;
use crate::storage::{Shown, Storage};
use crate::system::System;
use crate::tool::Job;
use crate::update::Updates;

/// How often the certificate is looked at.
const RENEWAL: Duration = Duration::from_secs(60);
/// How often at first, and how many times: soon after the start the machine gets its addresses, and whoever comes then
/// should be shown the certificate that stays.
const EARLY_RENEWAL: Duration = Duration::from_secs(2);
const EARLY_RENEWALS: u32 = 30;
/// A beat for nobody in particular, and how long the killed are waited for.
const LONG: Duration = Duration::from_secs(3600);
/// Longest wait for devices to be at rest before the next `kvmd` starts.
const AT_REST: Duration = Duration::from_secs(2);

/// Words of children that wait for their turn.
const HEARD: usize = 64;

/// Puts a device at rest that a dead process may have left otherwise. The next process waits for it, for a bounded time.
pub type LetGo = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>>>;

/// What is left to do to the drive's storage when it is mounted, until the stop; nothing, mostly.
pub type AfterStorage =
    Box<dyn FnOnce(CancellationToken) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> + Send>;

/// Something heard: of which unit, of which of its processes, what.
type Heard = (usize, u64, Notice);

/// A program that runs for a moment.
struct Running {
    pid: Pid,
    outcome: OwnedFd,
    /// It is not killed half-way, as long as there is time.
    whole: bool,
    end: oneshot::Sender<io::Result<WaitStatus>>,
}

impl Running {
    fn ended(self, status: WaitStatus) {
        let told = launch::failure(&self.outcome).map_or(Ok(status), |why| Err(io::Error::other(why)));
        // Nobody to hear it does not want to know.
        let _ = self.end.send(told);
    }
}

/// What the loop needs beside the units.
pub struct Parts {
    /// Signals and the way to our own parent.
    pub life: Life,
    /// Whom files and sockets are given to.
    pub accounts: Accounts,
    /// Requests from the control socket.
    pub calls: mpsc::Receiver<Call>,
    /// The drive's storage.
    pub storage: Storage,
    /// What is done to it before it is checked.
    pub before_storage: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What is done to it when it is mounted, while it is writable and nobody uses it yet.
    pub after_storage: Option<AfterStorage>,
    /// Longest time for checking its file system.
    pub check_limit: Duration,
    /// Where log lines go.
    pub journal: Journal,
    /// What is done when `kvmd` has ended, before the next one starts: devices are put at rest.
    pub let_go: Vec<LetGo>,
    /// The USB gadget, where there is one.
    pub gadget: Option<Gadget>,
    /// The system itself.
    pub system: System,
    /// New releases of the system.
    pub updates: Updates,
    /// Programs to be run for a moment.
    pub jobs: mpsc::Receiver<Job>,
    /// Looks at the certificate; true when there is a new one.
    pub renew: Box<dyn Fn() -> bool>,
    /// Called once, when everything is ready for the first time.
    pub on_ready: Box<dyn FnOnce()>,
    /// Longest time for stopping everything.
    pub shutdown: Duration,
}

/// The owner of every child.
pub struct Runner {
    units: Vec<Unit>,
    parts: Parts,
    storage: Arc<Mutex<Storage>>,
    shown: Arc<Mutex<Shown>>,
    check: Option<Check>,
    /// Programs that run for a moment, and who waits for their ends.
    running: Vec<Running>,
    on_ready: Option<Box<dyn FnOnce()>>,
    heard: mpsc::Receiver<Heard>,
    hear: mpsc::Sender<Heard>,
    /// Of which unit, after which of its processes the device is at rest.
    rested: mpsc::Receiver<(usize, u64)>,
    rest: mpsc::Sender<(usize, u64)>,
    /// Who needs the streamer: viewers, and whoever looks whether it works.
    viewed: bool,
    held: bool,
    /// A trial is told that this stop is orderly.
    ending: Option<JoinHandle<()>>,
    /// When everything that is left is killed; set by the stop.
    give_up_at: Option<Instant>,
    /// That time has come.
    gave_up: bool,
    announced: BTreeMap<&'static str, bool>,
}

impl Runner {
    /// Owns `units`, which are in starting order.
    #[must_use]
    pub fn new(units: Vec<Unit>, mut parts: Parts) -> Self {
        let (hear, heard) = mpsc::channel(HEARD);
        let (rest, rested) = mpsc::channel(1);
        let storage = std::mem::replace(&mut parts.storage, Storage::Directory { path: PathBuf::new() });
        let shown = Arc::new(Mutex::new(storage.shown()));
        let on_ready = std::mem::replace(&mut parts.on_ready, Box::new(|| {}));
        Self {
            units,
            parts,
            storage: Arc::new(Mutex::new(storage)),
            shown,
            check: None,
            running: Vec::new(),
            on_ready: Some(on_ready),
            heard,
            hear,
            rested,
            rest,
            viewed: false,
            held: false,
            ending: None,
            give_up_at: None,
            gave_up: false,
            announced: BTreeMap::new(),
        }
    }

    /// Runs until everything has been stopped again.
    ///
    /// # Errors
    ///
    /// When the loop cannot even begin.
    pub async fn run(mut self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        let stop = self.parts.life.stop().clone();
        let mut renewal = tokio::time::interval(EARLY_RENEWAL);
        let mut early = EARLY_RENEWALS;
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renewal.tick().await;
        let period = self.parts.life.watchdog().map_or(LONG, |limit| limit / 3);
        let mut beat = tokio::time::interval(period.max(Duration::from_millis(1)));
        for at in 0..self.units.len() {
            if self.units.get(at).is_some_and(|unit| unit.at_start) {
                self.feed(at, Event::Want).await;
            }
        }
        let (tell, mut storage_due) = mpsc::channel(1);
        match self.parts.before_storage.take() {
            Some(work) => drop(tokio::spawn(async move {
                // Whatever becomes of it: the drive is looked at.
                let _ = tokio::spawn(work).await;
                let _ = tell.send(()).await;
            })),
            None => self.open_storage(),
        }
        // Those that ended before we listened.
        self.reap().await;
        loop {
            self.announce();
            if self.give_up_at.is_some() && !self.stop_next().await && !self.changes_something() {
                break;
            }
            let due = self.next_tick();
            // Without a bias: a child that talks all the time gets its share of turns, not all of them.
            tokio::select! {
                () = stop.cancelled(), if self.give_up_at.is_none() => self.begin_stop(),
                _ = children.recv() => self.reap().await,
                Some(heard) = self.heard.recv() => self.hear(heard).await,
                Some((at, generation)) = self.rested.recv() => self.rested(at, generation).await,
                Some(call) = self.parts.calls.recv() => self.answer(call).await,
                Some(job) = self.parts.jobs.recv() => self.begin(job),
                Some(()) = storage_due.recv() => self.open_storage(),
                () = until(due) => self.tick().await,
                _ = beat.tick() => self.parts.life.notifier().alive(),
                _ = renewal.tick() => {
                    early = early.saturating_sub(1);
                    if early == 0 {
                        renewal.reset_after(RENEWAL);
                    }
                    if (self.parts.renew)() {
                        self.restart(KVMD).await;
                    }
                },
            }
        }
        self.end().await;
        Ok(())
    }

    fn next_tick(&self) -> Option<Instant> {
        let check = self.check.as_ref().and_then(|check| check.give_up_at);
        self.units
            .iter()
            .filter_map(|unit| unit.service.next_tick())
            .chain(self.give_up_at)
            .chain(check)
            .min()
    }

    async fn tick(&mut self) {
        // A sign of life that waits here was given in time, even where we are late.
        for _ in 0..HEARD {
            let Ok(heard) = self.heard.try_recv() else { break };
            self.hear(heard).await;
        }
        let now = Instant::now();
        if self.give_up_at.is_some_and(|at| now >= at) {
            log::warn!("stopping takes too long: killing what is left");
            // Not again; what is killed is only waited for.
            self.give_up_at = Some(now + LONG);
            self.gave_up = true;
            for pid in self.units.iter().filter_map(|unit| unit.pid) {
                let _ = killpg(pid, Signal::SIGKILL);
            }
        }
        self.give_check_up(now);
        for at in 0..self.units.len() {
            self.feed(at, Event::Tick).await;
        }
    }

    /// A service's device is at rest: its next process, if one is due, may come.
    async fn rested(&mut self, at: usize, generation: u64) {
        let Some(unit) = self.units.get_mut(at).filter(|unit| unit.generation == generation) else { return };
        let due = unit.hold == Hold::Due;
        unit.hold = Hold::Free;
        if due
            && matches!(unit.service.state(), State::Starting { .. })
            && let Err(error) = self.spawn(at)
        {
            let ended = self.not_started(at, &error);
            self.feed(at, ended).await;
        }
    }

    fn not_started(&self, at: usize, error: &io::Error) -> Event {
        let how = format!("cannot be started: {error}");
        log::error!("{}: {how}", self.name(at));
        Event::Ended { how, killed: false }
    }

    /// Feeds an event to a service and does what its machine says.
    async fn feed(&mut self, at: usize, event: Event) {
        let mut event = event;
        loop {
            let now = Instant::now();
            let Some(unit) = self.units.get_mut(at) else { return };
            let action = unit.service.on(event, now);
            if let State::Waiting { until, looping } = unit.service.state()
                && unit.service.entered() == now
            {
                let wait = until.saturating_duration_since(now);
                let how = if looping { " (crash loop)" } else { "" };
                log::warn!("{} is started again in {} ms{how}", unit.name, wait.as_millis());
            }
            match (action, unit.pid) {
                (Some(Action::Spawn), _) if unit.hold != Hold::Free => {
                    unit.hold = Hold::Due;
                    return;
                }
                (Some(Action::Spawn), _) => match self.spawn(at) {
                    Ok(()) => return,
                    Err(error) => event = self.not_started(at, &error),
                },
                (Some(Action::Terminate), Some(pid)) => {
                    if unit.service.last_end().is_none() || !unit.service.wanted() {
                        log::debug!("{}: SIGTERM", unit.name);
                    }
                    let _ = kill(pid, Signal::SIGTERM);
                    return;
                }
                (Some(Action::Kill), Some(pid)) => {
                    log::warn!("{} does not stop: killed", unit.name);
                    let _ = killpg(pid, Signal::SIGKILL);
                    return;
                }
                // No process (it could not even be made): there is nothing to signal.
                (Some(Action::Terminate | Action::Kill), None) => {
                    event = Event::Ended { how: "not running".to_owned(), killed: false };
                }
                (None, _) => return,
            }
        }
    }

    fn name(&self, at: usize) -> &'static str {
        self.units.get(at).map_or("?", |unit| unit.name)
    }

    fn spawn(&mut self, at: usize) -> io::Result<()> {
        let Some(unit) = self.units.get_mut(at) else { return Ok(()) };
        unit.generation += 1;
        unit.text = None;
        if let Some(ear) = unit.ear.take() {
            ear.abort();
        }
        let mut launch = (unit.recipe)()?;
        if let Some((path, owner)) = &unit.notify {
            let socket = socket::datagram(path, *owner, &self.parts.accounts).map_err(io::Error::other)?;
            let socket = UnixDatagram::from_std(socket)?;
            launch.env.push(("NOTIFY_SOCKET".into(), path.into()));
            let listening = listen(socket, at, unit.generation, self.hear.clone());
            unit.ear = Some(tokio::spawn(listening).abort_handle());
        }
        let started = launch::start(launch)?;
        log::info!("{} is started (pid {})", unit.name, started.pid);
        unit.pid = Some(started.pid);
        unit.outcome = Some(started.outcome);
        if let Some(sign) = &unit.sign {
            let (sign, generation, hear) = (sign(), unit.generation, self.hear.clone());
            let waiting = tokio::spawn(async move {
                sign.await;
                // Nobody to hear it is the loop's end.
                let _ = hear.send((at, generation, Notice::Ready)).await;
            });
            unit.ear = Some(waiting.abort_handle());
        }
        Ok(())
    }

    /// Takes care of every process that ended, our children's orphans included.
    async fn reap(&mut self) {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, peek) {
            let Some(pid) = status.pid() else { return };
            let at = self.units.iter().position(|unit| unit.pid == Some(pid));
            if at.is_some() {
                // Before the id is free again: whatever the child left behind in its group goes with it.
                let _ = killpg(pid, Signal::SIGKILL);
            }
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            match at {
                Some(at) => self.ended(at, status).await,
                None if self.check.as_ref().is_some_and(|check| check.is(pid)) => self.checked(status),
                None => match self.running.iter().position(|running| running.pid == pid) {
                    Some(at) => self.running.swap_remove(at).ended(status),
                    None => log::debug!("an orphan ended: {pid}"),
                },
            }
        }
    }

    /// Starts a program that runs for a moment.
    fn begin(&mut self, job: Job) {
        let Job { launch, whole, end } = job;
        let started = match whole && self.give_up_at.is_some() {
            true => Err(io::Error::other("the supervisor is stopping")),
            false => launch::start(launch),
        };
        match started {
            Ok(Started { pid, outcome }) => self.running.push(Running { pid, outcome, whole, end }),
            // Nobody to hear it does not want to know.
            Err(error) => drop(end.send(Err(error))),
        }
    }

    /// Whether a program runs that must not be stopped half-way, and there still is time for it.
    fn changes_something(&self) -> bool {
        !self.gave_up && self.running.iter().any(|running| running.whole)
    }

    async fn ended(&mut self, at: usize, status: WaitStatus) {
        let (how, killed) = match status {
            WaitStatus::Exited(_, code) => (format!("exit status {code}"), false),
            WaitStatus::Signaled(_, signal, _) => (format!("killed by {signal}"), signal == Signal::SIGKILL),
            other => (format!("{other:?}"), false),
        };
        let Some(unit) = self.units.get_mut(at) else { return };
        unit.pid = None;
        unit.text = None;
        // What it said before its end is not said by its successor.
        unit.generation += 1;
        if let Some(ear) = unit.ear.take() {
            ear.abort();
        }
        // What the start itself had to say is more than its exit status.
        let how = match unit.outcome.take().and_then(|outcome| launch::failure(&outcome)) {
            Some(why) => format!("cannot be started: {why}"),
            None => how,
        };
        if unit.service.wanted() && !matches!(unit.service.state(), State::Stopping { fault: None, .. }) {
            log::warn!("{} ended: {how}", unit.name);
        } else {
            log::info!("{} has stopped: {how}", unit.name);
        }
        if unit.name == KVMD && self.give_up_at.is_none() && !self.parts.let_go.is_empty() {
            // Whatever kvmd held down, nobody holds now. The next one starts when that is done, so that what it
            // presses is not released by us.
            let (rest, generation) = (self.rest.clone(), unit.generation);
            unit.hold = Hold::Resting;
            let under_way = self.parts.let_go.iter().map(|let_go| let_go()).collect();
            tokio::spawn(async move {
                at_rest(under_way, AT_REST).await;
                let _ = rest.send((at, generation)).await;
            });
        }
        self.feed(at, Event::Ended { how, killed }).await;
    }

    async fn hear(&mut self, (at, generation, notice): Heard) {
        let Some(unit) = self.units.get_mut(at).filter(|unit| unit.generation == generation) else { return };
        match notice {
            Notice::Ready => {
                if matches!(unit.service.state(), State::Starting { .. }) {
                    let took = unit.service.entered().elapsed();
                    log::info!("{} is ready after {} ms", unit.name, took.as_millis());
                }
                self.feed(at, Event::Ready).await;
            }
            Notice::Alive => self.feed(at, Event::Alive).await,
            Notice::Stopping => {}
            Notice::Text(text) => unit.text = Some(text),
        }
    }

    /// Tells our own parent what changed.
    fn announce(&mut self) {
        let states: BTreeMap<&'static str, bool> =
            self.units.iter().map(|unit| (unit.name, unit.service.is_ready())).collect();
        if states != self.announced {
            let text: Vec<&str> = states.iter().filter(|(_, ready)| **ready).map(|(name, _)| *name).collect();
            self.parts.life.status(&format!("ready: {}", text.join(", ")));
            self.announced = states;
        }
        if self.is_ready()
            && let Some(on_ready) = self.on_ready.take()
        {
            self.parts.life.ready();
            on_ready();
        }
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Puts all devices at rest at once. What takes longer than `limit` is given up: a device that hangs must not keep us
/// without `kvmd`.
async fn at_rest(devices: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>, limit: Duration) {
    let end = tokio::time::Instant::now() + limit;
    let under_way: Vec<_> = devices.into_iter().map(tokio::spawn).collect();
    for mut one in under_way {
        if tokio::time::timeout_at(end, &mut one).await.is_err() {
            one.abort();
            log::warn!("a device takes too long to come to rest: kvmd is started again without it");
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Hears what one child says until the next one takes its place.
async fn listen(socket: UnixDatagram, at: usize, generation: u64, hear: mpsc::Sender<Heard>) {
    let mut buffer = vec![0; notice::LONGEST];
    loop {
        let Ok(len) = socket.recv(&mut buffer).await else { return };
        for one in notice::parse(buffer.get(..len).unwrap_or_default()) {
            if hear.send((at, generation, one)).await.is_err() {
                return;
            }
        }
    }
}

/// Since 1970, by this machine's clock.
#[must_use]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_device_that_hangs_is_given_up_and_keeps_no_other_from_its_rest() {
        let rested = Arc::new(AtomicBool::new(false));
        let (given_up, hangs) = oneshot::channel::<()>();
        let other = Arc::clone(&rested);
        let began = tokio::time::Instant::now();
        let devices: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = vec![
            Box::pin(async move {
                let _held = hangs;
                std::future::pending::<()>().await;
            }),
            Box::pin(std::future::pending()),
            Box::pin(async move { other.store(true, Ordering::Relaxed) }),
        ];
        at_rest(devices, AT_REST).await;
        assert!(rested.load(Ordering::Relaxed));
        assert_eq!(began.elapsed().as_secs(), AT_REST.as_secs(), "one limit for all");
        tokio::task::yield_now().await;
        assert!(given_up.is_closed(), "nothing of it comes later");
    }
}
