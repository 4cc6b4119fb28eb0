//! What there is: channels as configured, the scheme and view clients are shown, and the levels of the moment.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::view::{self, View};

/// How long an output stays on when pulsed. All zero: it cannot be pulsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulse {
    /// When the request names no length.
    pub delay: Duration,
    /// Shorter requests last this long.
    pub min_delay: Duration,
    /// Longer requests last this long.
    pub max_delay: Duration,
}

impl Pulse {
    /// True when the output may be pulsed.
    #[must_use]
    pub fn enabled(&self) -> bool {
        !self.delay.is_zero()
    }

    /// The length of a requested pulse: zero means the configured one, others are brought inside the limits.
    #[must_use]
    pub fn clamp(&self, wanted: Duration) -> Duration {
        let wanted = if wanted.is_zero() { self.delay } else { wanted };
        // Not `clamp`, which panics where a configuration has min above max: the maximum wins.
        wanted.max(self.min_delay).min(self.max_delay)
    }
}

/// What a channel is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Read only.
    Input {
        /// How long a new level must last to count.
        debounce: Duration,
    },
    /// Written.
    Output {
        /// The state at the start; `None` keeps what the hardware has.
        initial: Option<bool>,
        /// It may be switched.
        switch: bool,
        /// How it may be pulsed.
        pulse: Pulse,
        /// How long it stays busy after each action.
        busy_delay: Duration,
    },
}

impl Mode {
    /// An input as the configuration's defaults make it.
    #[must_use]
    pub fn input() -> Self {
        Self::Input { debounce: Duration::from_millis(100) }
    }

    /// An output as the configuration's defaults make it: off, switchable, pulse of 0.1 s.
    #[must_use]
    pub fn output() -> Self {
        let tenth = Duration::from_millis(100);
        Self::Output {
            initial: Some(false),
            switch: true,
            pulse: Pulse { delay: tenth, min_delay: tenth, max_delay: tenth },
            busy_delay: Duration::from_millis(200),
        }
    }
}

/// One channel of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Where it is.
    pub hw: Hw,
    /// True means the low level.
    pub inverted: bool,
    /// What it is for.
    pub mode: Mode,
}

/// A pin of a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hw {
    /// The driver's name in the configuration.
    pub driver: String,
    /// The pin, in the driver's own words.
    pub pin: String,
}

/// How people see the channels, as the configuration words it (grammar: see [`View`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewSettings {
    /// Items of the menu's caption.
    pub title: Vec<String>,
    /// Rows of items; an empty row is a separator.
    pub table: Vec<Vec<String>>,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self { title: vec!["#GPIO".to_owned()], table: Vec::new() }
    }
}

/// Everything configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Channels by name.
    pub scheme: BTreeMap<String, Channel>,
    /// How they are shown.
    pub view: ViewSettings,
}

/// Why the settings make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A channel names a driver that is not there.
    #[error("channel {channel:?} uses driver {driver:?}, which is not configured")]
    UnknownDriver {
        /// The channel.
        channel: String,
        /// The driver it names.
        driver: String,
    },
}

/// An output as clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputScheme {
    /// It may be switched.
    pub switch: bool,
    /// How it may be pulsed.
    pub pulse: Pulse,
    /// Where it is.
    pub hw: Hw,
}

/// All visible channels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheme {
    /// Inputs by name.
    pub inputs: BTreeMap<String, Hw>,
    /// Outputs by name, const ones left out.
    pub outputs: BTreeMap<String, OutputScheme>,
}

/// What clients are told once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// The channels.
    pub scheme: Scheme,
    /// How they are shown.
    pub view: View,
}

impl Model {
    /// The model of these settings.
    #[must_use]
    pub fn build(settings: &Settings) -> Self {
        let mut scheme = Scheme::default();
        for (name, channel) in &settings.scheme {
            match &channel.mode {
                Mode::Input { .. } => {
                    scheme.inputs.insert(name.clone(), channel.hw.clone());
                }
                Mode::Output { switch, pulse, .. } if *switch || pulse.enabled() => {
                    let pulse = if pulse.enabled() { *pulse } else { Pulse::default() };
                    let output = OutputScheme { switch: *switch, pulse, hw: channel.hw.clone() };
                    scheme.outputs.insert(name.clone(), output);
                }
                Mode::Output { .. } => {}
            }
        }
        let view = view::build(&settings.view, &scheme);
        Self { scheme, view }
    }
}

/// An input at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputState {
    /// The driver answers.
    pub online: bool,
    /// Its level, inverted where the channel is; false while offline.
    pub state: bool,
}

/// An output at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputState {
    /// The driver answers. True while busy.
    pub online: bool,
    /// Its level; false while offline or busy.
    pub state: bool,
    /// A request is at work.
    pub busy: bool,
}

/// All levels at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoState {
    /// Inputs by name.
    pub inputs: BTreeMap<String, InputState>,
    /// Outputs by name, const ones left out.
    pub outputs: BTreeMap<String, OutputState>,
}
