//! The one who publishes.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use sys::mmap::WriteMap;

use crate::layout::{Layout, NEWEST, SLOT_HEAD};
use crate::meta::{Head, WORDS};
use crate::{Error, Meta, now_ns};

/// A sequence number nobody reaches by counting frames; above it, an earlier writer wrote nonsense.
const SEQ_MAX: u64 = 1 << 62;

/// The writing end of a ring.
#[derive(Debug)]
pub struct Writer {
    map: WriteMap,
    layout: Layout,
    newest: u64,
}

impl Writer {
    /// Takes the ring over: finds where the last writer stopped, frees the slot it was in the middle of, and goes on
    /// with the next sequence number. The descriptor may be closed afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::NotARing`]; [`Error::Kernel`] when the descriptor cannot be mapped for writing.
    pub fn attach(ring: impl AsFd) -> Result<Self, Error> {
        let map = WriteMap::new(&ring).map_err(|error| Error::Kernel("map the frame ring", error))?;
        let layout = Layout::of_writer(&map).map_err(Error::NotARing)?;
        let mut writer = Self { map, layout, newest: 0 };
        writer.recover();
        Ok(writer)
    }

    fn word(&self, offset: usize) -> Result<&AtomicU32, Error> {
        self.map.word(offset).ok_or(Error::NotARing("a slot lies outside"))
    }

    fn recover(&mut self) {
        for slot in self.layout.slots() {
            let Some(generation) = self.map.word(slot) else { continue };
            if generation.load(Ordering::Acquire) % 2 == 0 {
                if let Some(head) = self.head(slot).filter(|head| head.seq < SEQ_MAX) {
                    self.newest = self.newest.max(head.seq);
                }
                continue;
            }
            for offset in (slot + 4..slot + SLOT_HEAD).step_by(4) {
                if let Some(word) = self.map.word(offset) {
                    word.store(0, Ordering::Relaxed);
                }
            }
            generation.fetch_add(1, Ordering::Release);
        }
    }

    fn head(&self, slot: usize) -> Option<Head> {
        let mut words = [0; WORDS];
        for (word, offset) in words.iter_mut().zip((slot + 4..).step_by(4)) {
            *word = self.map.word(offset)?.load(Ordering::Relaxed);
        }
        Head::from_words(words)
    }

    /// Number of the newest frame in the ring; 0 when there is none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Largest frame that fits, in bytes.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.layout.slot_bytes()
    }

    /// Publishes one frame and wakes all waiting readers; gives its sequence number and the time of publication.
    /// Never waits for a reader.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`]; the ring is as it was.
    pub fn publish(&mut self, meta: &Meta, data: &[u8]) -> Result<(u64, u64), Error> {
        let slot_bytes = self.layout.slot_bytes();
        let too_large = Error::TooLarge { len_bytes: data.len(), slot_bytes };
        let Some(len) = u32::try_from(data.len()).ok().filter(|_| data.len() <= slot_bytes) else {
            return Err(too_large);
        };
        let seq = self.newest + 1;
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what the futex word holds")]
        let seq_low = seq as u32;
        let slot = self.layout.slot_of(seq_low);

        let generation = self.word(slot)?;
        let writing = generation.load(Ordering::Relaxed) | 1;
        generation.store(writing, Ordering::Relaxed);
        fence(Ordering::Release);
        self.map.copy_in(slot + SLOT_HEAD, data).ok_or(too_large)?;
        let published_ns = now_ns();
        let words = Head { seq, len, meta: *meta, published_ns }.to_words();
        for (value, offset) in words.into_iter().zip((slot + 4..).step_by(4)) {
            self.word(offset)?.store(value, Ordering::Relaxed);
        }
        generation.store(writing.wrapping_add(1), Ordering::Release);

        let newest = self.word(NEWEST)?;
        newest.store(seq_low, Ordering::Release);
        sys::futex::wake_all(newest).map_err(|error| Error::Kernel("wake the readers", error))?;
        self.newest = seq;
        Ok((seq, published_ns))
    }
}
