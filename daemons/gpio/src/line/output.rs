//! Outputs, held as long as somebody has them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use gpiocdev_uapi::v2::{self, LineFlags};
use nix::errno::Errno;

use super::{open_chip, read_all, refused, request};

/// A line to drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Its offset in the chip.
    pub offset: u32,
    /// Its first level; `None` keeps what it is, without a glitch.
    pub initial: Option<bool>,
}

/// Some lines of one chip as outputs.
#[derive(Debug)]
pub struct Outputs {
    chip: PathBuf,
    consumer: &'static str,
    lines: Vec<Output>,
    file: Option<File>,
}

impl Outputs {
    /// Lines to be taken by [`Outputs::take`], or when they are first used. Each offset once, in this order.
    #[must_use]
    pub fn new(chip: PathBuf, consumer: &'static str, lines: Vec<Output>) -> Self {
        Self { chip, consumer, lines, file: None }
    }

    /// The same lines, in the same order, as somebody else has taken them already: what [`Outputs::share`] gave. They
    /// keep their levels.
    #[must_use]
    pub fn shared(mut self, lines: OwnedFd) -> Self {
        self.file = Some(lines.into());
        self
    }

    /// Takes the lines, and drives those that have a first level there. Does nothing when they are taken.
    ///
    /// # Errors
    /// The kernel's word, with the chip's path: `ENOENT`, `EBUSY` when somebody else has a line, `EINVAL` for an offset
    /// the chip does not have.
    pub fn take(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let told =
                |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.chip.display()));
            self.file = Some(self.request().map_err(told)?);
        }
        Ok(())
    }

    /// Whether lines that are taken are still there; those of a chip that is not are given up, to be taken anew.
    ///
    /// # Errors
    /// As [`Outputs::take`], but for lines that are not taken.
    pub fn check(&mut self) -> io::Result<()> {
        let count = self.lines.len();
        if self.file.is_none() { Ok(()) } else { self.ask(|file| read_all(file, count)).map(drop) }
    }

    /// Lets the lines go; the next use takes them again. Does nothing about their levels.
    pub fn release(&mut self) {
        self.file = None;
    }

    fn request(&self) -> io::Result<File> {
        let chip = open_chip(&self.chip)?;
        let offsets: Vec<u32> = self.lines.iter().map(|line| line.offset).collect();
        let mut wanted = request(self.consumer, &offsets)?;
        let mut first = v2::LineValues::default();
        let mut kept = 0;
        for (at, line) in self.lines.iter().enumerate() {
            match line.initial {
                Some(level) => first.set(at, level),
                None => kept |= 1_u64 << at,
            }
        }
        wanted.config.flags = LineFlags::OUTPUT;
        if first.mask != 0 {
            wanted.config.add_values(&first);
        }
        if kept != 0 {
            // Neither direction is said: as it is. What it is then, is driven.
            wanted.config.add_flags(LineFlags::empty(), kept);
        }
        let file = v2::get_line(&chip, wanted).map_err(refused)?;
        if kept != 0 {
            let mut levels = read_all(&file, self.lines.len())?;
            for (at, line) in self.lines.iter().enumerate() {
                if let Some(level) = line.initial {
                    levels.set(at, level);
                }
            }
            let mut config = v2::LineConfig { flags: LineFlags::OUTPUT, ..v2::LineConfig::default() };
            config.add_values(&levels);
            v2::set_line_config(&file, config).map_err(refused)?;
        }
        Ok(file)
    }

    /// The level a line has.
    ///
    /// # Errors
    /// As [`Outputs::take`]; `InvalidInput` for a line that is not ours.
    pub fn level(&mut self, offset: u32) -> io::Result<bool> {
        let at = self.index(offset)?;
        let count = self.lines.len();
        let values = self.ask(|file| read_all(file, count))?;
        Ok(values.get(at).unwrap_or(false))
    }

    /// Drives a line.
    ///
    /// # Errors
    /// As [`Outputs::level`].
    pub fn set(&mut self, offset: u32, level: bool) -> io::Result<()> {
        let at = self.index(offset)?;
        let mut values = v2::LineValues::default();
        values.set(at, level);
        self.ask(|file| v2::set_line_values(file, &values).map_err(refused))
    }

    /// A second descriptor of the same lines, for another process: the lines stay taken while either has one. Nothing
    /// when they are not taken.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn share(&self) -> io::Result<Option<OwnedFd>> {
        self.file.as_ref().map(|file| file.try_clone().map(OwnedFd::from)).transpose()
    }

    /// The name a descriptor of [`Outputs::share`] travels under: whose it is and which lines. Who was configured
    /// otherwise meanwhile does not find it, instead of driving the wrong lines.
    #[must_use]
    pub fn descriptor_name(&self, owner: &str) -> String {
        let offsets: Vec<String> = self.lines.iter().map(|line| line.offset.to_string()).collect();
        // A colon separates names.
        let chip = self.chip.display().to_string().replace(':', "_");
        format!("lines {owner} {chip} {}", offsets.join("."))
    }

    fn index(&self, offset: u32) -> io::Result<usize> {
        let found = self.lines.iter().position(|line| line.offset == offset);
        found.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("line {offset} was not asked for"))
        })
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        self.take()?;
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        ask(file).map_err(|error| {
            let told = io::Error::new(error.kind(), format!("{}: {error}", self.chip.display()));
            // If the chip comes back, its lines have to be taken anew. After anything else they are still ours, and
            // letting go of what is shared would leave us without: somebody else has it, and we could not take it.
            if is_gone(&error) {
                self.file = None;
            }
            told
        })
    }
}

/// The kernel's word for lines of a chip that is not there any more.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENODEV as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(chip: &str, offsets: &[u32]) -> Outputs {
        let line = |offset: &u32| Output { offset: *offset, initial: None };
        Outputs::new(chip.into(), "test", offsets.iter().map(line).collect())
    }

    #[test]
    fn a_name_says_whose_lines_on_which_chip() {
        let name = outputs("/dev/gpiochip0", &[23, 27]).descriptor_name("atx");
        assert_eq!(name, "lines atx /dev/gpiochip0 23.27");
        assert!(!outputs("/dev/serial:1", &[]).descriptor_name("x").contains(':'));
    }

    #[test]
    fn a_chip_that_is_not_there_and_a_line_that_is_not_ours_are_errors() {
        let mut outputs = outputs("/nowhere/gpiochip0", &[4]);
        assert_eq!(outputs.set(4, true).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(outputs.level(4).unwrap_err().to_string().contains("/nowhere/gpiochip0"));
        assert_eq!(outputs.set(5, true).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(outputs.share().unwrap().is_none());
    }

    #[test]
    fn lines_that_are_shared_are_kept_after_a_failure_unless_their_chip_is_gone() {
        // It answers every question about lines with ENOTTY.
        let nothing = File::open("/dev/null").unwrap();
        let mut outputs = outputs("/nowhere/gpiochip0", &[4]).shared(nothing.into());
        for _ in 0..2 {
            outputs.check().unwrap_err();
            outputs.set(4, false).unwrap_err();
            assert!(outputs.share().unwrap().is_some());
        }
        assert!(is_gone(&io::Error::from_raw_os_error(Errno::ENODEV as i32)));
    }
}
