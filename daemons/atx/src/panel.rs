//! What a real board makes of its buttons, for targets that have commands instead. Neither clock nor I/O.
//!
//! A board that is off starts when power is pressed. One that runs is asked to shut down when power is let go soon, and
//! is off when it has been held for four seconds, pressed still or not. Reset acts when pressed, and only on one that runs.

use std::time::Duration;

use tokio::time::Instant;

/// How long power is held until a board cuts it.
pub(crate) const HOLD: Duration = Duration::from_secs(4);

/// What happens to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Start,
    AskToStop,
    Cut,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    Up,
    /// Since then; `started`: this very press has switched the target on.
    Down {
        since: Instant,
        started: bool,
    },
    /// Down still, and the target is off already.
    Spent,
}

#[derive(Debug)]
pub(crate) struct Panel {
    hold: Duration,
    power: Power,
    reset: bool,
}

impl Panel {
    pub(crate) fn new(hold: Duration) -> Self {
        Self { hold, power: Power::Up, reset: false }
    }

    /// The power button moved at `now`.
    pub(crate) fn power(&mut self, pressed: bool, powered: bool, now: Instant) -> Option<Effect> {
        match (self.power, pressed) {
            (Power::Up, true) => {
                self.power = Power::Down { since: now, started: !powered };
                (!powered).then_some(Effect::Start)
            }
            (Power::Down { since, started }, false) => {
                self.power = Power::Up;
                if now.duration_since(since) >= self.hold {
                    return Some(Effect::Cut);
                }
                (!started).then_some(Effect::AskToStop)
            }
            (Power::Spent, false) => {
                self.power = Power::Up;
                None
            }
            (Power::Up, false) | (Power::Down { .. } | Power::Spent, true) => None,
        }
    }

    /// The reset button moved.
    pub(crate) fn reset(&mut self, pressed: bool, powered: bool) -> Option<Effect> {
        let was = std::mem::replace(&mut self.reset, pressed);
        (pressed && !was && powered).then_some(Effect::Reset)
    }

    /// When [`Panel::held`] has something to say.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.power {
            Power::Down { since, .. } => Some(since + self.hold),
            Power::Up | Power::Spent => None,
        }
    }

    /// It is `now`, and nothing moved.
    pub(crate) fn held(&mut self, now: Instant) -> Option<Effect> {
        if self.deadline()? > now {
            return None;
        }
        self.power = Power::Spent;
        Some(Effect::Cut)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn a_short_press_starts_a_target_that_is_off() {
        let (mut panel, start) = (Panel::new(HOLD), Instant::now());
        assert_eq!(panel.power(true, false, start), Some(Effect::Start));
        assert_eq!(panel.power(false, true, after(start, 100)), None);
    }

    #[test]
    fn a_short_press_asks_a_running_target_to_stop_when_let_go() {
        let (mut panel, start) = (Panel::new(HOLD), Instant::now());
        assert_eq!(panel.power(true, true, start), None);
        assert_eq!(panel.held(after(start, 3999)), None);
        assert_eq!(panel.power(false, true, after(start, 3999)), Some(Effect::AskToStop));
    }

    #[test]
    fn a_long_press_cuts_the_power_at_four_seconds_and_only_once() {
        let (mut panel, start) = (Panel::new(HOLD), Instant::now());
        panel.power(true, true, start);
        assert_eq!(panel.deadline(), Some(after(start, 4000)));
        assert_eq!(panel.held(after(start, 4000)), Some(Effect::Cut));
        assert_eq!((panel.deadline(), panel.held(after(start, 5000))), (None, None));
        assert_eq!(panel.power(false, false, after(start, 5500)), None);
    }

    #[test]
    fn a_long_press_seen_only_when_it_is_over_cuts_the_power_too() {
        let (mut panel, start) = (Panel::new(HOLD), Instant::now());
        panel.power(true, true, start);
        assert_eq!(panel.power(false, true, after(start, 5500)), Some(Effect::Cut));
    }

    #[test]
    fn reset_acts_once_when_pressed_and_only_on_a_running_target() {
        let mut panel = Panel::new(HOLD);
        assert_eq!(panel.reset(true, true), Some(Effect::Reset));
        assert_eq!(panel.reset(true, true), None);
        assert_eq!(panel.reset(false, true), None);
        assert_eq!(panel.reset(true, false), None);
    }

    proptest! {
        #[test]
        fn a_press_has_at_most_one_end(moves in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..6000), 0..40)) {
            let (mut panel, mut now) = (Panel::new(HOLD), Instant::now());
            let mut ends_left = 0;
            let mut down = false;
            for (pressed, powered, ms) in moves {
                let effect = panel.power(pressed, powered, now);
                if pressed && !down { ends_left = 1; }
                down = pressed;
                if let Some(Effect::AskToStop | Effect::Cut) = effect {
                    prop_assert_eq!(ends_left, 1);
                    ends_left = 0;
                }
                now = after(now, ms);
                if panel.held(now).is_some() {
                    prop_assert!(down);
                    prop_assert_eq!(ends_left, 1);
                    ends_left = 0;
                }
            }
        }
    }
}
