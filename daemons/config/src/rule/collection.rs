//! Rules for values made of values: lists, maps by name, and what is kept as it is.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Leaf, MASK, Rule};
use crate::Layout;
use crate::node::{Node, Value};
use crate::report::{Reader, join};
use crate::section::{Described, Section};

/// A list whose items all follow one rule.
pub(crate) struct List<L>(L);

pub(crate) fn list<L>(item: L) -> List<L> {
    List(item)
}

impl<T, L: Leaf<T>> Leaf<Vec<T>> for List<L> {
    fn expects(&self) -> String {
        format!("a list, each item {}", self.0.expects())
    }

    fn parse(&self, node: &Node) -> Option<Vec<T>> {
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.0.parse(item)).collect(),
            _ => None,
        }
    }

    fn show(&self, value: &Vec<T>) -> Json {
        value.iter().map(|item| self.0.show(item)).collect()
    }

    fn fault<'a>(&self, node: &'a Node) -> (String, &'a Node) {
        match &node.value {
            Value::List(items) => items
                .iter()
                .find(|item| self.0.parse(item).is_none())
                .map_or((self.expects(), node), |item| (self.0.expects(), item)),
            _ => (self.expects(), node),
        }
    }
}

/// A program and its arguments.
pub(crate) struct Arguments;

pub(crate) fn arguments() -> Arguments {
    Arguments
}

impl Leaf<Vec<String>> for Arguments {
    fn expects(&self) -> String {
        "a list: a program and its arguments".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<Vec<String>> {
        let Value::List(items) = &node.value else { return None };
        let words: Vec<String> =
            items.iter().map(|item| item.as_text().map(str::to_owned)).collect::<Option<_>>()?;
        let is_good = words.iter().all(|word| word.len() <= 4096 && !word.contains('\0'));
        (is_good && words.first().is_some_and(|program| !program.is_empty())).then_some(words)
    }

    fn show(&self, value: &Vec<String>) -> Json {
        value.clone().into()
    }
}

/// A value, or nothing: the empty text and null.
pub(crate) struct Maybe<L>(L);

pub(crate) fn optional<L>(rule: L) -> Maybe<L> {
    Maybe(rule)
}

impl<T, L: Leaf<T>> Leaf<Option<T>> for Maybe<L> {
    fn expects(&self) -> String {
        format!("{} or nothing", self.0.expects())
    }

    fn parse(&self, node: &Node) -> Option<Option<T>> {
        match &node.value {
            Value::Null => Some(None),
            Value::Scalar { text, .. } if text.is_empty() => Some(None),
            _ => self.0.parse(node).map(Some),
        }
    }

    fn show(&self, value: &Option<T>) -> Json {
        value.as_ref().map_or(Json::Null, |value| self.0.show(value))
    }
}

/// A map from names the user chooses to sections of one type.
pub(crate) struct MapOf {
    what: &'static str,
    is_name: fn(&str) -> bool,
    required: &'static [&'static str],
}

/// `required` are the keys without which a section makes no sense.
pub(crate) fn map_of(
    what: &'static str,
    is_name: fn(&str) -> bool,
    required: &'static [&'static str],
) -> MapOf {
    MapOf { what, is_name, required }
}

impl<T: Section> Rule<BTreeMap<String, T>> for MapOf {
    fn read(
        &self,
        node: &Node,
        key: &str,
        slot: &mut BTreeMap<String, T>,
        layout: &Layout,
        reader: &mut Reader,
    ) {
        let Some(map) = node.as_map() else {
            if node.value != Value::Null {
                reader.expected(
                    &node.at,
                    key,
                    &format!("a map from {}s to settings", self.what),
                    &node.found(),
                );
            }
            return;
        };
        for entry in map.iter() {
            let key = join(key, &entry.key);
            if !(self.is_name)(&entry.key) {
                reader.expected(&entry.at, &key, &format!("a {}", self.what), &format!("{:?}", entry.key));
                continue;
            }
            for required in self.required {
                if entry.node.as_map().is_none_or(|map| map.get(required).is_none()) {
                    reader.problem(&entry.at, &key, format!("expected the key {required:?}, found none"));
                }
            }
            let value = slot.entry(entry.key.clone()).or_insert_with(|| T::defaults(layout));
            crate::section::read(value, &entry.node, &key, layout, reader);
        }
    }

    fn show(&self, value: &BTreeMap<String, T>) -> Json {
        value.iter().map(|(name, value)| (name.clone(), value.show())).collect()
    }

    fn describe(&self, key: &str, doc: &str, _: &BTreeMap<String, T>, out: &mut Vec<Described>) {
        let key = join(key, "NAME");
        out.push(Described::Section { key: key.clone(), doc: doc.to_owned() });
        T::defaults(&Layout::system()).describe(&key, out);
    }
}

/// A part of the settings that is kept as it was written, for whoever reads it later.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Foreign(pub serde_json::Map<String, Json>);

/// A map kept as it is. What looks like a secret in it is masked when it is shown.
pub(crate) struct AsIs;

pub(crate) fn foreign() -> AsIs {
    AsIs
}

impl Leaf<Foreign> for AsIs {
    fn expects(&self) -> String {
        "a map".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<Foreign> {
        match (&node.value, node.to_json()) {
            (Value::Null, _) => Some(Foreign::default()),
            (_, Json::Object(map)) => Some(Foreign(map)),
            _ => None,
        }
    }

    fn show(&self, value: &Foreign) -> Json {
        masked(&Json::Object(value.0.clone()))
    }
}

/// `json` with every text hidden whose key says that it is a secret.
fn masked(json: &Json) -> Json {
    let is_secret = |key: &str| ["passw", "secret", "token"].iter().any(|word| key.contains(word));
    match json {
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Json::Object(_) | Json::Array(_) => (key.clone(), masked(value)),
                _ if is_secret(&key.to_ascii_lowercase()) => (key.clone(), MASK.into()),
                _ => (key.clone(), value.clone()),
            })
            .collect(),
        Json::Array(items) => items.iter().map(masked).collect(),
        json => json.clone(),
    }
}

/// One row of the GPIO table: its items, or a separator.
pub type Row = Option<Vec<String>>;

/// The rows of the GPIO table.
pub(crate) struct Rows;

pub(crate) fn rows() -> Rows {
    Rows
}

fn texts(items: &[Node]) -> Option<Vec<String>> {
    items
        .iter()
        .map(|item| match &item.value {
            Value::Null => Some(String::new()),
            _ => item.as_text().map(str::to_owned),
        })
        .collect()
}

fn row(node: &Node) -> Option<Row> {
    match &node.value {
        Value::Null => Some(None),
        Value::List(items) if items.is_empty() => Some(None),
        Value::List(items) => texts(items).map(Some),
        _ => None,
    }
}

impl Leaf<Vec<Row>> for Rows {
    fn expects(&self) -> String {
        "a list of rows, each a list of texts or null".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<Vec<Row>> {
        match &node.value {
            Value::List(rows) => rows.iter().map(row).collect(),
            _ => None,
        }
    }

    fn show(&self, value: &Vec<Row>) -> Json {
        value.iter().map(|row| row.as_ref().map_or(Json::Null, |items| items.clone().into())).collect()
    }

    fn fault<'a>(&self, node: &'a Node) -> (String, &'a Node) {
        match &node.value {
            Value::List(rows) => rows
                .iter()
                .find(|item| row(item).is_none())
                .map_or((self.expects(), node), |row| ("a list of texts or null".to_owned(), row)),
            _ => (self.expects(), node),
        }
    }
}

/// The items of a heading; a lone text is a label.
pub(crate) struct Title;

pub(crate) fn title() -> Title {
    Title
}

impl Leaf<Vec<String>> for Title {
    fn expects(&self) -> String {
        "text or a list of texts".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<Vec<String>> {
        match &node.value {
            Value::List(items) => texts(items),
            Value::Scalar { text, .. } => Some(vec![format!("#{text}")]),
            _ => None,
        }
    }

    fn show(&self, value: &Vec<String>) -> Json {
        value.clone().into()
    }
}
