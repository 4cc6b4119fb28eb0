//! The seam to the hardware.

use std::sync::Arc;

use tokio::sync::Notify;

/// A driver cannot be reached just now; the text is for the log and the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Offline(pub String);

/// How a pin is used, told to its driver once, before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinUse {
    /// Read; changes shorter than this are noise.
    Input {
        /// The pin, in the driver's own words.
        pin: String,
        /// How long a new level must last to count.
        debounce: std::time::Duration,
    },
    /// Written; `initial` is the level at the start, or `None` to keep what it is.
    Output {
        /// The pin, in the driver's own words.
        pin: String,
        /// The first level (already inverted where the channel is).
        initial: Option<bool>,
    },
}

impl PinUse {
    /// Forgets the first level: the output keeps what it is.
    pub(crate) fn keep(&mut self) {
        if let Self::Output { initial, .. } = self {
            *initial = None;
        }
    }

    /// The pin, in the driver's own words.
    #[must_use]
    pub fn pin(&self) -> &str {
        match self {
            Self::Input { pin, .. } | Self::Output { pin, .. } => pin,
        }
    }
}

/// How a driver tells the owner that an input may have changed. Cheap to clone, may be called from any thread.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Something may have changed: the owner reads all pins again.
    pub fn up(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// One piece of switching hardware. Calls return fast: a driver for something slow (another host, a serial line) keeps
/// a task of its own, answers reads from what it last saw, and says [`Offline`] when that is too old.
pub trait Driver: Send {
    /// Takes its pins. A bad pin name or a missing device is not fatal: the driver answers [`Offline`] from then on.
    ///
    /// # Errors
    /// [`Offline`] when the pins cannot be taken; the owner logs it once and goes on.
    fn attach(&mut self, pins: &[PinUse], wake: Wake) -> Result<(), Offline>;

    /// Whether its outputs keep their levels when we end. Then they are set to their first levels only when the appliance
    /// starts, and a process after that finds them as they are.
    fn keeps_levels(&self) -> bool {
        false
    }

    /// The level of a pin.
    ///
    /// # Errors
    /// [`Offline`] when it cannot be read.
    fn read(&mut self, pin: &str) -> Result<bool, Offline>;

    /// Sets the level of a pin, or orders that.
    ///
    /// # Errors
    /// [`Offline`] when it cannot be written.
    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline>;

    /// Whether what was last written to a pin has been carried out; false while it is only ordered. A driver whose orders
    /// take time wakes the owner after each that it could carry out.
    ///
    /// # Errors
    /// [`Offline`] when it could not be carried out, and nobody tries again.
    fn is_done(&mut self, _pin: &str) -> Result<bool, Offline> {
        Ok(true)
    }
}
