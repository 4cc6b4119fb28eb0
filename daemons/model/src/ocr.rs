//! Text recognition (section 7.7).

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Whether text can be read from the screen, and in which languages.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ocr::State))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// An engine is installed.
    pub enabled: bool,
    /// Its languages; both lists are empty when disabled.
    pub langs: Languages,
}

/// Languages by their three-letter codes.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ocr::Languages))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Languages {
    /// Used when a request names none.
    pub default: Vec<String>,
    /// Installed.
    pub available: Vec<String>,
}

/// The event for a new client.
#[must_use]
pub fn full(state: &State) -> Event {
    Event::of(event::OCR, state)
}

/// Under the key `ocr`, as HTTP and the old event show it.
#[must_use]
pub fn wrapped(state: &State) -> serde_json::Value {
    json!({"ocr": state})
}
