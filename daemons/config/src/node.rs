//! A YAML value that remembers where it was written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where something was written: file, line and column, both counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The settings file.
    pub file: Arc<Path>,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column, from 1; 0 when the whole line is meant.
    pub column: usize,
}

impl At {
    /// The file as a whole.
    #[must_use]
    pub fn file(file: &Path) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return out.write_str("defaults");
        }
        write!(out, "{}", self.file.display())?;
        if self.line > 0 {
            write!(out, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// One value of a settings file and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What a value is. Scalars keep their text, because only the key's rule knows what it should be: a password
/// `0123` is not the number 123, and a mode `0660` is octal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar { text: String, quoted: bool },
    List(Vec<Node>),
    Map(Map),
}

/// A map in the order it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Map {
    entries: Vec<Entry>,
}

/// One `key: value` of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) at: At,
    pub(crate) node: Node,
}

impl Map {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Adds or replaces; tells whether the key was there.
    pub(crate) fn insert(&mut self, entry: Entry) -> bool {
        if let Some(old) = self.entries.iter_mut().find(|old| old.key == entry.key) {
            *old = entry;
            return true;
        }
        self.entries.push(entry);
        false
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}

impl Node {
    pub(crate) fn text(text: impl Into<String>, at: At) -> Self {
        Self { at, value: Value::Scalar { text: text.into(), quoted: true } }
    }

    pub(crate) fn map(at: At) -> Self {
        Self { at, value: Value::Map(Map::default()) }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The node a dotted path leads to.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.as_map()?.get(key))
    }

    /// What a person would call this value, for "expected …, found …".
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar { text, quoted } => {
                let short: String = text.chars().take(60).collect();
                let dots = if short.len() < text.len() { "…" } else { "" };
                if *quoted || short.is_empty() {
                    format!("{short:?}{dots}")
                } else {
                    format!("{}{dots}", short.escape_debug())
                }
            }
        }
    }

    /// As JSON, guessing the types of plain scalars as YAML's core schema does.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Scalar { text, quoted: true } => Json::from(text.as_str()),
            Value::Scalar { text, .. } => match text.as_str() {
                "true" | "True" | "TRUE" => Json::Bool(true),
                "false" | "False" | "FALSE" => Json::Bool(false),
                text => {
                    let float =
                        || text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number);
                    text.parse::<i64>()
                        .ok()
                        .map(Json::from)
                        .or_else(float)
                        .unwrap_or_else(|| Json::from(text))
                }
            },
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(map) => map.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
        }
    }
}
