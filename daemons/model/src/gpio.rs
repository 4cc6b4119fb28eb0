//! Named switches and inputs (section 7.2).

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// What there is and how it is shown: fixed while the program runs.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Model))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The channels.
    pub scheme: Scheme,
    /// The menu.
    pub view: View,
}

/// The channels by name.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Scheme))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scheme {
    /// Channels that are read.
    pub inputs: BTreeMap<String, Input>,
    /// Channels that are driven.
    pub outputs: BTreeMap<String, Output>,
}

/// A channel that is read.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Input))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Where it is.
    pub hw: Hardware,
}

/// A channel that is driven.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Output))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// It may be left on or off.
    pub switch: bool,
    /// It may be pulsed; all zero when not.
    pub pulse: Pulse,
    /// Where it is.
    pub hw: Hardware,
}

/// Pulse lengths in seconds.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Pulse))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    /// When a request names none.
    pub delay: f64,
    /// The shortest.
    pub min_delay: f64,
    /// The longest.
    pub max_delay: f64,
}

/// A pin of a driver.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Hardware))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The driver's name in the settings.
    pub driver: String,
    /// The pin, in the driver's own words.
    pub pin: String,
}

/// The menu of the web page.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::View))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its caption.
    pub header: Header,
    /// Rows of items; none stands for a line between two tables.
    pub table: Vec<Option<Vec<Item>>>,
}

/// The caption of the menu.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Header))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Items in a row.
    pub title: Vec<Item>,
}

/// One cell of the menu.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::Item))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Item {
    /// Text.
    Label {
        /// What it says.
        text: String,
    },
    /// A light.
    Input {
        /// The channel it shows.
        channel: String,
        /// Its colour when on.
        color: String,
    },
    /// A button.
    Output {
        /// The channel it drives.
        channel: String,
        /// What it says.
        text: String,
        /// Ask before acting.
        confirm: bool,
        /// Not shown in short menus.
        hide: bool,
    },
}

/// What every channel is now.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::IoState))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoState {
    /// Channels that are read.
    pub inputs: BTreeMap<String, InputState>,
    /// Channels that are driven.
    pub outputs: BTreeMap<String, OutputState>,
}

/// A read channel now.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::InputState))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputState {
    /// The driver answers.
    pub online: bool,
    /// The level.
    pub state: bool,
}

/// A driven channel now.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = gpio::OutputState))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputState {
    /// The driver answers.
    pub online: bool,
    /// The level; false while busy.
    pub state: bool,
    /// It is being switched or pulsed.
    pub busy: bool,
}

/// Only the channels that changed, none when nothing did.
#[must_use]
pub fn diff(old: &IoState, new: &IoState) -> Option<Event> {
    let inputs = changed(&old.inputs, &new.inputs);
    let outputs = changed(&old.outputs, &new.outputs);
    if inputs.is_empty() && outputs.is_empty() {
        return None;
    }
    let mut state = serde_json::Map::new();
    if !inputs.is_empty() {
        state.insert("inputs".to_owned(), event::to_value(&inputs));
    }
    if !outputs.is_empty() {
        state.insert("outputs".to_owned(), event::to_value(&outputs));
    }
    Some(Event::new(event::GPIO, json!({"state": state})))
}

fn changed<'a, T: PartialEq>(
    old: &BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> BTreeMap<&'a str, &'a T> {
    new.iter()
        .filter(|(name, state)| old.get(*name) != Some(*state))
        .map(|(name, state)| (name.as_str(), state))
        .collect()
}

/// The event for a new client.
#[must_use]
pub fn full(model: &Model, state: &IoState) -> Event {
    Event::new(event::GPIO, json!({"model": model, "state": state}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(relay: OutputState, led: bool) -> IoState {
        IoState {
            inputs: [("led1".to_owned(), InputState { online: true, state: led })].into(),
            outputs: [("relay1".to_owned(), relay), ("relay2".to_owned(), OutputState::default())].into(),
        }
    }

    #[test]
    fn only_the_changed_channel_is_sent() {
        let old = state(OutputState { online: true, state: false, busy: false }, false);
        let new = state(OutputState { online: true, state: false, busy: true }, false);
        assert_eq!(
            diff(&old, &new).map(|event| event.payload),
            Some(json!({"state": {"outputs": {"relay1": {"online": true, "state": false, "busy": true}}}}))
        );
        let new = state(OutputState { online: true, state: false, busy: false }, true);
        assert_eq!(
            diff(&old, &new).map(|event| event.payload),
            Some(json!({"state": {"inputs": {"led1": {"online": true, "state": true}}}}))
        );
        assert_eq!(diff(&old, &old), None);
    }
}
