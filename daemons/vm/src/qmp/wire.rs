//! Lines of the monitor: what QEMU says, and what we say. Pure.

use serde_json::{Value, json};

/// One line from QEMU, understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    Greeting,
    Event {
        name: String,
        data: Value,
    },
    Answer {
        id: u64,
        result: Result<Value, Refusal>,
    },
    /// Well-formed, but nothing we wait for: skipped.
    Unknown,
}

/// QEMU's error object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) class: String,
    pub(super) description: String,
}

/// `None` if the line is not a JSON object: the peer is no monitor.
pub(super) fn parse(line: &[u8]) -> Option<Message> {
    let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else { return None };
    if object.contains_key("QMP") {
        return Some(Message::Greeting);
    }
    if let Some(Value::String(name)) = object.remove("event") {
        let data = object.remove("data").unwrap_or(Value::Null);
        return Some(Message::Event { name, data });
    }
    let id = object.get("id").and_then(Value::as_u64);
    let result = if let Some(value) = object.remove("return") {
        Ok(value)
    } else if let Some(error) = object.get("error") {
        let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Err(Refusal { class: text("class"), description: text("desc") })
    } else {
        return Some(Message::Unknown);
    };
    Some(id.map_or(Message::Unknown, |id| Message::Answer { id, result }))
}

/// A command as a line. `Null` arguments are left out.
pub(super) fn command(id: u64, name: &str, arguments: Value) -> Vec<u8> {
    let mut object = json!({ "execute": name, "id": id });
    if !arguments.is_null() {
        object["arguments"] = arguments;
    }
    let mut line = object.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_a_real_qemu_are_understood() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}"#;
        assert_eq!(parse(greeting), Some(Message::Greeting));
        let event = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESET", "data": {"guest": false}}"#;
        assert_eq!(
            parse(event),
            Some(Message::Event { name: "RESET".into(), data: json!({ "guest": false }) })
        );
        assert_eq!(
            parse(br#"{"return": {}, "id": 7}"#),
            Some(Message::Answer { id: 7, result: Ok(json!({})) })
        );
        let error = br#"{"id": 8, "error": {"class": "DeviceNotFound", "desc": "no flash0"}}"#;
        let refusal = Refusal { class: "DeviceNotFound".into(), description: "no flash0".into() };
        assert_eq!(parse(error), Some(Message::Answer { id: 8, result: Err(refusal) }));
    }

    #[test]
    fn answers_without_a_number_of_ours_are_skipped_and_junk_is_told_apart() {
        assert_eq!(parse(br#"{"return": {}}"#), Some(Message::Unknown));
        assert_eq!(parse(br#"{"return": {}, "id": "x"}"#), Some(Message::Unknown));
        assert_eq!(parse(b"[]"), None);
        assert_eq!(parse(b"RFB 003.008"), None);
    }

    #[test]
    fn a_command_is_one_line_even_with_line_ends_inside() {
        let line = command(3, "eject", json!({ "id": "a\nb" }));
        assert_eq!(line, b"{\"arguments\":{\"id\":\"a\\nb\"},\"execute\":\"eject\",\"id\":3}\n");
        assert_eq!(command(4, "cont", Value::Null), b"{\"execute\":\"cont\",\"id\":4}\n");
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }
    }
}
