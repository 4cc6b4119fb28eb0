//! Which strokes type which character on a given layout.
//!
//! A layout is a table from X11 keysyms to keys with modifiers. Keysyms that stand for a character are brought to one
//! form first (Latin-1 as it is, everything else as 0x0100_0000 + code point), so that `Cyrillic_a` in a file and the
//! character itself meet.
//!
//! Two questions are asked of it. [`Keymap::lookup`]: which key does a keysym mean; for clients that send keysyms, where
//! a guess (the US key) beats silence. [`Keymap::typing`]: which strokes make this character appear on the target; there
//! a guess types something else, so it answers only what the layout says: keys, and dead keys with a second stroke. The
//! numeric pad is never used: what it types depends on Num Lock.

mod compose;
mod file;
mod keysym;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

pub use file::{Fault, Problem};

use crate::Key;

const RETURN: u32 = 0xff0d;
const TAB: u32 = 0xff09;
const CAPS_LOCK: u32 = 0xffe5;

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

    /// Where it is on the keyboard, as one level of one key.
    fn place(&self) -> (Key, bool, bool) {
        (self.key, self.shift, self.altgr)
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

/// The strokes of one character: a key, or a dead key and another, or the same key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typing {
    first: Binding,
    second: Option<Binding>,
}

impl Typing {
    fn one(first: Binding) -> Self {
        Self { first, second: None }
    }

    /// What to press, in order.
    pub fn bindings(self) -> impl Iterator<Item = Binding> {
        [Some(self.first), self.second].into_iter().flatten()
    }
}

/// A character of a text that a layout cannot type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untypable {
    /// Which.
    pub character: char,
    /// Where it is for the first time, in characters from the beginning.
    pub first: usize,
    /// How often the text has it.
    pub count: usize,
}

/// A keyboard layout of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    bindings: HashMap<u32, Vec<Binding>>,
    /// What really types a character, or a dead key, by keysym.
    typed: HashMap<u32, Binding>,
    problems: Vec<Problem>,
}

static BUILTIN: LazyLock<Keymap> = LazyLock::new(|| {
    let mut keymap = Keymap::empty(Vec::new());
    for (keysym, binding) in us_layout() {
        keymap.add(keysym, binding);
        keymap.add_typed(keysym, binding);
    }
    keymap
});

fn us_layout() -> impl Iterator<Item = (u32, Binding)> {
    Key::all().flat_map(|key| {
        let plain = Binding::plain(key);
        let shifted = Binding { shift: true, ..plain };
        let unshifted = key.unshifted().iter().map(move |keysym| (*keysym, plain));
        unshifted.chain(key.shifted().iter().map(move |keysym| (*keysym, shifted)))
    })
}

impl Keymap {
    fn empty(problems: Vec<Problem>) -> Self {
        Self { bindings: HashMap::new(), typed: HashMap::new(), problems }
    }

    /// The US layout, from the key table.
    #[must_use]
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Reads a keymap file in QEMU's format. Never fails: lines that make no sense are left out and listed in
    /// [`problems`](Self::problems).
    ///
    /// What the file does not define is filled from the US layout; for typing only at places of which the file says
    /// nothing, as a key that types a Cyrillic letter does not type a Latin one as well.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (bindings, problems) = file::parse(text);
        let mut keymap = Self::empty(problems);
        let mut defined = HashSet::new();
        for (keysym, binding) in bindings {
            keymap.add(keysym, binding);
            keymap.add_typed(keysym, binding);
            defined.insert(binding.place());
        }
        for (keysym, bindings) in &Self::builtin().bindings {
            let known = keymap.bindings.entry(*keysym).or_default();
            // What only Control produces cannot be typed: a gap as well.
            if known.iter().all(|binding| binding.ctrl) {
                known.extend(bindings);
            }
        }
        for (keysym, binding) in us_layout().filter(|(_, binding)| !defined.contains(&binding.place())) {
            keymap.add_typed(keysym, binding);
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

    /// What to press for a character; `None` when the layout cannot type it.
    ///
    /// Typographic quotes and dashes, which pasted text is full of, become their typewriter forms. So they do where the
    /// layout has keys for them: those keys are on the third level, and there systems differ.
    #[must_use]
    pub fn typing(&self, c: char) -> Option<Typing> {
        let plain = match c {
            '‚' | '‘' | '’' => self.exactly('\''),
            '„' | '“' | '”' => self.exactly('"'),
            '–' => self.exactly('-'),
            '—' => self.direct('-').map(|hyphen| Typing { first: hyphen, second: Some(hyphen) }),
            _ => None,
        };
        plain.or_else(|| self.exactly(c))
    }

    /// The strokes that switch Caps Lock; `None` where no key does.
    #[must_use]
    pub fn caps_lock(&self) -> Option<Binding> {
        self.lookup(CAPS_LOCK).iter().find(|binding| !binding.ctrl && !binding.altgr).copied()
    }

    /// The characters of `text` that this layout cannot type, each once, in order of appearance.
    ///
    /// Carriage returns are not counted: they are half a line end, and the other half is typed.
    #[must_use]
    pub fn untypable(&self, text: &str) -> Vec<Untypable> {
        let mut found: Vec<Untypable> = Vec::new();
        let mut index = HashMap::new();
        for (at, character) in text.chars().enumerate() {
            if character == '\r' || self.typing(character).is_some() {
                continue;
            }
            let place = *index.entry(character).or_insert_with(|| {
                found.push(Untypable { character, first: at, count: 0 });
                found.len() - 1
            });
            if let Some(entry) = found.get_mut(place) {
                entry.count += 1;
            }
        }
        found
    }

    /// By a key of its own if there is one, else by a dead key and another.
    fn exactly(&self, c: char) -> Option<Typing> {
        self.direct(c).map(Typing::one).or_else(|| {
            compose::pairs(c).find_map(|(dead, base)| {
                let (first, second) = (*self.typed.get(&dead)?, self.direct(base)?);
                Some(Typing { first, second: Some(second) })
            })
        })
    }

    fn direct(&self, c: char) -> Option<Binding> {
        let keysym = match c {
            '\n' => RETURN,
            '\t' => TAB,
            c if c.is_control() => return None,
            c => keysym::from_char(c),
        };
        self.typed.get(&keysym).copied()
    }

    /// The first definition stands here, too, if it can be used for text.
    fn add_typed(&mut self, keysym: u32, binding: Binding) {
        if !binding.ctrl && !binding.key.is_keypad() {
            self.typed.entry(keysym::canonical(keysym)).or_insert(binding);
        }
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

    fn with(key: Key, shift: bool, altgr: bool) -> Option<Typing> {
        Some(Typing::one(Binding { key, shift, altgr, ctrl: false }))
    }

    fn keys(keymap: &Keymap, c: char) -> Vec<(Key, bool, bool)> {
        keymap.typing(c).into_iter().flat_map(Typing::bindings).map(|binding| binding.place()).collect()
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
        let found = Keymap::builtin().untypable("zß\r\nÄaß×\u{7}");
        let found: Vec<_> = found.iter().map(|found| (found.character, found.first, found.count)).collect();
        assert_eq!(found, [('ß', 1, 2), ('Ä', 4, 1), ('×', 7, 1), ('\u{7}', 8, 1)]);
    }

    #[test]
    fn typographic_characters_become_typewriter_ones() {
        let us = Keymap::builtin();
        for (fancy, plain) in
            [('‘', '\''), ('’', '\''), ('‚', '\''), ('„', '"'), ('“', '"'), ('”', '"'), ('–', '-')]
        {
            assert_eq!(us.typing(fancy), us.typing(plain), "{fancy}");
        }
        assert_eq!(keys(us, '—'), [(Key::MINUS, false, false); 2]);
        let keymap = Keymap::parse("U201e 0x2f altgr\n");
        assert_eq!(keymap.typing('„'), us.typing('"'), "whatever X11 has on the third level");
        let keymap = Keymap::parse("U201e 0x28 shift\n");
        assert_eq!(keymap.typing('„'), with(Key::QUOTE, true, false), "there is no other");
    }

    #[test]
    fn a_dead_key_and_another_make_a_letter_with_a_mark() {
        let keymap = Keymap::parse(
            "dead_acute 0x0d\ndead_grave 0x0d shift\ndead_circumflex 0x29\n\
             ampersand 0x07 shift\neacute 0x28\n",
        );
        assert_eq!(keys(&keymap, 'á'), [(Key::EQUAL, false, false), (Key::KEY_A, false, false)]);
        assert_eq!(keys(&keymap, 'À'), [(Key::EQUAL, true, false), (Key::KEY_A, true, false)]);
        assert_eq!(keys(&keymap, '^'), [(Key::BACKQUOTE, false, false), (Key::SPACE, false, false)]);
        assert_eq!(keymap.typing('é'), with(Key::QUOTE, false, false), "a key of its own is shorter");
        assert_eq!(keymap.typing('ñ'), None);
        // Alone it is an apostrophe to some systems and an accent to others.
        assert_eq!(keymap.typing('´'), None);
    }

    #[test]
    fn a_place_the_file_speaks_of_types_nothing_else() {
        let keymap = Keymap::parse("Cyrillic_ef 0x1e addupper\ndead_acute 0x28\n");
        assert_eq!((keymap.typing('a'), keymap.typing('A'), keymap.typing('\'')), (None, None, None));
        assert_eq!(keymap.typing('b'), with(Key::KEY_B, false, false), "a gap");
        assert_eq!(Keymap::parse("NoSymbol 0x30\n").typing('b'), None);
        assert_eq!(keymap.lookup(0x61)[0].key, Key::KEY_A, "for who sends keysyms, a guess will do");
    }

    #[test]
    fn no_key_of_the_numeric_pad_is_used_for_text() {
        let keymap = Keymap::parse("period 0x53 numlock\nslash 0xb5\nmultiply 0x37\n");
        assert_eq!(keymap.typing('.'), with(Key::PERIOD, false, false));
        assert_eq!(keymap.typing('/'), with(Key::SLASH, false, false));
        assert_eq!(keymap.typing('×'), None);
        assert_eq!(keymap.lookup(u32::from('.'))[0].key, Key::NUMPAD_DECIMAL);
    }

    #[test]
    fn caps_lock_may_need_shift() {
        assert_eq!(Keymap::builtin().caps_lock(), Some(Binding::plain(Key::CAPS_LOCK)));
        let keymap = Keymap::parse("Caps_Lock 0x3a shift\n");
        assert_eq!(keymap.caps_lock(), Some(Binding { shift: true, ..Binding::plain(Key::CAPS_LOCK) }));
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
