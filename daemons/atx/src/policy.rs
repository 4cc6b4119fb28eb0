//! The rules of the two buttons, without clock and without I/O.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Acts, Error, Leds, Line, Settings};

/// A button of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Click {
    /// A short press of the power button.
    Power,
    /// A long press of the power button.
    PowerLong,
    /// A short press of the reset button.
    Reset,
}

impl Click {
    /// The line this click presses.
    #[must_use]
    pub fn line(self) -> Line {
        match self {
            Self::Power | Self::PowerLong => Line::Power,
            Self::Reset => Line::Reset,
        }
    }
}

/// What somebody wants of the target's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// Switch on.
    On,
    /// Ask the operating system to shut down.
    Off,
    /// Cut the power.
    OffHard,
    /// Reset without asking.
    ResetHard,
}

impl PowerAction {
    /// The click that does this, or nothing where the power light says it would be pointless.
    #[must_use]
    pub fn click(self, leds: Leds) -> Option<Click> {
        match (self, leds.power) {
            (Self::On, false) | (Self::Off, true) => Some(Click::Power),
            (Self::OffHard, true) => Some(Click::PowerLong),
            (Self::ResetHard, true) => Some(Click::Reset),
            (Self::On, true) | (Self::Off | Self::OffHard | Self::ResetHard, false) => None,
        }
    }
}

/// What the owner has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The time of the press is over: let the line go.
    Release(Line),
    /// The button is free again: whoever waits for it may be told.
    Done(Line),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Pressed { until: Instant },
    Settling { until: Instant },
}

impl Phase {
    fn until(self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::Pressed { until } | Self::Settling { until } => Some(until),
        }
    }
}

/// Both buttons.
#[derive(Debug)]
pub struct Policy {
    settings: Settings,
    power: Phase,
    reset: Phase,
}

impl Policy {
    /// Both buttons idle.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, power: Phase::Idle, reset: Phase::Idle }
    }

    /// Begins a click at `now`: the caller presses the returned line.
    ///
    /// # Errors
    /// [`Error::Busy`] while the button is pressed or settles.
    pub fn begin(&mut self, click: Click, now: Instant) -> Result<Line, Error> {
        let held = self.held(click);
        let phase = self.phase(click.line());
        if *phase != Phase::Idle {
            return Err(Error::Busy);
        }
        *phase = Phase::Pressed { until: now + held };
        Ok(click.line())
    }

    /// The line went down just before `now`: the press lasts from here on. Driving a line may take its time, and a press
    /// that is too short leaves the machine on.
    pub fn pressed(&mut self, click: Click, now: Instant) {
        let until = now + self.held(click);
        let phase = self.phase(click.line());
        if let Phase::Pressed { .. } = *phase {
            *phase = Phase::Pressed { until };
        }
    }

    fn held(&self, click: Click) -> Duration {
        match click {
            Click::Power | Click::Reset => self.settings.click_delay,
            Click::PowerLong => self.settings.long_click_delay,
        }
    }

    /// Forgets a click whose line could not be pressed.
    pub fn cancel(&mut self, line: Line) {
        *self.phase(line) = Phase::Idle;
    }

    /// The next step that is due at `now`, oldest first within a button. Call until it gives `None`.
    pub fn advance(&mut self, now: Instant) -> Option<Step> {
        let settle = self.settings.settle;
        for line in [Line::Power, Line::Reset] {
            let phase = self.phase(line);
            match *phase {
                Phase::Pressed { until } if until <= now => {
                    // From `now`, not from `until`: after a suspended clock the line still settles in full.
                    *phase = Phase::Settling { until: now + settle };
                    return Some(Step::Release(line));
                }
                Phase::Settling { until } if until <= now => {
                    *phase = Phase::Idle;
                    return Some(Step::Done(line));
                }
                Phase::Idle | Phase::Pressed { .. } | Phase::Settling { .. } => {}
            }
        }
        None
    }

    /// When [`Policy::advance`] has something to say next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [self.power.until(), self.reset.until()].into_iter().flatten().min()
    }

    /// Which buttons are at work.
    #[must_use]
    pub fn acts(&self) -> Acts {
        Acts { power: self.power != Phase::Idle, reset: self.reset != Phase::Idle }
    }

    fn phase(&mut self, line: Line) -> &mut Phase {
        match line {
            Line::Power => &mut self.power,
            Line::Reset => &mut self.reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ON: Leds = Leds { power: true, hdd: false };
    const OFF: Leds = Leds { power: false, hdd: false };

    #[test]
    fn an_action_clicks_only_where_the_power_light_says_it_makes_sense() {
        assert_eq!(PowerAction::On.click(OFF), Some(Click::Power));
        assert_eq!(PowerAction::On.click(ON), None);
        assert_eq!(PowerAction::Off.click(ON), Some(Click::Power));
        assert_eq!(PowerAction::Off.click(OFF), None);
        assert_eq!(PowerAction::OffHard.click(ON), Some(Click::PowerLong));
        assert_eq!(PowerAction::OffHard.click(OFF), None);
        assert_eq!(PowerAction::ResetHard.click(ON), Some(Click::Reset));
        assert_eq!(PowerAction::ResetHard.click(OFF), None);
    }

    #[test]
    fn a_click_is_pressed_released_and_settled_at_its_times() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut policy = Policy::new(Settings::default());
        assert_eq!(policy.begin(Click::PowerLong, start), Ok(Line::Power));
        assert_eq!(policy.deadline(), Some(at(5500)));
        assert_eq!(policy.advance(at(5499)), None);
        assert_eq!(policy.advance(at(5500)), Some(Step::Release(Line::Power)));
        assert_eq!(policy.begin(Click::Power, at(6000)), Err(Error::Busy));
        assert_eq!(policy.advance(at(6499)), None);
        assert_eq!(policy.advance(at(6500)), Some(Step::Done(Line::Power)));
        assert_eq!(policy.deadline(), None);
        assert_eq!(policy.begin(Click::Power, at(6500)), Ok(Line::Power));
    }

    #[test]
    fn a_press_lasts_from_when_its_line_was_down() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut policy = Policy::new(Settings::default());
        policy.begin(Click::Power, start).unwrap();
        policy.pressed(Click::Power, at(40));
        assert_eq!(policy.advance(at(139)), None);
        assert_eq!(policy.advance(at(140)), Some(Step::Release(Line::Power)));
        policy.pressed(Click::Power, at(150));
        assert_eq!(policy.deadline(), Some(at(1140)), "it is not down any more");
    }

    fn any_click() -> impl Strategy<Value = Click> {
        prop_oneof![Just(Click::Power), Just(Click::PowerLong), Just(Click::Reset)]
    }

    proptest! {
        /// A model with one flag per line: every press is followed by exactly one release, then one done, and
        /// nothing is down or busy once time has run on.
        #[test]
        fn every_press_is_let_go_exactly_once(script in prop::collection::vec((any_click(), 0u64..3000), 0..40)) {
            let mut policy = Policy::new(Settings::default());
            let mut now = Instant::now();
            let mut down = [false; 2];
            let mut busy = [false; 2];
            let index = |line: Line| usize::from(line == Line::Reset);
            let run = |policy: &mut Policy, now: Instant, down: &mut [bool; 2], busy: &mut [bool; 2]| {
                while let Some(step) = policy.advance(now) {
                    match step {
                        Step::Release(line) => { prop_assert!(down[index(line)]); down[index(line)] = false; }
                        Step::Done(line) => { prop_assert!(busy[index(line)] && !down[index(line)]); busy[index(line)] = false; }
                    }
                }
                Ok(())
            };
            for (click, pause) in script {
                match policy.begin(click, now) {
                    Ok(line) => { prop_assert!(!busy[index(line)]); down[index(line)] = true; busy[index(line)] = true; }
                    Err(_) => prop_assert!(busy[index(click.line())]),
                }
                prop_assert_eq!(policy.acts(), Acts { power: busy[0], reset: busy[1] });
                now += Duration::from_millis(pause);
                run(&mut policy, now, &mut down, &mut busy)?;
            }
            now += Duration::from_secs(10);
            run(&mut policy, now, &mut down, &mut busy)?;
            now += Duration::from_secs(10);
            run(&mut policy, now, &mut down, &mut busy)?;
            prop_assert_eq!((down, busy), ([false; 2], [false; 2]));
        }
    }
}
