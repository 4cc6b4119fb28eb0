//! Drivers by type.

use std::os::fd::OwnedFd;

use crate::chip::{self, Chip};
use crate::cmd::{Cmd, CmdRet, CmdRetSettings, CmdSettings};
use crate::hidrelay::{self, HidRelay};
use crate::locator::{self, Locator};
use crate::otgconf::{self, OtgConf};
use crate::pwm::{self, Pwm};
use crate::wol::{self, Wol};
use crate::{Driver, Noop};

/// Every driver there is, with what it needs to know.
#[derive(Debug, Clone, PartialEq)]
pub enum DriverSettings {
    /// No hardware.
    Noop,
    /// Lines of a GPIO chip.
    Gpio(chip::Settings),
    /// A USB relay board.
    HidRelay(hidrelay::Settings),
    /// Wake-on-LAN.
    Wol(wol::Settings),
    /// A program to start.
    Cmd(CmdSettings),
    /// A program to ask.
    CmdRet(CmdRetSettings),
    /// A PWM chip.
    Pwm(pwm::Settings),
    /// A servo at a PWM chip.
    Servo(pwm::Servo),
    /// The USB gadget.
    OtgConf(otgconf::Settings),
    /// A light that blinks.
    Locator(locator::Settings),
}

impl DriverSettings {
    /// The driver, not at work yet. `lines`: the output lines of a GPIO chip when the supervisor holds them already.
    #[must_use]
    pub fn build(self, lines: Option<OwnedFd>) -> Box<dyn Driver> {
        match self {
            Self::Noop => Box::new(Noop::new()),
            Self::Gpio(settings) => Box::new(Chip::holding(settings, lines)),
            Self::HidRelay(settings) => Box::new(HidRelay::new(settings)),
            Self::Wol(settings) => Box::new(Wol::new(settings)),
            Self::Cmd(settings) => Box::new(Cmd::new(settings)),
            Self::CmdRet(settings) => Box::new(CmdRet::new(settings)),
            Self::Pwm(settings) => Box::new(Pwm::new(settings)),
            Self::Servo(servo) => Box::new(Pwm::new(servo.pwm())),
            Self::OtgConf(settings) => Box::new(OtgConf::new(settings)),
            Self::Locator(settings) => Box::new(Locator::new(settings)),
        }
    }
}
