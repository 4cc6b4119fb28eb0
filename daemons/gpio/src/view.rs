//! The view: configured item texts turned into what the web page draws.
//!
//! An item is `#text` or empty (a label), `channel[|color]` (an input), `channel[|text]` or `channel|opts|text` (an
//! output; `opts` out of `confirm,hide`). Items of unknown channels vanish; an empty row separates tables.

use crate::model::{Scheme, ViewSettings};

/// The color of an input's light.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    /// Also what an unknown color becomes.
    #[default]
    Green,
    /// Yellow.
    Yellow,
    /// Red.
    Red,
    /// Blue.
    Blue,
    /// Cyan.
    Cyan,
    /// Magenta.
    Magenta,
    /// Pink.
    Pink,
    /// White.
    White,
}

impl Color {
    const NAMES: [(&str, Self); 8] = [
        ("green", Self::Green),
        ("yellow", Self::Yellow),
        ("red", Self::Red),
        ("blue", Self::Blue),
        ("cyan", Self::Cyan),
        ("magenta", Self::Magenta),
        ("pink", Self::Pink),
        ("white", Self::White),
    ];

    /// The color of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, color)| *color)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, color)| *color == self).map_or("green", |(name, _)| name)
    }
}

/// One thing in the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Text.
    Label {
        /// The text.
        text: String,
    },
    /// A light.
    Input {
        /// The channel it shows.
        channel: String,
        /// Its color when on.
        color: Color,
    },
    /// A button or switch.
    Output {
        /// The channel it acts on.
        channel: String,
        /// The button's caption.
        text: String,
        /// Ask before acting.
        confirm: bool,
        /// Not shown in the menu.
        hide: bool,
    },
}

/// The menu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its caption.
    pub title: Vec<Item>,
    /// Its rows; `None` separates tables.
    pub table: Vec<Option<Vec<Item>>>,
}

pub(crate) fn build(settings: &ViewSettings, scheme: &Scheme) -> View {
    let items = |texts: &[String]| texts.iter().filter_map(|text| parse(text, scheme)).collect::<Vec<_>>();
    View {
        // A caption without a mark is a label too: `GPIO` is the documented default.
        title: settings
            .title
            .iter()
            .filter_map(|text| parse(text, scheme).or_else(|| Some(label(text))))
            .collect(),
        table: settings.table.iter().map(|row| (!row.is_empty()).then(|| items(row))).collect(),
    }
}

fn label(text: &str) -> Item {
    Item::Label { text: text.trim().to_owned() }
}

fn parse(text: &str, scheme: &Scheme) -> Option<Item> {
    let text = text.trim();
    if text.is_empty() {
        return Some(label(""));
    }
    if let Some(rest) = text.strip_prefix('#') {
        return Some(label(rest));
    }
    let mut parts = text.splitn(3, '|').map(str::trim);
    let channel = parts.next()?;
    let (second, third) = (parts.next(), parts.next());
    if scheme.inputs.contains_key(channel) {
        let color = second.and_then(Color::from_name).unwrap_or_default();
        return Some(Item::Input { channel: channel.to_owned(), color });
    }
    if !scheme.outputs.contains_key(channel) {
        return None;
    }
    let (opts, caption) = match (second, third) {
        (Some(opts), Some(caption)) => (opts, caption),
        (caption, _) => ("", caption.unwrap_or("")),
    };
    let has = |name: &str| opts.split(',').any(|opt| opt.trim() == name);
    let caption = if caption.is_empty() { "Click" } else { caption };
    Some(Item::Output {
        channel: channel.to_owned(),
        text: caption.to_owned(),
        confirm: has("confirm"),
        hide: has("hide"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Hw, OutputScheme, Pulse};

    fn scheme() -> Scheme {
        let hw = || Hw { driver: "n".to_owned(), pin: "1".to_owned() };
        let tenth = Duration::from_millis(100);
        let pulse = Pulse { delay: tenth, min_delay: tenth, max_delay: tenth };
        Scheme {
            inputs: [("led1".to_owned(), hw())].into(),
            outputs: [("rel1".to_owned(), OutputScheme { switch: true, pulse, hw: hw() })].into(),
        }
    }

    fn one(text: &str) -> Option<Item> {
        parse(text, &scheme())
    }

    fn output(text: &str, confirm: bool, hide: bool) -> Option<Item> {
        Some(Item::Output { channel: "rel1".to_owned(), text: text.to_owned(), confirm, hide })
    }

    #[test]
    fn labels_start_with_a_hash_or_are_empty() {
        assert_eq!(one("#  Front panel "), Some(label("Front panel")));
        assert_eq!(one("  "), Some(label("")));
    }

    #[test]
    fn an_input_has_a_color_and_an_unknown_one_is_green() {
        let input = |color| Some(Item::Input { channel: "led1".to_owned(), color });
        assert_eq!(one("led1"), input(Color::Green));
        assert_eq!(one(" led1 | magenta "), input(Color::Magenta));
        assert_eq!(one("led1|mauve"), input(Color::Green));
    }

    #[test]
    fn an_output_has_a_caption_and_options() {
        assert_eq!(one("rel1"), output("Click", false, false));
        assert_eq!(one("rel1|Go"), output("Go", false, false));
        assert_eq!(one("rel1|confirm|Go"), output("Go", true, false));
        assert_eq!(one("rel1|confirm, hide|Go|on"), output("Go|on", true, true));
        assert_eq!(one("rel1||"), output("Click", false, false));
    }

    #[test]
    fn unknown_channels_vanish_and_empty_rows_separate() {
        let settings = ViewSettings {
            title: vec!["Switches".to_owned()],
            table: vec![vec!["#A".to_owned(), "nobody|x".to_owned()], vec![], vec!["led1".to_owned()]],
        };
        let view = build(&settings, &scheme());
        assert_eq!(view.title, [label("Switches")]);
        assert_eq!(view.table.len(), 3);
        assert_eq!(view.table[0], Some(vec![label("A")]));
        assert_eq!(view.table[1], None);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic_and_names_only_known_channels(text in ".{0,40}") {
            match one(&text) {
                None | Some(Item::Label { .. }) => {}
                Some(Item::Input { channel, .. }) => prop_assert_eq!(channel, "led1"),
                Some(Item::Output { channel, text, .. }) => {
                    prop_assert_eq!(channel, "rel1");
                    prop_assert!(!text.is_empty());
                }
            }
        }
    }
}
