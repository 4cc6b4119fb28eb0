//! `locator`: a line that blinks while it is on, so that a person finds the board. Pins are offsets of a GPIO chip.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::chip::CONSUMER;
use crate::line::{Output, Outputs};
use crate::{Driver, Offline, PinUse, Wake};

/// Half of a blink.
const HALF: Duration = Duration::from_millis(100);

/// Which chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The chip's device node.
    pub device: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { device: PathBuf::from("/dev/gpiochip0") }
    }
}

/// The driver. A line that does not blink is not held: it may be a light of the kernel's.
#[derive(Debug)]
pub struct Locator {
    settings: Settings,
    blinking: BTreeMap<String, AbortOnDropHandle<()>>,
}

impl Locator {
    /// The driver.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, blinking: BTreeMap::new() }
    }

    fn start(&mut self, pin: &str) -> Result<(), Offline> {
        let offset = pin.parse().map_err(|_| Offline(format!("{pin:?} is no line of a GPIO chip")))?;
        let line = Output { offset, initial: Some(true) };
        let mut lines = Outputs::new(self.settings.device.clone(), CONSUMER, vec![line]);
        lines.take().map_err(|error| Offline(error.to_string()))?;
        let blink = async move {
            let mut lit = Lit { lines, offset };
            let mut on = true;
            loop {
                sleep(HALF).await;
                on = !on;
                if let Err(error) = lit.lines.set(offset, on) {
                    return log::warn!("the locator's light is gone: {error}");
                }
            }
        };
        self.blinking.insert(pin.to_owned(), AbortOnDropHandle::new(tokio::spawn(blink)));
        Ok(())
    }
}

/// Dark when dropped.
struct Lit {
    lines: Outputs,
    offset: u32,
}

impl Drop for Lit {
    fn drop(&mut self) {
        let _ = self.lines.set(self.offset, false);
    }
}

impl Driver for Locator {
    fn attach(&mut self, pins: &[PinUse], _: Wake) -> Result<(), Offline> {
        for pin in pins {
            if let PinUse::Output { pin, initial: Some(true) } = pin {
                self.start(pin)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, pin: &str) -> Result<bool, Offline> {
        Ok(self.blinking.get(pin).is_some_and(|blinking| !blinking.is_finished()))
    }

    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        if !level {
            self.blinking.remove(pin);
            return Ok(());
        }
        if self.read(pin)? { Ok(()) } else { self.start(pin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_light_on_a_chip_that_is_not_there_is_offline() {
        let mut locator = Locator::new(Settings { device: "/nowhere/gpiochip0".into() });
        locator
            .attach(&[PinUse::Output { pin: "12".to_owned(), initial: Some(false) }], Wake::default())
            .unwrap();
        assert!(locator.write("12", true).unwrap_err().0.contains("/nowhere/gpiochip0"));
        assert!(locator.write("twelve", true).is_err());
        assert_eq!(locator.read("12"), Ok(false));
        locator.write("12", false).unwrap();
    }
}
