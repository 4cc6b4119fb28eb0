//! What the last second was like: frames counted, time by stage.

use std::time::{Duration, Instant};

use client::streamer::{Latency, Spread};
use frames::Meta;

/// Length of the window.
const SECOND: Duration = Duration::from_secs(1);
/// Most new pictures that are measured in a second; more are counted only.
const SAMPLES: usize = 512;

/// Figures of one whole second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// New pictures.
    pub(crate) captured_fps: u32,
    /// Frames published, repeated ones included.
    pub(crate) queued_fps: u32,
    /// Time by stage of the new pictures, if there were any.
    pub(crate) latency: Option<Latency>,
}

/// Collects them.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Instant,
    captured: u32,
    queued: u32,
    /// Nanoseconds of capture, encode, publish, total.
    samples: Vec<[u64; 4]>,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, captured: 0, queued: 0, samples: Vec::with_capacity(SAMPLES) }
    }

    /// Counts a new picture.
    pub(crate) fn fresh(&mut self, meta: &Meta, published: u64) {
        self.captured += 1;
        self.queued += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push([
                meta.encode_begin.saturating_sub(meta.captured),
                meta.encode_end.saturating_sub(meta.encode_begin),
                published.saturating_sub(meta.encode_end),
                published.saturating_sub(meta.captured),
            ]);
        }
    }

    /// Counts a frame that is no new picture.
    pub(crate) fn repeated(&mut self) {
        self.queued += 1;
    }

    /// When the second is over.
    pub(crate) fn due(&self) -> Instant {
        self.since + SECOND
    }

    /// The second's figures, once it is over; a new one begins.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Figures> {
        let passed = now.saturating_duration_since(self.since);
        if passed < SECOND {
            return None;
        }
        // A thread that was held up counts over a longer time; a rate is still what is wanted.
        let millis = passed.as_millis().max(1);
        let rate =
            |count: u32| u32::try_from((u128::from(count) * 1000 + millis / 2) / millis).unwrap_or(u32::MAX);
        let figures = Figures {
            captured_fps: rate(self.captured),
            queued_fps: rate(self.queued),
            latency: self.latency(),
        };
        (self.captured, self.queued, self.since) = (0, 0, now);
        self.samples.clear();
        Some(figures)
    }

    fn latency(&self) -> Option<Latency> {
        let stage = |index: usize| spread(self.samples.iter().map(|sample| sample[index]).collect());
        Some(Latency { capture: stage(0)?, encode: stage(1)?, publish: stage(2)?, total: stage(3)? })
    }
}

fn spread(mut nanos: Vec<u64>) -> Option<Spread> {
    nanos.sort_unstable();
    let at = |percent: usize| {
        Some(nanos.get((nanos.len() * percent / 100).min(nanos.len().checked_sub(1)?))? / 1000)
    };
    Some(Spread { p50_us: at(50)?, p99_us: at(99)?, max_us: at(100)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use frames::{Format, SourceState};

    fn meta(captured: u64) -> Meta {
        Meta {
            format: Format::Jpeg,
            width: 1,
            height: 1,
            online: true,
            key: true,
            captured,
            encode_begin: captured + 1_000,
            encode_end: captured + 5_000,
            state: SourceState::Live,
        }
    }

    #[test]
    fn a_second_is_summed_up_once_and_then_begins_anew() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for number in 1..=100 {
            meter.fresh(&meta(0), 5_000 + number * 1_000);
        }
        meter.repeated();
        assert_eq!(meter.take(start + Duration::from_millis(999)), None);
        let figures = meter.take(start + SECOND).unwrap();
        let flat = |p50_us, p99_us, max_us| Spread { p50_us, p99_us, max_us };
        let latency = Latency {
            capture: flat(1, 1, 1),
            encode: flat(4, 4, 4),
            publish: flat(51, 100, 100),
            total: flat(56, 105, 105),
        };
        assert_eq!(figures, Figures { captured_fps: 100, queued_fps: 101, latency: Some(latency) });
        assert_eq!(meter.take(start + SECOND * 2), Some(Figures::default()));
    }

    #[test]
    fn a_longer_second_still_gives_a_rate_and_times_that_run_backwards_give_zero() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for _ in 0..60 {
            meter.fresh(&meta(1 << 40), 0);
        }
        let figures = meter.take(start + SECOND * 2).unwrap();
        assert_eq!((figures.captured_fps, figures.latency.unwrap().total.p99_us), (30, 0));
    }
}
