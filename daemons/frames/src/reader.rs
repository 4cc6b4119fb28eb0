//! One of those who watch.

use std::os::fd::AsFd;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use sys::mmap::ReadMap;

use crate::layout::{Layout, NEWEST, SLOT_HEAD};
use crate::meta::{Head, WORDS};
use crate::{Error, Frame};

/// How often a reader looks again when the writer overtook it; each time the newest frame is another one.
const TRIES: usize = 4;

/// The reading end of a ring. Cheap; a process needs one for each thread that waits.
#[derive(Debug)]
pub struct Reader {
    map: ReadMap,
    layout: Layout,
}

impl Reader {
    /// Attaches to a ring by a descriptor that need only be readable and may be closed afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::NotARing`] when the file is sealed but is no ring; [`Error::Kernel`] when it cannot be mapped.
    pub fn attach(ring: impl AsFd) -> Result<Self, Error> {
        let map = ReadMap::new(&ring).map_err(|error| Error::Kernel("map the frame ring", error))?;
        let layout = Layout::of_reader(&map).map_err(Error::NotARing)?;
        Ok(Self { map, layout })
    }

    fn newest_low(&self) -> u32 {
        self.map.load(NEWEST, Ordering::Acquire).unwrap_or(0)
    }

    /// The newest frame; `None` when there is none yet (or the writer is unsound). Does not block.
    #[must_use]
    pub fn latest(&self) -> Option<Frame> {
        (0..TRIES).find_map(|_| self.copy(self.newest_low()))
    }

    /// Copies one frame, if its slot holds it before and after.
    fn copy(&self, seq_low: u32) -> Option<Frame> {
        let slot = self.layout.slot_of(seq_low);
        let generation = self.map.load(slot, Ordering::Acquire).filter(|generation| generation % 2 == 0)?;
        let mut words = [0; WORDS];
        for (word, offset) in words.iter_mut().zip((slot + 4..).step_by(4)) {
            *word = self.map.load(offset, Ordering::Relaxed)?;
        }
        let head = Head::from_words(words)?;
        let len = usize::try_from(head.len).ok().filter(|len| *len <= self.layout.slot_bytes())?;
        let mut data = Vec::new();
        self.map.copy_out(slot + SLOT_HEAD, len, &mut data)?;
        fence(Ordering::Acquire);
        let unchanged = self.map.load(slot, Ordering::Relaxed)? == generation;
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what the futex word holds")]
        let asked_for = head.seq as u32 == seq_low && head.seq != 0;
        (unchanged && asked_for).then_some(Frame {
            seq: head.seq,
            meta: head.meta,
            published_ns: head.published_ns,
            data,
        })
    }

    /// Waits for a frame with a number above `seq` and gives the newest; `None` when there is none within `timeout`.
    /// Blocks the thread.
    #[must_use]
    pub fn wait_newer(&self, seq: u64, timeout: Duration) -> Option<Frame> {
        let until = Instant::now() + timeout;
        loop {
            let newest_low = self.newest_low();
            #[expect(clippy::cast_possible_truncation, reason = "the low half is what the futex word holds")]
            let moved = newest_low != seq as u32;
            // One look for each value of the word, then sleep on that value: an unsound writer cannot make us spin.
            if moved && let Some(frame) = self.copy(newest_low).filter(|frame| frame.seq > seq) {
                return Some(frame);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.map.wait(NEWEST, newest_low, left).is_err() {
                return None;
            }
        }
    }
}
