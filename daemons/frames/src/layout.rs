//! Where things lie in the ring. All words are `u32` in the machine's order: both ends run on one machine.
//!
//! ```text
//! head    0 magic · 4 version · 8 slots · 12 slot_bytes · 16 newest (low half of the newest sequence; the futex word)
//! slot    4096 + n × stride: 0 generation · 4 words of meta (`meta.rs`) … 64 data
//! ```

use std::sync::atomic::Ordering;

use sys::mmap::{ReadMap, WriteMap};

/// "KVMF", read as a little-endian word.
const MAGIC: u32 = 0x464d_564b;
pub(crate) const VERSION: u32 = 1;
/// Offset of the futex word.
pub(crate) const NEWEST: usize = 16;
const PAGE: usize = 4096;
/// Bytes before a slot's data.
pub(crate) const SLOT_HEAD: usize = 64;

/// The geometry of a ring, checked. Kept in private memory: the shared copy is read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    slots: u32,
    slot_bytes: u32,
    stride: usize,
}

impl Layout {
    pub(crate) fn new(slots: u32, slot_bytes: u32) -> Option<Self> {
        let fits =
            (2..=64).contains(&slots) && slots.is_power_of_two() && (1..=64 << 20).contains(&slot_bytes);
        let stride = (SLOT_HEAD + usize::try_from(slot_bytes).ok()?).next_multiple_of(PAGE);
        fits.then_some(Self { slots, slot_bytes, stride })
    }

    pub(crate) fn file_bytes(&self) -> usize {
        PAGE + self.slots as usize * self.stride
    }

    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot_bytes as usize
    }

    /// Offsets of all slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> + use<> {
        let stride = self.stride;
        (0..self.slots as usize).map(move |index| PAGE + index * stride)
    }

    /// Offset of the slot of a sequence number; the low half is enough, as the number of slots is a power of two.
    pub(crate) fn slot_of(&self, sequence_low: u32) -> usize {
        PAGE + (sequence_low % self.slots) as usize * self.stride
    }

    pub(crate) fn write_head(&self, map: &WriteMap) {
        for (offset, value) in [(0, MAGIC), (4, VERSION), (8, self.slots), (12, self.slot_bytes), (NEWEST, 0)]
        {
            if let Some(word) = map.word(offset) {
                word.store(value, Ordering::Release);
            }
        }
    }

    /// Reads the head through `load` and compares it with the size of the file, which is sealed.
    pub(crate) fn read_head(
        file_bytes: usize,
        load: impl Fn(usize) -> Option<u32>,
    ) -> Result<Self, &'static str> {
        let word = |offset| load(offset).ok_or("too short");
        if word(0)? != MAGIC {
            return Err("wrong magic");
        }
        if word(4)? != VERSION {
            return Err("another version");
        }
        let layout = Self::new(word(8)?, word(12)?).ok_or("impossible geometry")?;
        if layout.file_bytes() != file_bytes {
            return Err("the geometry is not that of the file's size");
        }
        Ok(layout)
    }

    pub(crate) fn of_reader(map: &ReadMap) -> Result<Self, &'static str> {
        Self::read_head(map.len_bytes(), |offset| map.load(offset, Ordering::Acquire))
    }

    pub(crate) fn of_writer(map: &WriteMap) -> Result<Self, &'static str> {
        Self::read_head(map.len_bytes(), |offset| Some(map.word(offset)?.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_head_is_refused_or_describes_slots_inside_the_file(
            words in proptest::array::uniform4(prop_oneof![
                any::<u32>(), Just(MAGIC), Just(VERSION), Just(2), Just(8), Just(4096), Just(0),
            ]),
            file_bytes in prop_oneof![Just(4096_usize), Just(4096 + 8 * 8192), any::<usize>()],
        ) {
            if let Ok(layout) = Layout::read_head(file_bytes, |offset| words.get(offset / 4).copied()) {
                for slot in layout.slots() {
                    prop_assert!(slot + SLOT_HEAD + layout.slot_bytes() <= file_bytes);
                }
            }
        }

        #[test]
        fn a_sequence_number_finds_its_slot_across_the_wrap_of_its_low_half(high in 0_u64..9, n in 0_u64..99) {
            let layout = Layout::new(8, 100).unwrap();
            let sequence = (high << 32) + u64::from(u32::MAX) - 50 + n;
            let slots: Vec<_> = layout.slots().collect();
            #[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
            let slot = layout.slot_of(sequence as u32);
            prop_assert_eq!(slot, slots[usize::try_from(sequence % 8).unwrap()]);
        }
    }

    #[test]
    fn geometry_out_of_range_is_refused() {
        for (slots, bytes) in [(0, 1), (1, 1), (3, 1), (128, 1), (8, 0), (8, (64 << 20) + 1)] {
            assert_eq!(Layout::new(slots, bytes), None, "{slots} {bytes}");
        }
        assert_eq!(Layout::new(8, 4 << 20).unwrap().file_bytes(), 4096 + 8 * ((4 << 20) + 4096));
    }
}
