//! A driver without hardware: outputs remember what they were set to, inputs are set by whoever holds [`NoopPins`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Driver, Offline, PinUse, Wake};

#[derive(Debug, Default)]
struct Pins {
    levels: BTreeMap<String, bool>,
    writes: Vec<(String, bool)>,
    offline: Option<String>,
    wake: Wake,
}

/// How many writes are remembered for tests; older ones are forgotten.
const REMEMBERED: usize = 1024;

/// The driver.
#[derive(Debug, Default)]
pub struct Noop {
    pins: NoopPins,
}

/// The other end of the pretended wires.
#[derive(Debug, Clone, Default)]
pub struct NoopPins(Arc<Mutex<Pins>>);

impl Noop {
    /// A driver with all pins low.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The other end.
    #[must_use]
    pub fn pins(&self) -> NoopPins {
        self.pins.clone()
    }
}

impl NoopPins {
    /// Sets the level of an input.
    pub fn set(&self, pin: &str, level: bool) {
        let mut pins = self.lock();
        pins.levels.insert(pin.to_owned(), level);
        pins.wake.up();
    }

    /// The level of a pin.
    #[must_use]
    pub fn level(&self, pin: &str) -> bool {
        self.lock().levels.get(pin).copied().unwrap_or(false)
    }

    /// What was written so far, oldest first.
    #[must_use]
    pub fn writes(&self) -> Vec<(String, bool)> {
        self.lock().writes.clone()
    }

    /// Takes the driver offline for this reason, or back online.
    pub fn set_offline(&self, why: Option<&str>) {
        let mut pins = self.lock();
        pins.offline = why.map(str::to_owned);
        pins.wake.up();
    }

    fn lock(&self) -> MutexGuard<'_, Pins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pins {
    fn online(&self) -> Result<(), Offline> {
        self.offline.clone().map_or(Ok(()), |why| Err(Offline(why)))
    }

    fn write(&mut self, pin: &str, level: bool) {
        self.levels.insert(pin.to_owned(), level);
        if self.writes.len() == REMEMBERED {
            self.writes.remove(0);
        }
        self.writes.push((pin.to_owned(), level));
    }
}

impl Driver for Noop {
    fn attach(&mut self, pins: &[PinUse], wake: Wake) -> Result<(), Offline> {
        let mut inner = self.pins.lock();
        inner.wake = wake;
        for pin in pins {
            if let PinUse::Output { pin, initial: Some(level) } = pin {
                inner.write(pin, *level);
            }
        }
        inner.online()
    }

    fn read(&mut self, pin: &str) -> Result<bool, Offline> {
        let inner = self.pins.lock();
        inner.online()?;
        Ok(inner.levels.get(pin).copied().unwrap_or(false))
    }

    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        let mut inner = self.pins.lock();
        inner.online()?;
        inner.write(pin, level);
        Ok(())
    }
}
