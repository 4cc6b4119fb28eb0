//! The machine's picture, by its VNC socket.
//!
//! A task keeps the connection, paints updates into a picture of its own, and copies what changed into the
//! shared one when an update is complete, so that a reader never sees half of it. Readers look at a
//! generation number, by watch or by a blocking wait, and copy the picture when it is newer than theirs.
//!
//! QEMU sends an update only when one was asked for and something changed; how often we ask is the frame rate.
//! While nothing changes it looks at the screen less and less often, see [`Settings::nudge`].

mod connection;
mod painter;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rfb_wire::Limits;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Bytes of a pixel: blue, green, red, unused.
pub const PIXEL_BYTES: usize = 4;

/// Keyboard lights of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leds {
    /// Caps Lock.
    pub caps: bool,
    /// Num Lock.
    pub num: bool,
    /// Scroll Lock.
    pub scroll: bool,
}

impl Leds {
    /// From the byte of the VNC extension: scroll 1, num 2, caps 4.
    fn from_byte(byte: u8) -> Self {
        Self { scroll: byte & 1 != 0, num: byte & 2 != 0, caps: byte & 4 != 0 }
    }
}

/// Times and limits of a screen.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Shortest time between two requests for an update.
    pub interval: Duration,
    /// While the screen is still, QEMU looks at it ever less often, and input by the monitor does not change
    /// that: after 8 s of rest, a typed character was seen to show up only after 0.9 s. After this long
    /// without news it is sent an empty clipboard, which puts it back to 30 ms (the character then took
    /// 7 to 60 ms; asking for pixels or encodings again did not help). Zero switches this off, and with it
    /// the discovery of a QEMU that hangs.
    pub nudge: Duration,
    /// Pause before connecting again; it doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause between attempts.
    pub retry_max: Duration,
    /// Longest time for connecting and the handshake, and longest silence of a server that is asked for signs of life.
    pub handshake: Duration,
    /// What the server may claim.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(33),
            nudge: Duration::from_millis(100),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(2),
            handshake: Duration::from_secs(5),
            limits: Limits { width: 2560, height: 1600, ..Limits::default() },
        }
    }
}

/// What can be known of the screen without looking at the pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Grows by one with each change of the picture, of its size, or of the connection. Zero at the start.
    pub generation: u64,
    /// Width and height in pixels; `None` while there is no connection or no complete picture yet.
    pub size: Option<(u16, u16)>,
}

/// The shared picture: rows from the top, [`PIXEL_BYTES`] a pixel, no padding.
#[derive(Debug, Default)]
struct Picture {
    status: Status,
    bgrx: Vec<u8>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    picture: Mutex<Picture>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Picture> {
        // Nobody panics while holding it; a picture is never worth a panic anyway.
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle on the machine's screen. Clones share the connection, which ends with `stop` or the last handle.
#[derive(Debug, Clone)]
pub struct Screen {
    shared: Arc<Shared>,
    status: watch::Receiver<Status>,
    leds: watch::Receiver<Option<Leds>>,
    _last: Arc<tokio_util::sync::DropGuard>,
}

impl Screen {
    /// Starts the owner of the connection as a task. Must be called inside a tokio runtime. The socket need
    /// not exist yet.
    #[must_use]
    pub fn connect(path: impl Into<PathBuf>, settings: Settings, stop: &CancellationToken) -> Self {
        let shared = Arc::new(Shared::default());
        let (status_out, status) = watch::channel(Status::default());
        let (leds_out, leds) = watch::channel(None);
        let stop = stop.child_token();
        let painter = painter::Painter::new(Arc::clone(&shared), status_out);
        let owner = connection::Owner { path: path.into(), settings, leds: leds_out, painter: Some(painter) };
        tokio::spawn(stop.clone().run_until_cancelled_owned(owner.run()));
        Self { shared, status, leds, _last: Arc::new(stop.drop_guard()) }
    }

    /// Size and generation now.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Size and generation, for async readers.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Keyboard lights; `None` while there is no connection or the machine has not told.
    #[must_use]
    pub fn leds(&self) -> watch::Receiver<Option<Leds>> {
        self.leds.clone()
    }

    /// Blocks until the generation is newer than `seen`, or the time is over: then `None`. For a thread, not
    /// for a task. Once the screen is stopped it returns at once.
    #[must_use]
    pub fn wait_newer(&self, seen: u64, timeout: Duration) -> Option<Status> {
        let deadline = Instant::now() + timeout;
        let mut picture = self.shared.lock();
        loop {
            if picture.status.generation > seen {
                return Some(picture.status);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || picture.closed {
                return None;
            }
            (picture, _) =
                self.shared.changed.wait_timeout(picture, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Copies the picture into `out`, whose memory is used again. `None`, with `out` empty, while there is
    /// no picture: see [`Status::size`].
    pub fn copy(&self, out: &mut Vec<u8>) -> Option<Status> {
        out.clear();
        let picture = self.shared.lock();
        picture.status.size?;
        out.extend_from_slice(&picture.bgrx);
        Some(picture.status)
    }
}

/// Watches the keyboard lights alone, which costs neither side any pixels. The task ends with `stop` or with the
/// last receiver. Must be called inside a tokio runtime.
#[must_use]
pub fn leds(
    path: impl Into<PathBuf>,
    settings: Settings,
    stop: CancellationToken,
) -> watch::Receiver<Option<Leds>> {
    let (leds, receiver) = watch::channel(None);
    let owner = connection::Owner { path: path.into(), settings, leds, painter: None };
    tokio::spawn(stop.run_until_cancelled_owned(owner.run()));
    receiver
}
