//! GPIO lines held for `kvmd`: it drives them, and they outlive it.
//!
//! A line belongs to whoever requested it, and what it does when the last holder ends is the chip's own business. So we
//! request the output lines, before `kvmd` starts, and hand it a second descriptor of the same request. When it ends in
//! whatever way, the lines are still requested: what must rest is driven to rest, what was switched stays as it is, and
//! the next `kvmd` gets the same lines again. Their `initial` levels are set when we take them, not by each `kvmd`.
//!
//! At rest are: the buttons of the front panel, outputs that can only be pulsed, and every output that was in a pulse,
//! which `kvmd` marks in a file we hold as well. Relays on USB keep their states by themselves; those in a pulse are
//! switched off here too. What other drivers had in a pulse stays marked, and the next `kvmd` ends it.
//!
//! A chip that appears while `kvmd` runs is taken by `kvmd` itself and held here from the next start on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::{AtxType, Config, Driver, GpioMode};
use gpio::hidrelay::Board;
use gpio::line::Outputs;
use gpio::{Marks, PinUse, chip};

/// Longest time for putting everything at rest. The next `kvmd` waits for it.
const LET_GO: Duration = Duration::from_millis(800);

/// Lines of one user on one chip.
#[derive(Debug)]
struct Held {
    /// `atx`, or `gpio.` and the driver's name.
    owner: String,
    outputs: Outputs,
    /// Lines that rest whatever happened, each with its level at rest.
    resting: Vec<(u32, bool)>,
    /// Why it is not held, told once.
    fault: Option<String>,
}

/// Where a channel's "off" goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Off {
    Line { owner: String, offset: u32, level: bool },
    Relay { device: PathBuf, pin: u8, level: bool },
}

#[derive(Debug)]
struct Inner {
    held: Vec<Held>,
    off: BTreeMap<String, Off>,
    marks: Marks,
    marks_file: OwnedFd,
}

/// The lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lines(Arc<Mutex<Inner>>);

impl Lines {
    /// The lines that the settings name, not taken yet; `None` when there are none.
    ///
    /// # Errors
    ///
    /// When there is no memory for the marks.
    pub fn new(config: &Config) -> io::Result<Option<Self>> {
        let (held, off) = plan(config);
        if held.is_empty() && off.is_empty() {
            return Ok(None);
        }
        let (marks, marks_file) = Marks::create()?;
        Ok(Some(Self(Arc::new(Mutex::new(Inner { held, off, marks, marks_file })))))
    }

    /// Takes what is not taken, and gives what a `kvmd` that is about to start needs: descriptors by name. A chip that
    /// is not there, or lines that somebody else has, are told, and left to `kvmd`.
    pub fn hand_over(&self) -> Vec<(String, OwnedFd)> {
        self.locked(|inner| {
            let mut descriptors: Vec<_> = inner.held.iter_mut().filter_map(Held::hand_over).collect();
            match inner.marks_file.try_clone() {
                Ok(marks) => descriptors.push(("pulses".to_owned(), marks)),
                Err(error) => log::error!("pulses of kvmd cannot be marked: {error}"),
            }
            descriptors
        })
    }

    /// Puts at rest what a dead `kvmd` has left otherwise. Blocks for as long as a relay on USB may take.
    pub fn rest(&self) {
        self.rest_before(Instant::now() + Duration::from_secs(3600));
    }

    /// Likewise, beside the loop and bounded.
    pub async fn let_go(&self) {
        let (own, limit) = (self.clone(), Instant::now() + LET_GO);
        let resting = tokio::task::spawn_blocking(move || own.rest_before(limit));
        if tokio::time::timeout(LET_GO, resting).await.is_err() {
            log::warn!("some relay does not come to rest in time");
        }
    }

    fn rest_before(&self, limit: Instant) {
        self.rest_with(limit, |device, pin, level| Board::new(device).set(pin, level));
    }

    /// After `limit` the marks and the relays are the next `kvmd`'s.
    fn rest_with(&self, limit: Instant, mut set: impl FnMut(PathBuf, u8, bool) -> io::Result<()>) {
        let relays = self.locked(Inner::rest);
        // Without the lock: a board that hangs does so for five seconds, and the next kvmd does not wait for it.
        for (channel, device, pin, level) in relays {
            // Somebody may have switched it on again meanwhile. Otherwise it stays marked.
            if Instant::now() >= limit {
                log::warn!("gpio channel {channel:?} is left to the next kvmd: another relay hangs");
                continue;
            }
            match set(device, pin, level) {
                Ok(()) if Instant::now() < limit => self.locked(|inner| inner.unmark(&channel)),
                Ok(()) => {}
                Err(error) => log::warn!("gpio channel {channel:?} may still be on: {error}"),
            }
        }
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A relay to be switched: of which channel, where, and to what.
type Relay = (String, PathBuf, u8, bool);

impl Inner {
    /// Puts the lines at rest, and tells which relays are to be.
    fn rest(&mut self) -> Vec<Relay> {
        for held in &mut self.held {
            for (offset, level) in held.resting.clone() {
                held.drive(offset, level);
            }
        }
        let mut relays = Vec::new();
        for channel in self.marks.get() {
            match self.off.get(&channel) {
                Some(Off::Line { owner, offset, level }) => {
                    let held = self.held.iter_mut().find(|held| held.owner == *owner);
                    if held.is_some_and(|held| held.drive(*offset, *level)) {
                        self.unmark(&channel);
                    }
                }
                Some(Off::Relay { device, pin, level }) => {
                    relays.push((channel, device.clone(), *pin, *level));
                }
                // Not one of ours: the next kvmd knows what to do.
                None => {}
            }
        }
        relays
    }

    fn unmark(&mut self, channel: &str) {
        log::info!("gpio channel {channel:?}: a pulse that was cut off is ended");
        let left = self.marks.get().into_iter().filter(|marked| marked != channel);
        if let Err(error) = self.marks.set(left) {
            log::error!("pulses of kvmd cannot be marked: {error}");
        }
    }
}

impl Held {
    fn hand_over(&mut self) -> Option<(String, OwnedFd)> {
        // One whose chip went away and came back does not answer, and is taken anew.
        let _ = self.outputs.check();
        let taken = self.outputs.take().and_then(|()| self.outputs.share());
        let now = taken.as_ref().err().map(ToString::to_string);
        if let Some(why) = now.as_ref().filter(|why| self.fault.as_ref() != Some(why)) {
            log::warn!("lines for {} are not held: {why}", self.owner);
        }
        self.fault = now;
        Some((self.outputs.descriptor_name(&self.owner), taken.ok()??))
    }

    fn drive(&mut self, offset: u32, level: bool) -> bool {
        let driven = self.outputs.set(offset, level);
        if let Err(error) = &driven
            && self.fault.is_none()
        {
            log::error!("line {offset} of {} may not be at rest: {error}", self.owner);
        }
        driven.is_ok()
    }
}

/// Which lines to hold, and how to end each channel's pulse.
fn plan(config: &Config) -> (Vec<Held>, BTreeMap<String, Off>) {
    let mut held = Vec::new();
    let atx = &config.kvmd.atx;
    if atx.r#type == AtxType::Gpio {
        let settings = atx::GpioSettings {
            device: atx.device.clone(),
            power_switch: atx.power_switch_pin,
            reset_switch: atx.reset_switch_pin,
            ..atx::GpioSettings::default()
        };
        let resting = vec![(atx.power_switch_pin, false), (atx.reset_switch_pin, false)];
        held.push(Held { owner: "atx".to_owned(), outputs: settings.switches(), resting, fault: None });
    }
    let gpio = &config.kvmd.gpio;
    let mut off = BTreeMap::new();
    for (name, driver) in &gpio.drivers {
        let owner = format!("gpio.{name}");
        let mut pins = Vec::new();
        let mut resting = Vec::new();
        let own = gpio.scheme.iter().filter(|(_, channel)| channel.driver == *name);
        for (channel, settings) in own.filter(|(_, channel)| channel.mode == GpioMode::Output) {
            let level = settings.inverted;
            let initial = settings.initial.map(|on| on ^ settings.inverted);
            pins.push(PinUse::Output { pin: settings.pin.clone(), initial });
            let pulses = !settings.pulse.delay.is_zero();
            match (driver, settings.pin.parse()) {
                (Driver::Gpio(_), Ok(offset)) => {
                    if pulses && !settings.switch {
                        resting.push((offset, level));
                    }
                    off.insert(channel.clone(), Off::Line { owner: owner.clone(), offset, level });
                }
                (Driver::HidRelay(relay), Ok(pin)) => {
                    let pin = u8::try_from(pin).unwrap_or(u8::MAX);
                    off.insert(channel.clone(), Off::Relay { device: relay.device.clone(), pin, level });
                }
                _ => {}
            }
        }
        if let Driver::Gpio(gpio) = driver
            && let Ok(Some(outputs)) = chip::outputs(&chip::Settings { device: gpio.device.clone() }, &pins)
        {
            held.push(Held { owner, outputs, resting, fault: None });
        }
    }
    (held, off)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("override.yaml"), text).unwrap();
        config::load(&config::Args { state: Some(dir.path().to_owned()), ..config::Args::default() })
            .unwrap()
            .0
    }

    const SWITCHES: &str = "kvmd:\n  atx: {type: gpio}\n  gpio:\n    drivers: {usb: {type: hidrelay, device: /nowhere/hidraw3}}\n    scheme:\n\
        \x20     both: {pin: 20, mode: output, inverted: true}\n\
        \x20     button: {pin: 26, mode: output, switch: false}\n\
        \x20     breaker: {pin: 5, mode: output, pulse: false, initial: null}\n\
        \x20     light: {pin: 19, mode: input}\n\
        \x20     relay: {driver: usb, pin: 3, mode: output}\n";

    #[test]
    fn buttons_rest_always_and_switches_only_after_a_pulse_that_was_cut_off() {
        let (held, off) = plan(&config(SWITCHES));
        let resting: Vec<_> =
            held.iter().map(|held| (held.owner.as_str(), held.resting.as_slice())).collect();
        assert_eq!(
            resting,
            [("atx", &[(23, false), (27, false)][..]), ("gpio.__gpio__", &[(26, false)][..])]
        );
        let names: Vec<_> = held.iter().map(|held| held.outputs.descriptor_name(&held.owner)).collect();
        assert_eq!(names, ["lines atx /dev/gpiochip0 23.27", "lines gpio.__gpio__ /dev/gpiochip0 5.20.26"]);
        let line = |offset, level| Off::Line { owner: "gpio.__gpio__".to_owned(), offset, level };
        assert_eq!(off["both"], line(20, true), "an inverted one is off when it is high");
        assert_eq!(off["breaker"], line(5, false));
        let relay = Off::Relay { device: "/nowhere/hidraw3".into(), pin: 3, level: false };
        assert_eq!((off.len(), &off["relay"]), (4, &relay));
    }

    #[test]
    fn what_cannot_be_ended_here_stays_marked_for_the_next_kvmd() {
        let lines = Lines::new(&config(SWITCHES)).unwrap().unwrap();
        let mut handed = lines.hand_over();
        let (name, marks) = handed.pop().unwrap();
        assert_eq!(name, "pulses");
        let marks = Marks::new(marks);
        marks.set(["relay", "elsewhere"]).unwrap();
        lines.rest();
        assert_eq!(marks.get(), ["relay", "elsewhere"]);
    }

    #[test]
    fn a_relay_whose_turn_comes_too_late_is_left_to_the_next_kvmd() {
        let relays = "kvmd:\n  gpio:\n    drivers: {usb: {type: hidrelay, device: /nowhere/hidraw3}}\n    scheme:\n\
            \x20     one: {driver: usb, pin: 1, mode: output}\n\
            \x20     two: {driver: usb, pin: 2, mode: output}\n";
        let lines = Lines::new(&config(relays)).unwrap().unwrap();
        let marked = || lines.locked(|inner| inner.marks.get());
        lines.locked(|inner| inner.marks.set(["one", "two"])).unwrap();
        let limit = Instant::now() + Duration::from_millis(20);
        let mut switched = Vec::new();
        lines.rest_with(limit, |_, pin, _| {
            switched.push(pin);
            // A board that hangs.
            while Instant::now() < limit {
                std::thread::yield_now();
            }
            Ok(())
        });
        assert!(switched.len() <= 1, "{switched:?}");
        assert_eq!(marked(), ["one", "two"]);
        lines.rest_with(Instant::now() + Duration::from_secs(3600), |_, _, _| Ok(()));
        assert!(marked().is_empty());
    }

    #[test]
    fn without_lines_and_outputs_there_is_nothing_to_hold() {
        assert!(Lines::new(&config("kvmd: {atx: {type: fake}}")).unwrap().is_none());
    }
}
