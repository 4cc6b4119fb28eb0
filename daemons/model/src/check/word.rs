//! Words out of a fixed set, lists. (What a user, a password and a token may look like is `auth`'s to say.)

use super::{Checked, Invalid, number::small, within};

const WORD_LIMIT: usize = 16;
const LIST_LIMIT: usize = 4096;
const RESOLUTION_LIMIT: usize = 32;

/// The member of `allowed` that `raw` names, compared in lower case.
pub fn one_of(raw: &str, allowed: &[&'static str], expected: &'static str) -> Checked<&'static str> {
    let text = within(raw, WORD_LIMIT, expected)?.trim().to_ascii_lowercase();
    allowed.iter().find(|word| **word == text).copied().ok_or_else(|| Invalid::new(expected, raw))
}

/// Where the keyboard goes. Valid is not available: the device may still ignore it.
pub fn keyboard_output(raw: &str) -> Checked<&'static str> {
    one_of(raw, &["usb", "ps2", "disabled"], "a keyboard output")
}

/// Where the pointer goes. Valid is not available: the device may still ignore it.
pub fn mouse_output(raw: &str) -> Checked<&'static str> {
    one_of(raw, &["usb", "usb_win98", "usb_rel", "ps2", "disabled"], "a mouse output")
}

/// What a client wants from the target's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtxAction {
    /// Switch on.
    On,
    /// Ask the target's system to shut down.
    Off,
    /// Cut the power.
    OffHard,
    /// Press reset.
    ResetHard,
}

impl AtxAction {
    /// `on off off_hard reset_hard`.
    pub fn parse(raw: &str) -> Checked<Self> {
        Ok(match one_of(raw, &["on", "off", "off_hard", "reset_hard"], "a power action")? {
            "on" => Self::On,
            "off" => Self::Off,
            "off_hard" => Self::OffHard,
            _ => Self::ResetHard,
        })
    }
}

/// A button of the target's front panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtxButton {
    /// A short press of the power button.
    Power,
    /// The power button, held.
    PowerLong,
    /// The reset button.
    Reset,
}

impl AtxButton {
    /// `power power_long reset`.
    pub fn parse(raw: &str) -> Checked<Self> {
        Ok(match one_of(raw, &["power", "power_long", "reset"], "a front panel button")? {
            "power" => Self::Power,
            "power_long" => Self::PowerLong,
            _ => Self::Reset,
        })
    }
}

/// How an image is packed while it is read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As it lies on the storage.
    None,
    /// An `.xz` file.
    Lzma,
    /// A `.zst` file.
    Zstd,
}

impl Compression {
    /// Nothing, `none`, `lzma` or `zstd`.
    pub fn parse(raw: &str) -> Checked<Self> {
        Ok(match one_of(raw, &["", "none", "lzma", "zstd"], "a compression")? {
            "lzma" => Self::Lzma,
            "zstd" => Self::Zstd,
            _ => Self::None,
        })
    }

    /// What the file name gets at its end.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lzma => ".xz",
            Self::Zstd => ".zst",
        }
    }
}

/// H.264 bit rate in kbit/s.
pub fn h264_bitrate(raw: &str) -> Checked<u32> {
    small(raw, 25, 20_000)
}

/// Frames between two H.264 key frames.
pub fn h264_gop(raw: &str) -> Checked<u32> {
    small(raw, 0, 60)
}

/// `WIDTHxHEIGHT`, both at least 1.
pub fn resolution(raw: &str) -> Checked<(u32, u32)> {
    let expected = "a resolution (WxH)";
    let text = within(raw, RESOLUTION_LIMIT, expected)?.trim();
    let side = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|side| digits && *side >= 1)
    };
    let parsed = text.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
    parsed.ok_or_else(|| Invalid::new(expected, raw))
}

/// The items between runs of commas and blanks; one bad item fails the list.
pub fn list<T>(raw: &str, item: impl Fn(&str) -> Checked<T>) -> Checked<Vec<T>> {
    within(raw, LIST_LIMIT, "a list")?
        .split([',', ' ', '\t'])
        .filter(|text| !text.is_empty())
        .map(item)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_ignore_case() {
        assert_eq!(AtxButton::parse("POWER"), Ok(AtxButton::Power));
        assert_eq!(AtxAction::parse(" off_hard "), Ok(AtxAction::OffHard));
        assert!(AtxAction::parse("").is_err() && AtxButton::parse("bad").is_err());
        assert_eq!(mouse_output("usb_rel"), Ok("usb_rel"));
        assert!(mouse_output("").is_err() && keyboard_output("usb_rel").is_err());
        assert_eq!(Compression::parse(""), Ok(Compression::None));
        assert!(Compression::parse("gzip").is_err());
    }

    #[test]
    fn resolutions() {
        assert_eq!(resolution("1280x720"), Ok((1280, 720)));
        for bad in ["", "x", "0x1", "1x0", "1280X720", "1280x", "+1x1", "1x1x1", "99999999999x1"] {
            assert!(resolution(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lists_split_at_commas_and_blanks() {
        let word = |raw: &str| one_of(raw, &["a", "b"], "a or b");
        assert_eq!(list("a, b,,\tA ", word), Ok(vec!["a", "b", "a"]));
        assert_eq!(list("", word), Ok(vec![]));
        assert!(list("a;b", word).is_err() && list("a,c", word).is_err());
        assert!(list(&"a,".repeat(2049), word).is_err(), "over the raw limit");
    }

    proptest! {
        #[test]
        fn nothing_panics(raw in ".{0,80}") {
            let _ = (resolution(&raw), AtxAction::parse(&raw), Compression::parse(&raw), mouse_output(&raw));
        }
    }
}
