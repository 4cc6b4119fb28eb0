//! A capture device: HDMI receivers on a board, dongles on USB, and what pretends to be one.
//!
//! ```text
//! device node missing, gone ....... no cable (lost; opened again)
//! no signal (ENOLINK) ............. no cable
//! a signal without lock (ENOLCK) .. no sync
//! beyond the hardware (ERANGE) .... unsupported mode; also a format or timings it refuses
//! pictures ........................ live; one equal to the last is no news
//! ```
//!
//! Digital inputs are followed: their timings are measured, set, and measured again when the device says that the
//! source has changed, or twice a second where it cannot say so. Everything else (most USB dongles) has sizes to choose
//! from instead. How the capture is watched and started again is [`follow`]'s; the five system calls behind it are
//! `sys::v4l2`'s.
//!
//! The driver's timestamp is the picture's time of capture, where it is on the monotonic clock. Devices of several
//! planes of memory, and those whose timings and EDID belong to a node of their own (media controller), are not
//! supported.

mod follow;
mod format;
mod node;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use encode::Format;
use follow::Follow;
use frames::SourceState;
use node::{Video, Wish};

use crate::{Monitor, News, Picture, Signal, Source};

/// Which device, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The device node.
    pub device: PathBuf,
    /// The input to capture from.
    pub input: Input,
    /// Form of the pixels; `None` = the cheapest to encode of those offered.
    pub format: Option<Format>,
    /// Buffers for pictures, 2 to 32; the driver may make it more or less.
    pub buffers: u32,
    /// Follow the timings of digital inputs.
    pub follow_timings: bool,
    /// Size in pixels, where the device has a choice; `None` = the largest one up to 1080p.
    pub size: Option<(u32, u32)>,
    /// Pictures a second, where the device has a choice; 0 = as it is.
    pub fps: u32,
    /// The monitor that the target is to see; `None` = whatever the device shows it.
    pub edid: Option<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device: "/dev/kvmd-video".into(),
            input: Input::AsItIs,
            format: None,
            buffers: 4,
            follow_timings: true,
            size: None,
            fps: 0,
            edid: None,
        }
    }
}

/// An input of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Input {
    /// The one the device is set to.
    #[default]
    AsItIs,
    /// By its number.
    Number(u32),
    /// By its name or the beginning of it; small and capital letters are the same.
    Name(String),
}

/// The source.
pub struct V4l2(Follow<Video>);

impl V4l2 {
    /// Opens the device. There need be no signal.
    ///
    /// # Errors
    ///
    /// [`Signal::Lost`]: no cable when there is no such device, unsupported mode when it is one that cannot be used,
    /// no sync for everything else (it is busy, say).
    pub fn open(settings: &Settings) -> Result<Self, Signal> {
        let mut node = Video::open(settings).map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => {
                let why = format!("{}: {error}", settings.device.display());
                Signal::Lost { state: SourceState::UnsupportedMode, why }
            }
            _ => node::lost(&settings.device, &error),
        })?;
        if let Some(edid) = &settings.edid
            && let Err(error) = node.show_edid(edid)
        {
            // A picture may come all the same.
            log::error!("{}: the EDID cannot be set: {error}", settings.device.display());
        }
        let wish = Wish { size: settings.size, fps: settings.fps };
        Ok(Self(Follow::new(node, settings.device.clone(), wish)))
    }
}

impl Source for V4l2 {
    fn wait(&mut self, deadline: Instant) -> Result<News, Signal> {
        self.0.wait(deadline)
    }

    fn picture(&self) -> Option<Picture<'_>> {
        self.0.picture()
    }

    fn set_size(&mut self, width: u32, height: u32) -> bool {
        self.0.set_size(width, height)
    }

    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        Some(self)
    }
}

impl Monitor for V4l2 {
    fn edid(&mut self) -> io::Result<Vec<u8>> {
        self.0.edid()
    }

    fn set_edid(&mut self, edid: &[u8]) -> io::Result<()> {
        self.0.set_edid(edid)
    }
}
