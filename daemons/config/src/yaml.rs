//! From YAML text to [`Node`]s: YAML 1.2, one document, everything bounded.
//!
//! Built on saphyr's events rather than on its documents, because a key's rule wants the text of a scalar as it
//! was written, because `!include` is ours, and because aliases have to be counted while they are expanded.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::node::{At, Entry, Map, Node, Value};
use crate::report::{Problem, Reader};

/// The deepest nesting of one file.
const MAX_DEPTH: usize = 64;

/// What stops a small file from becoming a large tree: values left for all files together.
pub(crate) const MAX_NODES: usize = 20_000;

/// Puts other files in the place of an `!include`.
pub(crate) trait Include {
    /// The tree of `names`, which stand in the file of `at`.
    fn include(&mut self, names: &[String], at: &At, reader: &mut Reader) -> Result<Node, Problem>;
    /// Values that may still be read; counted down here.
    fn budget(&mut self) -> &mut usize;
}

/// Parses the text of `file`.
///
/// # Errors
/// The first thing that is not YAML, or a bound that is exceeded.
pub(crate) fn parse(
    text: &str,
    file: &Path,
    include: &mut dyn Include,
    reader: &mut Reader,
) -> Result<Node, Problem> {
    let file: Arc<Path> = file.into();
    let events = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut builder = Builder { events, file, anchors: HashMap::new(), include, reader };
    builder.document()
}

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    file: Arc<Path>,
    anchors: HashMap<usize, Node>,
    include: &'a mut dyn Include,
    reader: &'a mut Reader,
}

impl<'a> Builder<'a> {
    fn at(&self, marker: Marker) -> At {
        At { file: self.file.clone(), line: marker.line(), column: marker.col() + 1 }
    }

    fn problem(&self, marker: Marker, text: impl Into<String>) -> Problem {
        Problem { at: Some(self.at(marker)), key: String::new(), text: text.into() }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.problem(*error.marker(), format!("not YAML: {}", error.info()))),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(self.problem(span.start, "expected one document, found a second one"));
                }
                Event::DocumentStart(_) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, 0)?);
                }
                _ => return Err(self.problem(span.start, "not YAML: a value outside of a document")),
            }
        }
        Ok(root.unwrap_or_else(|| Node { at: At::file(&self.file), value: Value::Null }))
    }

    /// Takes `count` values off the budget.
    fn spend(&mut self, count: usize, marker: Marker) -> Result<(), Problem> {
        let budget = self.include.budget();
        if *budget < count {
            return Err(
                self.problem(marker, format!("too much: all files together may hold {MAX_NODES} values"))
            );
        }
        *budget -= count;
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(span.start, format!("too deep: at most {MAX_DEPTH} levels")));
        }
        self.spend(1, span.start)?;
        let at = self.at(span.start);
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span.start),
            Event::Scalar(text, style, anchor, tag) => (scalar(&text, style, tag.as_deref()), anchor, tag),
            Event::SequenceStart(anchor, tag) => (Value::List(self.list(depth)?), anchor, tag),
            Event::MappingStart(anchor, tag) => (Value::Map(self.map(depth)?), anchor, tag),
            _ => return Err(self.problem(span.start, "not YAML: a value is missing")),
        };
        let mut node = Node { at, value };
        if tag.is_some_and(|tag| tag.handle == "!" && tag.suffix == "include") {
            let names = self.include_names(&node)?;
            node = self.include.include(&names, &node.at, self.reader)?;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, marker: Marker) -> Result<Node, Problem> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(self.problem(marker, "an alias inside of what it names"));
        };
        self.spend(size(&node), marker)?;
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Map, Problem> {
        let mut map = Map::default();
        let mut merged = Vec::new();
        loop {
            let (key, at, is_merge) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, ..), span) => {
                    let is_merge = text == "<<" && style == ScalarStyle::Plain;
                    (text.into_owned(), self.at(span.start), is_merge)
                }
                (_, span) => {
                    return Err(self.problem(span.start, "expected a key, found a list, map or alias"));
                }
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if is_merge {
                merged.push(node);
            } else if map.insert(Entry { key: key.clone(), at: at.clone(), node }) {
                self.reader.warn(&at, &key, "given twice in one map; the last one counts");
            }
        }
        for node in merged {
            self.merge_key(&mut map, node)?;
        }
        Ok(map)
    }

    /// `<<: *base`: the keys of another map, unless this one has them.
    fn merge_key(&mut self, map: &mut Map, node: Node) -> Result<(), Problem> {
        let bases = match node.value {
            Value::List(items) => items,
            value => vec![Node { at: node.at, value }],
        };
        for base in bases {
            let found = base.found();
            let Value::Map(base_map) = base.value else {
                let text = format!("expected a map or a list of maps, found {found}");
                return Err(Problem { at: Some(base.at), key: "<<".to_owned(), text });
            };
            for entry in base_map.into_entries() {
                if map.get(&entry.key).is_none() {
                    map.insert(entry);
                }
            }
        }
        Ok(())
    }

    fn include_names(&self, node: &Node) -> Result<Vec<String>, Problem> {
        let names = match &node.value {
            Value::Scalar { text, .. } => Some(vec![text.clone()]),
            Value::List(items) => items.iter().map(|item| item.as_text().map(str::to_owned)).collect(),
            _ => None,
        };
        names.ok_or_else(|| Problem {
            at: Some(node.at.clone()),
            key: "!include".to_owned(),
            text: format!("expected a file, a directory or a list of them, found {}", node.found()),
        })
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_str = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    let quoted = style != ScalarStyle::Plain || is_str;
    if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar { text: text.to_owned(), quoted }
}

/// How many values `node` is made of.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(map) => 1 + map.iter().map(|entry| size(&entry.node)).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Refuses every include.
    struct NoFiles(usize);

    impl Include for NoFiles {
        fn include(&mut self, names: &[String], at: &At, _: &mut Reader) -> Result<Node, Problem> {
            Err(Problem { at: Some(at.clone()), key: String::new(), text: format!("no files: {names:?}") })
        }

        fn budget(&mut self) -> &mut usize {
            &mut self.0
        }
    }

    fn read(text: &str) -> Result<Node, String> {
        parse(text, Path::new("/t.yaml"), &mut NoFiles(MAX_NODES), &mut Reader::default())
            .map_err(|problem| problem.to_string())
    }

    fn json(text: &str) -> String {
        read(text).unwrap().to_json().to_string()
    }

    #[test]
    fn only_true_and_false_are_flags() {
        assert_eq!(json("[true, false, yes, off, 'true']"), r#"[true,false,"yes","off","true"]"#);
    }

    #[test]
    fn a_value_knows_its_line_and_column() {
        let node = read("a:\n  b: 5\n  c:\n    - x\n").unwrap();
        let at = &node.find(&["a", "b"]).unwrap().at;
        assert_eq!((at.line, at.column), (2, 6));
    }

    #[test]
    fn nothing_is_an_empty_tree() {
        for text in ["", "# only a comment\n", "---\n", "~"] {
            assert_eq!(read(text).unwrap().value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_filled_in() {
        assert_eq!(json("a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}"), {
            r#"{"a":{"b":1,"c":2},"d":{"b":1,"c":2},"e":{"b":1,"c":3}}"#
        });
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let base = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", base.trim_end_matches(", ")));
        }
        let error = read(&text).unwrap_err();
        assert!(error.contains("too much"), "{error}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(100) + &"]".repeat(100), "- ".repeat(10_000), "[".repeat(100_000)] {
            assert!(read(&text).is_err());
        }
    }

    #[test]
    fn two_documents_are_refused() {
        assert_eq!(
            read("a: 1\n---\nb: 2\n").unwrap_err(),
            "/t.yaml:2: expected one document, found a second one"
        );
    }

    #[test]
    fn a_key_given_twice_is_told() {
        let mut reader = Reader::default();
        let node = parse("a: 1\nb: 2\na: 3", Path::new("/t.yaml"), &mut NoFiles(10), &mut reader).unwrap();
        assert_eq!(node.to_json().to_string(), r#"{"a":3,"b":2}"#);
        assert_eq!(
            reader.warnings[0].to_string(),
            "/t.yaml:3: a: given twice in one map; the last one counts"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = read(&text);
        }

        #[test]
        fn no_text_made_of_yaml_pieces_panics(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("a"), Just(": "), Just("\n"), Just("- "), Just("  "), Just("["), Just("]"), Just("{"),
                    Just("}"), Just(", "), Just("&x "), Just("*x"), Just("!include "), Just("<<"), Just("'"),
                    Just("\""), Just("|\n"), Just("? "), Just("---\n"), Just("...\n"), Just("#"), Just("\t"),
                    Just("!!str "), Just("%YAML 1.2\n"), Just("~"), Just("é"), Just("\u{feff}"), Just("\0"),
                ],
                0..40,
            ),
        ) {
            let _ = read(&pieces.concat());
        }
    }
}
