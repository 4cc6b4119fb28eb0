//! The seam to the hardware: two lines to press, two lights to watch.

use std::fmt;

use tokio::sync::watch;

use crate::Error;

/// A line we can pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Line {
    /// The power button's line.
    Power,
    /// The reset button's line.
    Reset,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Power => "power",
            Self::Reset => "reset",
        })
    }
}

/// The target's lights as they are now, already debounced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leds {
    /// The target is powered.
    pub power: bool,
    /// The target's disk is at work.
    pub hdd: bool,
}

/// A front panel. Drivers return fast: what takes time belongs to a task or thread of their own.
pub trait Lines: Send {
    /// Presses or lets go of a line.
    ///
    /// # Errors
    /// [`Error::Line`] when the line cannot be moved.
    fn drive(&mut self, line: Line, pressed: bool) -> Result<(), Error>;

    /// The lights, kept up to date by the driver.
    fn leds(&self) -> watch::Receiver<Leds>;
}

impl<L: Lines + ?Sized> Lines for Box<L> {
    fn drive(&mut self, line: Line, pressed: bool) -> Result<(), Error> {
        (**self).drive(line, pressed)
    }

    fn leds(&self) -> watch::Receiver<Leds> {
        (**self).leds()
    }
}
