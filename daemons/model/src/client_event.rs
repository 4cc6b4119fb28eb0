//! What a WebSocket client may send: JSON (section 6.4) and binary (section 6.5).
//!
//! Parsing is total: whatever does not make sense is an [`Ignored`] with a reason, because the contract
//! drops it silently and keeps the connection. Keys and buttons stay as the client named them; whether they
//! exist is for the key table to say.

use crate::check::{clamp_coordinate, clamp_delta};
use serde_json::Value;

/// Steps of one relative or wheel message that are looked at; the rest of a longer message is refused.
pub const STEPS_LIMIT: usize = 4096;

/// Bytes of a key or button name in a binary message that are looked at.
const NAME_LIMIT: usize = 32;

/// A message that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Asks for `pong`.
    Ping,
    /// Asks for the one-byte pong.
    BinaryPing,
    /// A key went down or up.
    Key {
        /// Which.
        key: Named,
        /// Down.
        pressed: bool,
        /// Release it again at once.
        finish: bool,
    },
    /// A mouse button went down or up.
    Button {
        /// Which.
        button: Named,
        /// Down.
        pressed: bool,
    },
    /// The pointer is now there; 0,0 is the middle of the screen.
    Move {
        /// Rightwards.
        x: i16,
        /// Downwards.
        y: i16,
    },
    /// The pointer moved by these steps.
    Relative {
        /// Steps in order, each -127..=127.
        deltas: Vec<(i8, i8)>,
        /// Sum up what fits one report.
        squash: bool,
    },
    /// The wheel turned by these steps.
    Wheel {
        /// Steps in order, each -127..=127.
        deltas: Vec<(i8, i8)>,
        /// Sum up what fits one report.
        squash: bool,
    },
}

/// A key or button as a client says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its name on the web.
    Name(String),
    /// By its Linux event code.
    Code(u16),
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// Not JSON, or not an object with `event_type` and `event`.
    #[error("not an event")]
    Malformed,
    /// An `event_type` or opcode nobody knows.
    #[error("unknown event")]
    Unknown,
    /// A field is missing, of the wrong type, or too long.
    #[error("bad fields")]
    BadFields,
}

impl ClientEvent {
    /// Reads a text message.
    pub fn from_text(text: &str) -> Result<Self, Ignored> {
        let message: Value = serde_json::from_str(text).map_err(|_| Ignored::Malformed)?;
        let kind = message.get("event_type").and_then(Value::as_str).ok_or(Ignored::Malformed)?;
        let event = message.get("event").filter(|event| event.is_object()).ok_or(Ignored::Malformed)?;
        Self::from_json(kind, event)
    }

    fn from_json(kind: &str, event: &Value) -> Result<Self, Ignored> {
        Ok(match kind {
            "ping" => Self::Ping,
            "key" => Self::Key {
                key: name(event, "key")?,
                pressed: flag(event, "state")?.ok_or(Ignored::BadFields)?,
                finish: flag(event, "finish")?.unwrap_or(false),
            },
            "mouse_button" => Self::Button {
                button: name(event, "button")?,
                pressed: flag(event, "state")?.ok_or(Ignored::BadFields)?,
            },
            "mouse_move" => {
                let (x, y) = point(event.get("to").ok_or(Ignored::BadFields)?)?;
                Self::Move { x: clamp_coordinate(x), y: clamp_coordinate(y) }
            }
            "mouse_relative" => {
                let (deltas, squash) = steps(event)?;
                Self::Relative { deltas, squash }
            }
            "mouse_wheel" => {
                let (deltas, squash) = steps(event)?;
                Self::Wheel { deltas, squash }
            }
            _ => return Err(Ignored::Unknown),
        })
    }

    /// Reads a binary message: an opcode and its payload, integers big-endian.
    pub fn from_binary(message: &[u8]) -> Result<Self, Ignored> {
        let (opcode, payload) = message.split_first().ok_or(Ignored::Malformed)?;
        match (opcode, payload) {
            (0, _) => Ok(Self::BinaryPing),
            (1, [flags, rest @ ..]) => Ok(Self::Key {
                key: binary_name(*flags, rest)?,
                pressed: flags & 0b01 != 0,
                finish: flags & 0b10 != 0,
            }),
            (2, [flags, rest @ ..]) => {
                Ok(Self::Button { button: binary_name(*flags, rest)?, pressed: flags & 0b01 != 0 })
            }
            (3, [x1, x0, y1, y0]) => {
                Ok(Self::Move { x: i16::from_be_bytes([*x1, *x0]), y: i16::from_be_bytes([*y1, *y0]) })
            }
            (4, [flags, rest @ ..]) => {
                Ok(Self::Relative { deltas: binary_steps(rest)?, squash: flags & 0b01 != 0 })
            }
            (5, [flags, rest @ ..]) => {
                Ok(Self::Wheel { deltas: binary_steps(rest)?, squash: flags & 0b01 != 0 })
            }
            (1..=5, _) => Err(Ignored::BadFields),
            _ => Err(Ignored::Unknown),
        }
    }
}

fn name(event: &Value, key: &str) -> Result<Named, Ignored> {
    let text = event.get(key).and_then(Value::as_str).ok_or(Ignored::BadFields)?;
    if text.len() > NAME_LIMIT { Err(Ignored::BadFields) } else { Ok(Named::Name(text.to_owned())) }
}

/// A boolean that may be absent; also takes the numbers and words a query parameter may have.
fn flag(event: &Value, key: &str) -> Result<Option<bool>, Ignored> {
    match event.get(key) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(Value::Number(number)) if number.as_u64() == Some(0) => Ok(Some(false)),
        Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(Some(true)),
        Some(Value::String(text)) => crate::check::boolean(text).map(Some).map_err(|_| Ignored::BadFields),
        Some(_) => Err(Ignored::BadFields),
    }
}

fn point(value: &Value) -> Result<(i64, i64), Ignored> {
    let side = |key: &str| match value.get(key) {
        Some(Value::Number(number)) => number.as_i64().ok_or(Ignored::BadFields),
        Some(Value::String(text)) => crate::check::int(text).map_err(|_| Ignored::BadFields),
        _ => Err(Ignored::BadFields),
    };
    Ok((side("x")?, side("y")?))
}

fn steps(event: &Value) -> Result<(Vec<(i8, i8)>, bool), Ignored> {
    let step = |value: &Value| point(value).map(|(x, y)| (clamp_delta(x), clamp_delta(y)));
    let deltas = match event.get("delta") {
        Some(Value::Array(items)) if items.len() <= STEPS_LIMIT => {
            items.iter().map(step).collect::<Result<_, _>>()?
        }
        Some(one @ Value::Object(_)) => vec![step(one)?],
        _ => return Err(Ignored::BadFields),
    };
    Ok((deltas, flag(event, "squash")?.unwrap_or(false)))
}

fn binary_name(flags: u8, rest: &[u8]) -> Result<Named, Ignored> {
    if flags & 0x80 != 0 {
        return match rest {
            [high, low] => Ok(Named::Code(u16::from_be_bytes([*high, *low]))),
            _ => Err(Ignored::BadFields),
        };
    }
    let looked_at = rest.get(..rest.len().min(NAME_LIMIT)).unwrap_or(rest);
    match std::str::from_utf8(looked_at) {
        Ok(text) if text.is_ascii() && !text.is_empty() => Ok(Named::Name(text.trim().to_owned())),
        _ => Err(Ignored::BadFields),
    }
}

fn binary_steps(rest: &[u8]) -> Result<Vec<(i8, i8)>, Ignored> {
    let (pairs, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() || pairs.is_empty() || pairs.len() > STEPS_LIMIT {
        return Err(Ignored::BadFields);
    }
    Ok(pairs.iter().map(|[x, y]| (step(*x), step(*y))).collect())
}

/// A signed byte; -128 does not exist in a report and counts as -127.
fn step(byte: u8) -> i8 {
    i8::from_be_bytes([byte]).max(-127)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(text: &str) -> Named {
        Named::Name(text.to_owned())
    }

    #[test]
    fn the_examples_of_the_contract() {
        let key = |pressed, finish| ClientEvent::Key { key: named("KeyA"), pressed, finish };
        for (bytes, event) in [
            (&b"\x01\x01KeyA"[..], key(true, false)),
            (b"\x01\x00KeyA", key(false, false)),
            (b"\x01\x03KeyA", key(true, true)),
            (b"\x01\x81\x00\x1C", ClientEvent::Key { key: Named::Code(28), pressed: true, finish: false }),
            (b"\x02\x01left", ClientEvent::Button { button: named("left"), pressed: true }),
            (b"\x02\x80\x01\x10", ClientEvent::Button { button: Named::Code(272), pressed: false }),
            (b"\x03\0\0\0\0", ClientEvent::Move { x: 0, y: 0 }),
            (b"\x03\x7f\xff\x80\x00", ClientEvent::Move { x: 32767, y: -32768 }),
            (b"\x05\x00\x00\xFB", ClientEvent::Wheel { deltas: vec![(0, -5)], squash: false }),
            (b"\x04\x00\x80\x00", ClientEvent::Relative { deltas: vec![(-127, 0)], squash: false }),
            (
                b"\x04\x01\x01\x01\x02\x02",
                ClientEvent::Relative { deltas: vec![(1, 1), (2, 2)], squash: true },
            ),
            (b"\x00abc", ClientEvent::BinaryPing),
        ] {
            assert_eq!(ClientEvent::from_binary(bytes), Ok(event), "{bytes:?}");
        }
    }

    #[test]
    fn malformed_binary_messages_are_ignored() {
        for (bytes, why) in [
            (&b""[..], Ignored::Malformed),
            (b"\x63", Ignored::Unknown),
            (b"\x01", Ignored::BadFields),
            (b"\x01\x01", Ignored::BadFields),
            (b"\x01\x81\x00", Ignored::BadFields),
            (b"\x01\x01\xff\xff", Ignored::BadFields),
            (b"\x03\x00\x00\x00", Ignored::BadFields),
            (b"\x03\x00\x00\x00\x00\x00", Ignored::BadFields),
            (b"\x04\x00\x01", Ignored::BadFields),
            (b"\x05", Ignored::BadFields),
        ] {
            assert_eq!(ClientEvent::from_binary(bytes), Err(why), "{bytes:?}");
        }
    }

    #[test]
    fn text_messages() {
        for (text, event) in [
            (r#"{"event_type":"ping","event":{}}"#, ClientEvent::Ping),
            (
                r#"{"event_type":"key","event":{"key":"KeyA","state":true,"finish":1}}"#,
                ClientEvent::Key { key: named("KeyA"), pressed: true, finish: true },
            ),
            (
                r#"{"event_type":"mouse_button","event":{"button":"left","state":false}}"#,
                ClientEvent::Button { button: named("left"), pressed: false },
            ),
            (
                r#"{"event_type":"mouse_move","event":{"to":{"x":100000,"y":-100000}}}"#,
                ClientEvent::Move { x: 32767, y: -32768 },
            ),
            (
                r#"{"event_type":"mouse_wheel","event":{"delta":[{"x":0,"y":1},{"x":0,"y":200}],"squash":true}}"#,
                ClientEvent::Wheel { deltas: vec![(0, 1), (0, 127)], squash: true },
            ),
            (
                r#"{"event_type":"mouse_relative","event":{"delta":{"x":1,"y":-128}}}"#,
                ClientEvent::Relative { deltas: vec![(1, -127)], squash: false },
            ),
        ] {
            assert_eq!(ClientEvent::from_text(text), Ok(event), "{text}");
        }
    }

    #[test]
    fn malformed_text_messages_are_ignored() {
        for (text, why) in [
            ("{", Ignored::Malformed),
            ("[]", Ignored::Malformed),
            ("null", Ignored::Malformed),
            (r#"{"event_type":"ping"}"#, Ignored::Malformed),
            (r#"{"event_type":"ping","event":1}"#, Ignored::Malformed),
            (r#"{"event_type":"nope","event":{}}"#, Ignored::Unknown),
            (r#"{"event_type":"key","event":{"state":true}}"#, Ignored::BadFields),
            (r#"{"event_type":"key","event":{"key":"KeyA"}}"#, Ignored::BadFields),
            (r#"{"event_type":"key","event":{"key":"KeyA","state":"on"}}"#, Ignored::BadFields),
            (r#"{"event_type":"mouse_move","event":{"to":{"x":1.5,"y":0}}}"#, Ignored::BadFields),
            (r#"{"event_type":"mouse_move","event":{"to":{"x":1}}}"#, Ignored::BadFields),
            (r#"{"event_type":"mouse_wheel","event":{"delta":5}}"#, Ignored::BadFields),
        ] {
            assert_eq!(ClientEvent::from_text(text), Err(why), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let bomb = "[".repeat(100_000);
        assert_eq!(ClientEvent::from_text(&bomb), Err(Ignored::Malformed));
    }

    proptest! {
        #[test]
        fn no_binary_message_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = ClientEvent::from_binary(&bytes);
        }

        #[test]
        fn no_text_message_panics(text in ".{0,200}") {
            let _ = ClientEvent::from_text(&text);
        }

        #[test]
        fn steps_never_exceed_the_report(flags in 0u8..2, bytes in prop::collection::vec(any::<u8>(), 2..64)) {
            let message = [&[4, flags], &bytes[..]].concat();
            if let Ok(ClientEvent::Relative { deltas, .. }) = ClientEvent::from_binary(&message) {
                prop_assert!(deltas.iter().all(|(x, y)| *x != i8::MIN && *y != i8::MIN));
                prop_assert_eq!(deltas.len() * 2, bytes.len());
            }
        }
    }
}
