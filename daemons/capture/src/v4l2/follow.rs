//! The machine that follows a source: looks for a signal, captures, notices what ends it.
//!
//! ```text
//!            signal                      event, another signal, a fault, no picture for STALL
//!   Idle ──────────────▶ Running ─────────────────────────────────────────────▶ Idle (looks at once)
//!    ▲ │ none: looks again after PAUSE      │ the same again, without a picture in between
//!    └─┘ or at an event                     └──▶ Lost: to be opened anew
//! ```
//!
//! One buffer is ours between two pictures: the newest one, so that it can be encoded again.
//! All others are with the driver; of several filled ones the newest is taken and the rest goes back at once.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use encode::{Format, View};
use frames::SourceState;
use sys::v4l2::Filled;

use super::node::{Mode, Node, Reading, Wish, lost};
use crate::{News, Picture, Signal};

/// Without a picture for that long, though there is a signal, the capture is started again; twice that, and the device
/// is opened anew. A slower source than one picture a second is not expected.
pub(crate) const STALL: Duration = Duration::from_secs(1);
/// Between two looks for a signal, and at a signal whose end the device would not tell.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);
/// A picture older than this is not shown when the driver had no buffer for a newer one: the next one is awaited.
const OLD: Duration = Duration::from_millis(25);
/// How long it is awaited.
const AWAITED: Duration = Duration::from_millis(100);

/// Changes in a row without a picture between them, until the source is said to have no sync; a mode switch may take a
/// few. A device may tell of one at each start.
const STARTS: u32 = 8;

/// The machine on its device.
pub(crate) struct Follow<N: Node> {
    node: N,
    path: PathBuf,
    wish: Wish,
    phase: Phase<N::Timings>,
    /// The device lets us choose the size; `None` before it was looked at.
    free: Option<bool>,
    /// Times that the capture was started without a picture since.
    stalls: u32,
    /// Times that it was ended by a change, without a picture since, and when that began.
    changes: u32,
    changing: Instant,
}

enum Phase<T> {
    Idle {
        /// Why there is no picture; `None` before it was looked at.
        state: Option<SourceState>,
        /// The state is no news any more.
        told: bool,
        look_at: Instant,
    },
    Running {
        mode: Mode,
        timings: Option<T>,
        held: Option<Held>,
        /// When the last picture was taken, or the capture began.
        alive: Instant,
        look_at: Instant,
    },
}

/// The picture that is shown.
#[derive(Debug, Clone, Copy)]
struct Held {
    filled: Filled,
    /// By [`frames::now_ns`].
    captured: u64,
}

impl<N: Node> Follow<N> {
    pub(crate) fn new(node: N, path: PathBuf, wish: Wish) -> Self {
        let look_at = node.now();
        let phase = Phase::Idle { state: None, told: true, look_at };
        Self { node, path, wish, phase, free: None, stalls: 0, changes: 0, changing: look_at }
    }

    /// See [`crate::Source::wait`].
    pub(crate) fn wait(&mut self, deadline: Instant) -> Result<News, Signal> {
        loop {
            let changes = self.changes;
            let news = match self.phase {
                Phase::Idle { .. } => self.idle(deadline)?,
                Phase::Running { .. } => self.run(deadline)?,
            };
            if let Some(news) = news {
                return Ok(news);
            }
            // One change is followed at once, even at a deadline. Further ones must not keep the caller here.
            if changes > 0 && self.changes > changes && self.node.now() >= deadline {
                return Ok(News::Same);
            }
        }
    }

    /// The picture that was taken last.
    pub(crate) fn picture(&self) -> Option<Picture<'_>> {
        let Phase::Running { mode, held: Some(held), .. } = &self.phase else { return None };
        Some(Picture { view: self.view(mode, &held.filled)?, captured: held.captured })
    }

    /// Wants another size. Says whether the device has a choice, as far as is known.
    pub(crate) fn set_size(&mut self, width: u32, height: u32) -> bool {
        let size = Some((width, height));
        let changed = std::mem::replace(&mut self.wish.size, size) != size;
        if self.free == Some(false) {
            return false;
        }
        if let Phase::Running { mode, .. } = &self.phase
            && changed
            && (mode.width, mode.height) != (width, height)
        {
            self.leave();
        }
        true
    }

    /// What the target is shown as its monitor.
    pub(crate) fn edid(&mut self) -> io::Result<Vec<u8>> {
        self.node.edid()
    }

    /// Shows it another one.
    pub(crate) fn set_edid(&mut self, edid: &[u8]) -> io::Result<()> {
        self.leave();
        self.node.set_edid(edid)
    }

    /// Whether a buffer is ours.
    #[cfg(test)]
    pub(super) fn picture_is_held(&self) -> bool {
        matches!(self.phase, Phase::Running { held: Some(_), .. })
    }

    /// Without a capture: looks for a signal, tells what there is, waits.
    fn idle(&mut self, deadline: Instant) -> Result<Option<News>, Signal> {
        let now = self.node.now();
        let Phase::Idle { state, told, look_at } = &mut self.phase else { return Ok(None) };
        if now >= *look_at {
            self.look()?;
            return Ok(None);
        }
        if let Some(state) = state.filter(|_| !std::mem::replace(told, true) || now >= deadline) {
            return Err(Signal::Absent(state));
        }
        if now >= deadline {
            return Ok(Some(News::Same));
        }
        let until = deadline.min(*look_at);
        let ready = self.node.wait(until).map_err(|error| lost(&self.path, &error))?;
        let changed = ready.event && self.node.take_events().map_err(|error| lost(&self.path, &error))?;
        if ready.fault {
            // Nothing captures, so this is not about buffers.
            return Err(lost(&self.path, &io::Error::from_raw_os_error(libc::ENODEV)));
        }
        if let (true, Phase::Idle { look_at, .. }) = (changed, &mut self.phase) {
            *look_at = now;
        }
        Ok(None)
    }

    /// Looks at the source, and captures if there is one.
    fn look(&mut self) -> Result<(), Signal> {
        match self.node.reading().map_err(|error| lost(&self.path, &error))? {
            Reading::Absent(state) => self.absent(state),
            Reading::Free => {
                self.free = Some(true);
                return self.start(None);
            }
            Reading::Signal(timings) => {
                self.free = Some(false);
                return self.start(Some(timings));
            }
        }
        Ok(())
    }

    fn start(&mut self, timings: Option<N::Timings>) -> Result<(), Signal> {
        let started =
            self.node.start(timings.as_ref(), self.wish).map_err(|error| lost(&self.path, &error))?;
        let Some(mode) = started else {
            self.absent(SourceState::UnsupportedMode);
            return Ok(());
        };
        let now = self.node.now();
        self.phase = Phase::Running { mode, timings, held: None, alive: now, look_at: now + PAUSE };
        Ok(())
    }

    /// There is no picture to be had: that is told if it is news, and looked at again later.
    fn absent(&mut self, state: SourceState) {
        self.node.stop();
        (self.stalls, self.changes) = (0, 0);
        let known = matches!(&self.phase, Phase::Idle { state: Some(known), .. } if *known == state);
        let told = known && matches!(self.phase, Phase::Idle { told: true, .. });
        self.phase = Phase::Idle { state: Some(state), told, look_at: self.node.now() + PAUSE };
    }

    /// Ends the capture, to look at once what there is.
    fn leave(&mut self) {
        self.node.stop();
        let look_at = self.node.now();
        match &mut self.phase {
            Phase::Idle { look_at: then, .. } => *then = look_at,
            Phase::Running { .. } => self.phase = Phase::Idle { state: None, told: true, look_at },
        }
    }

    /// While it captures.
    fn run(&mut self, deadline: Instant) -> Result<Option<News>, Signal> {
        if self.has_changed().map_err(|error| lost(&self.path, &error))? {
            self.unsettled();
            return Ok(None);
        }
        match self.take_newest(deadline) {
            Ok(Some(filled)) => return Ok(Some(self.show(filled))),
            Ok(None) => {}
            Err(error) => return self.stalled(&error.to_string()).map(|()| None),
        }
        let now = self.node.now();
        let Phase::Running { alive, look_at, .. } = &self.phase else { return Ok(None) };
        let stalls_at = *alive + STALL;
        if now >= stalls_at {
            return self.stalled("there is a signal, but no picture").map(|()| None);
        }
        if now >= deadline {
            return Ok(Some(News::Same));
        }
        let until = deadline.min(stalls_at);
        let until = if self.node.tells_changes() { until } else { until.min(*look_at) };
        let ready = self.node.wait(until).map_err(|error| lost(&self.path, &error))?;
        if ready.fault && !ready.picture {
            return self.stalled("the capture has stopped").map(|()| None);
        }
        Ok(None)
    }

    /// The signal has changed: it is looked at anew. One that never holds still until a picture comes is none.
    fn unsettled(&mut self) {
        let now = self.node.now();
        if self.changes == 0 {
            self.changing = now;
        }
        self.changes += 1;
        if self.changes >= STARTS || now >= self.changing + STALL * 2 {
            self.absent(SourceState::NoSync);
        } else {
            self.leave();
        }
    }

    /// Whether the signal is another one than what is captured.
    fn has_changed(&mut self) -> io::Result<bool> {
        let now = self.node.now();
        let Phase::Running { timings, look_at, .. } = &mut self.phase else { return Ok(false) };
        if self.node.tells_changes() {
            // Even if it is the same again, a receiver may have to be started anew.
            return self.node.take_events();
        }
        if now < *look_at {
            return Ok(false);
        }
        *look_at = now + PAUSE;
        Ok(match (self.node.reading()?, timings) {
            (Reading::Signal(seen), Some(set)) => !self.node.same(&seen, set),
            (Reading::Free, None) => false,
            (Reading::Signal(_) | Reading::Free | Reading::Absent(_), _) => true,
        })
    }

    /// The newest whole picture; older ones and damaged ones go back. If the driver ran out of buffers, its newest may
    /// be an old one: then the next is awaited, briefly.
    fn take_newest(&mut self, deadline: Instant) -> io::Result<Option<Filled>> {
        let mut newest: Option<Filled> = None;
        let mut until = None;
        loop {
            let had = self.node.given();
            let mut taken = 0;
            while taken < had
                && let Some(filled) = self.node.take()?
            {
                taken += 1;
                let useless = if self.is_whole(&filled) { newest.replace(filled) } else { Some(filled) };
                if let Some(useless) = useless {
                    self.node.give(useless.index)?;
                }
            }
            let Some(filled) = newest else { return Ok(None) };
            let now = self.node.now();
            let starved = taken > 1 && taken == had && self.age(&filled).is_some_and(|age| age > OLD);
            if until.is_none() && starved {
                until = Some(deadline.min(now + AWAITED));
            } else if taken > 0 || until.is_none() {
                return Ok(newest);
            }
            match until {
                Some(until) if now < until => {
                    let ready = self.node.wait(until)?;
                    if ready.fault || ready.event {
                        return Ok(newest); // seen to next time
                    }
                }
                _ => return Ok(newest),
            }
        }
    }

    fn is_whole(&self, filled: &Filled) -> bool {
        let Phase::Running { mode, .. } = &self.phase else { return false };
        !filled.damaged && filled.len_bytes > 0 && self.view(mode, filled).is_some()
    }

    fn view(&self, mode: &Mode, filled: &Filled) -> Option<View<'_>> {
        let bytes = self.node.bytes(filled.index, filled.len_bytes)?;
        match mode.format {
            Format::Jpeg => View::captured_jpeg(mode.width, mode.height, bytes).ok(),
            format => View::new(format, mode.width, mode.height, mode.stride, bytes).ok(),
        }
    }

    /// How long ago the picture was captured, if the driver says when.
    fn age(&self, filled: &Filled) -> Option<Duration> {
        Some(self.node.since_boot().saturating_sub(filled.captured?))
    }

    /// Makes a picture the one that is shown. Whether it is equal to the one before is for the encoder to say: it reads every
    /// line once in any case, and a receiver's memory may be slow to read.
    fn show(&mut self, filled: Filled) -> News {
        let now = self.node.now();
        let since_boot = self.node.since_boot();
        let captured = filled.captured.filter(|captured| *captured <= since_boot).unwrap_or(since_boot);
        let captured = u64::try_from(captured.as_nanos()).unwrap_or(u64::MAX);
        (self.stalls, self.changes) = (0, 0);
        let Phase::Running { alive, held, .. } = &mut self.phase else { return News::Same };
        *alive = now;
        let useless = held.replace(Held { filled, captured }).map(|held| held.filled);
        if let Some(useless) = useless
            && let Err(error) = self.node.give(useless.index)
        {
            // The driver has one buffer less; what is wrong with it shows when the next one is taken.
            log::debug!("{}: a buffer was not taken back: {error}", self.path.display());
        }
        News::New
    }

    /// The capture does not go on. Once it is started again, then the device is given up.
    fn stalled(&mut self, why: &str) -> Result<(), Signal> {
        self.stalls += 1;
        let gone = why_gone(&mut self.node);
        if self.stalls > 1 || gone.is_some() {
            let why = gone.as_ref().map_or_else(|| why.to_owned(), ToString::to_string);
            let state = if gone.is_some() { SourceState::NoCable } else { SourceState::NoSync };
            return Err(Signal::Lost { state, why: format!("{}: {why}", self.path.display()) });
        }
        log::warn!("{}: {why}; starting again", self.path.display());
        self.leave();
        Ok(())
    }
}

/// Why the device does not answer any more, if so.
fn why_gone(node: &mut impl Node) -> Option<io::Error> {
    let error = node.reading().err()?;
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)).then_some(error)
}
