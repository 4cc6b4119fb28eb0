//! Keymap files: `<keysym name> <scan code> [shift] [altgr] [ctrl] [addupper] ...`, one binding a line.
//!
//! `#` starts a comment; lines starting with `map` or `include` are for other programs. Scan codes are AT set 1, with
//! extended keys as `0xe0xx` or with bit 7. Words we do not know (`numlock`, `localstate`) change nothing here.

use std::fmt;

use super::{Binding, keysym};
use crate::Key;

/// So that a file of nonsense does not become a list of nonsense.
const MAX_PROBLEMS: usize = 64;

/// One line of a keymap file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What was wrong.
    pub fault: Fault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// No keysym has this name.
    UnknownKeysym,
    /// The second word is missing or is no number.
    BadScanCode,
    /// No key has this scan code.
    UnknownKey,
    /// A modifier key that requires itself to be held.
    HoldsItself,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::UnknownKeysym => "no keysym of this name",
            Fault::BadScanCode => "a hexadecimal scan code must follow the name",
            Fault::UnknownKey => "no key has this scan code",
            Fault::HoldsItself => "a modifier cannot be held while it is pressed",
        };
        write!(f, "line {}: {fault}", self.line)
    }
}

/// All bindings in the order of the file, and the lines that were left out.
pub(super) fn parse(text: &str) -> (Vec<(u32, Binding)>, Vec<Problem>) {
    let (mut bindings, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        match parse_line(line) {
            Ok(Some((keysym, binding, upper))) => {
                bindings.push((keysym, binding));
                // A Shift key has no upper case of its own.
                let shifted =
                    Some(Binding { shift: true, ..binding }).filter(|shifted| !shifted.holds_itself());
                bindings.extend(upper.zip(shifted));
            }
            Err(fault) if problems.len() < MAX_PROBLEMS => problems.push(Problem { line: number, fault }),
            Ok(None) | Err(_) => {}
        }
    }
    (bindings, problems)
}

/// A keysym, what types it, and the keysym the same key types with Shift where the line says so.
type Entry = (u32, Binding, Option<u32>);

fn parse_line(line: &str) -> Result<Option<Entry>, Fault> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(name) = words.next().filter(|word| !matches!(*word, "map" | "include")) else { return Ok(None) };
    let code = words.next().and_then(scan_code).ok_or(Fault::BadScanCode)?;
    let keysym = keysym::from_name(name).ok_or(Fault::UnknownKeysym)?;
    let mut binding = Binding::plain(Key::from_set1(code).ok_or(Fault::UnknownKey)?);
    let mut add_upper = false;
    for word in words {
        match word {
            "shift" => binding.shift = true,
            "altgr" => binding.altgr = true,
            "ctrl" => binding.ctrl = true,
            "addupper" => add_upper = true,
            _ => {}
        }
    }
    if binding.holds_itself() {
        return Err(Fault::HoldsItself);
    }
    // The format says "the name in upper case", which works for `a`; `adiaeresis` needs its letter looked at.
    let upper = || keysym::from_name(&name.to_uppercase()).or_else(|| keysym::upper(keysym));
    Ok(Some((keysym, binding, if add_upper { upper() } else { None })))
}

fn scan_code(word: &str) -> Option<u16> {
    u16::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
}

pub(super) fn write_builtin() -> String {
    let mut text = String::from(
        "# US layout. Each line: X11 keysym name, AT set 1 scan code, modifiers.\n\
         # Made from the key table: cargo run -p hid-wire --example en-us-keymap\n\n",
    );
    for key in Key::all() {
        let (plain, shifted) = (key.unshifted(), key.shifted());
        let is_letter = matches!((plain, shifted), ([a], [b]) if keysym::upper(*a) == Some(*b));
        let mut line = |keysym: &u32, flag: &str| {
            if let Some(name) = keysym::name(*keysym) {
                text.push_str(&format!("{name} {:#04x}{flag}\n", key.set1()));
            }
        };
        if is_letter {
            plain.iter().for_each(|keysym| line(keysym, " addupper"));
        } else {
            plain.iter().for_each(|keysym| line(keysym, ""));
            shifted.iter().for_each(|keysym| line(keysym, " shift"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Keymap, Typing};
    use super::*;

    #[test]
    fn bad_lines_are_listed_and_the_rest_is_kept() {
        let text = "# comment\n\nmap 0x407\ninclude common\nnosuch 0x1e\na\na zz\nb 0xffff\nShift_L 0x2a shift\nc 0x2e # x\n";
        let (bindings, problems) = parse(text);
        assert_eq!(bindings, [(0x63, Binding::plain(Key::KEY_C))]);
        let lines: Vec<_> = problems.iter().map(|problem| (problem.line, problem.fault)).collect();
        assert_eq!(
            lines,
            [
                (5, Fault::UnknownKeysym),
                (6, Fault::BadScanCode),
                (7, Fault::BadScanCode),
                (8, Fault::UnknownKey),
                (9, Fault::HoldsItself),
            ]
        );
    }

    #[test]
    fn a_shift_key_is_not_held_for_the_upper_case_of_itself() {
        let (bindings, problems) = parse("a 0x2a addupper\n");
        assert_eq!(bindings, [(0x61, Binding::plain(Key::SHIFT_LEFT))]);
        assert_eq!(problems, []);
    }

    #[test]
    fn a_file_of_nonsense_gives_a_short_list_of_problems() {
        assert_eq!(parse(&"nonsense\n".repeat(10_000)).1.len(), MAX_PROBLEMS);
    }

    #[test]
    fn our_own_file_says_what_the_builtin_layout_says() {
        let file = Keymap::builtin_file();
        assert_eq!(parse(&file).1, []);
        assert_eq!(&Keymap::parse(&file), Keymap::builtin());
        // Not only because gaps were filled.
        let (bindings, _) = parse(&file);
        assert!(bindings.len() > 140, "{}", bindings.len());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Keymap::parse(&text);
        }

        #[test]
        fn nothing_that_looks_like_a_keymap_makes_the_parser_panic(
            lines in prop::collection::vec(
                ("[a-zA-Z_0-9]{1,12}|U[0-9a-fA-F]{0,9}|0x[0-9a-f]{0,10}", "(0x)?[0-9a-f]{0,6}", "( (shift|altgr|ctrl|addupper|x))*"),
                0..40,
            )
        ) {
            let text: String = lines.iter().map(|(name, code, flags)| format!("{name} {code}{flags}\n")).collect();
            let keymap = Keymap::parse(&text);
            prop_assert!(keymap.bindings.values().flatten().all(|binding| !binding.holds_itself()));
            let strokes = "abc XYZ 123 éñ—".chars().filter_map(|c| keymap.typing(c)).flat_map(Typing::bindings);
            for binding in strokes {
                prop_assert!(!binding.holds_itself() && !binding.ctrl && !binding.key.is_keypad());
            }
        }
    }
}
