//! Rules for single values: flags, numbers, times, texts, paths, choices.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::Leaf;
use crate::node::Node;

/// `true` or `false`; as text also `yes`, `no`, `1`, `0`, in any case.
pub(crate) struct Flag;

pub(crate) fn flag() -> Flag {
    Flag
}

impl Leaf<bool> for Flag {
    fn expects(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<bool> {
        match node.as_text()?.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        }
    }

    fn show(&self, value: &bool) -> Json {
        (*value).into()
    }
}

/// A whole number within bounds, decimal or `0x…`.
pub(crate) struct Integer {
    min: i64,
    max: i64,
}

pub(crate) fn integer(min: i64, max: i64) -> Integer {
    Integer { min, max }
}

impl<T: Copy + TryFrom<i64> + TryInto<i64>> Leaf<T> for Integer {
    fn expects(&self) -> String {
        if self.max == i64::MAX {
            return format!("a whole number, {} or more", self.min);
        }
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn parse(&self, node: &Node) -> Option<T> {
        let text = node.as_text()?.trim();
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) if !hex.starts_with(['+', '-']) => i64::from_str_radix(hex, 16).ok()?,
            _ => text.parse().ok()?,
        };
        if number < self.min || number > self.max {
            return None;
        }
        T::try_from(number).ok()
    }

    fn show(&self, value: &T) -> Json {
        (*value).try_into().map_or(Json::Null, |number: i64| number.into())
    }
}

/// A time in seconds, with a fraction.
pub(crate) struct Seconds {
    min: f64,
    max: f64,
}

/// `max` is at most some centuries, so that no sum of times overflows.
pub(crate) fn seconds(min: f64, max: f64) -> Seconds {
    Seconds { min, max }
}

impl Leaf<Duration> for Seconds {
    fn expects(&self) -> String {
        format!("seconds from {} to {}", self.min, self.max)
    }

    fn parse(&self, node: &Node) -> Option<Duration> {
        let number: f64 = node.as_text()?.trim().parse().ok()?;
        // Not a number is in no range.
        (self.min..=self.max).contains(&number).then(|| Duration::try_from_secs_f64(number).ok())?
    }

    fn show(&self, value: &Duration) -> Json {
        value.as_secs_f64().into()
    }
}

/// Any number within bounds.
pub(crate) struct Number {
    min: f64,
    max: f64,
}

pub(crate) fn number(min: f64, max: f64) -> Number {
    Number { min, max }
}

impl Leaf<f64> for Number {
    fn expects(&self) -> String {
        format!("a number from {} to {}", self.min, self.max)
    }

    fn parse(&self, node: &Node) -> Option<f64> {
        // Not a number is within no bounds.
        node.as_text()?.trim().parse().ok().filter(|number| (self.min..=self.max).contains(number))
    }

    fn show(&self, value: &f64) -> Json {
        (*value).into()
    }
}

/// The address of a network card.
pub(crate) struct Mac;

pub(crate) fn mac() -> Mac {
    Mac
}

impl Leaf<[u8; 6]> for Mac {
    fn expects(&self) -> String {
        "the address of a network card such as 02:00:5e:10:00:01".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<[u8; 6]> {
        let text = node.as_text()?.trim();
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part =
                parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(bytes)
    }

    fn show(&self, value: &[u8; 6]) -> Json {
        value.map(|byte| format!("{byte:02x}")).join(":").into()
    }
}

/// Text that passes a test.
pub(crate) struct Text {
    what: &'static str,
    is_good: fn(&str) -> bool,
}

/// Any text without control characters, up to 4096 bytes.
pub(crate) fn text() -> Text {
    Text { what: "text", is_good: |text| text.len() <= 4096 && !text.chars().any(char::is_control) }
}

/// What a USB device may call itself: its strings have up to 126 UTF-16 units.
pub(crate) fn usb_text() -> Text {
    Text {
        what: "text of up to 126 characters",
        is_good: |text| text.encode_utf16().count() <= 126 && !text.chars().any(char::is_control),
    }
}

/// A plain name for a file or a directory.
pub(crate) fn file_name() -> Text {
    Text {
        what: "a name of letters, digits, dots, dashes and underscores",
        is_good: |text| {
            (1..=64).contains(&text.len())
                && !text.starts_with('.')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        },
    }
}

/// A host name or an IP address.
pub(crate) fn host() -> Text {
    Text {
        what: "a host name or an IP address",
        is_good: |text| {
            let is_label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
        },
    }
}

/// The name of a user or a group of this system or of ours.
pub(crate) fn user() -> Text {
    Text {
        what: "a user name",
        is_good: |text| {
            let is_inner =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"@._-".contains(&byte);
            text.len() <= 128
                && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
                && !text.ends_with(['.', '@'])
                && text.bytes().all(is_inner)
        },
    }
}

/// The name or path of a program.
pub(crate) fn command() -> Text {
    Text {
        what: "the name or path of a program",
        is_good: |text| !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control),
    }
}

impl Leaf<String> for Text {
    fn expects(&self) -> String {
        self.what.to_owned()
    }

    fn parse(&self, node: &Node) -> Option<String> {
        node.as_text().filter(|text| (self.is_good)(text)).map(str::to_owned)
    }

    fn show(&self, value: &String) -> Json {
        value.as_str().into()
    }
}

/// An absolute path.
pub(crate) struct AbsolutePath;

pub(crate) fn path() -> AbsolutePath {
    AbsolutePath
}

fn absolute(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_plain = !text.contains('\0') && text.len() <= 4096;
    (is_plain && path.is_absolute() && !path.components().any(|part| part == Component::ParentDir))
        .then(|| path.to_owned())
}

impl Leaf<PathBuf> for AbsolutePath {
    fn expects(&self) -> String {
        "an absolute path".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<PathBuf> {
        absolute(node.as_text()?)
    }

    fn show(&self, value: &PathBuf) -> Json {
        value.to_string_lossy().into()
    }
}

/// An absolute path, or nothing at all.
pub(crate) struct PathOrEmpty;

pub(crate) fn path_or_empty() -> PathOrEmpty {
    PathOrEmpty
}

impl Leaf<Option<PathBuf>> for PathOrEmpty {
    fn expects(&self) -> String {
        "an absolute path or \"\"".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<Option<PathBuf>> {
        match node.as_text()? {
            "" => Some(None),
            text => absolute(text).map(Some),
        }
    }

    fn show(&self, value: &Option<PathBuf>) -> Json {
        value.as_ref().map_or_else(|| "".into(), |path| path.to_string_lossy().into())
    }
}

/// An IP address to listen on, or nothing at all.
pub(crate) struct Address<T>(PhantomData<T>, &'static str);

pub(crate) fn address<T>(what: &'static str) -> Address<T> {
    Address(PhantomData, what)
}

impl<T: std::str::FromStr + ToString> Leaf<Option<T>> for Address<T> {
    fn expects(&self) -> String {
        format!("{} or \"\"", self.1)
    }

    fn parse(&self, node: &Node) -> Option<Option<T>> {
        match node.as_text()?.trim() {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        }
    }

    fn show(&self, value: &Option<T>) -> Json {
        value.as_ref().map_or_else(String::new, ToString::to_string).into()
    }
}

/// File permissions, octal however they are written.
pub(crate) struct Mode;

pub(crate) fn mode() -> Mode {
    Mode
}

impl Leaf<u32> for Mode {
    fn expects(&self) -> String {
        "octal permissions such as 0660".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<u32> {
        let text = node.as_text()?.trim();
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal =
            (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        is_octal.then(|| u32::from_str_radix(digits, 8).ok())?
    }

    fn show(&self, value: &u32) -> Json {
        format!("0{value:o}").into()
    }
}

/// Width and height of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}x{}", self.width, self.height)
    }
}

impl std::str::FromStr for Resolution {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (width, height) = text.trim().split_once('x').ok_or(())?;
        let side = |digits: &str| match digits.parse::<u32>() {
            Ok(side) if digits.bytes().all(|byte| byte.is_ascii_digit()) && (1..=16384).contains(&side) => {
                Ok(side)
            }
            _ => Err(()),
        };
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

/// `1920x1080`.
pub(crate) struct Pixels;

pub(crate) fn resolution() -> Pixels {
    Pixels
}

impl Leaf<Resolution> for Pixels {
    fn expects(&self) -> String {
        "a resolution such as 1920x1080".to_owned()
    }

    fn parse(&self, node: &Node) -> Option<Resolution> {
        node.as_text()?.parse().ok()
    }

    fn show(&self, value: &Resolution) -> Json {
        value.to_string().into()
    }
}

/// A type whose values have names in the settings.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Every value and its name.
    const ALL: &'static [(&'static str, Self)];
}

/// One of the names of a [`Choice`].
pub(crate) struct OneOf;

pub(crate) fn choice() -> OneOf {
    OneOf
}

impl<T: Choice> Leaf<T> for OneOf {
    fn expects(&self) -> String {
        let names: Vec<_> = T::ALL.iter().map(|(name, _)| format!("{name:?}")).collect();
        format!("one of {}", names.join(", "))
    }

    fn parse(&self, node: &Node) -> Option<T> {
        let text = node.as_text()?.trim();
        T::ALL.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> Json {
        T::ALL.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name).into()
    }
}

/// An enum whose values have names in the settings.
macro_rules! choices {
    ($(#[$about:meta])+ pub enum $name:ident { $($(#[$doc:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])+ $variant),+ }

        impl $crate::rule::Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($text, Self::$variant)),+];
        }

        impl $name {
            /// The name this value has in the settings.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}
pub(crate) use choices;
