//! The keyboard and mouse (section 7.3).

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the emulated keyboard and mouse are.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::State))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Marks a full event; always true.
    pub enabled: bool,
    /// The device that types works.
    pub online: bool,
    /// It is being set up.
    pub busy: bool,
    /// Whether its cable is plugged, where a device can say or change that.
    pub connected: Option<bool>,
    /// The keyboard.
    pub keyboard: Keyboard,
    /// The mouse.
    pub mouse: Mouse,
    /// The jiggler.
    pub jiggler: Jiggler,
}

/// The emulated keyboard.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::Keyboard))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    /// The last report was taken.
    pub online: bool,
    /// The lights the target set.
    pub leds: Leds,
    /// Where it goes.
    pub outputs: Outputs,
}

/// The emulated mouse.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::Mouse))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mouse {
    /// The last report was taken.
    pub online: bool,
    /// Whether positions (true) or steps (false) are understood.
    pub absolute: bool,
    /// Where it goes.
    pub outputs: Outputs,
}

/// Keyboard lights.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::Leds))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leds {
    /// Caps Lock.
    pub caps: bool,
    /// Scroll Lock.
    pub scroll: bool,
    /// Num Lock.
    pub num: bool,
}

/// The choice of a device's outputs; both empty where there is none.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::Outputs))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// What can be chosen.
    pub available: Vec<String>,
    /// What is chosen.
    pub active: String,
}

/// The jiggler: small moves that keep the target awake.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::Jiggler))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jiggler {
    /// It can be used.
    pub enabled: bool,
    /// It is in use.
    pub active: bool,
    /// Idle time before it moves, in seconds.
    pub interval: u64,
}

/// The event between two states: always whole, none when nothing changed.
#[must_use]
pub fn diff(old: &State, new: &State) -> Option<Event> {
    (old != new).then(|| full(new))
}

/// The event for a new client.
#[must_use]
pub fn full(state: &State) -> Event {
    Event::of(event::HID, state)
}

/// The keymaps, as `GET /hid/keymaps` and the `hid_keymaps` event show them.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = hid::Keymaps))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keymaps {
    /// Used when a request names none.
    pub default: String,
    /// Sorted names.
    pub available: Vec<String>,
}

impl Keymaps {
    /// Under the key `keymaps`, which is where clients look.
    #[must_use]
    pub fn wrapped(&self) -> serde_json::Value {
        json!({"keymaps": self})
    }
}
