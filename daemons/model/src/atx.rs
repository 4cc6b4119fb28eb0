//! The front panel (section 7.4).

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};

/// What the front panel shows and does.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = atx::State))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether a panel is fitted at all.
    pub enabled: bool,
    /// Whether any button is being pressed or settles.
    pub busy: bool,
    /// Which button it is.
    pub acts: Acts,
    /// The lights.
    pub leds: Leds,
}

/// Buttons in use.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = atx::Acts))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acts {
    /// The power button.
    pub power: bool,
    /// The reset button.
    pub reset: bool,
}

/// Lights of the panel.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = atx::Leds))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leds {
    /// The target is on.
    pub power: bool,
    /// The target's disk works.
    pub hdd: bool,
}

/// The event between two states: always whole, none when nothing changed.
#[must_use]
pub fn diff(old: &State, new: &State) -> Option<Event> {
    (old != new).then(|| full(new))
}

/// The event for a new client.
#[must_use]
pub fn full(state: &State) -> Event {
    Event::of(event::ATX, state)
}
