//! Encoded frames in shared memory: one writer, many readers, nobody waits for a slow one.
//!
//! The supervisor creates the ring (a sealed memfd) and holds it; the streamer gets a writable descriptor, every
//! reader a read-only one. Why it is built so: `docs/decisions/0003-frame-ring.md`.
//!
//! ```text
//! slot:   free ──begin──▶ being written (odd generation) ──end──▶ holds frame N (even generation)
//!                                  │ writer dies                        │ frame N + slots
//!                                  └── next Writer::attach ──▶ free     └──▶ being written …
//!
//! reader: look at the newest sequence number ─▶ copy its slot out ─▶ generation unchanged? a frame : look again
//! ```
//!
//! - A reader never writes, takes no lock and is registered nowhere: any number of them costs the writer nothing,
//!   and a slow one misses frames.
//! - A reader trusts nothing it reads: geometry comes from the sealed file's size, every length and every enum is
//!   checked, so a writer that died half-way or was taken over can withhold frames or send wrong ones, no more.
//! - One writer at a time is the supervisor's duty (one streamer process), not enforced here.
//!
//! It does not encode, does not know clients, and starts no thread. [`Reader::wait_newer`] blocks: give it a
//! thread of its own.

mod layout;
mod meta;
mod reader;
mod writer;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub use meta::{Format, Frame, Meta, SourceState};
pub use reader::Reader;
pub use writer::Writer;

/// Slots of the usual ring: half a second at 15 fps before a reader that is copying loses its slot.
pub const SLOTS: u32 = 8;
/// Bytes of a slot of the usual ring: the largest JPEG that fits. Memory is only used up to the largest frame seen.
pub const SLOT_BYTES: u32 = 4 << 20;

/// What can go wrong with a ring. Nothing here is fatal to a process that can do without pictures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The numbers for a new ring are out of range.
    #[error(
        "a ring has 2 to 64 slots, a power of two, of 1 byte to 64 MiB: not {slots} of {slot_bytes} bytes"
    )]
    Geometry {
        /// Slots asked for.
        slots: u32,
        /// Bytes a slot asked for.
        slot_bytes: u32,
    },
    /// The descriptor is a sealed file, but its head does not describe a ring of its size.
    #[error("not a frame ring this program knows: {0}")]
    NotARing(&'static str),
    /// The frame does not fit a slot; nothing was published.
    #[error("a frame of {len_bytes} bytes does not fit a slot of {slot_bytes}")]
    TooLarge {
        /// Length of the frame.
        len_bytes: usize,
        /// Capacity of a slot.
        slot_bytes: usize,
    },
    /// The kernel refused.
    #[error("{0}: {1}")]
    Kernel(&'static str, #[source] io::Error),
}

/// Creates an empty ring of `slots` (a power of two, 2 to 64) of `slot_bytes` each and gives the writable descriptor.
/// Call as the user that no reader runs as: the file's mode 0600 is what keeps readers from reopening it writable.
///
/// # Errors
///
/// [`Error::Geometry`], or [`Error::Kernel`] when there is no memory.
pub fn create(slots: u32, slot_bytes: u32) -> Result<OwnedFd, Error> {
    let layout = layout::Layout::new(slots, slot_bytes).ok_or(Error::Geometry { slots, slot_bytes })?;
    let fd = sys::memfd::create_sealed("kvmd-frames", layout.file_bytes() as u64)
        .map_err(|error| Error::Kernel("create the frame ring", error))?;
    let map = sys::mmap::WriteMap::new(&fd).map_err(|error| Error::Kernel("map the frame ring", error))?;
    layout.write_head(&map);
    Ok(fd)
}

/// The same ring through a descriptor that cannot be written.
///
/// # Errors
///
/// [`Error::Kernel`], for example when `/proc` is not mounted.
pub fn read_only(ring: &impl AsFd) -> Result<OwnedFd, Error> {
    sys::memfd::read_only(ring).map_err(|error| Error::Kernel("reopen the frame ring", error))
}

/// The monotonic clock that all times of a frame are on, in nanoseconds.
#[must_use]
pub fn now_ns() -> u64 {
    let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) else {
        return 0; // CLOCK_MONOTONIC exists on every Linux; there is no better answer if it did not
    };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0))
}
