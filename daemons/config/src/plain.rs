//! YAML as it was written, for small files that are no settings: text stays text, and nothing is included.

use std::path::Path;

use crate::node::{At, Node, Value};
use crate::report::{Problem, Reader};
use crate::yaml::{self, Include, MAX_NODES};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Plain {
    /// Its line, from 1.
    pub line: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing was written.
    Nothing,
    /// Text, be it quoted or not.
    Text(String),
    /// A list.
    List(Vec<Plain>),
    /// Keys, with their lines, in their order.
    Map(Vec<(String, usize, Plain)>),
}

/// Parses the text of a file.
///
/// # Errors
/// The first thing that is not YAML, a key that stands twice, an `!include`, or more values than settings may have.
pub fn parse_plain(text: &str, file: &Path) -> Result<Plain, String> {
    let mut reader = Reader::default();
    let node = yaml::parse(text, file, &mut Nothing(MAX_NODES), &mut reader)
        .map_err(|problem| problem.to_string())?;
    // What settings only warn of is wrong here.
    if let Some(warning) = reader.warnings.first() {
        return Err(warning.to_string());
    }
    if let Some(problem) = reader.problems.first() {
        return Err(problem.to_string());
    }
    Ok(convert(node))
}

fn convert(node: Node) -> Plain {
    let kind = match node.value {
        Value::Null => Kind::Nothing,
        Value::Scalar { text, .. } => Kind::Text(text),
        Value::List(items) => Kind::List(items.into_iter().map(convert).collect()),
        Value::Map(map) => Kind::Map(
            map.into_entries()
                .into_iter()
                .map(|entry| (entry.key, entry.at.line, convert(entry.node)))
                .collect(),
        ),
    };
    Plain { line: node.at.line, kind }
}

/// Includes nothing.
struct Nothing(usize);

impl Include for Nothing {
    fn include(&mut self, _: &[String], at: &At, _: &mut Reader) -> Result<Node, Problem> {
        Err(Problem {
            at: Some(at.clone()),
            key: String::new(),
            text: "nothing can be included here".to_owned(),
        })
    }

    fn budget(&mut self) -> &mut usize {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Plain, String> {
        parse_plain(text, Path::new("kvm.yaml"))
    }

    #[test]
    fn text_stays_as_it_was_written_and_keys_know_their_lines() {
        let text = |text: &str| Kind::Text(text.to_owned());
        let parsed = parse("psk: 01234567\nlist:\n  - 1.0\n  - 'yes'\nnone:\n").unwrap();
        let Kind::Map(keys) = parsed.kind else { unreachable!("{parsed:?}") };
        assert_eq!(
            keys.iter().map(|(key, line, _)| (key.as_str(), *line)).collect::<Vec<_>>(),
            [("psk", 1), ("list", 2), ("none", 5)]
        );
        assert_eq!(keys[0].2.kind, text("01234567"));
        let Kind::List(list) = &keys[1].2.kind else { unreachable!() };
        assert_eq!(list.iter().map(|item| item.kind.clone()).collect::<Vec<_>>(), [text("1.0"), text("yes")]);
        assert_eq!(keys[2].2.kind, Kind::Nothing);
        assert_eq!(parse("").unwrap().kind, Kind::Nothing);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (bad, why) in [
            ("a: [", "kvm.yaml:"),
            ("a: 1\na: 2\n", "kvm.yaml:2"),
            ("a: !include /etc/shadow\n", "kvm.yaml:1"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
