//! Pictures made small: JPEG by libjpeg-turbo.
//!
//! [`View`] is a picture that lies in somebody's memory (a capture buffer, a screen) in the form the source has it;
//! [`Jpeg`] encodes one after the other into a buffer it keeps. Nothing is converted that need not be:
//!
//! | Input | Way |
//! |---|---|
//! | `Bgrx` | libjpeg-turbo's own colour converter (SIMD), chroma 4:2:0 |
//! | `Yuv420`, `Yuv422` | planes as they are, no colour conversion |
//! | `Yuyv`, `Uyvy` | taken apart into planes (the compiler vectorises it), 4:2:2 |
//!
//! [`preview`] makes a smaller JPEG of one (API.md 8.7). YUV is taken as JPEG means it: BT.601, full range; a source
//! with a limited range (most HDMI) needs its levels stretched, which belongs to the V4L2 source to come.
//!
//! No state but buffers, no thread, no I/O, no clock. H.264 is another encoder of this crate, later.

mod jpeg;
mod planes;
mod preview;
mod view;

pub use jpeg::Jpeg;
pub use preview::{dimensions, fit, preview};
pub use view::{Format, View};

/// What can go wrong with a picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Width or height is not 1 to 16384.
    #[error("a picture of {width}x{height} pixels is out of range")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The bytes are fewer than the format, the size and the stride ask for.
    #[error("{have} bytes with a stride of {stride} are too few: {need} needed")]
    TooShort {
        /// Bytes there are.
        have: usize,
        /// Bytes of a line of the first plane.
        stride: usize,
        /// Bytes needed.
        need: usize,
    },
    /// The library refused: a damaged JPEG, or no memory.
    #[error("libjpeg-turbo: {0}")]
    Library(#[from] turbojpeg::Error),
}
