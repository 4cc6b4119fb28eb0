//! A source that is opened again when it is lost.

use std::time::{Duration, Instant};

use frames::SourceState;

use crate::pace::wait_until;
use crate::{Monitor, News, Picture, Signal, Source};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two attempts: a source that is back is seen within it.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Any source that can be opened, as one that is never lost: while it is closed, it is absent.
pub struct Reopening<O> {
    open: O,
    door: Door,
    size: Option<(u32, u32)>,
    complained: Option<String>,
    /// Failures in a row, until a picture comes.
    attempts: u32,
}

/// Open or closed.
enum Door {
    Open(Box<dyn Source>),
    Closed {
        state: SourceState,
        /// The state is no news any more.
        told: bool,
        retry_at: Instant,
    },
}

impl<O: FnMut() -> Result<Box<dyn Source>, Signal> + Send> Reopening<O> {
    /// Will open the source by calling `open`, for the first time when it is first waited for.
    pub fn new(open: O) -> Self {
        let state = SourceState::NoCable;
        let door = Door::Closed { state, told: true, retry_at: Instant::now() };
        Self { open, door, size: None, complained: None, attempts: 0 }
    }

    /// Opens the source if it is closed and the pause is over.
    fn try_open(&mut self, now: Instant) {
        let Door::Closed { state, told, retry_at } = self.door else { return };
        if now < retry_at {
            return;
        }
        match (self.open)() {
            Ok(mut source) => {
                if let Some((width, height)) = self.size {
                    source.set_size(width, height);
                }
                self.door = Door::Open(source);
            }
            Err(signal) => {
                let told = told && signal.state() == state && self.attempts > 0;
                self.close(&signal, told, now);
            }
        }
    }

    fn close(&mut self, signal: &Signal, told: bool, now: Instant) {
        if let Signal::Lost { why, .. } = signal
            && self.complained.as_ref() != Some(why)
        {
            log::warn!("source lost: {why}");
            self.complained = Some(why.clone());
        }
        self.attempts = self.attempts.saturating_add(1);
        self.door = Door::Closed { state: signal.state(), told, retry_at: now + pause(self.attempts) };
    }
}

/// Pause after so many failures in a row, one at least.
fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(LONGEST_PAUSE)
}

impl<O: FnMut() -> Result<Box<dyn Source>, Signal> + Send> Source for Reopening<O> {
    fn wait(&mut self, deadline: Instant) -> Result<News, Signal> {
        loop {
            self.try_open(Instant::now());
            match &mut self.door {
                Door::Open(source) => match source.wait(deadline) {
                    Ok(news) => {
                        if self.attempts > 0 && news == News::New {
                            log::info!("source: pictures again");
                            (self.attempts, self.complained) = (0, None);
                        }
                        return Ok(news);
                    }
                    Err(Signal::Absent(state)) => return Err(Signal::Absent(state)),
                    Err(lost) => self.close(&lost, false, Instant::now()),
                },
                Door::Closed { state, told, .. } if !*told => {
                    *told = true;
                    return Err(Signal::Absent(*state));
                }
                Door::Closed { state, retry_at, .. } => {
                    if deadline < *retry_at {
                        wait_until(deadline);
                        return Err(Signal::Absent(*state));
                    }
                    wait_until(*retry_at);
                }
            }
        }
    }

    fn picture(&self) -> Option<Picture<'_>> {
        match &self.door {
            Door::Open(source) => source.picture(),
            Door::Closed { .. } => None,
        }
    }

    fn set_size(&mut self, width: u32, height: u32) -> bool {
        self.size = Some((width, height));
        match &mut self.door {
            Door::Open(source) => source.set_size(width, height),
            Door::Closed { .. } => true,
        }
    }

    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        match &mut self.door {
            Door::Open(source) => source.monitor(),
            Door::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    type Script = Arc<Mutex<VecDeque<Result<News, Signal>>>>;

    /// Says what it is told to say, and counts nothing.
    struct Scripted(Script);

    impl Source for Scripted {
        fn wait(&mut self, _: Instant) -> Result<News, Signal> {
            self.0.lock().unwrap().pop_front().unwrap_or(Ok(News::Same))
        }

        fn picture(&self) -> Option<Picture<'_>> {
            None
        }
    }

    fn lost(state: SourceState) -> Signal {
        Signal::Lost { state, why: "a test".into() }
    }

    #[test]
    fn a_source_that_cannot_be_opened_is_absent_and_tried_again_only_after_a_pause() {
        let tries = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&tries);
        let mut source = Reopening::new(move || {
            *counted.lock().unwrap() += 1;
            Err(lost(SourceState::UnsupportedMode))
        });
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(source.wait(now), Err(Signal::Absent(SourceState::UnsupportedMode)));
        }
        // More than one attempt in that time would mean that the pause is over; on a slow machine it may be.
        let limit = 1 + now.elapsed().as_millis() / FIRST_PAUSE.as_millis();
        assert!((1..=limit).contains(&*tries.lock().unwrap()));
        let Door::Closed { retry_at, .. } = source.door else { panic!("open") };
        assert!(retry_at > now);
    }

    #[test]
    fn a_source_that_is_lost_says_its_state_at_once_and_is_opened_again() {
        let script: Script = Arc::default();
        let opened = Arc::clone(&script);
        let mut source = Reopening::new(move || Ok(Box::new(Scripted(Arc::clone(&opened)))));
        let far = Instant::now() + Duration::from_secs(3600);
        script.lock().unwrap().extend([
            Ok(News::New),
            Err(Signal::Absent(SourceState::NoSync)),
            Err(lost(SourceState::NoCable)),
            Ok(News::New),
        ]);
        assert_eq!(source.wait(far), Ok(News::New));
        assert_eq!(source.wait(far), Err(Signal::Absent(SourceState::NoSync)));
        assert_eq!(source.wait(far), Err(Signal::Absent(SourceState::NoCable)));
        assert!(source.attempts == 1 && source.picture().is_none());
        assert_eq!(source.wait(far), Ok(News::New), "after the pause of the first failure");
        assert_eq!(source.attempts, 0);
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let pauses: Vec<_> = (1..8).map(|attempts| pause(attempts).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
