//! `kvmd.gpio.drivers.NAME`: the driver types there are, and what each wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use super::{Channel, GpioMode};
use crate::Layout;
use crate::node::{Node, Value};
use crate::report::{Reader, join};
use crate::rule::{Rule, address, arguments, integer, mac, number, path, seconds, text};
use crate::section::{Described, Section, section};

section! {
    /// Lines of a GPIO chip; pins are their numbers in the chip.
    pub struct GpioDriver(layout) {
        /// The chip.
        device: PathBuf = "/dev/gpiochip0".into() => path(),
    }
}

/// Nothing at all: outputs remember what they were set to. It has no keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoopDriver;

impl Section for NoopDriver {
    const KEYS: &'static [&'static str] = &[];

    fn defaults(_: &Layout) -> Self {
        Self
    }

    fn set(&mut self, _: &str, _: &Node, _: &str, _: &Layout, _: &mut Reader) {}

    fn show(&self) -> Json {
        Json::Object(serde_json::Map::new())
    }

    fn describe(&self, _: &str, _: &mut Vec<Described>) {}
}

section! {
    /// A USB relay board (HID, 16c0:05df); pins are 0 to 7.
    pub struct HidRelayDriver(layout) {
        /// Its hidraw node; has to be given.
        device: PathBuf = "/dev/hidraw0".into() => path(),
        /// Seconds between two looks at its relays.
        state_poll: Duration = Duration::from_secs(5) => seconds(0.1, 3600.0),
    }
}

section! {
    /// Wakes a machine by its network card; any pin, an output.
    pub struct WolDriver(layout) {
        /// Where the packet goes; `""` = to everybody.
        ip: Option<IpAddr> = Some(Ipv4Addr::BROADCAST.into()) => address("an IP address"),
        /// UDP port.
        port: u16 = 9 => integer(1, 65535),
        /// The card's address; has to be given.
        mac: [u8; 6] = [0; 6] => mac(),
    }
}

section! {
    /// Starts a program when switched on; any pin, an output. No shell, no rights to gain, one at a time.
    pub struct CmdDriver(layout) {
        /// Program and arguments; has to be given.
        cmd: Vec<String> = Vec::new() => arguments(),
        /// Seconds until it is killed. Our own.
        timeout: Duration = Duration::from_secs(60) => seconds(0.1, 86_400.0),
    }
}

section! {
    /// A light that is on while a program ends with exit status 0; any pin, an input.
    pub struct CmdRetDriver(layout) {
        /// Program and arguments; has to be given.
        cmd: Vec<String> = Vec::new() => arguments(),
        /// Seconds until it is killed, and the light offline. Our own.
        timeout: Duration = Duration::from_secs(5) => seconds(0.1, 3600.0),
        /// Seconds of rest between two runs. Our own.
        state_poll: Duration = Duration::from_secs(1) => seconds(0.1, 3600.0),
    }
}

/// A second in nanoseconds: the longest cycle.
const SECOND: i64 = 1_000_000_000;

section! {
    /// A PWM chip; pins are channel numbers, outputs.
    pub struct PwmDriver(layout) {
        /// The chip's number.
        chip: u32 = 0 => integer(0, 65535),
        /// The whole cycle in nanoseconds.
        period: u64 = 20_000_000 => integer(1, SECOND),
        /// Nanoseconds of it that are high when on.
        duty_cycle_push: u64 = 1_500_000 => integer(0, SECOND),
        /// Nanoseconds of it that are high when off.
        duty_cycle_release: u64 = 1_000_000 => integer(0, SECOND),
    }
}

section! {
    /// A servo at a PWM chip; pins are channel numbers, outputs.
    pub struct ServoDriver(layout) {
        /// The chip's number.
        chip: u32 = 0 => integer(0, 65535),
        /// The whole cycle in nanoseconds.
        period: u64 = 20_000_000 => integer(1, SECOND),
        /// Nanoseconds of it that are high at the smallest angle.
        duty_cycle_min: u64 = 1_000_000 => integer(0, SECOND),
        /// Nanoseconds of it that are high at the largest angle.
        duty_cycle_max: u64 = 2_000_000 => integer(0, SECOND),
        /// The smallest angle in degrees.
        angle_min: f64 = 0.0 => number(-360.0, 360.0),
        /// The largest angle in degrees.
        angle_max: f64 = 180.0 => number(-360.0, 360.0),
        /// The angle when on.
        angle_push: f64 = 100.0 => number(-360.0, 360.0),
        /// The angle when off.
        angle_release: f64 = 120.0 => number(-360.0, 360.0),
    }
}

section! {
    /// The USB gadget: pin `udc` is the cable, other pins are functions by name (`mass_storage.usb0`).
    pub struct OtgconfDriver(layout) {
        /// The controller; `""` = the one there is.
        udc: String = String::new() => text(),
        /// Seconds the cable is out when a function is changed.
        init_delay: Duration = Duration::from_secs(3) => seconds(0.0, 60.0),
    }
}

section! {
    /// A light that blinks while it is on; pins are lines of a GPIO chip, outputs.
    pub struct LocatorDriver(layout) {
        /// The chip.
        device: PathBuf = "/dev/gpiochip0".into() => path(),
    }
}

/// Declares [`Driver`]: the types by their names, and the keys without which one makes no sense.
macro_rules! drivers {
    ($($name:literal => $variant:ident($settings:ident) needs [$($key:literal),*],)+) => {
        /// One driver.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Driver {
            $(#[doc = concat!("Type `", $name, "`.")] $variant($settings),)+
        }

        impl Driver {
            /// The types there are.
            pub(crate) const TYPES: &'static [&'static str] = &[$($name),+];

            /// The type's name in the settings.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            fn defaults(kind: &str, layout: &Layout) -> Option<(Self, &'static [&'static str])> {
                match kind {
                    $($name => Some((Self::$variant($settings::defaults(layout)), &[$($key),*])),)+
                    _ => None,
                }
            }

            fn read(&mut self, node: &Node, key: &str, layout: &Layout, reader: &mut Reader) {
                match self { $(Self::$variant(inner) => crate::section::read(inner, node, key, layout, reader)),+ }
            }

            fn show(&self) -> Json {
                match self { $(Self::$variant(inner) => Section::show(inner)),+ }
            }

            fn describe_all(key: &str, out: &mut Vec<Described>) {
                $(
                    let own = join(key, &$name.to_uppercase());
                    let doc = concat!("A driver of type `", $name, "`.").to_owned();
                    out.push(Described::Section { key: own.clone(), doc });
                    Section::describe(&$settings::defaults(&Layout::system()), &own, out);
                )+
            }
        }
    };
}

drivers! {
    "gpio" => Gpio(GpioDriver) needs [],
    "noop" => Noop(NoopDriver) needs [],
    "hidrelay" => HidRelay(HidRelayDriver) needs ["device"],
    "wol" => Wol(WolDriver) needs ["mac"],
    "cmd" => Cmd(CmdDriver) needs ["cmd"],
    "cmdret" => CmdRet(CmdRetDriver) needs ["cmd"],
    "pwm" => Pwm(PwmDriver) needs [],
    "servo" => Servo(ServoDriver) needs [],
    "otgconf" => Otgconf(OtgconfDriver) needs [],
    "locator" => Locator(LocatorDriver) needs [],
}

/// Types that PiKVM has and we have not.
const ELSEWHERE: &[&str] =
    &["noyito", "ipmi", "amt", "ezcoo", "extron", "xh_hk4401", "pway", "tesmart", "hue", "anelpwr"];

/// Lines of one chip that fit into one request of the kernel's, inputs and outputs each.
const LINES: usize = 64;

impl Driver {
    pub(super) fn gpio() -> Self {
        Self::Gpio(GpioDriver { device: "/dev/gpiochip0".into() })
    }

    /// What to say was expected where a channel's pin cannot be one of this driver.
    pub(crate) fn wants_pin(&self, pin: &str) -> Option<&'static str> {
        let is_number = |most: u32| {
            pin.bytes().all(|byte| byte.is_ascii_digit())
                && pin.parse::<u32>().is_ok_and(|number| number <= most)
        };
        let is_function = || {
            pin.contains('.')
                && !pin.starts_with('.')
                && pin.len() <= 64
                && pin.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
        };
        let (is_good, expected) = match self {
            Self::Gpio(_) | Self::Locator(_) => (is_number(65535), "the number of a line"),
            Self::HidRelay(_) => (is_number(7), "a relay from 0 to 7"),
            Self::Pwm(_) | Self::Servo(_) => (is_number(255), "the number of a PWM channel"),
            Self::Otgconf(_) => {
                (pin == "udc" || is_function(), "udc or the name of a function such as mass_storage.usb0")
            }
            Self::Noop(_) | Self::Wol(_) | Self::Cmd(_) | Self::CmdRet(_) => (true, ""),
        };
        (!is_good).then_some(expected)
    }

    /// What to say was expected where a channel's mode is none of this driver's.
    pub(crate) fn wants_mode(&self, mode: GpioMode) -> Option<&'static str> {
        match (self, mode) {
            (Self::CmdRet(_), GpioMode::Output) => Some("\"input\", the only mode of a cmdret driver"),
            (
                Self::Wol(_) | Self::Cmd(_) | Self::Pwm(_) | Self::Servo(_) | Self::Locator(_),
                GpioMode::Input,
            ) => Some("\"output\", the only mode of this driver"),
            _ => None,
        }
    }

    /// What is wrong with the settings as a whole: the key, what was expected, what was found.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, u64)> {
        let (period, parts) = match self {
            Self::Pwm(pwm) => (
                pwm.period,
                [("duty_cycle_push", pwm.duty_cycle_push), ("duty_cycle_release", pwm.duty_cycle_release)],
            ),
            Self::Servo(servo) => (
                servo.period,
                [("duty_cycle_min", servo.duty_cycle_min), ("duty_cycle_max", servo.duty_cycle_max)],
            ),
            _ => return None,
        };
        let (key, part) = parts.into_iter().find(|(_, part)| *part > period)?;
        Some((key, format!("at most period ({period})"), part))
    }

    /// The chip whose lines this driver takes for good.
    pub(crate) fn chip(&self) -> Option<&PathBuf> {
        match self {
            Self::Gpio(gpio) => Some(&gpio.device),
            _ => None,
        }
    }
}

/// Whether these channels ask more lines of one chip than a request has room for.
pub(crate) fn too_many(channels: &[&Channel]) -> bool {
    let mut lines: BTreeMap<bool, BTreeSet<&str>> = BTreeMap::new();
    for channel in channels {
        lines.entry(channel.mode == GpioMode::Input).or_default().insert(&channel.pin);
    }
    lines.values().any(|lines| lines.len() > LINES)
}

/// The map of drivers.
pub(super) struct Drivers;

impl Rule<BTreeMap<String, Driver>> for Drivers {
    fn read(
        &self,
        node: &Node,
        key: &str,
        slot: &mut BTreeMap<String, Driver>,
        layout: &Layout,
        reader: &mut Reader,
    ) {
        let Some(map) = node.as_map() else {
            if node.value != Value::Null {
                reader.expected(&node.at, key, "a map from driver names to settings", &node.found());
            }
            return;
        };
        for entry in map.iter() {
            let key = join(key, &entry.key);
            if !super::gpio::is_word(&entry.key, &['_', '-']) {
                reader.expected(&entry.at, &key, "a driver name", &format!("{:?}", entry.key));
                continue;
            }
            let mut node = entry.node.clone();
            let kind = node.as_map_mut().and_then(|map| map.remove("type")).map(|entry| entry.node);
            let Some(kind) =
                kind.or_else(|| (entry.key == "__gpio__").then(|| Node::text("gpio", entry.at.clone())))
            else {
                reader.problem(&entry.at, &key, "expected the key \"type\", found none");
                continue;
            };
            let Some((mut driver, required)) = kind.as_text().and_then(|name| Driver::defaults(name, layout))
            else {
                let known = kind.as_text().is_some_and(|name| ELSEWHERE.contains(&name));
                let here = if known { " (this one is PiKVM's, and not here)" } else { "" };
                let expects = format!("one of {}{here}", Driver::TYPES.join(", "));
                reader.expected(&kind.at, &join(&key, "type"), &expects, &kind.found());
                continue;
            };
            for required in required {
                if node.as_map().is_none_or(|map| map.get(required).is_none()) {
                    reader.problem(&entry.at, &key, format!("expected the key {required:?}, found none"));
                }
            }
            driver.read(&node, &key, layout, reader);
            slot.insert(entry.key.clone(), driver);
        }
    }

    fn show(&self, value: &BTreeMap<String, Driver>) -> Json {
        let driver = |driver: &Driver| {
            let mut map = driver.show();
            map["type"] = driver.name().into();
            map
        };
        value.iter().map(|(name, value)| (name.clone(), driver(value))).collect()
    }

    fn describe(&self, key: &str, doc: &str, _: &BTreeMap<String, Driver>, out: &mut Vec<Described>) {
        out.push(Described::Section { key: join(key, "NAME"), doc: doc.to_owned() });
        out.push(Described::Key {
            key: join(key, "NAME.type"),
            expects: format!("one of {}", Driver::TYPES.join(", ")),
            default: "none".to_owned(),
            doc: "Which driver; the other keys are the driver's own, below by type.".to_owned(),
        });
        Driver::describe_all(key, out);
    }
}
