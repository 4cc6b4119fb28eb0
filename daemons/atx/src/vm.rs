//! The front panel of a virtual machine: lines that end in QMP commands.
//!
//! The power light is the run state. There is no disk light: QEMU would have to be asked for its counters several times
//! a second, all day, for a blink.

use std::time::Duration;

use ::vm::{Qmp, RunState, power};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::panel::{Effect, HOLD, Panel};
use crate::{Error, Leds, Line, Lines};

/// Movements that may wait while QEMU is slow. Two buttons cannot make more: the owner spaces clicks by a second.
const QUEUE: usize = 16;

struct Move {
    line: Line,
    pressed: bool,
    at: Instant,
}

/// The driver.
#[derive(Debug)]
pub struct VmLines {
    moves: mpsc::Sender<Move>,
    leds: watch::Receiver<Leds>,
    run_state: watch::Receiver<RunState>,
}

impl VmLines {
    /// The panel of the machine behind `qmp`. Call within a tokio runtime; its task ends with `stop`.
    #[must_use]
    pub fn new(qmp: Qmp, stop: CancellationToken) -> Self {
        Self::with_hold(qmp, HOLD, stop)
    }

    fn with_hold(qmp: Qmp, hold: Duration, stop: CancellationToken) -> Self {
        let (moves, inbox) = mpsc::channel(QUEUE);
        let run_state = qmp.run_state();
        let (lights, leds) = watch::channel(show(&run_state.borrow()));
        let board = Board { qmp, panel: Panel::new(hold), run_state: run_state.clone(), lights };
        tokio::spawn(stop.run_until_cancelled_owned(board.run(inbox)));
        Self { moves, leds, run_state }
    }
}

impl Lines for VmLines {
    fn drive(&mut self, line: Line, pressed: bool) -> Result<(), Error> {
        let failed = |why: &str| Error::Line { line, why: why.to_owned() };
        // Letting go always works: there may be nothing left to let go of.
        if pressed && *self.run_state.borrow() == RunState::Unreachable {
            return Err(failed("the virtual machine is not reachable"));
        }
        let moved = Move { line, pressed, at: Instant::now() };
        self.moves.try_send(moved).map_err(|_| failed("the virtual machine does not keep up"))
    }

    fn leds(&self) -> watch::Receiver<Leds> {
        self.leds.clone()
    }
}

struct Board {
    qmp: Qmp,
    panel: Panel,
    run_state: watch::Receiver<RunState>,
    lights: watch::Sender<Leds>,
}

impl Board {
    async fn run(mut self, mut inbox: mpsc::Receiver<Move>) {
        // It may have changed before we looked.
        self.run_state.mark_changed();
        loop {
            let deadline = self.panel.deadline();
            let effect = tokio::select! {
                changed = self.run_state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = show(&self.run_state.borrow_and_update());
                    self.lights.send_if_modified(|leds| std::mem::replace(leds, now) != now);
                    None
                }
                moved = inbox.recv() => match moved {
                    Some(Move { line, pressed, at }) => {
                        let powered = self.run_state.borrow().powered();
                        match line {
                            Line::Power => self.panel.power(pressed, powered, at),
                            Line::Reset => self.panel.reset(pressed, powered),
                        }
                    }
                    None => return,
                },
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.panel.held(Instant::now())
                }
            };
            if let Some(effect) = effect {
                self.act(effect).await;
            }
        }
    }

    async fn act(&self, effect: Effect) {
        let done = match effect {
            Effect::Start => power::on(&self.qmp).await,
            Effect::AskToStop => power::off_acpi(&self.qmp).await,
            Effect::Cut => power::off_hard(&self.qmp).await,
            Effect::Reset => power::reset(&self.qmp).await,
        };
        match done {
            Ok(()) => log::info!("target: {effect:?}"),
            Err(error) => log::error!("target: {effect:?} failed: {error}"),
        }
    }
}

fn show(run_state: &RunState) -> Leds {
    Leds { power: run_state.powered(), hdd: false }
}

#[cfg(test)]
mod tests {
    use ::vm::fake::Monitor;

    use super::*;
    use crate::{Atx, Click, PowerAction, Settings};

    struct Machine {
        _dir: tempfile::TempDir,
        monitor: Monitor,
        atx: Atx,
        _stop: tokio_util::sync::DropGuard,
    }

    /// Real time: there is a socket in between. Short clicks, and a board that cuts after 50 ms.
    async fn machine() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let monitor = Monitor::listen(&path).unwrap();
        let stop = CancellationToken::new();
        let qmp = Qmp::connect(path, stop.clone());
        let lines = VmLines::with_hold(qmp, Duration::from_millis(50), stop.clone());
        let settings = Settings {
            click_delay: Duration::from_millis(1),
            long_click_delay: Duration::from_millis(80),
            settle: Duration::from_millis(1),
        };
        let (atx, _) = crate::spawn(settings, lines, stop.clone());
        let machine = Machine { _dir: dir, monitor, atx, _stop: stop.drop_guard() };
        machine.until_power(true).await;
        machine
    }

    impl Machine {
        async fn until_power(&self, power: bool) {
            let mut state = self.atx.subscribe();
            let seen = state.wait_for(|state| state.leds.power == power);
            tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
        }

        async fn commands(&self, count: usize) -> Vec<String> {
            self.monitor.wait_commands(count).await.into_iter().map(|(name, _)| name).collect()
        }
    }

    #[tokio::test]
    async fn a_guest_is_asked_to_stop_and_started_again() {
        let machine = machine().await;
        machine.atx.power(PowerAction::Off, true).await.unwrap();
        assert_eq!(machine.commands(1).await, ["system_powerdown"]);
        machine.monitor.power_off();
        machine.until_power(false).await;
        machine.atx.power(PowerAction::On, true).await.unwrap();
        machine.until_power(true).await;
        assert_eq!(machine.commands(3).await, ["system_powerdown", "system_reset", "cont"]);
    }

    #[tokio::test]
    async fn a_long_press_cuts_the_power_and_a_short_one_brings_it_back() {
        let machine = machine().await;
        machine.atx.power(PowerAction::OffHard, true).await.unwrap();
        machine.until_power(false).await;
        machine.atx.click(Click::Power, true).await.unwrap();
        machine.until_power(true).await;
        assert_eq!(machine.commands(3).await, ["stop", "system_reset", "cont"]);
    }

    #[tokio::test]
    async fn reset_resets() {
        let machine = machine().await;
        machine.atx.power(PowerAction::ResetHard, true).await.unwrap();
        assert_eq!(machine.commands(1).await, ["system_reset"]);
    }

    #[tokio::test]
    async fn a_machine_that_is_not_there_is_dark_and_refuses() {
        let machine = machine().await;
        let atx = machine.atx.clone();
        drop(machine.monitor);
        let mut state = atx.subscribe();
        state.wait_for(|state| !state.leds.power).await.unwrap();
        assert!(matches!(atx.click(Click::Power, true).await, Err(Error::Line { line: Line::Power, .. })));
        assert!(!atx.subscribe().borrow().busy);
    }
}
