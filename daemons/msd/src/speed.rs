//! How fast a transfer goes, and when it will be done. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// How much of a new measurement counts; the rest is what was known before. About the last five seconds show.
const WEIGHT: f64 = 0.3;
/// Measurements closer together are noise.
const LEAST: Duration = Duration::from_millis(200);
/// More than this is no forecast.
const LONGEST: Duration = Duration::from_secs(100 * 3600);

/// A smoothed speed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speed {
    done: u64,
    at: Instant,
    rate: Option<f64>,
}

impl Speed {
    pub(crate) fn starting_at(done: u64, at: Instant) -> Self {
        Self { done, at, rate: None }
    }

    /// So much is done now.
    #[expect(clippy::cast_precision_loss, reason = "a speed is shown to people")]
    pub(crate) fn saw(&mut self, done: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed < LEAST {
            return;
        }
        let new = done.saturating_sub(self.done) as f64 / passed.as_secs_f64();
        self.rate = Some(self.rate.map_or(new, |old| old + WEIGHT * (new - old)));
        (self.done, self.at) = (done, now);
    }

    /// Bytes a second; 0 until that is known.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and it saturates"
    )]
    pub(crate) fn bytes_per_second(&self) -> u64 {
        self.rate.unwrap_or(0.0) as u64
    }

    /// How long so many bytes will take, if that can be said.
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    pub(crate) fn left(&self, bytes: u64) -> Option<Duration> {
        let rate = self.rate.filter(|rate| *rate >= 1.0)?;
        Duration::try_from_secs_f64(bytes as f64 / rate).ok().filter(|left| *left <= LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_even_transfer_shows_its_speed_and_its_end() {
        let start = Instant::now();
        let mut speed = Speed::starting_at(5000, start);
        assert_eq!((speed.bytes_per_second(), speed.left(10)), (0, None));
        for second in 1..=5 {
            speed.saw(5000 + second * 1000, start + Duration::from_secs(second));
            assert_eq!(speed.bytes_per_second(), 1000);
        }
        assert_eq!(speed.left(3000), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_transfer_that_stalls_comes_to_no_forecast() {
        let start = Instant::now();
        let mut speed = Speed::starting_at(0, start);
        speed.saw(1 << 20, start + Duration::from_secs(1));
        for second in 2..60 {
            speed.saw(1 << 20, start + Duration::from_secs(second));
        }
        assert_eq!((speed.bytes_per_second(), speed.left(1)), (0, None));
    }

    #[test]
    fn two_looks_at_the_same_moment_count_once() {
        let start = Instant::now();
        let mut speed = Speed::starting_at(0, start);
        speed.saw(1000, start);
        assert_eq!(speed.bytes_per_second(), 0);
        speed.saw(1000, start + Duration::from_secs(1));
        assert_eq!(speed.bytes_per_second(), 1000);
    }

    proptest! {
        #[test]
        fn no_course_of_things_panics(looks in prop::collection::vec((any::<u64>(), 0_u64..100_000_000), 0..20), bytes in any::<u64>()) {
            let mut now = Instant::now();
            let mut speed = Speed::starting_at(0, now);
            for (done, passed) in looks {
                now += Duration::from_millis(passed);
                speed.saw(done, now);
                prop_assert!(speed.left(bytes).is_none_or(|left| left <= LONGEST));
            }
        }
    }
}
