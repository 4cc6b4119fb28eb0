//! The front panel at the lines of a GPIO chip: two outputs, low at rest, and two inputs.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use ::gpio::chip::CONSUMER;
use ::gpio::line::{self, Input, Levels, Output, Outputs};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{Error, Leds, Line, Lines};

/// One light's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Light {
    /// Its offset in the chip.
    pub line: u32,
    /// Low means lit.
    pub inverted: bool,
    /// How long a new level must last to count.
    pub debounce: Duration,
}

impl Light {
    fn input(&self) -> Input {
        Input { offset: self.line, debounce: self.debounce }
    }
}

/// Which lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpioSettings {
    /// The chip's device node.
    pub device: PathBuf,
    /// The power light.
    pub power_led: Light,
    /// The disk light.
    pub hdd_led: Light,
    /// The power button's line.
    pub power_switch: u32,
    /// The reset button's line.
    pub reset_switch: u32,
}

impl Default for GpioSettings {
    fn default() -> Self {
        let light = |line| Light { line, inverted: false, debounce: Duration::from_millis(100) };
        Self {
            device: PathBuf::from("/dev/gpiochip0"),
            power_led: light(24),
            hdd_led: light(22),
            power_switch: 23,
            reset_switch: 27,
        }
    }
}

impl GpioSettings {
    /// The buttons' lines, not taken yet; low once they are. The supervisor holds them too, and lets them go when we
    /// cannot.
    #[must_use]
    pub fn switches(&self) -> Outputs {
        let lines =
            [self.power_switch, self.reset_switch].map(|offset| Output { offset, initial: Some(false) });
        Outputs::new(self.device.clone(), CONSUMER, lines.into())
    }

    /// The button lines' offsets.
    fn offset(&self, line: Line) -> u32 {
        match line {
            Line::Power => self.power_switch,
            Line::Reset => self.reset_switch,
        }
    }

    /// What lit lights these levels are; none while they are not known.
    fn leds(&self, levels: &Levels) -> Leds {
        let lit = |light: &Light| {
            levels
                .as_ref()
                .is_ok_and(|levels| levels.get(&light.line).is_some_and(|level| level ^ light.inverted))
        };
        Leds { power: lit(&self.power_led), hdd: lit(&self.hdd_led) }
    }
}

/// The driver.
#[derive(Debug)]
pub struct Gpio {
    settings: GpioSettings,
    switches: Outputs,
    leds: watch::Receiver<Leds>,
    _looking: AbortOnDropHandle<()>,
}

impl Gpio {
    /// Takes the lines; a chip that is not there is waited for. `held`: the buttons' lines when the supervisor has
    /// taken them already. Call within a tokio runtime.
    #[must_use]
    pub fn open(settings: GpioSettings, held: Option<OwnedFd>) -> Self {
        let mut switches = match held {
            Some(lines) => settings.switches().shared(lines),
            None => settings.switches(),
        };
        // Also what a predecessor left behind in lines that were held for us.
        for offset in [settings.power_switch, settings.reset_switch] {
            if let Err(error) = switches.set(offset, false) {
                log::error!("the front panel's buttons cannot be used: {error}");
                break;
            }
        }
        let inputs = vec![settings.power_led.input(), settings.hdd_led.input()];
        let mut levels = line::watch(settings.device.clone(), CONSUMER, inputs);
        let first = levels.borrow_and_update().clone();
        if let Err(why) = &first {
            log::warn!("the front panel's lights are not seen: {why}");
        }
        let (show, leds) = watch::channel(settings.leds(&first));
        let own = settings.clone();
        let look = async move {
            let mut seen = first.is_ok();
            while levels.changed().await.is_ok() {
                let levels = levels.borrow_and_update().clone();
                match &levels {
                    Err(why) if seen => log::warn!("the front panel's lights are not seen: {why}"),
                    Ok(_) if !seen => log::info!("the front panel's lights are seen"),
                    _ => {}
                }
                seen = levels.is_ok();
                let now = own.leds(&levels);
                show.send_if_modified(|leds| std::mem::replace(leds, now) != now);
            }
        };
        Self { settings, switches, leds, _looking: AbortOnDropHandle::new(tokio::spawn(look)) }
    }
}

impl Lines for Gpio {
    fn drive(&mut self, line: Line, pressed: bool) -> Result<(), Error> {
        let driven = self.switches.set(self.settings.offset(line), pressed);
        driven.map_err(|error| Error::Line { line, why: error.to_string() })
    }

    fn leds(&self) -> watch::Receiver<Leds> {
        self.leds.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_lights_and_what_is_not_known_is_dark() {
        let mut settings = GpioSettings::default();
        settings.hdd_led.inverted = true;
        let levels = |power, hdd| Ok([(24, power), (22, hdd)].into());
        assert_eq!(settings.leds(&levels(true, true)), Leds { power: true, hdd: false });
        assert_eq!(settings.leds(&levels(false, false)), Leds { power: false, hdd: true });
        assert_eq!(
            settings.leds(&Err("gone".to_owned())),
            Leds::default(),
            "not lit, though low would mean lit"
        );
    }

    #[tokio::test]
    async fn a_chip_that_is_not_there_refuses_presses_and_shows_no_lights() {
        let settings = GpioSettings { device: "/nowhere/gpiochip0".into(), ..GpioSettings::default() };
        let mut panel = Gpio::open(settings, None);
        let refused = panel.drive(Line::Power, true).unwrap_err();
        assert!(refused.to_string().contains("/nowhere/gpiochip0"), "{refused}");
        assert_eq!(*panel.leds().borrow(), Leds::default());
    }
}
