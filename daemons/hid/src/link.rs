//! The cable: what carries reports to the target.

mod noop;
mod recorder;
mod vm;

use hid_wire::{Leds, Report};
use tokio::sync::watch;

pub use noop::Noop;
pub use recorder::{Recorder, Recording};
pub use vm::Vm;

/// Why a report did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The host is off, asleep or unplugged. Worth trying again.
    #[error("no host takes the report: {0}")]
    NoHost(String),
    /// The cable itself is broken. Worth trying again, too.
    #[error("the link failed: {0}")]
    Broken(String),
}

/// What carries reports to the target. It lives on a thread of its own and may block for moments.
pub trait Link: Send {
    /// Delivers one report.
    ///
    /// # Errors
    /// When the host did not take it. The owner keeps the last report of each device and tries again.
    fn send(&mut self, report: &Report) -> Result<(), Error>;

    /// The lights the host sets, where it can.
    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        None
    }

    /// Whether there is a host that reads, where that can be known without sending.
    fn presence(&self) -> Option<watch::Receiver<bool>> {
        None
    }

    /// Whether the cable is plugged in, where the link can pull it.
    fn connected(&self) -> Option<bool> {
        None
    }

    /// Plugs the cable in or pulls it; nothing where that is not possible.
    ///
    /// # Errors
    /// When it should be possible and failed.
    fn set_connected(&mut self, connected: bool) -> Result<(), Error> {
        let _ = connected;
        Ok(())
    }
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        (**self).send(report)
    }

    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        (**self).leds()
    }

    fn presence(&self) -> Option<watch::Receiver<bool>> {
        (**self).presence()
    }

    fn connected(&self) -> Option<bool> {
        (**self).connected()
    }

    fn set_connected(&mut self, connected: bool) -> Result<(), Error> {
        (**self).set_connected(connected)
    }
}
