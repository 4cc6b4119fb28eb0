//! Ticks at a given rate: arithmetic, and one place that waits.

use std::time::{Duration, Instant};

/// When the next picture of a source without hardware is due.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// Zero: a tick whenever asked.
    period: Duration,
    /// Ticks given so far, skipped ones included.
    ticks: u64,
}

impl Pace {
    /// `fps` ticks a second, the first one at `start`; 0 means as many as are asked for.
    pub(crate) fn new(fps: u32, start: Instant) -> Self {
        let period = Duration::from_secs(1).checked_div(fps).unwrap_or(Duration::ZERO);
        Self { start, period, ticks: 0 }
    }

    /// When the next tick is due.
    fn due(&self) -> Instant {
        let nanos = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX).saturating_mul(self.ticks);
        self.start.checked_add(Duration::from_nanos(nanos)).unwrap_or(self.start)
    }

    /// The newest tick at `now`, if it is due; those missed are skipped. Ticks count from 0.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now < self.due() {
            return None;
        }
        let passed = now.saturating_duration_since(self.start).as_nanos();
        let newest = match self.period.as_nanos() {
            0 => self.ticks,
            period => u64::try_from(passed / period).unwrap_or(u64::MAX),
        };
        self.ticks = newest.saturating_add(1);
        Some(newest)
    }

    /// Waits for the next tick until `deadline`; `None` when there was none.
    pub(crate) fn wait(&mut self, deadline: Instant) -> Option<u64> {
        wait_until(self.due().min(deadline));
        self.take(Instant::now())
    }
}

/// Blocks the thread until then.
pub(crate) fn wait_until(then: Instant) {
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_come_at_their_times_and_missed_ones_are_skipped() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(10, start);
        assert_eq!(pace.take(at(0)), Some(0));
        assert_eq!(pace.take(at(99)), None);
        assert_eq!(pace.take(at(100)), Some(1));
        assert_eq!(pace.take(at(450)), Some(4));
        assert_eq!(pace.take(at(499)), None);
        assert_eq!(pace.take(at(500)), Some(5));
    }

    #[test]
    fn a_rate_of_zero_ticks_whenever_it_is_asked() {
        let start = Instant::now();
        let mut pace = Pace::new(0, start);
        assert_eq!((0..3).map(|_| pace.take(start)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn a_deadline_that_has_passed_is_not_waited_for() {
        let mut pace = Pace::new(1, Instant::now() + Duration::from_secs(3600));
        assert_eq!(pace.wait(Instant::now()), None);
    }

    proptest! {
        #[test]
        fn no_tick_comes_twice_or_early(fps in 1_u32..1000, steps in proptest::collection::vec(0_u64..200_000, 1..50)) {
            let start = Instant::now();
            let (mut pace, mut now, mut last) = (Pace::new(fps, start), start, None);
            for step in steps {
                now += Duration::from_micros(step);
                if let Some(tick) = pace.take(now) {
                    prop_assert!(last.is_none_or(|last| tick > last));
                    prop_assert!(start + pace.period * u32::try_from(tick).unwrap() <= now);
                    last = Some(tick);
                }
            }
        }
    }
}
