//! Keyboard and pointers of the machine, by `input-send-event`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::qmp::{Error, Qmp};

mod table;

pub use table::qcode;

/// A pointer's button. QEMU has the wheel as buttons, pressed and released once a notch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// The left one.
    Left,
    /// The middle one.
    Middle,
    /// The right one.
    Right,
    /// The thumb's backward button.
    Side,
    /// The thumb's forward button.
    Extra,
    /// A notch up.
    WheelUp,
    /// A notch down.
    WheelDown,
    /// A notch to the left.
    WheelLeft,
    /// A notch to the right.
    WheelRight,
}

impl Button {
    const HELD: [Self; 5] = [Self::Left, Self::Middle, Self::Right, Self::Side, Self::Extra];

    fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Middle => "middle",
            Self::Right => "right",
            Self::Side => "side",
            Self::Extra => "extra",
            Self::WheelUp => "wheel-up",
            Self::WheelDown => "wheel-down",
            Self::WheelLeft => "wheel-left",
            Self::WheelRight => "wheel-right",
        }
    }
}

/// One thing done to a keyboard or pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A key by QEMU's name for it; see [`qcode`].
    Key {
        /// QEMU's name.
        qcode: &'static str,
        /// Down or up.
        pressed: bool,
    },
    /// A button.
    Button {
        /// Which.
        button: Button,
        /// Down or up.
        pressed: bool,
    },
    /// The absolute pointer's place: 0 to 32767 over the whole screen, both ways.
    Absolute {
        /// From the left edge; more than 32767 counts as that.
        x: u16,
        /// From the top edge.
        y: u16,
    },
    /// The relative pointer's step.
    Relative {
        /// Right is positive.
        dx: i16,
        /// Down is positive.
        dy: i16,
    },
}

impl Event {
    /// A key by its Linux event code; `None` if QEMU has no such key.
    #[must_use]
    pub fn key(evdev: u16, pressed: bool) -> Option<Self> {
        qcode(evdev).map(|qcode| Self::Key { qcode, pressed })
    }

    fn write(self, out: &mut Vec<Value>) {
        let mut push = |kind: &str, data: Value| out.push(json!({ "type": kind, "data": data }));
        match self {
            Self::Key { qcode, pressed } => {
                push("key", json!({ "down": pressed, "key": { "type": "qcode", "data": qcode } }));
            }
            Self::Button { button, pressed } => {
                push("btn", json!({ "down": pressed, "button": button.name() }));
            }
            Self::Absolute { x, y } => {
                push("abs", json!({ "axis": "x", "value": x.min(MAX_ABSOLUTE) }));
                push("abs", json!({ "axis": "y", "value": y.min(MAX_ABSOLUTE) }));
            }
            Self::Relative { dx, dy } => {
                push("rel", json!({ "axis": "x", "value": dx }));
                push("rel", json!({ "axis": "y", "value": dy }));
            }
        }
    }
}

const MAX_ABSOLUTE: u16 = 0x7fff;

/// Keys in one batch of [`release_all`]. The PS/2 keyboard's queue holds 16 bytes, a release takes up to three,
/// and what does not fit is lost.
const BATCH: usize = 5;
/// Pause between those batches, for the guest to read them.
const BATCH_PAUSE: Duration = Duration::from_millis(10);

/// Does the events at once, in order. Nothing is sent for an empty batch. QEMU drops what comes while the
/// machine is off, and what exceeds the 16 bytes of its keyboard queue: send few keys a batch.
///
/// # Errors
/// See [`Error`].
pub async fn send(qmp: &Qmp, events: &[Event]) -> Result<(), Error> {
    match arguments(events) {
        Value::Null => Ok(()),
        arguments => qmp.execute::<Value>("input-send-event", arguments).await.map(drop),
    }
}

/// [`send`] for a thread outside the runtime.
///
/// # Errors
/// See [`Error`].
pub fn send_blocking(qmp: &Qmp, events: &[Event]) -> Result<(), Error> {
    match arguments(events) {
        Value::Null => Ok(()),
        arguments => qmp.execute_blocking::<Value>("input-send-event", arguments).map(drop),
    }
}

fn arguments(events: &[Event]) -> Value {
    let mut list = Vec::new();
    for event in events {
        event.write(&mut list);
    }
    if list.is_empty() { Value::Null } else { json!({ "events": list }) }
}

/// Releases every key and button there is, modifiers first, for whoever does not know what is held. It takes a
/// quarter of a second; who knows the keys sends their releases by [`send`].
///
/// # Errors
/// See [`Error`]; the rest is not sent then.
pub async fn release_all(qmp: &Qmp) -> Result<(), Error> {
    let buttons = Button::HELD.map(|button| Event::Button { button, pressed: false });
    send(qmp, &buttons).await?;
    let keys: Vec<Event> = table::all().map(|qcode| Event::Key { qcode, pressed: false }).collect();
    for batch in keys.chunks(BATCH) {
        match send(qmp, batch).await {
            // A QEMU that does not know one of the names must not keep the others down.
            Ok(()) | Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        sleep(BATCH_PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_shape_of_qemus_schema() {
        let events = [
            Event::key(30, true).unwrap(),
            Event::Button { button: Button::WheelUp, pressed: true },
            Event::Absolute { x: 40000, y: 5 },
            Event::Relative { dx: -3, dy: 4 },
        ];
        assert_eq!(
            arguments(&events),
            json!({ "events": [
                { "type": "key", "data": { "down": true, "key": { "type": "qcode", "data": "a" } } },
                { "type": "btn", "data": { "down": true, "button": "wheel-up" } },
                { "type": "abs", "data": { "axis": "x", "value": 32767 } },
                { "type": "abs", "data": { "axis": "y", "value": 5 } },
                { "type": "rel", "data": { "axis": "x", "value": -3 } },
                { "type": "rel", "data": { "axis": "y", "value": 4 } },
            ] })
        );
        assert_eq!(arguments(&[]), Value::Null);
    }
}
