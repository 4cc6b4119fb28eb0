//! Pictures made small: JPEG by libjpeg-turbo.
//!
//! [`View`] is a picture that lies in somebody's memory (a capture buffer, a screen) in the form the source has it;
//! [`Jpeg`] encodes one after the other into a buffer it keeps. Nothing is converted that need not be:
//!
//! | Input | Way |
//! |---|---|
//! | `Bgrx`, `Rgb24`, `Bgr24` | libjpeg-turbo's own colour converter (SIMD) |
//! | `Yuv420`, `Yuv422` | planes as they are, no colour conversion; 4:2:2 is halved to 4:2:0 if asked for |
//! | `Nv12`, `Yuyv`, `Uyvy` | taken apart into planes (the compiler vectorises it) |
//! | `Jpeg` | passed on |
//!
//! and nothing is encoded twice: a picture is made of strips, and one that did not change is taken from the last JPEG
//! (`docs/decisions/0011-jpeg-strips.md`). A KVM's screen is still most of the time.
//!
//! [`preview`] makes a smaller JPEG of one, [`gray`] takes a part out of one for reading text (API.md 8.7). YUV is taken as JPEG means it: BT.601, full range; a source
//! with a limited range (most HDMI) needs its levels stretched, which belongs to the V4L2 source.
//!
//! No state but buffers, no thread, no I/O, no clock. H.264 is another encoder of this crate, later.

mod gray;
mod jpeg;
mod kept;
mod markers;
mod planes;
mod preview;
mod tables;
mod view;

pub use gray::{Gray, Region, gray};
pub use jpeg::{Chroma, Jpeg};
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
    /// Even at the lowest quality it takes more room than there is.
    #[error("a picture takes {need} bytes even at the lowest quality, more than the {room} there are")]
    TooLarge {
        /// Bytes it takes.
        need: usize,
        /// Bytes there are.
        room: usize,
    },
    /// What came as a JPEG cannot be passed on.
    #[error("the source's JPEG: {0}")]
    Jpeg(&'static str),
    /// The library refused: a damaged JPEG, or no memory.
    #[error("libjpeg-turbo: {0}")]
    Library(#[from] turbojpeg::Error),
}
