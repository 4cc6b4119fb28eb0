//! One service's life as a pure state machine: events and the time in, actions out.
//!
//! ```text
//!            want ─────────────┐                     ready
//!  Stopped ──────────────▶ Starting ───────────────────────────▶ Ready
//!     ▲                      │   ▲                                 │
//!     │ ended, not wanted    │   │ time is up                      │ ended by itself
//!     │                      │   └──────── Backoff / CrashLoop ◀───┤
//!  Stopping ◀── stop, restart, readiness or watchdog missed ───────┘
//! ```
//!
//! The first restart is immediate. Delays grow only while ends come quickly one after another, and how fast they
//! grow depends on how the service ended: *gently* after it had been ready, or by a SIGKILL that is not ours (a
//! person's, or the kernel's for want of memory); *harshly* when it never got ready, because then the next
//! attempt will most likely fail too. A crash loop is a name for people: the service is still started, slowly.

use std::time::{Duration, Instant};

/// Gentle ends in a row before it is called a crash loop.
const GENTLE_LOOP: u32 = 40;
/// Longest wait after a gentle end outside of a crash loop.
const GENTLE_DELAY: Duration = Duration::from_millis(500);
/// The wait after a gentle end in a crash loop.
const GENTLE_LOOP_DELAY: Duration = Duration::from_secs(5);

/// Deadlines of one service.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From start to readiness; `None` when it counts as ready at once.
    pub ready: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub stop: Duration,
    /// Longest silence of a ready service; `None` when it need not say anything.
    pub watchdog: Option<Duration>,
    /// What happens when it ends again and again.
    pub patience: Patience,
}

/// What happens to a service that ends again and again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The wait before the second restart (the first is immediate); each further one is twice as long.
    pub first_delay: Duration,
    /// The longest wait.
    pub max_delay: Duration,
    /// Harsh ends in a row that make a crash loop.
    pub deaths: u32,
    /// A run that was ready for this long forgives all gentle ends before it.
    pub forgiven_after: Duration,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants it to run.
    Want,
    /// Nobody wants it to run.
    Unwant,
    /// Somebody wants it afresh, if it is to run at all.
    Restart,
    /// It says that it is ready, or was seen to be.
    Ready,
    /// It says that it lives.
    Alive,
    /// Its process ended (or could not be made); the reason is for people.
    Ended {
        /// How.
        how: String,
        /// By a SIGKILL.
        killed: bool,
    },
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make the process.
    Spawn,
    /// Ask the process to end (SIGTERM).
    Terminate,
    /// End the process and its group (SIGKILL).
    Kill,
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not running, not wanted.
    Stopped,
    /// Running, not ready; killed at the deadline.
    Starting {
        /// When it is given up.
        deadline: Instant,
    },
    /// Running and ready.
    Ready {
        /// Since when.
        since: Instant,
        /// The last sign of life.
        fed: Instant,
    },
    /// Asked to end.
    Stopping {
        /// When it is killed.
        kill_at: Instant,
        /// It has been killed; its end is awaited.
        killed: bool,
        /// The service broke a promise (readiness, watchdog): its end counts as a crash.
        fault: Option<Fault>,
    },
    /// Ended by itself; started again at `until`.
    Waiting {
        /// When.
        until: Instant,
        /// It ends again and again.
        looping: bool,
    },
}

/// Which promise a service broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not ready in time.
    NotReady,
    /// No sign of life in time.
    Silent,
}

/// One service.
#[derive(Debug, Clone)]
pub struct Service {
    limits: Limits,
    wanted: bool,
    state: State,
    entered: Instant,
    gentle: u32,
    harsh: u32,
    restarts: u64,
    last_end: Option<String>,
}

impl Service {
    /// A stopped service.
    #[must_use]
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            wanted: false,
            state: State::Stopped,
            entered: now,
            gentle: 0,
            harsh: 0,
            restarts: 0,
            last_end: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether somebody wants it to run.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// When it came into its state.
    #[must_use]
    pub fn entered(&self) -> Instant {
        self.entered
    }

    /// How many times it was started again after it had ended by itself.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How it ended the last time.
    #[must_use]
    pub fn last_end(&self) -> Option<&str> {
        self.last_end.as_deref()
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    /// Whether its ends come again and again, also while it is being tried once more.
    #[must_use]
    pub fn is_looping(&self) -> bool {
        self.gentle >= GENTLE_LOOP || self.harsh >= self.limits.patience.deaths
    }

    /// When [`Event::Tick`] is due next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        match self.state {
            State::Stopped | State::Stopping { killed: true, .. } => None,
            State::Starting { deadline } => Some(deadline),
            State::Ready { fed, .. } => self.limits.watchdog.map(|limit| fed + limit),
            State::Stopping { kill_at, .. } => Some(kill_at),
            State::Waiting { until, .. } => Some(until),
        }
    }

    /// Takes an event in; what it returns is done at once and in full.
    pub fn on(&mut self, event: Event, now: Instant) -> Option<Action> {
        match event {
            Event::Want => self.want(now),
            Event::Unwant => self.unwant(now),
            Event::Restart => {
                (self.gentle, self.harsh) = (0, 0);
                match self.state {
                    State::Starting { .. } | State::Ready { .. } => self.stop(None, now),
                    State::Waiting { .. } => self.spawn(now),
                    // What nobody wants is not started by this, and what is wanted while it stops comes back anyway.
                    State::Stopped | State::Stopping { .. } => None,
                }
            }
            Event::Ready => {
                if matches!(self.state, State::Starting { .. }) {
                    self.enter(State::Ready { since: now, fed: now }, now);
                }
                None
            }
            Event::Alive => {
                if let State::Ready { since, .. } = self.state {
                    self.state = State::Ready { since, fed: now };
                }
                None
            }
            Event::Ended { how, killed } => self.ended(how, killed, now),
            Event::Tick => self.tick(now),
        }
    }

    fn want(&mut self, now: Instant) -> Option<Action> {
        self.wanted = true;
        // A service that is stopping is started again by its end; one that waits keeps its date.
        (self.state == State::Stopped).then(|| self.spawn(now)).flatten()
    }

    fn unwant(&mut self, now: Instant) -> Option<Action> {
        self.wanted = false;
        match self.state {
            State::Starting { .. } | State::Ready { .. } => self.stop(None, now),
            State::Waiting { .. } => {
                self.enter(State::Stopped, now);
                None
            }
            State::Stopped | State::Stopping { .. } => None,
        }
    }

    fn tick(&mut self, now: Instant) -> Option<Action> {
        if self.next_tick().is_none_or(|due| now < due) {
            return None;
        }
        match self.state {
            State::Starting { .. } => self.stop(Some(Fault::NotReady), now),
            // A process that hangs would not hear a SIGTERM either, but SIGTERM lets a slow one put its device at rest.
            State::Ready { .. } => self.stop(Some(Fault::Silent), now),
            State::Stopping { fault, kill_at, .. } => {
                self.state = State::Stopping { kill_at, killed: true, fault };
                Some(Action::Kill)
            }
            State::Waiting { .. } => self.spawn(now),
            State::Stopped => None,
        }
    }

    fn ended(&mut self, how: String, killed: bool, now: Instant) -> Option<Action> {
        let was = self.state;
        self.last_end = Some(match was {
            State::Stopping { fault: Some(Fault::NotReady), .. } => format!("not ready in time ({how})"),
            State::Stopping { fault: Some(Fault::Silent), .. } => format!("watchdog ({how})"),
            _ => how,
        });
        if !self.wanted {
            (self.gentle, self.harsh) = (0, 0);
            self.enter(State::Stopped, now);
            return None;
        }
        match was {
            // We asked for the end, and somebody wants it to run again.
            State::Stopping { fault: None, .. } => return self.spawn(now),
            State::Ready { since, .. } => {
                if now.saturating_duration_since(since) >= self.limits.patience.forgiven_after {
                    self.gentle = 0;
                }
                (self.gentle, self.harsh) = (self.gentle.saturating_add(1), 0);
            }
            State::Starting { .. } if killed => self.gentle = self.gentle.saturating_add(1),
            State::Stopping { fault: Some(Fault::Silent), .. } => {
                (self.gentle, self.harsh) = (self.gentle.saturating_add(1), 0);
            }
            _ => self.harsh = self.harsh.saturating_add(1),
        }
        self.restarts = self.restarts.saturating_add(1);
        let delay = self.limits.patience.delay(self.gentle, self.harsh);
        if delay.is_zero() {
            return self.spawn(now);
        }
        self.enter(State::Waiting { until: now + delay, looping: self.is_looping() }, now);
        None
    }

    fn spawn(&mut self, now: Instant) -> Option<Action> {
        let state = match self.limits.ready {
            Some(limit) => State::Starting { deadline: now + limit },
            None => State::Ready { since: now, fed: now },
        };
        self.enter(state, now);
        Some(Action::Spawn)
    }

    fn stop(&mut self, fault: Option<Fault>, now: Instant) -> Option<Action> {
        self.enter(State::Stopping { kill_at: now + self.limits.stop, killed: false, fault }, now);
        Some(Action::Terminate)
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.entered = now;
    }
}

impl Patience {
    /// How long to wait after so many ends in a row.
    fn delay(&self, gentle: u32, harsh: u32) -> Duration {
        let gentle = if gentle >= GENTLE_LOOP {
            GENTLE_LOOP_DELAY
        } else {
            doubled(self.first_delay, gentle).min(GENTLE_DELAY)
        };
        let harsh = doubled(self.first_delay, harsh).min(self.max_delay);
        gentle.max(harsh)
    }
}

/// Zero for the first end, `base` for the second, twice that for each further one.
fn doubled(base: Duration, ends: u32) -> Duration {
    match ends {
        0 | 1 => Duration::ZERO,
        _ => base.saturating_mul(1 << (ends - 2).min(16)),
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
