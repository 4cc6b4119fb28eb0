//! `hidrelay`: USB relay boards that are a HID device without input reports (16c0:05df). Pins are 0 to 7.
//!
//! A feature report switches one relay: report number 0, then `FF` (on) or `FD` (off), then the relay from 1. Report 1
//! asked for gives eight bytes: a serial number of five letters, and the relays' states as bits of the last.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sys::hidraw;

use crate::slow::{Post, Seen, Slow};
use crate::{Driver, Offline, PinUse, Wake};

/// Relays of the largest board.
pub const PINS: u8 = 8;

/// Which board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its hidraw node.
    pub device: PathBuf,
    /// How often it is asked for its states.
    pub state_poll: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { device: PathBuf::from("/dev/hidraw0"), state_poll: Duration::from_secs(5) }
    }
}

/// The report that switches a relay; `None` for a relay there cannot be.
#[must_use]
pub fn order(pin: u8, on: bool) -> Option<[u8; 9]> {
    (pin < PINS).then(|| {
        let mut report = [0; 9];
        (report[1], report[2]) = (if on { 0xFF } else { 0xFD }, pin + 1);
        report
    })
}

/// The states in the answer to a question, relay 0 first.
fn states(answer: &[u8]) -> Option<[bool; PINS as usize]> {
    let bits = *answer.get(7)?;
    Some(std::array::from_fn(|relay| bits >> relay & 1 == 1))
}

/// The board, opened when it is needed.
#[derive(Debug)]
pub struct Board {
    device: PathBuf,
    file: Option<File>,
}

impl Board {
    /// A board that is not opened yet.
    #[must_use]
    pub fn new(device: PathBuf) -> Self {
        Self { device, file: None }
    }

    /// Switches a relay. Blocks for as long as the device takes: milliseconds, or five seconds for a broken one.
    ///
    /// # Errors
    /// The kernel's word with the device's path; `InvalidInput` for a relay there cannot be.
    pub fn set(&mut self, pin: u8, on: bool) -> io::Result<()> {
        let report =
            order(pin, on).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "relays are 0 to 7"))?;
        self.ask(|file| hidraw::set_feature(file, &report))
    }

    /// All states. Blocks likewise.
    ///
    /// # Errors
    /// Likewise; `InvalidData` for an answer that is too short.
    pub fn states(&mut self) -> io::Result<[bool; PINS as usize]> {
        self.ask(|file| {
            let mut answer = [0; 8];
            answer[0] = 1;
            let got = hidraw::get_feature(file, &mut answer)?;
            states(answer.get(..got).unwrap_or_default())
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is no relay board"))
        })
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let told =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.device.display()));
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().read(true).write(true).open(&self.device).map_err(told)?,
        };
        // Closed after a failure: what was plugged in again is another file.
        let answer = ask(&file).map_err(told)?;
        self.file = Some(file);
        Ok(answer)
    }
}

struct Relays {
    board: Board,
    pins: Vec<String>,
    /// Levels for the start that were not set yet, because the board was not there.
    initial: BTreeMap<String, bool>,
}

impl Slow for Relays {
    fn look(&mut self) -> Seen {
        while let Some((pin, level)) =
            self.initial.first_key_value().map(|(pin, level)| (pin.clone(), *level))
        {
            self.switch(&pin, level)?;
            self.initial.remove(&pin);
        }
        let states = self.board.states().map_err(|error| error.to_string())?;
        let level = |pin: &String| {
            let relay: usize = pin.parse().ok()?;
            Some((pin.clone(), *states.get(relay)?))
        };
        Ok(self.pins.iter().filter_map(level).collect())
    }

    fn set(&mut self, pin: &str, level: bool) -> Result<(), String> {
        // Whatever comes of it: what somebody wants now is later than the start.
        self.initial.remove(pin);
        self.switch(pin, level)
    }
}

impl Relays {
    fn switch(&mut self, pin: &str, level: bool) -> Result<(), String> {
        let relay = pin.parse().map_err(|_| format!("{pin:?} is no relay"))?;
        self.board.set(relay, level).map_err(|error| error.to_string())
    }
}

/// The driver.
#[derive(Debug)]
pub struct HidRelay {
    settings: Settings,
    worker: Post,
}

impl HidRelay {
    /// A board that is looked for by [`Driver::attach`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, worker: Post::default() }
    }
}

impl Driver for HidRelay {
    fn attach(&mut self, pins: &[PinUse], wake: Wake) -> Result<(), Offline> {
        let mut relays = Relays {
            board: Board::new(self.settings.device.clone()),
            pins: Vec::new(),
            initial: BTreeMap::new(),
        };
        for pin in pins {
            relays.pins.push(pin.pin().to_owned());
            if let PinUse::Output { pin, initial: Some(level) } = pin {
                relays.initial.insert(pin.clone(), *level);
            }
        }
        self.worker.start(relays, self.settings.state_poll, wake)
    }

    fn keeps_levels(&self) -> bool {
        true
    }

    fn read(&mut self, pin: &str) -> Result<bool, Offline> {
        self.worker.read(pin)
    }

    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        self.worker.write(pin, level)
    }

    fn is_done(&mut self, pin: &str) -> Result<bool, Offline> {
        self.worker.is_done(pin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_are_what_the_board_speaks() {
        assert_eq!(order(0, true), Some([0, 0xFF, 1, 0, 0, 0, 0, 0, 0]));
        assert_eq!(order(7, false), Some([0, 0xFD, 8, 0, 0, 0, 0, 0, 0]));
        assert_eq!(order(8, true), None);
        assert_eq!(states(b"ABCDE\0\0\x05"), Some([true, false, true, false, false, false, false, false]));
        assert_eq!(states(b"ABCDE\0\0"), None);
    }

    #[test]
    fn a_relay_that_is_switched_before_its_board_is_there_has_no_first_level_any_more() {
        let mut relays = Relays {
            board: Board::new("/nowhere/hidraw7".into()),
            pins: vec!["0".to_owned(), "1".to_owned()],
            initial: BTreeMap::from([("0".to_owned(), false), ("1".to_owned(), false)]),
        };
        relays.look().unwrap_err();
        assert_eq!(relays.initial.len(), 2);
        relays.set("0", true).unwrap_err();
        assert_eq!(relays.initial.keys().collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn a_board_that_is_not_there_is_told_by_its_path() {
        let mut board = Board::new("/nowhere/hidraw7".into());
        assert!(board.set(0, true).unwrap_err().to_string().contains("/nowhere/hidraw7"));
        assert_eq!(board.set(9, true).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        // Not every file is one.
        assert!(Board::new("/dev/null".into()).states().is_err());
    }
}
