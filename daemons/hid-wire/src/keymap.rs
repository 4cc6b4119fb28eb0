//! Which strokes type which character on a given layout.
//!
//! A layout is a table from X11 keysyms to keys with modifiers. Keysyms that stand for a character are brought to one
//! form first (Latin-1 as it is, everything else as 0x0100_0000 + code point), so that `Cyrillic_a` in a file and the
//! character itself meet.

mod file;
mod keysym;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use file::{Fault, Problem};

use crate::Key;

const RETURN: u32 = 0xff0d;
const TAB: u32 = 0xff09;
const MULTIPLY: char = '×';

/// A key and the modifiers to hold while it is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The key.
    pub key: Key,
    /// With Shift.
    pub shift: bool,
    /// With the right Alt key.
    pub altgr: bool,
    /// With Control. Never used for typing text.
    pub ctrl: bool,
}

impl Binding {
    fn plain(key: Key) -> Self {
        Self { key, shift: false, altgr: false, ctrl: false }
    }

    fn same_modifiers(&self, other: &Self) -> bool {
        (self.shift, self.altgr, self.ctrl) == (other.shift, other.altgr, other.ctrl)
    }

    /// Whether it asks to hold the very modifier it presses, which no hand can do.
    fn holds_itself(&self) -> bool {
        match self.key {
            Key::SHIFT_LEFT | Key::SHIFT_RIGHT => self.shift,
            Key::ALT_RIGHT => self.altgr,
            Key::CONTROL_LEFT | Key::CONTROL_RIGHT => self.ctrl,
            _ => false,
        }
    }
}

/// A keyboard layout of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    bindings: HashMap<u32, Vec<Binding>>,
    problems: Vec<Problem>,
}

static BUILTIN: LazyLock<Keymap> = LazyLock::new(|| {
    let mut keymap = Keymap { bindings: HashMap::new(), problems: Vec::new() };
    for key in Key::all() {
        for keysym in key.unshifted() {
            keymap.add(*keysym, Binding::plain(key));
        }
        for keysym in key.shifted() {
            keymap.add(*keysym, Binding { shift: true, ..Binding::plain(key) });
        }
    }
    keymap
});

impl Keymap {
    /// The US layout, from the key table.
    #[must_use]
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a keymap file in QEMU's format. Never fails: lines that make no sense are left out and listed in
    /// [`problems`](Self::problems). What the file does not define is filled from the US layout.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (bindings, problems) = file::parse(text);
        let mut keymap = Self { bindings: HashMap::new(), problems };
        for (keysym, binding) in bindings {
            keymap.add(keysym, binding);
        }
        for (keysym, bindings) in &Self::builtin().bindings {
            let known = keymap.bindings.entry(*keysym).or_default();
            // What only Control produces cannot be typed: a gap as well.
            if known.iter().all(|binding| binding.ctrl) {
                known.extend(bindings);
            }
        }
        keymap
    }

    /// The US layout as a keymap file: what we ship as `en-us`, and a start for writing another.
    #[must_use]
    pub fn builtin_file() -> String {
        file::write_builtin()
    }

    /// What was wrong in the file, in order; at most 64 entries.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The ways to produce an X11 keysym, best first.
    #[must_use]
    pub fn lookup(&self, keysym: u32) -> &[Binding] {
        self.bindings.get(&keysym::canonical(keysym)).map_or(&[], Vec::as_slice)
    }

    /// What to press for a character, and how often; `None` when the layout cannot type it.
    ///
    /// Typographic quotes and dashes, which pasted text is full of, become their typewriter forms where the layout
    /// has no key for them.
    #[must_use]
    pub fn typing(&self, c: char) -> Option<(Binding, usize)> {
        let (stand_in, count) = match c {
            '‚' | '‘' | '’' => ('\'', 1),
            '„' | '“' | '”' => ('"', 1),
            '–' => ('-', 1),
            '—' => ('-', 2),
            _ => return self.direct(c).map(|binding| (binding, 1)),
        };
        self.direct(c).map(|binding| (binding, 1)).or_else(|| Some((self.direct(stand_in)?, count)))
    }

    /// The characters of `text` that this layout cannot type, each once, in order of appearance.
    ///
    /// Carriage returns are not counted: they are half a line end, and the other half is typed.
    #[must_use]
    pub fn untypable(&self, text: &str) -> Vec<char> {
        let mut seen = std::collections::HashSet::new();
        text.chars().filter(|c| *c != '\r' && self.typing(*c).is_none() && seen.insert(*c)).collect()
    }

    fn direct(&self, c: char) -> Option<Binding> {
        let keysym = match c {
            '\n' => RETURN,
            '\t' => TAB,
            c if c.is_control() => return None,
            c => keysym::from_char(c),
        };
        let usable = |binding: &&Binding| {
            // The keypad's asterisk answers to the keysym of a multiplication sign, but does not type one.
            let lies = c == MULTIPLY && binding.key == Key::NUMPAD_MULTIPLY;
            !binding.ctrl && !lies
        };
        self.lookup(keysym).iter().find(usable).copied()
    }

    /// The first definition for a keysym with certain modifiers stands.
    fn add(&mut self, keysym: u32, binding: Binding) {
        let bindings = self.bindings.entry(keysym::canonical(keysym)).or_default();
        if !bindings.iter().any(|known| known.same_modifiers(&binding)) {
            bindings.push(binding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: Key, shift: bool, altgr: bool) -> Option<(Binding, usize)> {
        Some((Binding { key, shift, altgr, ctrl: false }, 1))
    }

    #[test]
    fn the_us_layout_types_all_of_printable_ascii() {
        let ascii: String = (' '..='~').chain(['\n', '\t']).collect();
        assert_eq!(Keymap::builtin().untypable(&ascii), []);
        assert_eq!(Keymap::builtin().typing('a'), with(Key::KEY_A, false, false));
        assert_eq!(Keymap::builtin().typing('A'), with(Key::KEY_A, true, false));
        assert_eq!(Keymap::builtin().typing('\n'), with(Key::ENTER, false, false));
        assert_eq!(Keymap::builtin().typing('~'), with(Key::BACKQUOTE, true, false));
    }

    #[test]
    fn untypable_characters_are_listed_once_and_in_order() {
        assert_eq!(Keymap::builtin().untypable("zß\r\nÄaß×\u{7}"), ['ß', 'Ä', '×', '\u{7}']);
    }

    #[test]
    fn typographic_characters_become_typewriter_ones() {
        let us = Keymap::builtin();
        for (fancy, plain) in
            [('‘', '\''), ('’', '\''), ('‚', '\''), ('„', '"'), ('“', '"'), ('”', '"'), ('–', '-')]
        {
            assert_eq!(us.typing(fancy), us.typing(plain), "{fancy}");
        }
        assert_eq!(us.typing('—'), us.typing('-').map(|(binding, _)| (binding, 2)));
    }

    #[test]
    fn a_layout_with_a_key_for_a_typographic_character_uses_it() {
        let keymap = Keymap::parse("U201e 0x2f altgr\n");
        assert_eq!(keymap.typing('„'), with(Key::KEY_V, false, true));
    }

    #[test]
    fn a_file_wins_over_the_us_layout_and_gaps_are_filled() {
        let keymap =
            Keymap::parse("z 0x15 addupper\ny 0x2c addupper\nadiaeresis 0x28\nEuroSign 0x12 altgr\n");
        assert_eq!(keymap.problems(), []);
        assert_eq!(keymap.typing('z'), with(Key::KEY_Y, false, false));
        assert_eq!(keymap.typing('Y'), with(Key::KEY_Z, true, false));
        assert_eq!(keymap.typing('ä'), with(Key::QUOTE, false, false));
        assert_eq!(keymap.typing('€'), with(Key::KEY_E, false, true));
        assert_eq!(keymap.typing('b'), with(Key::KEY_B, false, false));
    }

    #[test]
    fn the_first_definition_stands_and_control_is_never_used_for_text() {
        let keymap = Keymap::parse("at 0x10 ctrl\nat 0x10 altgr\nat 0x11 altgr\n");
        assert_eq!(keymap.typing('@'), with(Key::KEY_Q, false, true));
        assert_eq!(keymap.lookup(0x40).len(), 2);
    }

    #[test]
    fn names_and_characters_of_other_scripts_meet() {
        let keymap = Keymap::parse("Cyrillic_a 0x21 addupper\nU0431 0x33\nGreek_omega 0x2f\n");
        assert_eq!(keymap.typing('а'), with(Key::KEY_F, false, false));
        assert_eq!(keymap.typing('А'), with(Key::KEY_F, true, false));
        assert_eq!(keymap.typing('б'), with(Key::COMMA, false, false));
        assert_eq!(keymap.typing('ω'), with(Key::KEY_V, false, false));
        // By either number, too.
        assert_eq!(keymap.lookup(0x06c1), keymap.lookup(0x0100_0430));
    }
}
