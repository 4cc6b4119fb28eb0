//! A cable for tests: remembers what went through it, and can be cut.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hid_wire::{Leds, Report};
use tokio::sync::{Notify, watch};

use super::{Error, Link, Presence};

/// Reports kept; the oldest go first.
const MAX_REPORTS: usize = 1 << 17;

#[derive(Debug, Default)]
struct Shared {
    taken: Mutex<Taken>,
    arrived: Notify,
    arrivals: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    reports: VecDeque<Report>,
    is_cut: bool,
    next: Option<Error>,
    attempts: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The link: give it to [`crate::spawn`].
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    leds: watch::Receiver<Leds>,
    presence: watch::Receiver<Presence>,
}

/// The other end of a [`Recorder`]: what arrived, and the host's side of things.
#[derive(Clone, Debug)]
pub struct Recording {
    shared: Arc<Shared>,
    leds: watch::Sender<Leds>,
    presence: watch::Sender<Presence>,
}

impl Recorder {
    /// A link with a host that takes everything.
    #[must_use]
    pub fn new() -> (Self, Recording) {
        let shared = Arc::new(Shared::default());
        let (leds, leds_seen) = watch::channel(Leds::default());
        let (presence, presence_seen) = watch::channel(Presence::Here { arrival: 0 });
        let link = Self { shared: Arc::clone(&shared), leds: leds_seen, presence: presence_seen };
        (link, Recording { shared, leds, presence })
    }
}

impl Recording {
    /// What arrived so far.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.shared.lock().reports.iter().copied().collect()
    }

    /// What arrived since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Report> {
        self.shared.lock().reports.drain(..).collect()
    }

    /// Waits until this many reports have arrived since the last [`Self::take`].
    pub async fn wait(&self, count: usize) {
        loop {
            let arrived = self.shared.arrived.notified();
            if self.shared.lock().reports.len() >= count {
                return;
            }
            arrived.await;
        }
    }

    /// How often something was sent, with success or without.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.shared.lock().attempts
    }

    /// Cuts the cable: sends fail until it is mended. The host's presence is another matter.
    pub fn set_cut(&self, is_cut: bool) {
        self.shared.lock().is_cut = is_cut;
    }

    /// The next send fails in this way.
    pub fn fail_next(&self, error: Error) {
        self.shared.lock().next = Some(error);
    }

    /// The host appears or goes.
    pub fn set_present(&self, present: bool) {
        let arrival = self.shared.arrivals.fetch_add(1, Ordering::Relaxed) + 1;
        self.presence.send_replace(if present { Presence::Here { arrival } } else { Presence::Away });
    }

    /// The host sets its lights.
    pub fn set_leds(&self, leds: Leds) {
        self.leds.send_replace(leds);
    }
}

impl Link for Recorder {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        let mut taken = self.shared.lock();
        taken.attempts += 1;
        if let Some(error) = taken.next.take() {
            return Err(error);
        }
        if taken.is_cut {
            return Err(Error::NoHost("the cable was cut".to_owned()));
        }
        if taken.reports.len() == MAX_REPORTS {
            taken.reports.pop_front();
        }
        taken.reports.push_back(*report);
        drop(taken);
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        Some(self.leds.clone())
    }

    fn presence(&self) -> Option<watch::Receiver<Presence>> {
        Some(self.presence.clone())
    }
}
