//! The cable: what carries reports to the target.

pub mod ch9329;
mod noop;
pub mod otg;
mod recorder;
mod vm;

use hid_wire::{Device, Leds, Report};
use tokio::sync::watch;

pub use ch9329::Ch9329;
pub use noop::Noop;
pub use otg::Otg;
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
    /// Handed over, and not taken by the host so far. Not to be sent again: [`Link::taken`] tells what becomes of it.
    #[error("the host has not taken the report yet")]
    Untaken,
    /// It may have arrived. What is down may be said again; a movement may not, or it is made twice.
    #[error("nobody knows whether the report arrived: {0}")]
    Unsure(String),
}

/// What is known of the other end without sending anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The link itself does not work.
    Broken,
    /// The link works, and no host reads.
    Away,
    /// A host reads.
    Here {
        /// Another number each time it comes: what it made of earlier reports is not known then.
        arrival: u64,
    },
}

impl Presence {
    pub(crate) fn is_broken(self) -> bool {
        self == Self::Broken
    }

    /// Whether a host reads.
    #[must_use]
    pub fn is_here(self) -> bool {
        matches!(self, Self::Here { .. })
    }
}

/// What carries reports to the target. It lives on a thread of its own and may block for moments.
pub trait Link: Send {
    /// Delivers one report.
    ///
    /// # Errors
    /// When the host did not take it. The owner keeps the last report of each device and tries again.
    fn send(&mut self, report: &Report) -> Result<(), Error>;

    /// Whether the report that [`Error::Untaken`] was about has been taken meanwhile.
    ///
    /// # Errors
    /// `Untaken` as long as it was not; another when it never will be.
    fn taken(&mut self, device: Device) -> Result<(), Error> {
        let _ = device;
        Ok(())
    }

    /// The lights the host sets, where it can.
    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        None
    }

    /// Whether there is a host that reads, where that can be known without sending.
    fn presence(&self) -> Option<watch::Receiver<Presence>> {
        None
    }

    /// What lets go of whatever a process before this one may have left down when it died: said once when the host is
    /// first here, until it takes it. Nothing where somebody else sees to that.
    fn left_behind(&self) -> Vec<Report> {
        Vec::new()
    }

    /// A few dozen reports a second are all it carries: movements that wait become one.
    fn is_slow(&self) -> bool {
        false
    }

    /// Starts the far end of the cable anew, where it has a mind of its own.
    ///
    /// # Errors
    /// When it should be possible and failed.
    fn reset(&mut self) -> Result<(), Error> {
        Ok(())
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

    fn taken(&mut self, device: Device) -> Result<(), Error> {
        (**self).taken(device)
    }

    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        (**self).leds()
    }

    fn presence(&self) -> Option<watch::Receiver<Presence>> {
        (**self).presence()
    }

    fn left_behind(&self) -> Vec<Report> {
        (**self).left_behind()
    }

    fn is_slow(&self) -> bool {
        (**self).is_slow()
    }

    fn reset(&mut self) -> Result<(), Error> {
        (**self).reset()
    }

    fn connected(&self) -> Option<bool> {
        (**self).connected()
    }

    fn set_connected(&mut self, connected: bool) -> Result<(), Error> {
        (**self).set_connected(connected)
    }
}

/// Says each time a host comes or goes, with a new number for each arrival. Ends when nobody listens or watches any more.
pub(crate) async fn count_arrivals(mut here: watch::Receiver<bool>, to: watch::Sender<Presence>) {
    for arrival in 1.. {
        // A host that went and came between two looks has come: the value says so only by its having been written.
        let is_here = *here.borrow_and_update();
        to.send_replace(if is_here { Presence::Here { arrival } } else { Presence::Away });
        tokio::select! {
            () = to.closed() => return,
            changed = here.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}
