//! Shared memory as numbers: mappings that are read and written through atomics only.
//!
//! Another process may change the bytes at any moment, so no `&[u8]` of them ever exists. Bytes are copied in and
//! out by relaxed atomic loads and stores of whole machine words; ordering is the caller's, by the `u32` words.
#![expect(unsafe_code, reason = "a mapping is a raw pointer until it is wrapped here")]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

const WORD: usize = size_of::<usize>();

/// A shared mapping of a whole file that is sealed against shrinking; unmapped on drop.
#[derive(Debug)]
pub struct Map {
    start: NonNull<u8>,
    len_bytes: NonZeroUsize,
}

// SAFETY: the memory belongs to no thread, and every access to it is atomic.
unsafe impl Send for Map {}
// SAFETY: as above; `&Map` gives atomics or copies only.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the file `fd`, for reading and, if asked, writing.
    fn new(fd: &impl AsFd, writable: bool) -> io::Result<Self> {
        let len = usize::try_from(crate::memfd::sealed_len(fd)?).ok().and_then(NonZeroUsize::new);
        let len_bytes = len.filter(|len| len.get() % WORD == 0).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the length is not a positive number of words")
        })?;
        let prot = if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        // SAFETY: the kernel chooses the address, so nothing that exists is mapped over.
        let start = unsafe { mmap(None, len_bytes, prot, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self { start: start.cast(), len_bytes })
    }

    /// The `u32` at a byte offset, or `None` beyond the end or off its alignment.
    fn word32(&self, offset: usize) -> Option<&AtomicU32> {
        let end = offset.checked_add(size_of::<u32>())?;
        if end > self.len_bytes.get() || !offset.is_multiple_of(size_of::<u32>()) {
            return None;
        }
        // SAFETY: in bounds and aligned (the mapping starts at a page); lives as long as `self`; the file cannot
        // shrink; everybody uses atomics here.
        Some(unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }

    /// The machine words that cover `len` bytes from `offset` on, or `None` beyond the end or off the alignment.
    fn words(&self, offset: usize, len: usize) -> Option<&[AtomicUsize]> {
        let count = len.div_ceil(WORD);
        let end = offset.checked_add(count.checked_mul(WORD)?)?;
        if end > self.len_bytes.get() || !offset.is_multiple_of(WORD) {
            return None;
        }
        // SAFETY: in bounds and aligned, lives as long as `self`, the file cannot shrink, and atomics are the only
        // way anybody reaches this memory.
        Some(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset).cast(), count) })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly the range that mmap returned; no reference outlives `self`.
        let unmapped = unsafe { munmap(self.start.cast(), self.len_bytes.get()) };
        debug_assert!(unmapped.is_ok(), "munmap of an own mapping");
    }
}

/// A mapping that can only be read; a store through it does not compile (and would be a SIGSEGV).
#[derive(Debug)]
pub struct ReadMap(Map);

impl ReadMap {
    /// Maps a sealed file for reading.
    ///
    /// # Errors
    ///
    /// `InvalidData` when the file is not sealed against shrinking or is empty; else what mmap(2) says.
    pub fn new(fd: &impl AsFd) -> io::Result<Self> {
        Map::new(fd, false).map(Self)
    }

    /// Length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.len_bytes.get()
    }

    /// Loads the `u32` at a byte offset; `None` beyond the end or off a multiple of four.
    #[must_use]
    pub fn load(&self, offset: usize, order: Ordering) -> Option<u32> {
        Some(self.0.word32(offset)?.load(order))
    }

    /// Copies `len` bytes out, replacing what `into` holds; `None` (and `into` untouched) beyond the end or off a
    /// machine word's alignment.
    #[must_use]
    pub fn copy_out(&self, offset: usize, len: usize, into: &mut Vec<u8>) -> Option<()> {
        let words = self.0.words(offset, len)?;
        into.clear();
        into.reserve(words.len() * WORD);
        for word in words {
            into.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        into.truncate(len);
        Some(())
    }

    /// Sleeps until somebody wakes the word at `offset`, unless it no longer holds `seen`. See [`crate::futex`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a bad offset; else what futex(2) says.
    pub fn wait(
        &self,
        offset: usize,
        seen: u32,
        timeout: std::time::Duration,
    ) -> io::Result<crate::futex::Wake> {
        let word = self.0.word32(offset).ok_or(io::ErrorKind::InvalidInput)?;
        crate::futex::wait(word, seen, timeout)
    }
}

/// A mapping that can be read and written.
#[derive(Debug)]
pub struct WriteMap(Map);

impl WriteMap {
    /// Maps a sealed file for reading and writing.
    ///
    /// # Errors
    ///
    /// As [`ReadMap::new`]; `EACCES` for a read-only descriptor.
    pub fn new(fd: &impl AsFd) -> io::Result<Self> {
        Map::new(fd, true).map(Self)
    }

    /// Length in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.0.len_bytes.get()
    }

    /// The `u32` at a byte offset; `None` beyond the end or off a multiple of four.
    #[must_use]
    pub fn word(&self, offset: usize) -> Option<&AtomicU32> {
        self.0.word32(offset)
    }

    /// Copies `bytes` in, filling the last machine word up with zeroes; `None` (and nothing written) beyond the
    /// end or off a machine word's alignment.
    #[must_use]
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let words = self.0.words(offset, bytes.len())?;
        let (whole, rest) = bytes.as_chunks::<WORD>();
        for (word, chunk) in words.iter().zip(whole) {
            word.store(usize::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        if let (false, Some(last)) = (rest.is_empty(), words.last()) {
            let mut chunk = [0; WORD];
            chunk[..rest.len()].copy_from_slice(rest);
            last.store(usize::from_ne_bytes(chunk), Ordering::Relaxed);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memfd;

    #[test]
    fn nothing_is_read_or_written_beyond_the_end_or_off_alignment() {
        let fd = memfd::create_sealed("test", 4096).unwrap();
        let write = WriteMap::new(&fd).unwrap();
        let read = ReadMap::new(&fd).unwrap();
        let mut out = vec![7];
        assert_eq!((write.len_bytes(), read.len_bytes()), (4096, 4096));
        assert!(write.word(4092).is_some());
        for bad in [4093, 4096, 2, usize::MAX, usize::MAX - 3] {
            assert!(write.word(bad).is_none(), "{bad}");
            assert!(read.load(bad, Ordering::Relaxed).is_none(), "{bad}");
            assert!(read.copy_out(bad, 8, &mut out).is_none(), "{bad}");
            assert!(write.copy_in(bad, &[1; 8]).is_none(), "{bad}");
        }
        assert!(read.copy_out(0, 4097, &mut out).is_none());
        assert!(read.copy_out(0, usize::MAX, &mut out).is_none());
        assert_eq!(out, [7], "a refused copy leaves the target alone");
    }

    #[test]
    fn a_read_only_descriptor_cannot_be_mapped_for_writing() {
        let fd = memfd::create_sealed("test", 4096).unwrap();
        let read_only = memfd::read_only(&fd).unwrap();
        assert!(WriteMap::new(&read_only).is_err());
        assert!(ReadMap::new(&read_only).is_ok());
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            at in 0_usize..64,
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let fd = memfd::create_sealed("test", 4096).unwrap();
            let mut out = Vec::new();
            WriteMap::new(&fd).unwrap().copy_in(at * 8, &bytes).unwrap();
            ReadMap::new(&fd).unwrap().copy_out(at * 8, bytes.len(), &mut out).unwrap();
            prop_assert_eq!(out, bytes);
        }
    }
}
