//! The two mice: one says where the pointer is, the other how far it moved.

use crate::{Button, Report};

/// The largest coordinate of an absolute report.
const MAX: i64 = 0x7fff;

/// The part of the target's screen that -32768..=32767 is mapped onto, on one axis.
///
/// Some hosts leave the pointer short of the edge or past it; the setting makes up for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// What -32768 becomes.
    pub min: i16,
    /// What 32767 becomes.
    pub max: i16,
}

impl Default for Range {
    fn default() -> Self {
        Self { min: i16::MIN, max: i16::MAX }
    }
}

impl Range {
    /// The coordinate of a report (0..=32767) for a coordinate of the API. Every step drops the fraction.
    #[must_use]
    pub fn to_report(self, value: i16) -> u16 {
        let (min, max) = (i64::from(self.min), i64::from(self.max));
        let offset = i64::from(value) - i64::from(i16::MIN);
        let span = i64::from(u16::MAX);
        let ranged = (min * span + offset * (max - min)) / span;
        let scaled = (ranged - i64::from(i16::MIN)) * MAX / span;
        u16::try_from(scaled).unwrap_or_default()
    }
}

/// Buttons that are down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Buttons(u8);

impl Buttons {
    /// The masks to report, in order: a button that is already down is released first.
    fn change(&mut self, button: Button, pressed: bool) -> [Option<u8>; 2] {
        let was_down = self.0 & button.mask() != 0;
        let released = self.0 & !button.mask();
        if pressed {
            self.0 = released | button.mask();
            [was_down.then_some(released), Some(self.0)]
        } else {
            self.0 = released;
            [was_down.then_some(released), None]
        }
    }
}

/// The mouse that says where the pointer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbsoluteMouse {
    x_range: Range,
    y_range: Range,
    doubled: bool,
    buttons: Buttons,
    /// Where the API last sent the pointer. Until then reports carry zeroes, the corner.
    position: Option<(i16, i16)>,
}

impl AbsoluteMouse {
    /// A mouse at the corner, with the whole screen as its range.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A mouse whose coordinates are mapped onto a part of the screen first.
    #[must_use]
    pub fn with_ranges(x_range: Range, y_range: Range) -> Self {
        Self { x_range, y_range, ..Self::default() }
    }

    /// Whether coordinates are doubled in reports, as Windows 98 wants them.
    pub fn set_doubled(&mut self, doubled: bool) {
        self.doubled = doubled;
    }

    /// Moves the pointer; (-32768, -32768) is the upper left corner.
    pub fn move_to(&mut self, x: i16, y: i16) -> Report {
        self.position = Some((x, y));
        self.report()
    }

    /// Presses or releases a button: none to two reports.
    pub fn button(&mut self, button: Button, pressed: bool) -> impl Iterator<Item = Report> + use<> {
        let position = self.clone();
        self.buttons
            .change(button, pressed)
            .into_iter()
            .flatten()
            .map(move |mask| Self { buttons: Buttons(mask), ..position.clone() }.report())
    }

    /// Turns the wheel: `x` to the sides, `y` up and down, as the host counts.
    #[must_use]
    pub fn wheel(&self, x: i8, y: i8) -> Report {
        self.with_wheel(clip(x), clip(y))
    }

    /// Releases all buttons; the pointer stays. The report is for sending even when nothing was down.
    pub fn release_all(&mut self) -> Report {
        self.buttons = Buttons::default();
        self.report()
    }

    /// The report of what is down, and where the pointer is.
    #[must_use]
    pub fn report(&self) -> Report {
        self.with_wheel(0, 0)
    }

    /// Where the pointer was last sent, if anywhere.
    #[must_use]
    pub fn position(&self) -> Option<(i16, i16)> {
        self.position
    }

    /// Whether no button is down.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.buttons == Buttons::default()
    }

    fn with_wheel(&self, x: i8, y: i8) -> Report {
        let shift = u32::from(self.doubled);
        let coordinate = |range: Range, value: i16| (range.to_report(value) << shift).to_le_bytes();
        let ([x0, x1], [y0, y1]) = match self.position {
            Some((x, y)) => (coordinate(self.x_range, x), coordinate(self.y_range, y)),
            None => ([0; 2], [0; 2]),
        };
        // The vertical wheel goes first in the report, though the API names x first.
        Report::Absolute([self.buttons.0, x0, x1, y0, y1, y.cast_unsigned(), x.cast_unsigned()])
    }
}

/// The mouse that says how far it moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelativeMouse {
    buttons: Buttons,
}

impl RelativeMouse {
    /// A mouse with no button down.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the pointer by a distance; positive is right and down.
    #[must_use]
    pub fn move_by(&self, dx: i8, dy: i8) -> Report {
        let (dx, dy) = (clip(dx), clip(dy));
        Report::Relative([self.buttons.0, dx.cast_unsigned(), dy.cast_unsigned(), 0, 0])
    }

    /// Presses or releases a button: none to two reports.
    pub fn button(&mut self, button: Button, pressed: bool) -> impl Iterator<Item = Report> + use<> {
        let masks = self.buttons.change(button, pressed);
        masks.into_iter().flatten().map(|mask| Report::Relative([mask, 0, 0, 0, 0]))
    }

    /// Turns the wheel: `x` to the sides, `y` up and down, as the host counts.
    #[must_use]
    pub fn wheel(&self, x: i8, y: i8) -> Report {
        Report::Relative([self.buttons.0, 0, 0, clip(y).cast_unsigned(), clip(x).cast_unsigned()])
    }

    /// Releases all buttons. The report is for sending even when nothing was down.
    pub fn release_all(&mut self) -> Report {
        self.buttons = Buttons::default();
        self.report()
    }

    /// The report of what is down, without any movement.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::Relative([self.buttons.0, 0, 0, 0, 0])
    }

    /// Whether no button is down.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.buttons == Buttons::default()
    }
}

/// The deltas to report for a list a client sent.
///
/// With `squash` they are added up in order; when a sum would leave -127..=127 on either axis, what was summed so far
/// goes out and counting starts anew with the delta that did not fit. A rest of zero is not sent.
pub fn deltas(list: &[(i8, i8)], squash: bool) -> impl Iterator<Item = (i8, i8)> {
    let mut rest = list.iter().map(|(x, y)| (clip(*x), clip(*y))).peekable();
    std::iter::from_fn(move || {
        let mut sum = rest.next()?;
        if !squash {
            return Some(sum);
        }
        while let Some(next) = rest.peek() {
            let Some(fits) = add(sum, *next) else { return Some(sum) };
            sum = fits;
            rest.next();
        }
        (sum != (0, 0)).then_some(sum)
    })
}

fn add(a: (i8, i8), b: (i8, i8)) -> Option<(i8, i8)> {
    let sum = (a.0.checked_add(b.0)?, a.1.checked_add(b.1)?);
    (sum.0 != i8::MIN && sum.1 != i8::MIN).then_some(sum)
}

/// The descriptors promise -127..=127.
fn clip(delta: i8) -> i8 {
    delta.max(-127)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coordinates_map_as_recorded() {
        let seen = [
            (-32768, 0),
            (-200, 0x3f9b),
            (-1, 0x3fff),
            (0, 0x3fff),
            (1, 0x4000),
            (100, 0x4031),
            (32767, 0x7fff),
        ];
        for (value, report) in seen {
            assert_eq!(Range::default().to_report(value), report, "{value}");
        }
    }

    #[test]
    fn a_range_maps_the_ends_of_the_axis_onto_its_own() {
        let range = Range { min: -20000, max: 20000 };
        assert_eq!(range.to_report(i16::MIN), Range::default().to_report(-20000));
        assert_eq!(range.to_report(i16::MAX), Range::default().to_report(20000));
    }

    #[test]
    fn windows_98_sees_coordinates_twice_as_large() {
        let mut mouse = AbsoluteMouse::new();
        mouse.set_doubled(true);
        assert_eq!(mouse.move_to(i16::MAX, 0), Report::Absolute([0, 0xfe, 0xff, 0xfe, 0x7f, 0, 0]));
    }

    #[test]
    fn a_button_pressed_twice_is_released_between() {
        let mut mouse = RelativeMouse::new();
        mouse.button(Button::Right, true).for_each(drop);
        mouse.button(Button::Left, true).for_each(drop);
        assert_eq!(
            mouse.button(Button::Left, true).collect::<Vec<_>>(),
            [Report::Relative([2, 0, 0, 0, 0]), Report::Relative([3, 0, 0, 0, 0])]
        );
        assert_eq!(mouse.button(Button::Middle, false).count(), 0);
    }

    #[test]
    fn the_wheel_keeps_buttons_and_position() {
        let mut mouse = AbsoluteMouse::new();
        let _ = mouse.move_to(i16::MAX, i16::MIN);
        mouse.button(Button::Down, true).for_each(drop);
        assert_eq!(mouse.wheel(5, -128), Report::Absolute([16, 0xff, 0x7f, 0, 0, 0x81, 5]));
    }

    #[test]
    fn squashing_splits_where_a_sum_would_not_fit() {
        let squashed = |list: &[(i8, i8)]| deltas(list, true).collect::<Vec<_>>();
        assert_eq!(squashed(&[(100, 0), (100, 0)]), [(100, 0), (100, 0)]);
        assert_eq!(squashed(&[(1, 1), (2, 2), (3, 3)]), [(6, 6)]);
        assert_eq!(squashed(&[(-127, 0), (-1, 5)]), [(-127, 0), (-1, 5)]);
        assert_eq!(squashed(&[(5, 5), (-5, -5)]), []);
        assert_eq!(squashed(&[]), []);
        assert_eq!(deltas(&[(0, 0), (-128, 1)], false).collect::<Vec<_>>(), [(0, 0), (-127, 1)]);
    }

    fn any_button() -> impl Strategy<Value = Button> {
        prop::sample::select(Button::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn squashing_loses_no_distance(list in prop::collection::vec(any::<(i8, i8)>(), 0..50)) {
            let total = |deltas: Vec<(i8, i8)>| {
                deltas.iter().fold((0_i32, 0_i32), |(x, y), d| (x + i32::from(d.0), y + i32::from(d.1)))
            };
            let squashed: Vec<_> = deltas(&list, true).collect();
            prop_assert!(squashed.iter().all(|(x, y)| *x >= -127 && *y >= -127));
            prop_assert!(squashed.len() <= list.len());
            prop_assert_eq!(total(squashed), total(deltas(&list, false).collect()));
        }

        #[test]
        fn mapping_never_leaves_the_axis_and_never_goes_backwards(
            value in i16::MIN..i16::MAX, min in any::<i16>(), max in any::<i16>()
        ) {
            let range = Range { min: min.min(max), max: min.max(max) };
            prop_assert!(range.to_report(value) <= range.to_report(value + 1));
            prop_assert!(range.to_report(value + 1) <= 0x7fff);
        }

        #[test]
        fn after_any_sequence_and_release_all_no_button_is_down(
            events in prop::collection::vec((any_button(), any::<bool>(), any::<(i16, i16)>()), 0..100)
        ) {
            let (mut absolute, mut relative) = (AbsoluteMouse::new(), RelativeMouse::new());
            for (button, pressed, (x, y)) in events {
                absolute.button(button, pressed).for_each(drop);
                relative.button(button, pressed).for_each(drop);
                let _ = absolute.move_to(x, y);
                prop_assert_eq!(absolute.report().bytes()[0], relative.report().bytes()[0]);
            }
            prop_assert_eq!(absolute.release_all().bytes()[0], 0);
            prop_assert_eq!(relative.release_all(), Report::Relative([0; 5]));
            prop_assert!(absolute.is_at_rest() && relative.is_at_rest());
        }
    }
}
