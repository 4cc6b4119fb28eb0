//! The front panel: power and reset buttons, power and disk lights (contract: sections 7.4 and 8.5 of the API).
//!
//! One task owns the [`Lines`] that lead to the target. Everybody else has an [`Atx`] handle, which sends it requests,
//! and a `watch` of the [`State`]. The rules (what is busy, what a click is made of, whether an action makes sense) are
//! in [`Policy`], which has neither clock nor I/O.
//!
//! ```text
//! each button:   Idle --click--> Pressed --0.1 s or 5.5 s--> Settling --1 s--> Idle
//!                                  |                            |
//!                                  +---- a second click: Busy --+
//! ```
//!
//! `power` and `power_long` are one button, `reset` is another. A line that could not be driven ends its click at once.
//! Whatever ends the task (stop, drop, panic), a pressed line is let go.
//!
//! Drivers: the lines of a GPIO chip ([`Gpio`]), a virtual machine ([`VmLines`]), and a board that is not there
//! ([`PretendLines`], [`FakeLines`]).
//!
//! Not done here: finding lines (the daemon's `main` builds a driver from the configuration), debouncing of lights (the
//! driver's work), JSON. A process that is killed lets go of nothing: the supervisor holds the lines with us and does.

mod fake;
mod gpio;
mod lines;
mod owner;
mod panel;
mod policy;
mod vm;

use std::time::Duration;

pub use fake::{Fake, FakeLines, Move, PretendLines};
pub use gpio::{Gpio, GpioSettings, Light};
pub use lines::{Leds, Line, Lines};
pub use owner::{Atx, spawn};
pub use policy::{Click, Policy, PowerAction, Step};
pub use vm::VmLines;

/// How long things last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a short click holds its line.
    pub click_delay: Duration,
    /// How long `power_long` holds its line.
    pub long_click_delay: Duration,
    /// How long a button stays busy after it was let go.
    pub settle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            click_delay: Duration::from_millis(100),
            long_click_delay: Duration::from_millis(5500),
            settle: Duration::from_secs(1),
        }
    }
}

/// Which buttons are at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acts {
    /// The power button.
    pub power: bool,
    /// The reset button.
    pub reset: bool,
}

/// What clients see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// False when no front panel is fitted.
    pub enabled: bool,
    /// Either button is at work.
    pub busy: bool,
    /// Which of them.
    pub acts: Acts,
    /// The target's lights.
    pub leds: Leds,
}

/// Why a button was not pressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No front panel is fitted.
    #[error("this machine has no front panel control")]
    Disabled,
    /// The button is still at work for somebody else.
    #[error("another press of this button is still going on")]
    Busy,
    /// The driver could not move the line.
    #[error("the {line} line could not be driven: {why}")]
    Line {
        /// Which line.
        line: Line,
        /// What the driver said.
        why: String,
    },
    /// The owner has ended: the daemon is stopping.
    #[error("front panel control has stopped")]
    Stopped,
}
