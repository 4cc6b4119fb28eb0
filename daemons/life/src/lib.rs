//! Starting and stopping a daemon: logging, signals, readiness, the cancel tree.
//!
//! Every daemon's `main` does the same four things with it:
//!
//! ```text
//! init_logging("kvmd")  →  Life::start()  →  work, holding children of life.stop()  →  life.until_stopped(…)
//! ```
//!
//! States of a daemon as its supervisor sees them (sd_notify, see `notify`):
//!
//! ```text
//! starting ──ready()──▶ ready ──signal──▶ stopping ──main returns──▶ gone
//!                         └─ WATCHDOG=1 as long as the main loop turns and calls itself healthy
//! ```
//!
//! Protocols: sd_notify(3), sd_listen_fds(3), the journal's native protocol. What this crate does not do: it
//! does not end tasks by force, has no global state besides the installed logger, and reads no settings file.

mod listen;
mod logging;
mod native;
mod notify;

use std::io;
use std::time::Duration;

pub use listen::{ListenFds, listen_fds};
pub use logging::{JOURNAL, Sink, format_line, init_logging, init_logging_at, journal_answers};
pub use notify::Notifier;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What can go wrong while a daemon starts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A signal handler could not be installed.
    #[error("cannot install a signal handler: {0}")]
    Signal(io::Error),
    /// A logger is already installed in this process.
    #[error("a logger is already installed")]
    Logger,
    /// The descriptors that the parent announced are not what it said.
    #[error("descriptor {number} ({name}) from the parent: {source}")]
    ListenFd {
        /// The descriptor's number.
        number: i32,
        /// The name the parent gave it.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The life of this process: cancelled by SIGTERM, SIGINT or SIGHUP.
#[derive(Debug)]
pub struct Life {
    stop: CancellationToken,
    notifier: Notifier,
    watchdog: Option<Duration>,
}

impl Life {
    /// Installs the signal handlers; must run inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`] when a handler cannot be installed.
    pub fn start() -> Result<Self, Error> {
        let stop = CancellationToken::new();
        for (kind, name) in [
            (SignalKind::terminate(), "SIGTERM"),
            (SignalKind::interrupt(), "SIGINT"),
            (SignalKind::hangup(), "SIGHUP"),
        ] {
            let mut signals = signal(kind).map_err(Error::Signal)?;
            let stop = stop.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if stop.is_cancelled() {
                        log::info!("{name} again: already stopping");
                    } else {
                        log::info!("{name}: stopping");
                        stop.cancel();
                    }
                }
            });
        }
        Ok(Self { stop, notifier: Notifier::from_env(), watchdog: notify::watchdog_from_env() })
    }

    /// The root of the cancel tree. Tasks hold `stop().child_token()`.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The way to the parent, for status lines of the daemon's own.
    #[must_use]
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Tells the parent that the first request would now succeed.
    pub fn ready(&self) {
        self.notifier.ready();
    }

    /// Tells the parent what the daemon is doing, in one line for people.
    pub fn status(&self, text: &str) {
        self.notifier.status(text);
    }

    /// How long the parent waits for a sign of life before it kills us; `None` when it does not.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The main loop: returns when a signal came or somebody cancelled [`Self::stop`].
    ///
    /// Feeds the parent's watchdog three times a period, and only while `healthy` says so: it runs on the
    /// caller's task, so a main loop that is stuck stops feeding. On the way out the parent is told `STOPPING`.
    pub async fn until_stopped(&self, mut healthy: impl FnMut() -> bool) {
        // Without a watchdog the loop still turns, so that `healthy` may log what it sees; rarely, to stay idle.
        let period = self.watchdog.map_or(Duration::from_secs(10), |limit| limit / 3);
        let mut beat = tokio::time::interval(period.max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = beat.tick() => if healthy() && self.watchdog.is_some() {
                    self.notifier.alive();
                },
            }
        }
        self.notifier.stopping();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A life whose parent is the test.
    fn life(watchdog: Option<Duration>) -> (Life, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let parent = UnixDatagram::bind(&path).unwrap();
        parent.set_nonblocking(true).unwrap();
        let life =
            Life { stop: CancellationToken::new(), notifier: Notifier::new(path.as_os_str()), watchdog };
        (life, parent, dir)
    }

    fn heard(parent: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 256];
        let next =
            || parent.recv(&mut buffer).ok().map(|len| String::from_utf8_lossy(&buffer[..len]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_the_daemon_is_healthy() {
        let (life, parent, _dir) = life(Some(Duration::from_secs(3)));
        let mut beats = 0;
        let stop = life.stop().clone();
        life.until_stopped(|| {
            beats += 1;
            if beats == 5 {
                stop.cancel();
            }
            beats <= 2
        })
        .await;
        assert_eq!(heard(&parent), ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fed_three_times_a_period() {
        let (life, parent, _dir) = life(Some(Duration::from_secs(3)));
        let _ = tokio::time::timeout(Duration::from_millis(2_999), life.until_stopped(|| true)).await;
        assert_eq!(heard(&parent).len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_watchdog_nothing_is_said() {
        let (life, parent, _dir) = life(None);
        let _ = tokio::time::timeout(Duration::from_secs(3600), life.until_stopped(|| true)).await;
        assert_eq!(heard(&parent), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_signal_stops_every_branch_of_the_tree() {
        let life = Life::start().unwrap();
        let branch = life.stop().child_token();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        branch.cancelled().await;
        life.until_stopped(|| true).await;
    }
}
