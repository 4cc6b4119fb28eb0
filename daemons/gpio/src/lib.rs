//! Named switches: scheme, view, drivers (contract: sections 7.2 and 8.8 of the API).
//!
//! A *channel* is a name for one pin of one driver: an input, or an output that may be switched, pulsed, both, or
//! neither ("const": driven at the start and otherwise invisible). The *view* says how people see them.
//!
//! One task owns all drivers. [`Gpio`] is the handle; the state goes out by `watch`.
//!
//! ```text
//! output:  Idle --switch--> Acting(write) ------------------> Cooling(busy_delay) --> Idle
//!               --pulse---> Acting(on, wait, off) ----------> Cooling(busy_delay) --> Idle
//!                              a second request while not Idle: Busy
//! ```
//!
//! When the task ends, a pulse under way is finished by its "off" at once; switched outputs keep what they were set to,
//! for a relay must not drop because a daemon restarts.
//!
//! Drivers are modules behind [`Driver`], made from their own plain settings by [`DriverSettings::build`]: lines of a GPIO
//! chip ([`chip`]), USB relay boards ([`hidrelay`]), wake-on-LAN ([`wol`]), programs ([`cmd`]), PWM and servos ([`pwm`]),
//! the USB gadget's cable ([`otgconf`]), a blinking light ([`locator`]), and none at all ([`Noop`]).
//!
//! A process that is killed ends nothing. What it had pulsed at that moment stands in [`Marks`], which outlive it.
//!
//! Not done here: reading the configuration, JSON.

pub mod chip;
pub mod cmd;
mod debounce;
mod driver;
pub mod hidrelay;
pub mod line;
pub mod locator;
mod marks;
mod model;
mod noop;
pub mod otgconf;
mod owner;
mod program;
pub mod pwm;
mod registry;
mod slow;
mod view;
pub mod wol;

pub use driver::{Driver, Offline, PinUse, Wake};
pub use marks::Marks;
pub use model::{
    Channel, Hw, InputState, IoState, Mode, Model, OutputScheme, OutputState, Pulse, Scheme, Settings,
    SetupError, ViewSettings,
};
pub use noop::{Noop, NoopPins};
pub use owner::{Drivers, Gpio, pin_use, spawn, spawn_marked};
pub use registry::DriverSettings;
pub use view::{Color, Item, View};

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No output has this name (inputs and const outputs count as absent).
    #[error("there is no output channel {0:?}")]
    ChannelNotFound(String),
    /// The output may only be pulsed.
    #[error("channel {0:?} cannot be switched")]
    SwitchNotSupported(String),
    /// The output may only be switched.
    #[error("channel {0:?} cannot be pulsed")]
    PulseNotSupported(String),
    /// The driver cannot be reached.
    #[error("driver {driver:?} is offline: {why}")]
    DriverOffline {
        /// The driver's name in the configuration.
        driver: String,
        /// What it said.
        why: String,
    },
    /// Another request is at work on this channel.
    #[error("channel {0:?} is busy")]
    ChannelIsBusy(String),
    /// The owner has ended: the daemon is stopping.
    #[error("switch control has stopped")]
    Stopped,
}
