//! `kvmd.gpio.*`: named switches and lights.

use std::collections::BTreeMap;
use std::time::Duration;

use super::driver::{Driver, Drivers};
use crate::rule::{MapOf, Row, choice, choices, flag, map_of, optional, rows, seconds, text, title};
use crate::section::section;

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

pub(super) fn is_word(name: &str, inner: &[char]) -> bool {
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
        /// Output: what it is set to when the appliance starts (not at a restart of `kvmd` alone); nothing = it keeps what it has.
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
