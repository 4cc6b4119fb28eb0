//! The boot keyboard: eight modifiers and six slots.

use crate::{Key, Report};

const SLOTS: usize = 6;

/// What is down on the keyboard, and the reports that a change makes.
///
/// * A key that is already down is released first, so that the host sees two presses.
/// * A seventh key finds no slot: everything is released, and the new key is down alone.
/// * Modifiers have bits of their own and never take a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyboard {
    modifiers: u8,
    /// Usages; zero is an empty slot. A released key leaves its slot empty, the others stay where they are.
    slots: [u8; SLOTS],
}

impl Keyboard {
    /// Nothing down.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles one event: up to three reports, in order.
    ///
    /// `finish` asks for the release right after the press. It is honoured for ordinary keys only: a modifier is of
    /// no use without the key that follows, and hosts tell a short Print Screen from a held one.
    pub fn event(&mut self, key: Key, pressed: bool, finish: bool) -> impl Iterator<Item = Report> + use<> {
        let mut reports = [None; 3];
        if pressed {
            let [before, press] = self.press_steps(key);
            let finish = finish && key.modifier().is_none() && key != Key::PRINT_SCREEN;
            reports = [before, press, if finish { self.release(key) } else { None }];
        } else {
            reports[0] = self.release(key);
        }
        reports.into_iter().flatten()
    }

    /// Presses `key`: one report, or two when something had to be let go first.
    pub fn press(&mut self, key: Key) -> impl Iterator<Item = Report> + use<> {
        self.press_steps(key).into_iter().flatten()
    }

    /// Releases `key`: a report, or none when it was not down.
    pub fn release(&mut self, key: Key) -> Option<Report> {
        if !self.is_down(key) {
            return None;
        }
        match key.modifier() {
            Some(bit) => self.modifiers &= !bit,
            None => {
                for slot in &mut self.slots {
                    if *slot == key.usage() {
                        *slot = 0;
                    }
                }
            }
        }
        Some(self.report())
    }

    /// Releases everything. The report is for sending even when nothing was down: the host may know otherwise.
    pub fn release_all(&mut self) -> Report {
        *self = Self::default();
        self.report()
    }

    /// The report of what is down now.
    #[must_use]
    pub fn report(&self) -> Report {
        let [a, b, c, d, e, f] = self.slots;
        Report::Keyboard([self.modifiers, 0, a, b, c, d, e, f])
    }

    /// Whether `key` is down.
    #[must_use]
    pub fn is_down(&self, key: Key) -> bool {
        match key.modifier() {
            Some(bit) => self.modifiers & bit != 0,
            None => self.slots.contains(&key.usage()),
        }
    }

    /// Whether nothing is down.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        *self == Self::default()
    }

    fn press_steps(&mut self, key: Key) -> [Option<Report>; 2] {
        let mut before = self.release(key);
        match key.modifier() {
            Some(bit) => self.modifiers |= bit,
            None => {
                if !self.slots.contains(&0) {
                    before = Some(self.release_all());
                }
                if let Some(slot) = self.slots.iter_mut().find(|slot| **slot == 0) {
                    *slot = key.usage();
                }
            }
        }
        [before, Some(self.report())]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(reports: impl Iterator<Item = Report>) -> Vec<Report> {
        reports.collect()
    }

    #[test]
    fn a_modifier_pressed_twice_is_released_between() {
        let mut keyboard = Keyboard::new();
        keyboard.press(Key::SHIFT_LEFT).for_each(drop);
        assert_eq!(
            keys(keyboard.press(Key::SHIFT_LEFT)),
            [Report::Keyboard([0; 8]), Report::Keyboard([2, 0, 0, 0, 0, 0, 0, 0])]
        );
    }

    #[test]
    fn releasing_a_key_that_is_up_sends_nothing() {
        assert_eq!(Keyboard::new().release(Key::KEY_A), None);
    }

    #[test]
    fn a_released_slot_is_used_again_and_the_others_stay() {
        let mut keyboard = Keyboard::new();
        for key in [Key::KEY_A, Key::KEY_B, Key::KEY_C] {
            keyboard.press(key).for_each(drop);
        }
        keyboard.release(Key::KEY_B);
        assert_eq!(keys(keyboard.press(Key::KEY_D)), [Report::Keyboard([0, 0, 4, 7, 6, 0, 0, 0])]);
    }

    #[test]
    fn a_seventh_key_clears_held_modifiers_too() {
        let mut keyboard = Keyboard::new();
        let held = [Key::SHIFT_LEFT, Key::KEY_A, Key::KEY_B, Key::KEY_C, Key::KEY_D, Key::KEY_E, Key::KEY_F];
        for key in held {
            keyboard.press(key).for_each(drop);
        }
        assert_eq!(
            keys(keyboard.press(Key::KEY_G)),
            [Report::Keyboard([0; 8]), Report::Keyboard([0, 0, 10, 0, 0, 0, 0, 0])]
        );
    }

    #[test]
    fn finish_is_ignored_for_modifiers_and_print_screen() {
        for key in Key::all() {
            let mut keyboard = Keyboard::new();
            let count = keyboard.event(key, true, true).count();
            let held = key.modifier().is_some() || key == Key::PRINT_SCREEN;
            assert_eq!((count, keyboard.is_down(key)), if held { (1, true) } else { (2, false) }, "{key}");
        }
    }

    fn any_key() -> impl Strategy<Value = Key> {
        prop::sample::select(Key::all().collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn after_any_sequence_and_release_all_nothing_is_down(
            events in prop::collection::vec((any_key(), any::<bool>(), any::<bool>()), 0..200)
        ) {
            let mut keyboard = Keyboard::new();
            for (key, pressed, finish) in events {
                let last = keyboard.event(key, pressed, finish).last();
                // The machine and the last report always agree, and no usage is in two slots.
                prop_assert!(last.is_none_or(|report| report == keyboard.report()));
                let used: Vec<u8> = keyboard.slots.into_iter().filter(|usage| *usage != 0).collect();
                prop_assert!(used.iter().all(|usage| used.iter().filter(|other| *other == usage).count() == 1));
                prop_assert_eq!(keyboard.is_down(key), pressed && !(finish && key.modifier().is_none() && key != Key::PRINT_SCREEN));
            }
            prop_assert_eq!(keyboard.release_all(), Report::Keyboard([0; 8]));
            prop_assert!(keyboard.is_at_rest());
        }

        #[test]
        fn every_report_differs_from_the_one_before(
            events in prop::collection::vec((any_key(), any::<bool>(), any::<bool>()), 0..200)
        ) {
            let mut keyboard = Keyboard::new();
            let mut before = keyboard.report();
            for (key, pressed, finish) in events {
                for report in keyboard.event(key, pressed, finish) {
                    prop_assert_ne!(report, before);
                    before = report;
                }
            }
        }
    }
}
