//! X11 keysyms: by name, by character, and in one form per character.

use std::collections::HashMap;
use std::sync::LazyLock;

use xkeysym::Keysym;

/// Keysyms from here to 0xffff are keys, not characters, though some (the keypad's digits) look like them.
const FIRST_FUNCTION: u32 = 0xfe00;
const UNICODE: u32 = 0x0100_0000;

/// Second names of keysyms, as keymap files use them; the table of names holds one name each.
const ALIASES: [(&str, u32); 13] = [
    ("quoteright", 0x27),
    ("quoteleft", 0x60),
    ("guillemotleft", 0xab),
    ("guillemotright", 0xbb),
    ("Prior", 0xff55),
    ("Page_Up", 0xff55),
    ("Next", 0xff56),
    ("Page_Down", 0xff56),
    ("masculine", 0xba),
    ("ordmasculine", 0xba),
    ("Mode_switch", 0xff7e),
    ("script_switch", 0xff7e),
    // A key that types nothing we could use: the US layout does not fill its place.
    ("NoSymbol", 0),
];

static BY_NAME: LazyLock<HashMap<&'static str, u32>> = LazyLock::new(|| {
    let named = |value: u32| Some((Keysym::new(value).name()?.strip_prefix("XK_")?, value));
    // Scripts with numbers of their own, keys, and the characters that got names after Unicode.
    let ranges = (0x20..=0x20ff).chain(0xfd00..=0xffff).chain(UNICODE + 0x100..=UNICODE + 0x28ff);
    let mut names: HashMap<_, _> = ranges.filter_map(named).collect();
    for (name, value) in ALIASES {
        names.entry(name).or_insert(value);
    }
    names
});

/// The keysym of this name: from the table, or `Uxxxx` for a code point, or a number `0x...`.
pub(super) fn from_name(name: &str) -> Option<u32> {
    if let Some(value) = BY_NAME.get(name) {
        return Some(*value);
    }
    if let Some(digits) = name.strip_prefix('U').filter(|digits| digits.len() >= 4) {
        return u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).map(from_char);
    }
    u32::from_str_radix(name.strip_prefix("0x")?, 16).ok()
}

/// The name of a keysym, for writing files.
pub(super) fn name(keysym: u32) -> Option<&'static str> {
    Keysym::new(keysym).name()?.strip_prefix("XK_")
}

/// The keysym of a character.
pub(super) fn from_char(c: char) -> u32 {
    match u32::from(c) {
        code @ (0x20..=0x7e | 0xa0..=0xff) => code,
        code => UNICODE + code,
    }
}

/// One keysym per character: old numbers of a script become those of Unicode. Keys stay what they are.
pub(super) fn canonical(keysym: u32) -> u32 {
    match keysym {
        0x100..FIRST_FUNCTION | UNICODE..=0x0110_ffff => {
            Keysym::new(keysym).key_char().map_or(keysym, from_char)
        }
        _ => keysym,
    }
}

/// The upper-case partner of a keysym that stands for a letter.
pub(super) fn upper(keysym: u32) -> Option<u32> {
    let c = match canonical(keysym) {
        code @ 0x20..=0xff => char::from_u32(code)?,
        code => char::from_u32(code.checked_sub(UNICODE)?)?,
    };
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(only), None) if only != c => Some(from_char(only)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found_with_their_second_spellings() {
        assert_eq!(from_name("a"), Some(0x61));
        assert_eq!(from_name("Page_Up"), Some(0xff55));
        assert_eq!(from_name("Prior"), Some(0xff55));
        assert_eq!(from_name("ISO_Level3_Shift"), Some(0xfe03));
        assert_eq!(from_name("abelowdot"), Some(0x0100_1ea1));
        assert_eq!(from_name("U20AC"), Some(0x0100_20ac));
        assert_eq!(from_name("U"), Some(0x55));
        assert_eq!(from_name("Udddd"), None, "a surrogate");
        assert_eq!(from_name("0x61"), Some(0x61));
        assert_eq!(from_name("nosuchname"), None);
    }

    #[test]
    fn letters_have_upper_case_partners_and_sharp_s_has_none() {
        assert_eq!(upper(0x61), Some(0x41));
        assert_eq!(upper(0x06c1), Some(0x0100_0410));
        assert_eq!(upper(0xdf), None);
        assert_eq!(upper(0x31), None);
        assert_eq!(upper(0xffb1), None);
    }

    #[test]
    fn keypad_digits_are_not_the_digits() {
        assert_eq!(canonical(0xffb1), 0xffb1);
    }

    proptest! {
        #[test]
        fn canonical_forms_stay_as_they_are(keysym in any::<u32>()) {
            prop_assert_eq!(canonical(canonical(keysym)), canonical(keysym));
            let _ = upper(keysym);
        }
    }
}
