//! The CH9329 chip on a serial line: reports go there as orders, and every order is answered.
//!
//! ```text
//! Ch9329 ──orders──> thread `ch9329` (owns the port) ──frames──> chip ──USB──> target
//!   ^                      │    ^                                  │
//!   └──answers, presence───┘    └────────answers, lights───────────┘
//!
//! the line:  Closed ──opened──> Silent ──an answer──> Answers ──3 questions in vain──> Silent
//!              ^                   │                     │
//!              └──cannot be opened, read or written──────┘
//! ```
//!
//! The chip cannot call: the thread asks it four times a second for lights and for whether a host is there. An order whose
//! answer is lost may have been obeyed ([`Error::Unsure`]).

mod line;

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use hid_wire::ch9329::Command;
use hid_wire::{Leds, Report};
use tokio::sync::watch;

use super::{Error, Link, Presence};
use line::{Line, Order};

/// Where the chip is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The serial port. It may be missing for now.
    pub device: PathBuf,
    /// Bits per second: 1200 to 921600, one of the usual ones.
    pub speed: u32,
    /// How long an answer may take.
    pub read_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { device: PathBuf::from("/dev/kvmd-hid"), speed: 9600, read_timeout: Duration::from_millis(300) }
    }
}

/// Keyboard and mice of a CH9329.
#[derive(Debug)]
pub struct Ch9329 {
    orders: SyncSender<Order>,
    leds: watch::Receiver<Leds>,
    presence: watch::Receiver<Presence>,
}

impl Ch9329 {
    /// A link through this port. Its thread ends when the link is dropped.
    ///
    /// # Errors
    /// When the speed is none a port can have, or the thread cannot be started. A port that is missing is no error.
    pub fn new(settings: Settings) -> std::io::Result<Self> {
        let (orders, queue) = sync_channel(1);
        let (leds_sender, leds) = watch::channel(Leds::default());
        let (presence_sender, presence) = watch::channel(Presence::Broken);
        let line = Line::new(settings, leds_sender, presence_sender)?;
        std::thread::Builder::new().name("ch9329".to_owned()).spawn(move || line.run(&queue))?;
        Ok(Self { orders, leds, presence })
    }

    fn order(&mut self, command: Command) -> Result<(), Error> {
        let (answer, answered) = sync_channel(1);
        let gone = || Error::Broken("the thread of the line has ended".to_owned());
        self.orders.send(Order { command, answer }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

/// Nothing is down.
const AT_REST: [Report; 3] = [Report::Keyboard([0; 8]), Report::Absolute([0; 7]), Report::Relative([0; 5])];

/// The longest wait for an answer in [`let_go`].
const PROMPT: Duration = Duration::from_millis(200);

/// Releases everything at the chip for somebody whose [`Ch9329`] has died. Blocks for less than a second.
///
/// # Errors
/// What went wrong last; the other reports were sent all the same, unless the port cannot be opened.
pub fn let_go(mut settings: Settings) -> std::io::Result<()> {
    settings.read_timeout = settings.read_timeout.min(PROMPT);
    let mut line = Line::new(settings, watch::Sender::default(), watch::Sender::new(Presence::Broken))?;
    let outcomes = AT_REST.map(|report| line.order(&Command::report(&report)));
    outcomes.into_iter().collect::<Result<(), _>>().map_err(std::io::Error::other)
}

impl Link for Ch9329 {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        self.order(Command::report(report))
    }

    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        Some(self.leds.clone())
    }

    fn presence(&self) -> Option<watch::Receiver<Presence>> {
        Some(self.presence.clone())
    }

    /// The chip holds what it was told last, whatever becomes of us. Where the pointer is it does not say, so that it
    /// ends in the corner.
    fn left_behind(&self) -> Vec<Report> {
        AT_REST.to_vec()
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.order(Command::Reset)
    }
}

#[cfg(test)]
mod tests;
