//! Pictures from the target: capture device, virtual machine, test pattern, replay.
//!
//! A [`Source`] is asked for news by one thread, which it may block until a deadline. Its picture stays to be looked at
//! until it is asked again, so a source can show its own buffers and nothing is copied.
//!
//! ```text
//!            open()                 wait() → a new picture, or the same
//! Closed ───────────────▶ Open ──────────────────────────────────────▶ Open (live)
//!   ▲  ▲     fails │       │  wait() → Absent(state)
//!   │  └─ back-off ┘       ├────────────────────────────────────────▶ Open (no cable, no sync, unsupported mode)
//!   └──── back-off ────────┘  wait() → Lost(state)
//! ```
//!
//! [`Reopening`] runs the left half of that for any source: what disappears is opened again, at once and then with
//! growing pauses of at most [`reopen::LONGEST_PAUSE`]. A person is told one of the five states of
//! [`SourceState`]; the reason goes to the log once.
//!
//! It does not encode, does not limit the frame rate (a source gives its newest picture whenever it is asked), and knows
//! no settings file.

pub mod machine;
pub mod pattern;
pub mod reopen;
pub mod replay;
pub mod text;
pub mod v4l2;

mod pace;

use std::io;
use std::time::Instant;

use encode::View;
pub use frames::SourceState;
pub use machine::Machine;
pub use pattern::Pattern;
pub use reopen::Reopening;
pub use replay::Replay;
pub use v4l2::V4l2;

/// Where pictures come from. Owned and called by one thread.
pub trait Source: Send {
    /// Waits for a picture that is newer than the last one until `deadline`, no longer; older ones are dropped. A
    /// deadline that has passed asks without waiting. Ends the life of the last [`Source::picture`].
    ///
    /// # Errors
    ///
    /// [`Signal::Absent`] as long as there is no picture: at once when that is news, else at the deadline.
    /// [`Signal::Lost`] when the source must be opened again; it is not asked any more.
    fn wait(&mut self, deadline: Instant) -> Result<News, Signal>;

    /// The newest picture; `None` before the first one, and while there is none to be had.
    fn picture(&self) -> Option<Picture<'_>>;

    /// Wants pictures of that size (pixels). Says whether this source can choose.
    fn set_size(&mut self, width: u32, height: u32) -> bool {
        let _ = (width, height);
        false
    }

    /// The monitor that the target sees, where the source is one to it and can be asked at the moment.
    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        None
    }
}

/// What the target takes for its monitor: the EDID that a capture device shows at its input.
pub trait Monitor {
    /// The EDID; empty when there is none.
    ///
    /// # Errors
    ///
    /// What the device says: `ENOTTY` and `EINVAL` mean that it has no such thing.
    fn edid(&mut self) -> io::Result<Vec<u8>>;

    /// Shows another EDID, or none when it is empty. The target sees that as a cable pulled and put back.
    ///
    /// # Errors
    ///
    /// As above; `E2BIG` when the device has no room for it.
    fn set_edid(&mut self, edid: &[u8]) -> io::Result<()>;
}

/// What a source has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// There is another picture.
    New,
    /// The source is alive and the target's picture is still the last one.
    Same,
}

/// One picture, lent until the source is asked for news.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The pixels.
    pub view: View<'a>,
    /// When it was complete, by [`frames::now_ns`].
    pub captured: u64,
}

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The source is open and says so.
    Absent(SourceState),
    /// The source is gone.
    Lost {
        /// What to tell people.
        state: SourceState,
        /// What to log: what failed, at what.
        why: String,
    },
}

impl Signal {
    /// The state to tell people.
    #[must_use]
    pub fn state(&self) -> SourceState {
        match self {
            Self::Absent(state) | Self::Lost { state, .. } => *state,
        }
    }
}
