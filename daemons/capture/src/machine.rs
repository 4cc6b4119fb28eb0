//! The screen of a virtual machine.
//!
//! ```text
//! QEMU not reachable ........ no cable
//! off, stopped .............. no sync
//! running, no screen yet .... no sync
//! running, a screen ......... live; news only when pixels differ
//! ```
//!
//! Both connections are kept up by the `vm` crate, so this source is never lost.

use std::path::Path;
use std::time::{Duration, Instant};

use encode::{Format, View};
use frames::SourceState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vm::{Qmp, RunState, Screen};

use crate::{News, Picture, Signal, Source};

/// While the connections are being made nothing is said of the machine, lest a restart flashes "no cable".
const SETTLING: Duration = Duration::from_millis(700);

/// The source.
#[derive(Debug)]
pub struct Machine {
    screen: Screen,
    /// Held, as the connection ends with the last handle.
    _monitor: Qmp,
    run_state: watch::Receiver<RunState>,
    settled: Instant,
    /// Generation of the screen that was looked at last.
    seen: u64,
    size: (u32, u32),
    current: Vec<u8>,
    next: Vec<u8>,
    captured: u64,
    /// What was said last: live, or why not.
    said: Option<SourceState>,
}

impl Machine {
    /// Follows the machine whose sockets are these; it need not run. Must be called inside a tokio runtime, which
    /// must go on running while the source is used. The connections end with `stop`.
    #[must_use]
    pub fn connect(screen: &Path, monitor: &Path, stop: &CancellationToken) -> Self {
        let screen = Screen::connect(screen, vm::screen::Settings::default(), stop);
        let monitor = Qmp::connect(monitor, stop.child_token());
        Self {
            screen,
            run_state: monitor.run_state(),
            _monitor: monitor,
            settled: Instant::now() + SETTLING,
            seen: 0,
            size: (0, 0),
            current: Vec::new(),
            next: Vec::new(),
            captured: 0,
            said: None,
        }
    }

    /// What keeps us from showing a picture, if anything.
    fn absence(&self) -> Option<SourceState> {
        match *self.run_state.borrow() {
            RunState::Running => self.screen.status().size.is_none().then_some(SourceState::NoSync),
            RunState::Unreachable => Some(SourceState::NoCable),
            RunState::Paused | RunState::Shutdown | RunState::Other(_) => Some(SourceState::NoSync),
        }
    }

    /// Takes the screen's picture; says whether it is another one than the last.
    fn take(&mut self) -> bool {
        let Some(status) = self.screen.copy(&mut self.next) else { return false };
        let Some((width, height)) = status.size else { return false };
        self.seen = status.generation;
        let size = (u32::from(width), u32::from(height));
        let changed = size != self.size || self.next != self.current;
        if changed || self.said != Some(SourceState::Live) {
            std::mem::swap(&mut self.current, &mut self.next);
            self.size = size;
            self.captured = frames::now_ns();
            self.said = Some(SourceState::Live);
            return true;
        }
        false
    }
}

impl Source for Machine {
    fn wait(&mut self, deadline: Instant) -> Result<News, Signal> {
        loop {
            let absence = self.absence();
            let news = match absence {
                None => self.screen.status().generation > self.seen || self.said != Some(SourceState::Live),
                Some(state) => self.said != Some(state) && Instant::now() >= self.settled,
            };
            match absence {
                Some(state) if news => {
                    self.said = Some(state);
                    return Err(Signal::Absent(state));
                }
                None if news && self.take() => return Ok(News::New),
                Some(_) | None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A change of the run state alone does not end this wait, so it is seen at the deadline at the latest.
            if left.is_zero() || self.screen.wait_newer(self.screen.status().generation, left).is_none() {
                return match self.said {
                    Some(SourceState::Live) | None => Ok(News::Same),
                    Some(state) => Err(Signal::Absent(state)),
                };
            }
        }
    }

    fn picture(&self) -> Option<Picture<'_>> {
        if self.said != Some(SourceState::Live) {
            return None;
        }
        let view = View::packed(Format::Bgrx, self.size.0, self.size.1, &self.current).ok()?;
        Some(Picture { view, captured: self.captured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm::fake::{Monitor, Vnc};

    struct Lab {
        dir: tempfile::TempDir,
        stop: CancellationToken,
    }

    impl Lab {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), stop: CancellationToken::new() }
        }

        fn screen(&self) -> Vnc {
            Vnc::listen(&self.dir.path().join("vnc.sock"), 64, 48).unwrap()
        }

        fn monitor(&self) -> Monitor {
            Monitor::listen(&self.dir.path().join("qmp.sock")).unwrap()
        }

        fn source(&self) -> Machine {
            Machine::connect(&self.dir.path().join("vnc.sock"), &self.dir.path().join("qmp.sock"), &self.stop)
        }
    }

    /// Asks until it says that; what it says before is not news here. Blocks its thread like the streamer's loop, so
    /// the fakes run on the others.
    fn until(machine: &mut Machine, wanted: &Result<News, Signal>) {
        let patience = Instant::now() + Duration::from_secs(60);
        while machine.wait(Instant::now() + Duration::from_millis(20)) != *wanted {
            assert!(Instant::now() < patience, "never {wanted:?}");
        }
    }

    fn absent(state: SourceState) -> Result<News, Signal> {
        Err(Signal::Absent(state))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_running_machine_shows_its_screen_and_only_changes_are_news() {
        let lab = Lab::new();
        let (screen, _monitor) = (lab.screen(), lab.monitor());
        let mut machine = lab.source();
        assert!(machine.picture().is_none());
        until(&mut machine, &Ok(News::New));
        until(&mut machine, &Ok(News::Same));
        screen.paint([10, 20, 30]);
        until(&mut machine, &Ok(News::New));
        let view = machine.picture().unwrap().view;
        assert_eq!((view.format(), view.width(), view.height()), (Format::Bgrx, 64, 48));
        assert_eq!(view.data()[..3], [10, 20, 30]);
        screen.resize(32, 24);
        until(&mut machine, &Ok(News::New));
        let view = machine.picture().unwrap().view;
        assert_eq!((view.width(), view.height()), (32, 24));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_machine_that_is_off_has_no_sync_and_one_that_is_gone_no_cable() {
        let lab = Lab::new();
        let (screen, monitor) = (lab.screen(), lab.monitor());
        let mut machine = lab.source();
        until(&mut machine, &Ok(News::New));
        monitor.power_off();
        until(&mut machine, &absent(SourceState::NoSync));
        assert!(machine.picture().is_none());
        drop((screen, monitor));
        until(&mut machine, &absent(SourceState::NoCable));
        let (_screen, _monitor) = (lab.screen(), lab.monitor());
        until(&mut machine, &Ok(News::New));
        assert!(machine.picture().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_said_of_a_machine_before_the_connections_had_their_time() {
        let lab = Lab::new();
        let mut machine = lab.source();
        machine.settled = Instant::now() + Duration::from_secs(3600);
        assert_eq!(machine.wait(Instant::now()), Ok(News::Same));
        machine.settled = Instant::now();
        assert_eq!(machine.wait(Instant::now()), absent(SourceState::NoCable));
        assert_eq!(machine.wait(Instant::now()), absent(SourceState::NoCable));
    }
}
