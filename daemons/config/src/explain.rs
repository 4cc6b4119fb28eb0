//! Explaining settings: all of them, only those that differ, and the documentation page.

use std::fmt::Write;

use serde_json::Value as Json;

use crate::section::{Described, Section};
use crate::{Config, Layout};

/// One setting that is not at its default. Secrets are masked in both values.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The dotted key.
    pub key: String,
    /// What it is; null for a key that is gone from a map of names.
    pub value: Json,
    /// What it would be; null for a key that has no default.
    pub default: Json,
}

impl Config {
    /// All settings as PiKVM's tree, secrets masked.
    #[must_use]
    pub fn show(&self) -> Json {
        Section::show(self)
    }

    /// What differs from the defaults of `layout`, in the order of the keys.
    #[must_use]
    pub fn diff(&self, layout: &Layout) -> Vec<Change> {
        let mut changes = Vec::new();
        compare("", &self.show(), &Self::defaults(layout).show(), &mut changes);
        changes
    }
}

fn compare(key: &str, value: &Json, default: &Json, out: &mut Vec<Change>) {
    let (Json::Object(values), Json::Object(defaults)) = (value, default) else {
        if value != default {
            out.push(Change { key: key.to_owned(), value: value.clone(), default: default.clone() });
        }
        return;
    };
    for (name, value) in values {
        compare(&crate::report::join(key, name), value, defaults.get(name).unwrap_or(&Json::Null), out);
    }
    for (name, default) in defaults.iter().filter(|(name, _)| !values.contains_key(*name)) {
        let key = crate::report::join(key, name);
        out.push(Change { key, value: Json::Null, default: default.clone() });
    }
}

/// `json` as YAML that reads back as the same tree.
#[must_use]
pub fn to_yaml(json: &Json) -> String {
    let mut out = String::new();
    match json {
        Json::Object(map) if !map.is_empty() => yaml_value(json, 0, &mut out),
        json => out = format!("{json}\n"),
    }
    out
}

/// Scalars and lists as JSON, which is YAML; maps as blocks.
fn yaml_value(json: &Json, depth: usize, out: &mut String) {
    let Json::Object(map) = json else { return };
    for (key, value) in map {
        let is_plain =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_word = is_plain && !key.starts_with(|first: char| first.is_ascii_digit()) && !is_reserved(key);
        let key = if is_word { key.clone() } else { Json::from(key.as_str()).to_string() };
        let _ = write!(out, "{:width$}{key}:", "", width = depth * 4);
        match value {
            Json::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                yaml_value(value, depth + 1, out);
            }
            value => {
                let _ = writeln!(out, " {value}");
            }
        }
    }
}

fn is_reserved(word: &str) -> bool {
    matches!(
        word.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    )
}

/// The page `docs/configuration.md`.
#[must_use]
pub fn documentation() -> String {
    let layout = Layout::system();
    let mut lines = Vec::new();
    Config::defaults(&layout).describe("", &mut lines);
    let mut page = String::from(HEAD);
    let mut sections: Vec<(String, String, String)> = vec![(String::new(), String::new(), String::new())];
    for line in lines {
        match line {
            Described::Section { key, doc } => sections.push((key, doc, String::new())),
            Described::Key { key, expects, default, doc } => {
                let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
                let row =
                    format!("| `{key}` | {} | `{}` | {} |\n", cell(&expects), cell(&default), cell(&doc));
                if let Some((_, _, rows)) = sections.iter_mut().rev().find(|(section, ..)| section == parent)
                {
                    rows.push_str(&row);
                }
            }
        }
    }
    for (key, doc, rows) in sections {
        let title = if key.is_empty() { "Sections kept for later" } else { &key };
        let _ = write!(page, "\n## {title}\n\n");
        if !doc.is_empty() {
            let _ = write!(page, "{doc}\n\n");
        }
        if !rows.is_empty() {
            let _ = write!(page, "| Key | Expects | Default | Meaning |\n|---|---|---|---|\n{rows}");
        }
    }
    page
}

/// `text` inside of a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

const HEAD: &str = "\
# Settings

Made from the declarations in `daemons/config` by `UPDATE_DOCS=1 cargo test -p config`; a test keeps it in step.

Files are read in this order, and what comes later wins: the built-in defaults below, `/usr/lib/kvmd/main.yaml`,
`/etc/kvmd/auth.yaml` (an older form, put at `kvmd.auth`), every file of `/etc/kvmd/override.d/` in name order,
`/etc/kvmd/override.yaml`, and each `--config FILE`. Maps are merged key by key, lists are replaced. `!include` takes a
file, a directory or a list of them, relative to the file it stands in.

A bad value stops the start (exit code 64) with file, line, key and what was expected; an unknown key is a warning.
`kvmctl config check` tells both, `kvmctl config show` all settings, `kvmctl config diff` those that are not at their
default. With `--state DIR`, `/run/kvmd`, `/var/lib/kvmd`, `/etc/kvmd` and `/usr/lib/kvmd` become `run`, `var`, `etc` and
`lib` below it; listeners are then on loopback, ports 8080 and 8443, and the target is a virtual machine.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_quotes_what_would_be_read_as_something_else() {
        let json = serde_json::json!({"a": {"b": "yes", "c": [1, "x"], "on": {}}, "1": null, "d-e": 1.5});
        assert_eq!(
            to_yaml(&json),
            "\"1\": null\na:\n    b: \"yes\"\n    c: [1,\"x\"]\n    \"on\": {}\n\"d-e\": 1.5\n"
        );
    }

    #[test]
    fn defaults_do_not_differ_from_themselves() {
        let layout = Layout::system();
        assert_eq!(Config::defaults(&layout).diff(&layout), []);
    }
}
