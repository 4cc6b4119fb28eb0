//! YAML files of the administrator as JSON-like values.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Number};

use crate::Value;

/// Larger files are refused: these are notes of a few lines.
const BYTES: u64 = 256 * 1024;
/// Deeper ones too: what they become is walked by recursion, here and in every client.
const DEPTH: usize = 32;

/// Reads a file: its first document, or null where it is empty.
pub(crate) fn read(path: &Path) -> io::Result<Value> {
    let mut text = String::new();
    let read = File::open(path)?.take(BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > BYTES {
        return Err(bad("larger than 256 KiB"));
    }
    parse(&text)
}

fn bad(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

pub(crate) fn parse(text: &str) -> io::Result<Value> {
    if nesting(text) > DEPTH {
        return Err(bad("nested too deep"));
    }
    let documents = Yaml::load_from_str(text).map_err(|error| bad(error.to_string()))?;
    documents.first().map_or(Ok(Value::Null), |document| convert(document, DEPTH))
}

/// An upper bound of how deep a text nests, so that the parser's own recursion is bounded as well: brackets in flow
/// style, and one level for every two columns of indentation or dash in block style.
fn nesting(text: &str) -> usize {
    let line = |line: &str| {
        let flow = line.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
        let indent = line.bytes().take_while(|byte| matches!(byte, b' ' | b'-' | b'?')).count();
        flow + indent / 2
    };
    // Flow style may go on over lines; block style does not add up.
    let flow = text.bytes().fold((0usize, 0usize), |(open, most), byte| match byte {
        b'[' | b'{' => (open + 1, most.max(open + 1)),
        b']' | b'}' => (open.saturating_sub(1), most),
        _ => (open, most),
    });
    text.lines().map(line).max().unwrap_or(0).max(flow.1)
}

fn convert(yaml: &Yaml<'_>, depth: usize) -> io::Result<Value> {
    let below = depth.checked_sub(1).ok_or_else(|| bad("nested too deep"))?;
    Ok(match yaml {
        Yaml::Value(scalar) => convert_scalar(scalar),
        Yaml::Sequence(items) => {
            Value::Array(items.iter().map(|item| convert(item, below)).collect::<io::Result<_>>()?)
        }
        Yaml::Mapping(entries) => {
            let entry = |(key, value): (&Yaml<'_>, &Yaml<'_>)| Ok((key_text(key)?, convert(value, below)?));
            Value::Object(entries.iter().map(entry).collect::<io::Result<Map<_, _>>>()?)
        }
        Yaml::Tagged(_, inner) => convert(inner, below)?,
        Yaml::Representation(text, _, _) => Value::String(text.to_string()),
        Yaml::Alias(_) | Yaml::BadValue => return Err(bad("an alias or a value that makes no sense")),
    })
}

fn convert_scalar(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(truth) => Value::Bool(*truth),
        Scalar::Integer(number) => Value::from(*number),
        // JSON has no NaN and no infinity.
        Scalar::FloatingPoint(number) => {
            Number::from_f64(number.into_inner()).map_or(Value::Null, Value::Number)
        }
        Scalar::String(text) => Value::String(text.to_string()),
    }
}

fn key_text(key: &Yaml<'_>) -> io::Result<String> {
    match key {
        Yaml::Value(Scalar::String(text)) => Ok(text.to_string()),
        Yaml::Value(scalar) => Ok(convert_scalar(scalar).to_string()),
        _ => Err(bad("a key that is not a plain value")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_of_every_kind_of_value_becomes_json() {
        let text = "server:\n    host: \"@auto\"\ntips: {left: [1, 2.5, true, null, x]}\n3: three\nyes: on\n";
        let wanted = json!({
            "server": {"host": "@auto"},
            "tips": {"left": [1, 2.5, true, null, "x"]},
            "3": "three",
            "yes": "on",
        });
        assert_eq!(parse(text).unwrap(), wanted);
        assert_eq!(parse("").unwrap(), Value::Null);
    }

    #[test]
    fn broken_endless_and_bottomless_files_are_refused() {
        assert!(parse("a: [1, 2").is_err());
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("a: {}1{}", "[\n".repeat(5000), "]".repeat(5000))).is_err());
        assert!(parse(&"- ".repeat(100_000)).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        std::fs::write(&path, "# filling\n".repeat(40_000)).unwrap();
        assert!(read(&path).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[-a-z0-9:{}\\[\\]&*!|>#'\", \\n]{0,80}") {
            let _ = parse(&text);
        }
    }
}
