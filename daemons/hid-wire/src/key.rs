//! The key table: one row per key of the wire contract, generated from `keys.csv`.

use std::fmt;

/// A key of the target's keyboard, named as `KeyboardEvent.code` names it.
///
/// Two bytes narrower than anything it stands for: an index into the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u8);

struct Row {
    name: &'static str,
    usage: u8,
    modifier: Option<u8>,
    evdev: u16,
    set1: u16,
    unshifted: &'static [u32],
    shifted: &'static [u32],
}

include!(concat!(env!("OUT_DIR"), "/keys.rs"));

impl Key {
    /// The key of this name; case counts.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let at = BY_NAME.binary_search_by_key(&name, |(name, _)| name).ok()?;
        BY_NAME.get(at).map(|(_, index)| Self(*index))
    }

    /// The key of this Linux input event code (`KEY_*`).
    ///
    /// Two keys are known under a second code: the context menu key is `KEY_COMPOSE` to Linux, and the kana key
    /// `KEY_KATAKANAHIRAGANA`, while the table keeps the codes the wire contract uses.
    #[must_use]
    pub fn from_evdev(code: u16) -> Option<Self> {
        let code = match code {
            127 => 438,
            93 => 90,
            code => code,
        };
        find(&BY_EVDEV, code)
    }

    /// The key of this usage on USB page 7.
    #[must_use]
    pub fn from_usage(usage: u8) -> Option<Self> {
        find(&BY_USAGE, usage.into())
    }

    /// The key of this AT set 1 scan code, as keymap files write it: extended keys either as `0xe0xx` or with bit 7.
    #[must_use]
    pub fn from_set1(code: u16) -> Option<Self> {
        let code = match code {
            // Print Screen without Alt sends its own extended code; the table has the one with Alt.
            0xb7 | 0xe037 | 0xe0b7 => 0x54,
            0x80..=0xff | 0xe080..=0xe0ff => 0xe000 | (code & 0x7f),
            code => code,
        };
        find(&BY_SET1, code)
    }

    /// All keys, in the order of the table.
    pub fn all() -> impl ExactSizeIterator<Item = Self> + Clone {
        const COUNT: u8 = {
            assert!(TABLE.len() <= 256, "a key is an index of one byte");
            #[expect(clippy::cast_possible_truncation, reason = "asserted in the line above")]
            let count = TABLE.len() as u8;
            count
        };
        (0..COUNT).map(Self)
    }

    /// Its name on the wire, for example `KeyA`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its Linux input event code.
    #[must_use]
    pub fn evdev(self) -> u16 {
        self.row().evdev
    }

    /// Its usage on USB page 7.
    #[must_use]
    pub fn usage(self) -> u8 {
        self.row().usage
    }

    /// Its bit in the first byte of a keyboard report, for the eight modifiers.
    #[must_use]
    pub fn modifier(self) -> Option<u8> {
        self.row().modifier
    }

    /// Whether it is on the numeric pad, where what a key types depends on Num Lock.
    pub(crate) fn is_keypad(self) -> bool {
        (0x54..=0x63).contains(&self.usage())
    }

    /// Its AT set 1 scan code; extended keys are `0xe0xx`.
    #[must_use]
    pub fn set1(self) -> u16 {
        self.row().set1
    }

    /// The X11 keysyms it produces on a US layout without Shift.
    pub(crate) fn unshifted(self) -> &'static [u32] {
        self.row().unshifted
    }

    /// The X11 keysyms it produces on a US layout with Shift, where they differ.
    pub(crate) fn shifted(self) -> &'static [u32] {
        self.row().shifted
    }

    fn row(self) -> &'static Row {
        // A `Key` is only ever made from an index of the table.
        &TABLE[usize::from(self.0)]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn find(index: &[(u16, u8)], code: u16) -> Option<Key> {
    let at = index.binary_search_by_key(&code, |(code, _)| *code).ok()?;
    index.get(at).map(|(_, index)| Key(*index))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_has_every_key_of_the_contract_once() {
        assert_eq!(Key::all().len(), 126);
        let distinct = |of: fn(Key) -> u16| Key::all().map(of).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|key| key.usage().into()), 126);
        assert_eq!(distinct(Key::evdev), 126);
        assert_eq!(distinct(Key::set1), 126);
    }

    #[test]
    fn every_key_is_found_by_each_of_its_codes() {
        for key in Key::all() {
            assert_eq!(Key::from_name(key.name()), Some(key));
            assert_eq!(Key::from_evdev(key.evdev()), Some(key));
            assert_eq!(Key::from_usage(key.usage()), Some(key));
            assert_eq!(Key::from_set1(key.set1()), Some(key));
        }
    }

    #[test]
    fn modifiers_are_the_eight_usages_from_e0_in_bit_order() {
        for key in Key::all() {
            let bit = key.usage().checked_sub(0xe0).map(|n| 1 << n);
            assert_eq!(key.modifier(), bit, "{key}");
        }
    }

    #[test]
    fn names_are_case_sensitive_and_unknown_ones_are_none() {
        assert_eq!(Key::from_name("keya"), None);
        assert_eq!(Key::from_name("KeyA "), None);
        assert_eq!(Key::from_name(""), None);
        assert_eq!(Key::from_name("KeyA"), Some(Key::KEY_A));
    }

    #[test]
    fn linux_names_for_menu_and_kana_are_accepted_too() {
        assert_eq!(Key::from_evdev(127), Some(Key::CONTEXT_MENU));
        assert_eq!(Key::from_evdev(93), Some(Key::KANA_MODE));
        assert_eq!(Key::from_evdev(0), None);
        assert_eq!(Key::from_evdev(0xffff), None);
    }

    #[test]
    fn extended_scan_codes_are_accepted_in_both_spellings() {
        assert_eq!(Key::from_set1(0x9c), Some(Key::NUMPAD_ENTER));
        assert_eq!(Key::from_set1(0xe01c), Some(Key::NUMPAD_ENTER));
        assert_eq!(Key::from_set1(0xc8), Some(Key::ARROW_UP));
        assert_eq!(Key::from_set1(0xb7), Some(Key::PRINT_SCREEN));
        assert_eq!(Key::from_set1(0xc6), Some(Key::PAUSE));
        assert_eq!(Key::from_set1(0xffff), None);
    }
}
