//! When a new level counts: after it was quiet for as long as the line's settings say.
//!
//! For lines whose kernel cannot do it. The rule is the kernel's own: every edge starts the wait anew, and when it is
//! over the level of that moment counts.

use std::time::Duration;

use tokio::time::Instant;

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Debounce {
    period: Duration,
    raw: bool,
    level: bool,
    until: Option<Instant>,
}

impl Debounce {
    /// A line that has this level, and had it for long.
    pub(crate) fn new(period: Duration, level: bool) -> Self {
        Self { period, raw: level, level, until: None }
    }

    /// The line was looked at because it had an edge; what it was when we looked.
    pub(crate) fn edge(&mut self, raw: bool, now: Instant) {
        self.raw = raw;
        self.until = Some(now + self.period);
        self.settle(now);
    }

    /// The line was looked at by the clock: an edge only where the level is another one.
    pub(crate) fn look(&mut self, raw: bool, now: Instant) {
        if raw != self.raw {
            self.edge(raw, now);
        }
        self.settle(now);
    }

    /// Time has passed.
    pub(crate) fn settle(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.level = self.raw;
        }
    }

    /// The level that counts.
    pub(crate) fn level(&self) -> bool {
        self.level
    }

    /// When [`Debounce::settle`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    #[test]
    fn a_level_counts_when_it_was_quiet_for_the_period() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut line = Debounce::new(PERIOD, false);
        line.edge(true, at(0));
        line.settle(at(99));
        assert!(!line.level());
        line.settle(at(100));
        assert!(line.level());
        assert_eq!(line.deadline(), None);
    }

    #[test]
    fn a_bounce_starts_the_wait_anew() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut line = Debounce::new(PERIOD, false);
        line.edge(true, at(0));
        line.edge(false, at(90));
        line.edge(true, at(95));
        line.settle(at(150));
        assert!(!line.level());
        assert_eq!(line.deadline(), Some(at(195)));
        line.settle(at(195));
        assert!(line.level());
    }

    #[test]
    fn without_a_period_every_edge_counts_at_once() {
        let mut line = Debounce::new(Duration::ZERO, false);
        line.edge(true, Instant::now());
        assert!(line.level());
    }

    proptest! {
        /// The level only ever becomes one that nothing disturbed for the period, and a quiet line is shown as it is.
        #[test]
        fn only_quiet_levels_count(edges in prop::collection::vec((any::<bool>(), 0u64..300), 1..50)) {
            let start = Instant::now();
            let mut now = start;
            let mut line = Debounce::new(PERIOD, false);
            let mut model = false;
            let mut raw = false;
            for (level, pause) in edges {
                line.edge(level, now);
                raw = level;
                prop_assert_eq!(line.level(), model, "no edge counts at once");
                now += Duration::from_millis(pause);
                if Duration::from_millis(pause) >= PERIOD {
                    model = raw;
                }
                line.settle(now);
                prop_assert_eq!(line.level(), model);
            }
            line.settle(now + PERIOD);
            prop_assert_eq!((line.level(), line.deadline()), (raw, None));
        }
    }
}
