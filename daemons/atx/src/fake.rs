//! A front panel for tests and laptop runs without a target: it records what is pressed, its lights are scripted.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::{Error, Leds, Line, Lines};

/// One movement of a line, as recorded.
pub type Move = (Line, bool);

/// The tests' side of a [`FakeLines`].
#[derive(Debug, Clone)]
pub struct Fake {
    moves: Arc<Mutex<Vec<Move>>>,
    broken: Arc<Mutex<Option<String>>>,
    leds: watch::Sender<Leds>,
}

/// The driver's side.
#[derive(Debug)]
pub struct FakeLines {
    fake: Fake,
}

/// How many movements are remembered; older ones are forgotten, so that a long laptop run does not grow.
const REMEMBERED: usize = 1024;

impl FakeLines {
    /// A panel with both lights off, and the handle that watches and steers it.
    #[must_use]
    pub fn new() -> (Self, Fake) {
        let fake =
            Fake { moves: Arc::default(), broken: Arc::default(), leds: watch::Sender::new(Leds::default()) };
        (Self { fake: fake.clone() }, fake)
    }
}

impl Fake {
    /// Every movement so far, oldest first.
    #[must_use]
    pub fn moves(&self) -> Vec<Move> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the lights.
    pub fn set_leds(&self, leds: Leds) {
        self.leds.send_replace(leds);
    }

    /// Makes every following movement fail with this reason, or work again.
    pub fn set_broken(&self, why: Option<&str>) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = why.map(str::to_owned);
    }
}

/// A board that is not there, for a run without a target: a press of its power button turns its power light on or off.
#[derive(Debug)]
pub struct PretendLines {
    leds: watch::Sender<Leds>,
}

impl Default for PretendLines {
    fn default() -> Self {
        Self { leds: watch::Sender::new(Leds { power: true, ..Leds::default() }) }
    }
}

impl Lines for PretendLines {
    fn drive(&mut self, line: Line, pressed: bool) -> Result<(), Error> {
        if line == Line::Power && pressed {
            self.leds.send_modify(|leds| leds.power = !leds.power);
        }
        Ok(())
    }

    fn leds(&self) -> watch::Receiver<Leds> {
        self.leds.subscribe()
    }
}

impl Lines for FakeLines {
    fn drive(&mut self, line: Line, pressed: bool) -> Result<(), Error> {
        if let Some(why) = self.fake.broken.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Err(Error::Line { line, why });
        }
        let mut moves = self.fake.moves.lock().unwrap_or_else(PoisonError::into_inner);
        if moves.len() == REMEMBERED {
            moves.remove(0);
        }
        moves.push((line, pressed));
        Ok(())
    }

    fn leds(&self) -> watch::Receiver<Leds> {
        self.fake.leds.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pretended_board_goes_off_and_on_by_its_power_button_alone() {
        let mut board = PretendLines::default();
        let lit = board.leds();
        for (line, pressed, power) in [
            (Line::Power, true, false),
            (Line::Power, false, false),
            (Line::Reset, true, false),
            (Line::Power, true, true),
        ] {
            board.drive(line, pressed).unwrap();
            assert_eq!(lit.borrow().power, power, "{line:?} {pressed}");
        }
    }
}
