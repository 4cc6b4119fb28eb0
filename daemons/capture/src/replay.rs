//! Raw frames from a file, one after the other, round and round. A picture equal to the last is not given again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use encode::{Format, View};
use frames::SourceState;

use crate::pace::Pace;
use crate::{News, Picture, Signal, Source};

/// What the file holds. Frames are packed (no padding between lines) and follow each other without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub file: PathBuf,
    /// Form of the pixels.
    pub format: Format,
    /// Width in pixels, 1 to 16384.
    pub width: u32,
    /// Height in pixels, 1 to 16384.
    pub height: u32,
    /// Pictures a second, 0 = as many as are asked for.
    pub fps: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { file: PathBuf::new(), format: Format::Yuyv, width: 1920, height: 1080, fps: 30 }
    }
}

/// The source.
#[derive(Debug)]
pub struct Replay {
    settings: Settings,
    file: File,
    count: u64,
    pace: Pace,
    current: Vec<u8>,
    next: Vec<u8>,
    captured: u64,
}

impl Replay {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// [`Signal::Lost`]: no cable when there is no such file, unsupported mode when it does not hold one whole frame.
    pub fn open(settings: &Settings) -> Result<Self, Signal> {
        let Settings { format, width, height, fps, .. } = *settings;
        let absent = |error| lost(SourceState::NoCable, &settings.file, &error);
        let file = File::open(&settings.file).map_err(absent)?;
        let len = file.metadata().map_err(absent)?.len();
        let bytes = format.picture_bytes(height, format.line_bytes(width));
        let sides = 1..=16_384;
        let count = u64::try_from(bytes).ok().and_then(|bytes| len.checked_div(bytes)).unwrap_or(0);
        if count == 0 || !sides.contains(&width) || !sides.contains(&height) {
            let what = format!("no frame of {width}x{height} {format} in {len} bytes");
            return Err(lost(SourceState::UnsupportedMode, &settings.file, &what));
        }
        Ok(Self {
            settings: settings.clone(),
            file,
            count,
            pace: Pace::new(fps, Instant::now()),
            current: Vec::new(),
            next: vec![0; bytes],
            captured: 0,
        })
    }

    /// Reads a frame; says whether it is another one.
    fn read(&mut self, number: u64) -> Result<bool, Signal> {
        let at = number % self.count * self.next.len() as u64;
        self.file
            .read_exact_at(&mut self.next, at)
            .map_err(|error| lost(SourceState::NoCable, &self.settings.file, &error))?;
        if self.next == self.current {
            return Ok(false);
        }
        std::mem::swap(&mut self.current, &mut self.next);
        self.next.resize(self.current.len(), 0);
        Ok(true)
    }
}

fn lost(state: SourceState, file: &Path, why: &dyn std::fmt::Display) -> Signal {
    Signal::Lost { state, why: format!("{}: {why}", file.display()) }
}

impl Source for Replay {
    fn wait(&mut self, deadline: Instant) -> Result<News, Signal> {
        match self.pace.wait(deadline) {
            Some(tick) if self.read(tick)? => {
                self.captured = frames::now_ns();
                Ok(News::New)
            }
            Some(_) | None => Ok(News::Same),
        }
    }

    fn picture(&self) -> Option<Picture<'_>> {
        let Settings { format, width, height, .. } = self.settings;
        let view = View::packed(format, width, height, &self.current).ok()?;
        Some(Picture { view, captured: self.captured })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(frames: &[[u8; 16]]) -> (tempfile::NamedTempFile, Settings) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&frames.concat()).unwrap();
        let settings =
            Settings { file: file.path().into(), format: Format::Bgrx, width: 2, height: 2, fps: 0 };
        (file, settings)
    }

    fn news(replay: &mut Replay) -> Option<u8> {
        match replay.wait(Instant::now()).unwrap() {
            News::New => Some(replay.picture().unwrap().view.data()[0]),
            News::Same => None,
        }
    }

    #[test]
    fn frames_come_in_order_and_round_and_equal_ones_once() {
        let (_file, settings) = file(&[[1; 16], [1; 16], [2; 16]]);
        let mut replay = Replay::open(&settings).unwrap();
        let seen: Vec<_> = (0..6).map(|_| news(&mut replay)).collect();
        assert_eq!(seen, [Some(1), None, Some(2), Some(1), None, Some(2)]);
    }

    #[test]
    fn a_file_that_is_missing_or_too_short_is_a_state() {
        let missing = Settings { file: "/nonexistent/frames".into(), ..Settings::default() };
        assert_eq!(Replay::open(&missing).unwrap_err().state(), SourceState::NoCable);
        let (_file, settings) = file(&[[0; 16]]);
        for wrong in [Settings { height: 3, ..settings.clone() }, Settings { width: 0, ..settings.clone() }] {
            assert_eq!(Replay::open(&wrong).unwrap_err().state(), SourceState::UnsupportedMode);
        }
    }

    #[test]
    fn a_file_cut_off_while_it_plays_is_lost() {
        let (file, settings) = file(&[[1; 16], [2; 16]]);
        let mut replay = Replay::open(&settings).unwrap();
        assert_eq!(news(&mut replay), Some(1));
        file.as_file().set_len(16).unwrap();
        assert!(matches!(replay.wait(Instant::now()), Err(Signal::Lost { .. })));
    }
}
