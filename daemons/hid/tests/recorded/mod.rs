//! What clients of the reference sent, and what its host received: rows of `hid-wire/tests/data/ws-hid.jsonl`.

use std::time::Duration;

use hid::{Button, Event, Hid, Key, Keymap};
use serde_json::Value;

/// Row 96 is one that its host saw only half of; see `hid-wire/tests/golden.rs`.
pub(crate) const UNUSABLE: u64 = 96;

/// All rows, in order.
pub(crate) fn rows() -> Vec<Value> {
    let lines = include_str!("../../../hid-wire/tests/data/ws-hid.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether the row is a session that opens or closes: the order of its reports is not ours.
pub(crate) fn is_session(row: &Value) -> bool {
    let name = row["name"].as_str().unwrap();
    name.starts_with("ws.") || name.starts_with("second_ws")
}

/// Does to us what the row says.
pub(crate) async fn replay(row: &Value, hid: &Hid) {
    let inject = |event: &Event| hid.inject(event.clone());
    match (&row["sent_bin"], &row["sent_text"], &row["http"]) {
        (Value::String(message), _, _) => decode_binary(message).iter().for_each(inject),
        (_, message @ Value::Object(_), _) => decode_json(message).iter().for_each(inject),
        (_, _, Value::String(path)) => request(hid, path).await,
        _ if is_session(row) => hid.clear(),
        _ => panic!("nothing was done in row {row}"),
    }
    hid.flush().await;
}

/// The event of a binary message, where it makes one.
fn decode_binary(message: &str) -> Option<Event> {
    let bytes: Vec<u8> = (0..message.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(message.get(at..at + 2).unwrap(), 16).unwrap())
        .collect();
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u16::from_be_bytes);
    let deltas = |bytes: &[u8]| {
        let pairs = bytes.chunks_exact(2).map(|pair| (pair[0].cast_signed(), pair[1].cast_signed()));
        (bytes.len().is_multiple_of(2)).then(|| pairs.collect::<Vec<_>>())
    };
    match bytes.as_slice() {
        [1, flags, rest @ ..] => {
            let name = std::str::from_utf8(rest).ok();
            let key = if flags & 0x80 == 0 { Key::from_name(name?) } else { Key::from_evdev(word(rest)?) };
            Some(Event::Key { key: key?, pressed: flags & 1 != 0, finish: flags & 2 != 0 })
        }
        [2, flags, rest @ ..] => {
            let name = std::str::from_utf8(rest).ok();
            let button =
                if flags & 0x80 == 0 { Button::from_name(name?) } else { Button::from_evdev(word(rest)?) };
            Some(Event::Button { button: button?, pressed: flags & 1 != 0 })
        }
        [3, x0, x1, y0, y1] => {
            Some(Event::Move { x: i16::from_be_bytes([*x0, *x1]), y: i16::from_be_bytes([*y0, *y1]) })
        }
        [4, flags, rest @ ..] => Some(Event::Relative { deltas: deltas(rest)?, squash: flags & 1 != 0 }),
        [5, flags, rest @ ..] => Some(Event::Wheel { deltas: deltas(rest)?, squash: flags & 1 != 0 }),
        _ => None,
    }
}

/// The event of a JSON message, where it makes one.
fn decode_json(message: &Value) -> Option<Event> {
    let event = &message["event"];
    let flag = |name: &str| event[name].as_bool().unwrap_or_default();
    let axis = |delta: &Value, name: &str| i8::try_from(delta[name].as_i64().unwrap()).unwrap();
    let pair = |delta: &Value| (axis(delta, "x"), axis(delta, "y"));
    let deltas = || match &event["delta"] {
        Value::Array(list) => list.iter().map(pair).collect(),
        delta => vec![pair(delta)],
    };
    let coordinate =
        |name: &str| i16::try_from(event["to"][name].as_i64().unwrap().clamp(-32768, 32767)).unwrap();
    match message["event_type"].as_str().unwrap() {
        "key" => {
            let key = Key::from_name(event["key"].as_str().unwrap())?;
            Some(Event::Key { key, pressed: flag("state"), finish: flag("finish") })
        }
        "mouse_button" => {
            let button = Button::from_name(event["button"].as_str().unwrap())?;
            Some(Event::Button { button, pressed: flag("state") })
        }
        "mouse_move" => Some(Event::Move { x: coordinate("x"), y: coordinate("y") }),
        "mouse_relative" => Some(Event::Relative { deltas: deltas(), squash: flag("squash") }),
        "mouse_wheel" => Some(Event::Wheel { deltas: deltas(), squash: flag("squash") }),
        other => panic!("an event nobody recorded: {other}"),
    }
}

/// Does what a request over HTTP did.
async fn request(hid: &Hid, path: &str) {
    match path.split_once('?').unwrap_or((path, "")) {
        ("/hid/reset", _) => hid.reset(),
        ("/hid/set_params", query) => hid.set_mouse_output(query.strip_prefix("mouse_output=").unwrap()),
        ("/hid/print", _) => drop(hid.print("aB!", Keymap::builtin(), Duration::ZERO).await),
        ("/hid/events/send_shortcut", query) => {
            let names = query.strip_prefix("keys=").unwrap().split(',');
            hid.shortcut(&names.map(|name| Key::from_name(name).unwrap()).collect::<Vec<_>>()).await;
        }
        other => panic!("a request nobody recorded: {other:?}"),
    }
}
