//! `kvmd.gpio.*`: named switches and lights.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use crate::Layout;
use crate::node::{Node, Value};
use crate::report::{Reader, join};
use crate::rule::{
    Foreign, MapOf, One, Row, Rule, choice, choices, flag, foreign, map_of, optional, rows, seconds, text,
    title,
};
use crate::section::{Described, section};

section! {
    /// Named switches and lights.
    pub struct Gpio(layout) {
        /// Seconds between two looks at drivers that cannot call back.
        state_poll: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// What drives the channels, by name. `__gpio__` is always there.
        drivers: BTreeMap<String, Driver> = [("__gpio__".to_owned(), Driver::gpio())].into(); Drivers,
        /// The channels, by name.
        scheme: BTreeMap<String, Channel> = BTreeMap::new(); channels(),
        /// How clients draw them.
        view: View,
    }
}

fn is_word(name: &str, inner: &[char]) -> bool {
    name.len() <= 255
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || inner.contains(&letter))
}

fn channels() -> MapOf {
    map_of("channel name", |name| is_word(name, &['_', '.', '-']), &["pin", "mode"])
}

choices! {
    /// What a channel does.
    pub enum GpioMode {
        /// It is read.
        Input = "input",
        /// It is driven.
        Output = "output",
    }
}

section! {
    /// One channel.
    pub struct Channel(layout) {
        /// The driver, by its name in `drivers`.
        driver: String = "__gpio__".to_owned() => text(),
        /// The driver's own name of the line.
        pin: String = String::new() => text(),
        /// What the channel does.
        mode: GpioMode = GpioMode::Input => choice(),
        /// Whether low means on.
        inverted: bool = false => flag(),
        /// Input: seconds the line must be quiet.
        debounce: Duration = Duration::from_millis(100) => seconds(0.0, 60.0),
        /// Output: what it is set to at start; nothing = it keeps what it has.
        initial: Option<bool> = Some(false) => optional(flag()),
        /// Output: whether clients may switch it.
        switch: bool = true => flag(),
        /// Output: seconds it rests after each change.
        busy_delay: Duration = Duration::from_millis(200) => seconds(0.0, 60.0),
        /// Output: short presses.
        pulse: Pulse,
    }
}

section! {
    /// Short presses. `false` in place of the map switches them off, as `delay: 0` does.
    pub struct Pulse(layout) {
        /// Seconds when the client says none; 0 = no short presses.
        delay: Duration = Duration::from_millis(100) => seconds(0.0, 3600.0),
        /// The shortest a client may ask for.
        min_delay: Duration = Duration::from_millis(100) => seconds(0.0, 3600.0),
        /// The longest a client may ask for.
        max_delay: Duration = Duration::from_millis(100) => seconds(0.0, 3600.0),
    }
}

section! {
    /// How clients draw the channels.
    pub struct View(layout) {
        /// The menu's heading.
        header: Header,
        /// Rows of `#label`, `channel|color`, `channel|text` and `channel|confirm,hide|text`; null = a line.
        table: Vec<Row> = Vec::new() => rows(),
    }
}

section! {
    /// The menu's heading.
    pub struct Header(layout) {
        /// Items as in a row of the table; a lone text is a label.
        title: Vec<String> = vec!["#GPIO".to_owned()] => title(),
    }
}

/// One driver: its type, and the options that only the driver understands.
#[derive(Debug, Clone, PartialEq)]
pub struct Driver {
    /// Which driver.
    pub r#type: String,
    /// The other keys, as they were written.
    pub options: Foreign,
}

impl Driver {
    fn gpio() -> Self {
        Self { r#type: "gpio".to_owned(), options: Foreign::default() }
    }
}

/// The driver types PiKVM knows. Which of them exist here, the daemon says when it starts them.
const DRIVER_TYPES: &[&str] = &[
    "gpio",
    "noop",
    "hidrelay",
    "noyito",
    "wol",
    "ipmi",
    "amt",
    "cmd",
    "cmdret",
    "pwm",
    "servo",
    "locator",
    "otgconf",
    "ezcoo",
    "extron",
    "xh_hk4401",
    "pway",
    "tesmart",
    "hue",
    "anelpwr",
];

/// The map of drivers.
struct Drivers;

impl Rule<BTreeMap<String, Driver>> for Drivers {
    fn read(
        &self,
        node: &Node,
        key: &str,
        slot: &mut BTreeMap<String, Driver>,
        _: &Layout,
        reader: &mut Reader,
    ) {
        let Some(map) = node.as_map() else {
            if node.value != Value::Null {
                reader.expected(&node.at, key, "a map from driver names to settings", &node.found());
            }
            return;
        };
        for entry in map.iter() {
            let key = join(key, &entry.key);
            if !is_word(&entry.key, &['_', '-']) {
                reader.expected(&entry.at, &key, "a driver name", &format!("{:?}", entry.key));
                continue;
            }
            let mut options = Foreign::default();
            Rule::read(&One(foreign()), &entry.node, &key, &mut options, &Layout::system(), reader);
            options.0.remove("type");
            let written = entry.node.as_map().and_then(|map| map.get("type"));
            let is_builtin = entry.key == "__gpio__";
            let kind = match written.map(|kind| (kind, kind.as_text())) {
                Some((_, Some(kind))) if DRIVER_TYPES.contains(&kind) => kind.to_owned(),
                None if is_builtin => "gpio".to_owned(),
                Some((kind, _)) => {
                    let expects = format!("one of {}", DRIVER_TYPES.join(", "));
                    reader.expected(&kind.at, &join(&key, "type"), &expects, &kind.found());
                    continue;
                }
                None => {
                    reader.problem(&entry.at, &key, "expected the key \"type\", found none");
                    continue;
                }
            };
            slot.insert(entry.key.clone(), Driver { r#type: kind, options });
        }
    }

    fn show(&self, value: &BTreeMap<String, Driver>) -> Json {
        let driver = |driver: &Driver| {
            let mut map = Rule::show(&One(foreign()), &driver.options);
            map["type"] = driver.r#type.as_str().into();
            map
        };
        value.iter().map(|(name, value)| (name.clone(), driver(value))).collect()
    }

    fn describe(&self, key: &str, doc: &str, _: &BTreeMap<String, Driver>, out: &mut Vec<Described>) {
        out.push(Described::Section { key: join(key, "NAME"), doc: doc.to_owned() });
        out.push(Described::Key {
            key: join(key, "NAME.type"),
            expects: format!("one of {}", DRIVER_TYPES.join(", ")),
            default: "none".to_owned(),
            doc: "Which driver; the other keys are the driver's own.".to_owned(),
        });
    }
}
