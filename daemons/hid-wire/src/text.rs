//! Text as key strokes.

use std::collections::VecDeque;
use std::str::Chars;

use crate::{Binding, Key, Keymap, Typing};

/// One key going down or up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// The key.
    pub key: Key,
    /// Down, or up.
    pub pressed: bool,
}

/// The strokes that type a text on a layout, made as they are asked for.
///
/// Shift and the right Alt key are held across consecutive strokes that need them, and are up at the end. Caps Lock is
/// taken to be off.
/// Characters the layout cannot type are passed over; [`Keymap::untypable`] tells them beforehand.
#[derive(Clone, Debug)]
pub struct Strokes<'a> {
    keymap: &'a Keymap,
    chars: Chars<'a>,
    shift: bool,
    altgr: bool,
    /// Strokes of the character at hand: at most two presses with their releases, and two changes of modifiers before each.
    next: VecDeque<Stroke>,
}

impl<'a> Strokes<'a> {
    /// The strokes for `text`.
    #[must_use]
    pub fn new(text: &'a str, keymap: &'a Keymap) -> Self {
        Self { keymap, chars: text.chars(), shift: false, altgr: false, next: VecDeque::new() }
    }

    fn hold(&mut self, shift: bool, altgr: bool) {
        let modifiers = [(&mut self.shift, shift, Key::SHIFT_LEFT), (&mut self.altgr, altgr, Key::ALT_RIGHT)];
        for (held, wanted, key) in modifiers {
            if *held != wanted {
                *held = wanted;
                self.next.push_back(Stroke { key, pressed: wanted });
            }
        }
    }

    fn strike(&mut self, binding: Binding) {
        self.hold(binding.shift, binding.altgr);
        self.next.push_back(Stroke { key: binding.key, pressed: true });
        self.next.push_back(Stroke { key: binding.key, pressed: false });
    }
}

impl Iterator for Strokes<'_> {
    type Item = Stroke;

    fn next(&mut self) -> Option<Stroke> {
        while self.next.is_empty() {
            let Some(c) = self.chars.next() else {
                self.hold(false, false);
                break;
            };
            let strokes = self.keymap.typing(c).into_iter().flat_map(Typing::bindings);
            strokes.for_each(|binding| self.strike(binding));
        }
        self.next.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Keyboard;

    fn strokes(text: &str) -> String {
        Strokes::new(text, Keymap::builtin())
            .map(|stroke| format!("{}{} ", if stroke.pressed { '+' } else { '-' }, stroke.key))
            .collect()
    }

    #[test]
    fn shift_is_held_across_characters_that_need_it() {
        assert_eq!(
            strokes("aB!c"),
            "+KeyA -KeyA +ShiftLeft +KeyB -KeyB +Digit1 -Digit1 -ShiftLeft +KeyC -KeyC "
        );
    }

    #[test]
    fn an_em_dash_is_two_hyphens_and_unknown_characters_are_passed_over() {
        assert_eq!(strokes("—Ω\r"), "+Minus -Minus +Minus -Minus ");
        assert_eq!(strokes("Ω"), "");
        assert_eq!(strokes(""), "");
    }

    #[test]
    fn shift_and_altgr_change_independently() {
        let keymap = Keymap::parse("bracketleft 0x09 altgr\nbraceleft 0x08 altgr shift\n");
        let text: Vec<_> = Strokes::new("[{A", &keymap).map(|stroke| (stroke.key, stroke.pressed)).collect();
        assert_eq!(
            text,
            [
                (Key::ALT_RIGHT, true),
                (Key::DIGIT_8, true),
                (Key::DIGIT_8, false),
                (Key::SHIFT_LEFT, true),
                (Key::DIGIT_7, true),
                (Key::DIGIT_7, false),
                (Key::ALT_RIGHT, false),
                (Key::KEY_A, true),
                (Key::KEY_A, false),
                (Key::SHIFT_LEFT, false),
            ]
        );
    }

    #[test]
    fn modifiers_change_between_a_dead_key_and_its_letter() {
        let keymap = Keymap::parse("dead_grave 0x0d shift\ndead_tilde 0x0d altgr\n");
        let text: String = Strokes::new("àñ", &keymap)
            .map(|stroke| format!("{}{} ", if stroke.pressed { '+' } else { '-' }, stroke.key))
            .collect();
        assert_eq!(
            text,
            "+ShiftLeft +Equal -Equal -ShiftLeft +KeyA -KeyA +AltRight +Equal -Equal -AltRight +KeyN -KeyN "
        );
    }

    /// Types on a model of a US keyboard and reads what arrives.
    fn type_on_model(text: &str) -> (String, Keyboard) {
        let mut keyboard = Keyboard::new();
        let mut typed = String::new();
        for stroke in Strokes::new(text, Keymap::builtin()) {
            keyboard.event(stroke.key, stroke.pressed, false).for_each(drop);
            if stroke.pressed && stroke.key.modifier().is_none() {
                let shift = keyboard.is_down(Key::SHIFT_LEFT);
                typed.extend((' '..='~').chain(['\n', '\t']).find(|c| {
                    let mut strokes = Keymap::builtin().typing(*c).into_iter().flat_map(Typing::bindings);
                    strokes.any(|binding| (binding.key, binding.shift) == (stroke.key, shift))
                }));
            }
        }
        (typed, keyboard)
    }

    proptest! {
        #[test]
        fn a_model_of_the_target_reads_what_was_typed(text in "[ -~\n\t]{0,300}") {
            let (typed, keyboard) = type_on_model(&text);
            prop_assert_eq!(typed, text);
            prop_assert!(keyboard.is_at_rest());
        }

        #[test]
        fn whatever_the_text_nothing_stays_down(text in any::<String>()) {
            prop_assert!(type_on_model(&text).1.is_at_rest());
        }
    }
}
