//! What the server sends over the WebSocket: names, and one event as text (sections 6.2 and 6.3).
//!
//! Names without a suffix are the current generation (partial after the first), names ending in `_state`
//! the old one (always complete).

use crate::CONTRACT;
use serde::Serialize;
use serde_json::{Value, json};

/// One message to clients, not yet serialised.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `event_type` on the wire.
    pub name: &'static str,
    /// `event` on the wire.
    pub payload: Value,
}

impl Event {
    /// An event of this name and payload.
    #[must_use]
    pub const fn new(name: &'static str, payload: Value) -> Self {
        Self { name, payload }
    }

    /// An event whose payload is a state object.
    #[must_use]
    pub fn of(name: &'static str, payload: &impl Serialize) -> Self {
        Self { name, payload: to_value(payload) }
    }

    /// The text message: `{"event_type": ..., "event": ...}`.
    #[must_use]
    pub fn text(&self) -> String {
        #[derive(Serialize)]
        struct Message<'a> {
            event_type: &'a str,
            event: &'a Value,
        }
        // A structure keeps this order, which people who read along are used to; a JSON object would sort its keys.
        // Writing it has no way to fail: its keys are strings and the text grows.
        serde_json::to_string(&Message { event_type: self.name, event: &self.payload }).unwrap_or_default()
    }
}

/// A state object as JSON. Ours have string keys and finite numbers, so this cannot fail in practice; a
/// bug here shows as `null` on the wire instead of a panic in front of a client.
#[must_use]
pub fn to_value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// First to every new client: the level of the contract.
#[must_use]
pub fn hello() -> Event {
    Event::new(LOOP, json!({"version": {"major": CONTRACT.0, "minor": CONTRACT.1}}))
}

/// The answer to a JSON `ping`.
#[must_use]
pub fn pong() -> Event {
    Event::new("pong", json!({}))
}

/// The answer to a binary ping.
pub const BINARY_PONG: &[u8] = &[0xFF];

/// How many clients watch the stream.
#[must_use]
pub fn clients(count: usize) -> Event {
    Event::new("clients", json!({"count": count}))
}

/// Sent once, to the new client only.
pub const LOOP: &str = "loop";
/// Section 7.1, one field an event.
pub const INFO: &str = "info";
/// Section 7.2.
pub const GPIO: &str = "gpio";
/// Section 7.3.
pub const HID: &str = "hid";
/// The keymaps text can be typed with.
pub const HID_KEYMAPS: &str = "hid_keymaps";
/// Section 7.4.
pub const ATX: &str = "atx";
/// Section 7.5.
pub const MSD: &str = "msd";
/// Section 7.6.
pub const STREAMER: &str = "streamer";
/// How updates stand. Our own.
pub const UPDATE: &str = "update";
/// Section 7.7.
pub const OCR: &str = "ocr";
/// The multi-port switch, partial.
pub const SWITCH: &str = "switch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hello_states_the_contract() {
        assert_eq!(hello().text(), r#"{"event_type":"loop","event":{"version":{"major":4,"minor":197}}}"#);
    }

    #[test]
    fn a_pong_carries_an_empty_object() {
        assert_eq!(pong().payload, json!({}));
    }
}
