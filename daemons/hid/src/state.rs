//! What is set, and what clients see.

use std::time::Duration;

use hid_wire::{Key, Leds, Range};

use crate::MouseOutput;

/// Which mice the link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mice {
    /// One absolute mouse; `win98` doubles its coordinates.
    Absolute {
        /// For Windows 98.
        win98: bool,
    },
    /// One relative mouse.
    Relative,
    /// One of each, to choose from.
    Both {
        /// Whether doubled coordinates are a third choice.
        win98: bool,
        /// Which of them is chosen at the start.
        relative_first: bool,
    },
}

impl Mice {
    /// What can be chosen, in the order shown; nothing where there is no choice.
    #[must_use]
    pub fn outputs(self) -> &'static [MouseOutput] {
        match self {
            Self::Absolute { .. } | Self::Relative => &[],
            Self::Both { win98: false, .. } => &[MouseOutput::Usb, MouseOutput::UsbRel],
            Self::Both { win98: true, .. } => &[MouseOutput::Usb, MouseOutput::UsbRel, MouseOutput::UsbWin98],
        }
    }

    /// What is chosen at the start.
    pub(crate) fn first_output(self) -> MouseOutput {
        match self {
            Self::Absolute { win98: false } | Self::Both { relative_first: false, .. } => MouseOutput::Usb,
            Self::Absolute { win98: true } => MouseOutput::UsbWin98,
            Self::Relative | Self::Both { relative_first: true, .. } => MouseOutput::UsbRel,
        }
    }

    pub(crate) fn has_absolute(self) -> bool {
        self != Self::Relative
    }

    pub(crate) fn has_relative(self) -> bool {
        !matches!(self, Self::Absolute { .. })
    }
}

/// How keyboard and mouse behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Keys that single events cannot press; text and shortcuts can.
    pub ignore_keys: Vec<Key>,
    /// Which mice there are.
    pub mice: Mice,
    /// Where the absolute mouse's left and right edges are.
    pub x_range: Range,
    /// Where its upper and lower edges are.
    pub y_range: Range,
    /// Whether the jiggler may be switched on.
    pub jiggler_enabled: bool,
    /// Whether it is on at the start.
    pub jiggler_active: bool,
    /// How long nothing must happen before it moves the mouse; a quarter more or less by chance.
    pub jiggler_interval: Duration,
    /// How often a report the link did not take is tried again.
    pub retries: u32,
    /// How long to wait before each of them.
    pub retry_pause: Duration,
    /// How many events may wait for the link.
    pub queue_len: usize,
    /// How long a host may take to show that Caps Lock was switched.
    pub light_patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ignore_keys: Vec::new(),
            mice: Mice::Both { win98: false, relative_first: false },
            x_range: Range::default(),
            y_range: Range::default(),
            jiggler_enabled: true,
            jiggler_active: false,
            jiggler_interval: Duration::from_secs(60),
            retries: 150,
            retry_pause: Duration::from_millis(100),
            queue_len: 1024,
            light_patience: Duration::from_millis(300),
        }
    }
}

/// What can be chosen and what is; both empty where there is no choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Names of outputs.
    pub available: Vec<&'static str>,
    /// One of them.
    pub active: &'static str,
}

/// The keyboard, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyboard {
    /// The host took the last report.
    pub online: bool,
    /// The lights the host set.
    pub leds: Leds,
    /// No link of today has a choice here.
    pub outputs: Outputs,
}

/// The mouse in use, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mouse {
    /// The host took the last report.
    pub online: bool,
    /// It says where the pointer is, not how far it moved.
    pub absolute: bool,
    /// The choice.
    pub outputs: Outputs,
}

/// The jiggler, as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jiggler {
    /// It may be switched on.
    pub enabled: bool,
    /// It is on.
    pub active: bool,
    /// How long nothing must happen before it moves the mouse.
    pub interval: Duration,
}

/// What clients see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The link works; says nothing about the host.
    pub online: bool,
    /// The link is busy with itself and takes no events.
    pub busy: bool,
    /// Whether the cable is plugged in, where the link can pull it.
    pub connected: Option<bool>,
    /// The keyboard.
    pub keyboard: Keyboard,
    /// The mouse in use.
    pub mouse: Mouse,
    /// The jiggler.
    pub jiggler: Jiggler,
}

impl State {
    /// Nobody drives the devices any more.
    pub(crate) fn set_offline(&mut self) {
        self.online = false;
        self.keyboard.online = false;
        self.mouse.online = false;
    }
}
