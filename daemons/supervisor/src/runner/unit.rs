//! A service with its process, as the loop keeps it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Instant;

use client::supervisor::{ServiceState, ServiceStatus};
use nix::unistd::Pid;
use tokio::task::AbortHandle;

use super::milliseconds;
use crate::launch::{Launch, Started};
use crate::service::{Event, Limits, Service, State};
use crate::socket::Owner;

/// Makes what is to be started; asked at every start.
pub type Recipe = Box<dyn Fn() -> io::Result<Launch>>;

/// Ends when the program answers; for one that cannot say itself that it is ready.
pub type Sign = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>>>;

/// One service with its process.
pub struct Unit {
    pub(super) name: &'static str,
    pub(super) service: Service,
    pub(super) recipe: Recipe,
    pub(super) on_demand: bool,
    pub(super) at_start: bool,
    /// Where it tells us how it is: the socket and whose it is. `None` for a program that does not speak sd_notify.
    pub(super) notify: Option<(PathBuf, Owner)>,
    /// How its readiness is seen from outside.
    pub(super) sign: Option<Sign>,
    pub(super) pid: Option<Pid>,
    /// Where a start that fails says why.
    pub(super) outcome: Option<OwnedFd>,
    pub(super) generation: u64,
    pub(super) ear: Option<AbortHandle>,
    pub(super) text: Option<String>,
    pub(super) hold: Hold,
}

/// Whether a unit's next process has to wait for what the last one left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Free,
    /// Its device is being put at rest.
    Resting,
    /// Likewise, and its machine wants the process by now.
    Due,
}

impl Unit {
    /// A stopped service that runs from the start on.
    #[must_use]
    pub fn new(name: &'static str, limits: Limits, recipe: Recipe) -> Self {
        Self {
            name,
            service: Service::new(limits, Instant::now()),
            recipe,
            on_demand: false,
            at_start: true,
            notify: None,
            sign: None,
            pid: None,
            outcome: None,
            generation: 0,
            ear: None,
            text: None,
            hold: Hold::Free,
        }
    }

    /// It speaks sd_notify, at that socket.
    #[must_use]
    pub fn notifying(mut self, path: PathBuf, owner: Owner) -> Self {
        self.notify = Some((path, owner));
        self
    }

    /// It is ready when `sign` ends, asked anew at every start.
    #[must_use]
    pub fn seen_ready_by(mut self, sign: Sign) -> Self {
        self.sign = Some(sign);
        self
    }

    /// It has been started already, as that process.
    #[must_use]
    pub fn running(mut self, started: Started) -> Self {
        let now = Instant::now();
        // The machine would start it; what it wants to have done is done.
        let _ = self.service.on(Event::Want, now);
        (self.pid, self.outcome) = (Some(started.pid), Some(started.outcome));
        self
    }

    /// It runs only when somebody asks.
    #[must_use]
    pub fn on_demand(mut self) -> Self {
        (self.on_demand, self.at_start) = (true, false);
        self
    }

    /// One that runs when somebody asks is also started once, when everything is: it has something to do then. Whoever
    /// asks for it may stop it.
    #[must_use]
    pub fn also_at_start(mut self, wanted: bool) -> Self {
        self.at_start |= wanted;
        self
    }

    /// What others are told of it.
    pub(super) fn status(&self, now: Instant) -> ServiceStatus {
        let state = match self.service.state() {
            State::Stopped => ServiceState::Stopped,
            State::Starting { .. } | State::Waiting { .. } if self.service.is_looping() => {
                ServiceState::CrashLoop
            }
            State::Starting { .. } => ServiceState::Starting,
            State::Ready { .. } => ServiceState::Ready,
            State::Stopping { .. } => ServiceState::Stopping,
            State::Waiting { .. } => ServiceState::Backoff,
        };
        let since = now.saturating_duration_since(self.service.entered());
        ServiceStatus {
            name: self.name.to_owned(),
            state,
            since_ms: milliseconds(since),
            pid: self.pid.and_then(|pid| u32::try_from(pid.as_raw()).ok()),
            restarts: self.service.restarts(),
            last_end: self.service.last_end().map(str::to_owned),
            text: self.text.clone(),
        }
    }
}
