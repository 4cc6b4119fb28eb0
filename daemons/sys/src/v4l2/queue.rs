//! Capture buffers in the driver's memory: mapped, handed to the driver and taken back.
//!
//! ```text
//!   ours ──give──▶ driver's ──(filled)──take──▶ ours
//! ```
//!
//! The bytes of a buffer can be looked at only while it is ours: the driver writes to those it has been given and, by
//! V4L2's contract, to no others. A buffer is known by its index, and the queue knows whose it is.

use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::mman::munmap;

use super::abi::{self, Plain};
use super::{Device, call};

/// Fewest and most buffers.
const COUNT: std::ops::RangeInclusive<u32> = 2..=32;
/// `V4L2_BUF_FLAG_ERROR`: the picture is damaged.
const DAMAGED: u32 = 0x40;
/// Mask and value of the flag that says that the timestamp is `CLOCK_MONOTONIC`'s.
const CLOCK: (u32, u32) = (0xe000, 0x2000);

/// A buffer that came back from the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Which one.
    pub index: u32,
    /// Bytes that the driver filled.
    pub len_bytes: usize,
    /// When the picture was complete, by `CLOCK_MONOTONIC`; `None` when the driver does not say.
    pub captured: Option<Duration>,
    /// Number of the picture; gaps are pictures for which there was no buffer.
    pub sequence: u32,
    /// The driver says that the picture is not whole.
    pub damaged: bool,
}

/// One mapped buffer.
#[derive(Debug)]
struct Mapped {
    start: NonNull<u8>,
    len_bytes: NonZeroUsize,
    ours: bool,
}

// SAFETY: the memory belongs to no thread; it is read only through `&Queue`, by the rules of `Queue::bytes`.
unsafe impl Send for Mapped {}

/// The buffers of a device that captures. Dropped, the device stops and they are returned.
#[derive(Debug)]
pub struct Queue {
    device: Arc<Device>,
    buffers: Vec<Mapped>,
}

impl Queue {
    /// Asks the driver for `count` buffers (2 to 32; it may give another number), gives it all of them and starts the
    /// capture.
    ///
    /// # Errors
    ///
    /// `EBUSY` when somebody else captures from the device, `ENOMEM`, `EINVAL` when the format was not set; what the
    /// kernel says else.
    pub fn start(device: &Arc<Device>, count: u32) -> io::Result<Self> {
        let mut asked = request(count.clamp(*COUNT.start(), *COUNT.end()));
        // Where the memory would else not be cached (DMA on boards without coherent caches), reading a picture takes
        // several times as long; drivers that cannot do it ignore this.
        asked.flags = abi::NON_COHERENT;
        call(device, &abi::REQBUFS, &mut asked)?;
        let mut queue = Self { device: Arc::clone(device), buffers: Vec::new() };
        for index in 0..asked.count.min(*COUNT.end()) {
            let mapped = queue.map(index)?;
            queue.buffers.push(mapped);
        }
        if queue.buffers.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        for index in 0..asked.count.min(*COUNT.end()) {
            queue.give(index)?;
        }
        call(device, &abi::STREAMON, &mut kind())?;
        Ok(queue)
    }

    fn map(&self, index: u32) -> io::Result<Mapped> {
        let mut buffer = buffer(index);
        call(&self.device, &abi::QUERYBUF, &mut buffer)?;
        let len = usize::try_from(buffer.length).ok().and_then(NonZeroUsize::new);
        let len_bytes = len.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        // The kernel reads the low half of the field: the offset is 32 bits wide.
        let offset = libc::off_t::try_from(buffer.offset & 0xffff_ffff).map_err(io::Error::other)?;
        let start = super::map(&self.device, len_bytes, offset)?;
        Ok(Mapped { start, len_bytes, ours: true })
    }

    /// How many buffers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Never: a queue without buffers is not made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// How many of them the driver has, filled or not.
    #[must_use]
    pub fn given(&self) -> usize {
        self.buffers.iter().filter(|buffer| !buffer.ours).count()
    }

    /// Takes back the buffer that was filled first; `None` when none is filled. Never blocks.
    ///
    /// # Errors
    ///
    /// `EIO` and `EPIPE` when the capture must be started again, `ENODEV` when the device is gone.
    pub fn take(&mut self) -> io::Result<Option<Filled>> {
        let mut taken = buffer(0);
        match call(&self.device, &abi::DQBUF, &mut taken) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Ok(None),
            Err(error) => return Err(error),
        }
        let index = usize::try_from(taken.index).unwrap_or(usize::MAX);
        let Some(mapped) = self.buffers.get_mut(index) else {
            return Err(io::Error::other("the driver returned a buffer it never had"));
        };
        mapped.ours = true;
        let used = usize::try_from(taken.bytesused).unwrap_or(0);
        let captured = (taken.flags & CLOCK.0 == CLOCK.1).then(|| time(taken.timestamp)).flatten();
        Ok(Some(Filled {
            index: taken.index,
            len_bytes: used.min(mapped.len_bytes.get()),
            captured,
            sequence: taken.sequence,
            damaged: taken.flags & DAMAGED != 0,
        }))
    }

    /// Gives a buffer of ours to the driver. One that it has already is left alone.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the device is gone; what the driver says else.
    pub fn give(&mut self, index: u32) -> io::Result<()> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(mapped) = self.buffers.get_mut(at) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        if !mapped.ours {
            return Ok(());
        }
        mapped.ours = false; // before the driver has it: on failure nobody reads it any more
        call(&self.device, &abi::QBUF, &mut buffer(index))
    }

    /// The first `len_bytes` of a buffer; `None` when it is not ours or not that long.
    #[must_use]
    pub fn bytes(&self, index: u32, len_bytes: usize) -> Option<&[u8]> {
        let mapped = self.buffers.get(usize::try_from(index).ok()?)?;
        if !mapped.ours || len_bytes > mapped.len_bytes.get() {
            return None;
        }
        // SAFETY: mapped for as long as `self` lives and `len_bytes` long; the driver does not write to a buffer it
        // has not been given, and `give` needs `&mut self`, so this borrow ends before it can.
        Some(unsafe { std::slice::from_raw_parts(mapped.start.as_ptr(), len_bytes) })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // A device that is gone refuses all of it, and has then let go by itself.
        let _ = call(&self.device, &abi::STREAMOFF, &mut kind());
        for mapped in self.buffers.drain(..) {
            // SAFETY: exactly the range that mmap returned; slices of it borrowed `self`, so none is left.
            let unmapped = unsafe { munmap(mapped.start.cast(), mapped.len_bytes.get()) };
            debug_assert!(unmapped.is_ok(), "munmap of an own mapping");
        }
        let _ = call(&self.device, &abi::REQBUFS, &mut request(0));
    }
}

fn kind() -> i32 {
    abi::CAPTURE.cast_signed()
}

fn request(count: u32) -> abi::RequestBuffers {
    abi::RequestBuffers { count, kind: abi::CAPTURE, memory: abi::MMAP, ..Plain::zeroed() }
}

fn buffer(index: u32) -> abi::Buffer {
    abi::Buffer { index, kind: abi::CAPTURE, memory: abi::MMAP, ..Plain::zeroed() }
}

/// Since the machine's start; `None` for a time that cannot be one.
fn time(stamp: libc::timeval) -> Option<Duration> {
    let micros = u32::try_from(stamp.tv_usec).ok().filter(|micros| *micros < 1_000_000)?;
    let whole = Duration::from_secs(u64::try_from(stamp.tv_sec).ok()?);
    Some(whole + Duration::from_micros(micros.into())).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_that_cannot_be_one_is_none() {
        let stamp = |tv_sec, tv_usec| time(libc::timeval { tv_sec, tv_usec });
        assert_eq!(stamp(3, 500_000), Some(Duration::from_millis(3500)));
        for (seconds, micros) in [(0, 0), (-1, 0), (1, -1), (1, 1_000_000)] {
            assert_eq!(stamp(seconds, micros), None);
        }
    }
}
