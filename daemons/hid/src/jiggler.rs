//! When to nudge the mouse so that the target does not fall asleep.

use std::time::{Duration, Instant};

/// Between two moves of one nudge.
const STEP: Duration = Duration::from_millis(100);
/// There and back, five times, and for an absolute mouse to where it was.
const ABSOLUTE: [i16; 11] = [100, -100, 100, -100, 100, -100, 100, -100, 100, -100, 0];
const RELATIVE: [i8; 10] = [10, -10, 10, -10, 10, -10, 10, -10, 10, -10];

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    To(i16, i16),
    By(i8, i8),
}

#[derive(Debug)]
enum Phase {
    /// Until nothing has happened for `patience`, counted from `since` or from the last event.
    Waiting { since: Option<Instant>, patience: Duration },
    /// The next step, and when. `origin` is where an absolute pointer was.
    Nudging { step: usize, at: Instant, origin: Option<(i16, i16)> },
}

/// The schedule. Knows no clock: time is an argument.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    active: bool,
    phase: Phase,
    random: u64,
}

impl Schedule {
    /// `seed` decides the variation of the intervals.
    pub(crate) fn new(interval: Duration, active: bool, seed: u64) -> Self {
        // The generator stays at zero if it starts there.
        let mut schedule = Self {
            interval,
            active,
            phase: Phase::Waiting { since: None, patience: interval },
            random: seed | 1,
        };
        schedule.wait(None);
        schedule
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    pub(crate) fn set_active(&mut self, active: bool) {
        if self.active != active {
            self.active = active;
            self.wait(None);
        }
    }

    /// Somebody moved the mouse: a nudge under way ends where it is.
    pub(crate) fn yield_to_hand(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Nudging { .. }) {
            self.wait(Some(now));
        }
    }

    /// When [`Self::next`] will have something, if nothing happens until then.
    pub(crate) fn wake_at(&self, last_event: Instant) -> Option<Instant> {
        self.active.then(|| match &self.phase {
            Phase::Waiting { since, patience } => {
                since.map_or(last_event, |since| since.max(last_event)) + *patience
            }
            Phase::Nudging { at, .. } => *at,
        })
    }

    /// The move due now. `position` is the pointer's, where the mouse is absolute.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        last_event: Instant,
        position: Option<(i16, i16)>,
    ) -> Option<Nudge> {
        if self.wake_at(last_event).is_none_or(|at| now < at) {
            return None;
        }
        let (step, origin) = match self.phase {
            Phase::Waiting { .. } => (0, position),
            Phase::Nudging { step, origin, .. } => (step, origin),
        };
        let (nudge, last) = match origin {
            Some((x, y)) => {
                let offset = ABSOLUTE.get(step).copied().unwrap_or_default();
                (Nudge::To(x.saturating_add(offset), y.saturating_add(offset)), ABSOLUTE.len() - 1)
            }
            None => {
                let offset = RELATIVE.get(step).copied().unwrap_or_default();
                (Nudge::By(offset, offset), RELATIVE.len() - 1)
            }
        };
        if step < last {
            self.phase = Phase::Nudging { step: step + 1, at: now + STEP, origin };
        } else {
            self.wait(Some(now));
        }
        Some(nudge)
    }

    fn wait(&mut self, since: Option<Instant>) {
        // Marsaglia's xorshift: enough to not look like a clock.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let percent = u32::try_from(self.random % 51).unwrap_or_default() + 75;
        self.phase = Phase::Waiting { since, patience: self.interval * percent / 100 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn nudges(
        schedule: &mut Schedule,
        start: Instant,
        position: Option<(i16, i16)>,
    ) -> Vec<(Nudge, Duration)> {
        let mut seen = Vec::new();
        let mut now = start;
        while let Some(nudge) = schedule.next(now, start, position) {
            seen.push((nudge, now - start));
            now = schedule.wake_at(start).unwrap();
            if seen.len() > 20 || now - start > MINUTE / 2 {
                break;
            }
        }
        seen
    }

    #[test]
    fn waiting_varies_by_a_quarter_at_most() {
        let start = Instant::now();
        let waits: Vec<_> = (1..500_u64)
            .map(|seed| {
                Schedule::new(MINUTE, true, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wake_at(start).unwrap()
                    - start
            })
            .collect();
        assert!(waits.iter().all(|wait| (45..=75).contains(&wait.as_secs())));
        assert!(waits.iter().min().unwrap().as_secs() < 47 && waits.iter().max().unwrap().as_secs() > 73);
    }

    #[test]
    fn an_absolute_pointer_goes_around_its_place_and_back() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Duration::ZERO, true, 1);
        schedule.interval = 10 * MINUTE;
        let seen = nudges(&mut schedule, start, Some((1000, i16::MAX)));
        assert_eq!(seen.len(), 11);
        assert_eq!(seen[0], (Nudge::To(1100, i16::MAX), Duration::ZERO));
        assert_eq!(seen[1], (Nudge::To(900, i16::MAX - 100), STEP));
        assert_eq!(seen[10], (Nudge::To(1000, i16::MAX), STEP * 10));
    }

    #[test]
    fn a_relative_pointer_comes_back_by_itself() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Duration::ZERO, true, 1);
        schedule.interval = 10 * MINUTE;
        let seen = nudges(&mut schedule, start, None);
        assert_eq!(seen.len(), 10);
        assert_eq!(seen[8].0, Nudge::By(10, 10));
        assert_eq!(seen[9].0, Nudge::By(-10, -10));
    }

    #[test]
    fn nothing_happens_while_it_is_off_or_the_user_is_at_work() {
        let start = Instant::now();
        let mut schedule = Schedule::new(MINUTE, false, 1);
        assert_eq!(schedule.wake_at(start), None);
        assert_eq!(schedule.next(start + 10 * MINUTE, start, None), None);
        schedule.set_active(true);
        assert_eq!(schedule.next(start + 10 * MINUTE, start + 10 * MINUTE - MINUTE / 2, None), None);
        // Switched on after a long silence it starts at once.
        assert!(schedule.next(start + 10 * MINUTE, start, None).is_some());
    }

    #[test]
    fn a_hand_on_the_mouse_ends_the_nudge() {
        let start = Instant::now();
        let mut schedule = Schedule::new(MINUTE, true, 1);
        let now = start + 2 * MINUTE;
        assert!(schedule.next(now, start, Some((0, 0))).is_some());
        schedule.yield_to_hand(now);
        assert_eq!(schedule.next(now + STEP, start, Some((0, 0))), None);
    }
}
