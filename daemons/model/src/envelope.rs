//! The frame around every JSON answer (section 3).
//!
//! `{"ok": true, "result": {...}}` or `{"ok": false, "result": {"error", "error_msg"}}`, printed with four
//! blanks of indent and sorted keys as clients are used to seeing it in a terminal.

use crate::ErrorClass;
use serde::Serialize;
use serde_json::{Value, json, ser::PrettyFormatter};

/// The body of a successful answer. `result` must be an object; "nothing to say" is [`nothing`].
#[must_use]
pub fn ok(result: &Value) -> String {
    print(&json!({"ok": true, "result": result}))
}

/// The body of a successful answer that has nothing to say: an empty object, never null.
#[must_use]
pub const fn nothing() -> &'static str {
    "{\n    \"ok\": true,\n    \"result\": {}\n}"
}

/// The body of a failed answer.
#[must_use]
pub fn failed(class: ErrorClass, message: &str) -> String {
    print(&json!({"ok": false, "result": {"error": class.name(), "error_msg": message}}))
}

/// A successful answer on one line: streams of answers have one a line.
#[must_use]
pub fn ok_line(result: &Value) -> String {
    json!({"ok": true, "result": result}).to_string()
}

/// A failed one on one line.
#[must_use]
pub fn failed_line(class: ErrorClass, message: &str) -> String {
    json!({"ok": false, "result": {"error": class.name(), "error_msg": message}}).to_string()
}

fn print(value: &Value) -> String {
    let mut text = Vec::with_capacity(256);
    let mut printer =
        serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    // Writing a `Value` into memory has no way to fail: its keys are strings and the sink grows.
    let _ = value.serialize(&mut printer);
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_an_empty_object() {
        assert_eq!(ok(&json!({})), nothing());
    }

    #[test]
    fn keys_are_sorted_and_indented_by_four() {
        assert_eq!(
            ok(&json!({"b": 1, "a": null})),
            "{\n    \"ok\": true,\n    \"result\": {\n        \"a\": null,\n        \"b\": 1\n    }\n}"
        );
    }

    #[test]
    fn a_failure_names_its_class() {
        let body: Value = serde_json::from_str(&failed(ErrorClass::AtxIsBusy, "busy \"now\"")).unwrap();
        assert_eq!(
            body,
            json!({"ok": false, "result": {"error": "AtxIsBusyError", "error_msg": "busy \"now\""}})
        );
    }
}
