//! Answers for people: short, in columns, and nothing that a terminal would obey.

use serde_json::Value;

/// Text from elsewhere without control characters: an image's name must not write on somebody's terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

/// JSON without control characters: those behind ASCII, which the library leaves as they are, are commands for terminals too.
pub(crate) fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            // They stand in strings only.
            '\u{7f}'..='\u{9f}' => safe.push_str(&format!("\\u{:04x}", u32::from(letter))),
            _ => safe.push(letter),
        }
    }
    safe
}

/// A value in one word.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => tame(text),
        Value::Array(all) if all.is_empty() => "-".to_owned(),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        Value::Object(_) => tame(&value.to_string()),
    }
}

/// An object as lines of names and values, with points between the names of what is inside of another.
pub(crate) fn tree(value: &Value) -> String {
    let mut rows = Vec::new();
    flatten(value, "", &mut rows);
    table(&rows.iter().map(|(name, value)| [name.as_str(), value.as_str()]).collect::<Vec<_>>())
}

fn flatten(value: &Value, name: &str, rows: &mut Vec<(String, String)>) {
    let inside = |part: &str| if name.is_empty() { tame(part) } else { format!("{name}.{}", tame(part)) };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (part, value) in fields {
                flatten(value, &inside(part), rows);
            }
        }
        Value::Array(all) if all.iter().any(|one| one.is_object() || one.is_array()) => {
            for (number, value) in all.iter().enumerate() {
                flatten(value, &inside(&number.to_string()), rows);
            }
        }
        Value::Object(_) => rows.push((name.to_owned(), "-".to_owned())),
        _ => rows.push((name.to_owned(), word(value))),
    }
}

/// Rows in columns, two blanks apart.
pub(crate) fn table<const N: usize>(rows: &[[&str; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Bytes in a unit that makes them short.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = "B";
    for next in units {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    if unit == "B" || size >= 100.0 { format!("{size:.0} {unit}") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_object_is_lines_of_names_and_values() {
        let state = json!({"online": true, "leds": {"caps": false}, "names": ["a", "b"], "none": null,
            "rows": [{"x": 1}, {"x": 2}], "empty": {}, "text": "a\u{1b}[2Jb"});
        assert_eq!(
            tree(&state),
            "empty      -\nleds.caps  no\nnames      a, b\nnone       -\nonline     yes\nrows.0.x   1\nrows.1.x   2\ntext       a[2Jb\n"
        );
    }

    #[test]
    fn bytes_have_two_or_three_digits() {
        for (count, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456_789, "123 MB"), (u64::MAX, "18446744 TB")]
        {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn json_stays_the_same_json_and_commands_no_terminal() {
        let told = json!({"na\u{9b}me": "a\u{7f}\u{9b}2J\u{1b}ä\n", "n": [1]});
        for text in [told.to_string(), format!("{told:#}")] {
            let safe = json(&text);
            assert!(!safe.chars().any(|letter| letter != '\n' && letter.is_control()), "{safe}");
            assert_eq!(serde_json::from_str::<Value>(&safe).unwrap(), told);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_elsewhere_commands_a_terminal(text in any::<String>()) {
            let shown = tree(&json!({text.clone(): text}));
            prop_assert!(!shown.trim_end_matches('\n').chars().any(char::is_control));
        }
    }
}
