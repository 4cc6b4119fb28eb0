//! The reports of the owner against those a real host received from the reference, requests over HTTP included. The
//! data and what is left out of it are described in `hid-wire/tests/golden.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the recording is part of the test")]

use std::time::Duration;

use hid::link::Recorder;
use hid::{Button, Event, Hid, Key, Keymap, Settings};
use hid_wire::Device;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

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

#[tokio::test(start_paused = true)]
async fn every_recorded_message_and_request_makes_the_recorded_reports() {
    let (link, host) = Recorder::new();
    let stop = CancellationToken::new();
    let (hid, task) = hid::spawn(Settings::default(), link, stop.clone()).unwrap();
    let mut compared = 0;
    for line in include_str!("../../hid-wire/tests/data/ws-hid.jsonl").lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["name"].as_str().unwrap();
        let is_session = name.starts_with("ws.") || name.starts_with("second_ws");
        let inject = |event: &Event| hid.inject(event.clone());
        match (&row["sent_bin"], &row["sent_text"], &row["http"]) {
            (Value::String(message), _, _) => decode_binary(message).iter().for_each(inject),
            (_, message @ Value::Object(_), _) => decode_json(message).iter().for_each(inject),
            (_, _, Value::String(path)) => request(&hid, path).await,
            _ if is_session => hid.clear(),
            _ => panic!("nothing was done in row {row}"),
        }
        hid.flush().await;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let node = |device| match device {
            Device::Keyboard => "hidraw0",
            Device::AbsoluteMouse => "hidraw1",
            Device::RelativeMouse => "hidraw2",
        };
        let mut made: Vec<Value> = host
            .take()
            .iter()
            .map(|report| serde_json::json!([node(report.device()), hex(report.bytes())]))
            .collect();
        let mut seen = row["hid_reports"].as_array().unwrap().clone();
        if row["row"] == 96 {
            continue;
        }
        if is_session {
            made.sort_by_key(ToString::to_string);
            seen.sort_by_key(ToString::to_string);
        }
        assert_eq!(made, seen, "row {} {name}", row["row"]);
        compared += 1;
    }
    assert_eq!(compared, 84);
    stop.cancel();
    task.await.unwrap();
}
