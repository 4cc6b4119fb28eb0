//! `pwm` and `servo`: channels of a PWM chip by sysfs, which is the same on every board. Pins are channel numbers.
//!
//! On is one duty cycle, off another. A servo says both as angles.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Driver, Offline, PinUse, Wake};

/// Which chip, and what on and off are. Times in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The chip's number.
    pub chip: u32,
    /// The whole cycle.
    pub period_ns: u64,
    /// The part of it that is high when on.
    pub push_ns: u64,
    /// The part of it that is high when off.
    pub release_ns: u64,
    /// Where chips are found.
    pub class: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chip: 0,
            period_ns: 20_000_000,
            push_ns: 1_500_000,
            release_ns: 1_000_000,
            class: PathBuf::from("/sys/class/pwm"),
        }
    }
}

impl Settings {
    /// The directory of a channel; it is there when the channel is exported.
    #[must_use]
    pub fn channel(&self, pin: &str) -> PathBuf {
        self.chip().join(format!("pwm{pin}"))
    }

    /// The chip's own directory.
    #[must_use]
    pub fn chip(&self) -> PathBuf {
        self.class.join(format!("pwmchip{}", self.chip))
    }
}

/// What a servo does, in degrees.
#[derive(Debug, Clone, PartialEq)]
pub struct Servo {
    /// The chip's number.
    pub chip: u32,
    /// The whole cycle.
    pub period_ns: u64,
    /// The part of it that is high at the smallest angle.
    pub min_ns: u64,
    /// The part of it that is high at the largest angle.
    pub max_ns: u64,
    /// The smallest angle.
    pub min_angle: f64,
    /// The largest angle.
    pub max_angle: f64,
    /// The angle when on; brought between the two.
    pub push_angle: f64,
    /// The angle when off; brought between the two.
    pub release_angle: f64,
}

impl Default for Servo {
    fn default() -> Self {
        Self {
            chip: 0,
            period_ns: 20_000_000,
            min_ns: 1_000_000,
            max_ns: 2_000_000,
            min_angle: 0.0,
            max_angle: 180.0,
            push_angle: 100.0,
            release_angle: 120.0,
        }
    }
}

impl Servo {
    /// The same as duty cycles.
    #[must_use]
    pub fn pwm(&self) -> Settings {
        Settings {
            chip: self.chip,
            period_ns: self.period_ns,
            push_ns: self.duty(self.push_angle),
            release_ns: self.duty(self.release_angle),
            ..Settings::default()
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "durations far below 2^52 ns, and a part of one that is not negative"
    )]
    fn duty(&self, angle: f64) -> u64 {
        let (low, high) = (self.min_ns.min(self.max_ns), self.min_ns.max(self.max_ns));
        let span = self.max_angle - self.min_angle;
        let part = if span.abs() < f64::EPSILON { 0.0 } else { (angle - self.min_angle) / span };
        let duty = self.min_ns as f64 + (self.max_ns as f64 - self.min_ns as f64) * part.clamp(0.0, 1.0);
        (duty.max(0.0) as u64).clamp(low, high)
    }
}

/// Makes a channel's files appear. Does nothing where they are.
///
/// # Errors
/// The kernel's word: `ENOENT` when there is no such chip, `EINVAL` when it has no such channel.
pub fn export(settings: &Settings, pin: &str) -> io::Result<()> {
    if settings.channel(pin).exists() {
        return Ok(());
    }
    let file = settings.chip().join("export");
    fs::write(&file, pin)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

/// Sets a channel to on or off, and lets it run.
///
/// # Errors
/// The kernel's word with the file's path.
pub fn set(settings: &Settings, pin: &str, on: bool) -> io::Result<()> {
    let channel = settings.channel(pin);
    let duty = if on { settings.push_ns } else { settings.release_ns };
    if number(&channel.join("period"))? != settings.period_ns {
        // The kernel wants the duty cycle within the period at every moment.
        put(&channel.join("duty_cycle"), 0)?;
        put(&channel.join("period"), settings.period_ns)?;
    }
    put(&channel.join("duty_cycle"), duty)?;
    if number(&channel.join("enable"))? != 1 {
        put(&channel.join("enable"), 1)?;
    }
    Ok(())
}

fn put(file: &Path, value: u64) -> io::Result<()> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    fs::write(file, value.to_string()).map_err(told)
}

fn number(file: &Path) -> io::Result<u64> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(told)?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text:?}", file.display())))
}

/// The driver.
#[derive(Debug)]
pub struct Pwm {
    settings: Settings,
    /// Levels for the start that were not set yet, because the channel was not there.
    initial: Vec<(String, bool)>,
}

impl Pwm {
    /// The driver.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, initial: Vec::new() }
    }

    /// Sets what could not be set at the start.
    fn catch_up(&mut self) -> Result<(), Offline> {
        while let Some((pin, level)) = self.initial.last() {
            export(&self.settings, pin).and_then(|()| set(&self.settings, pin, *level)).map_err(offline)?;
            self.initial.pop();
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn offline(error: io::Error) -> Offline {
    Offline(error.to_string())
}

impl Driver for Pwm {
    fn attach(&mut self, pins: &[PinUse], _: Wake) -> Result<(), Offline> {
        for pin in pins {
            if let PinUse::Output { pin, initial: Some(level) } = pin {
                self.initial.push((pin.clone(), *level));
            }
        }
        self.catch_up()
    }

    fn keeps_levels(&self) -> bool {
        true
    }

    fn read(&mut self, pin: &str) -> Result<bool, Offline> {
        self.catch_up()?;
        let channel = self.settings.channel(pin);
        let duty = number(&channel.join("duty_cycle")).map_err(offline)?;
        let enabled = number(&channel.join("enable")).map_err(offline)? == 1;
        Ok(enabled && duty == self.settings.push_ns)
    }

    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        self.initial.retain(|(waiting, _)| waiting != pin);
        export(&self.settings, pin).and_then(|()| set(&self.settings, pin, level)).map_err(offline)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chip(channels: &[&str]) -> (tempfile::TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { class: dir.path().to_owned(), ..Settings::default() };
        fs::create_dir_all(settings.chip()).unwrap();
        for pin in channels {
            let channel = settings.channel(pin);
            fs::create_dir(&channel).unwrap();
            for file in ["period", "duty_cycle", "enable"] {
                fs::write(channel.join(file), "0\n").unwrap();
            }
        }
        (dir, settings)
    }

    fn output(pin: &str, initial: Option<bool>) -> PinUse {
        PinUse::Output { pin: pin.to_owned(), initial }
    }

    fn read(settings: &Settings, pin: &str, file: &str) -> u64 {
        number(&settings.channel(pin).join(file)).unwrap()
    }

    #[test]
    fn on_and_off_are_duty_cycles_of_a_running_channel() {
        let (_dir, settings) = chip(&["1"]);
        let mut pwm = Pwm::new(settings.clone());
        pwm.attach(&[output("1", Some(false))], Wake::default()).unwrap();
        assert_eq!(pwm.read("1"), Ok(false));
        assert_eq!(
            ["period", "duty_cycle", "enable"].map(|file| read(&settings, "1", file)),
            [20_000_000, 1_000_000, 1]
        );
        pwm.write("1", true).unwrap();
        assert_eq!((pwm.read("1"), read(&settings, "1", "duty_cycle")), (Ok(true), 1_500_000));
    }

    #[test]
    fn a_channel_without_a_first_level_is_left_alone() {
        let (_dir, settings) = chip(&["0"]);
        let mut pwm = Pwm::new(settings.clone());
        pwm.attach(&[output("0", None)], Wake::default()).unwrap();
        assert_eq!((pwm.read("0"), read(&settings, "0", "period")), (Ok(false), 0));
    }

    #[test]
    fn a_chip_that_comes_late_gets_its_first_level_late() {
        let (_dir, settings) = chip(&[]);
        let mut pwm = Pwm::new(settings.clone());
        let why = pwm.attach(&[output("0", Some(true))], Wake::default()).unwrap_err();
        assert!(why.0.contains("pwm0"), "{why}");
        // What the kernel does when a channel's number is written into `export`.
        let channel = settings.channel("0");
        fs::create_dir(&channel).unwrap();
        for file in ["period", "duty_cycle", "enable"] {
            fs::write(channel.join(file), "0\n").unwrap();
        }
        assert_eq!(pwm.read("0"), Ok(true));
    }

    #[test]
    fn a_servo_s_angles_become_duty_cycles() {
        let pwm = Servo::default().pwm();
        assert_eq!((pwm.push_ns, pwm.release_ns), (1_555_555, 1_666_666));
        let far = Servo { push_angle: 720.0, release_angle: -5.0, ..Servo::default() }.pwm();
        assert_eq!((far.push_ns, far.release_ns), (2_000_000, 1_000_000));
    }

    proptest! {
        #[test]
        fn any_servo_stays_within_its_duty_cycles(
            (min, max) in (0u64..1 << 40, 0u64..1 << 40),
            angles in prop::array::uniform4(-1e6f64..1e6),
        ) {
            let [min_angle, max_angle, push_angle, release_angle] = angles;
            let servo = Servo {
                min_ns: min, max_ns: max, min_angle, max_angle, push_angle, release_angle, ..Servo::default()
            };
            let pwm = servo.pwm();
            for duty in [pwm.push_ns, pwm.release_ns] {
                prop_assert!((min.min(max)..=min.max(max)).contains(&duty));
            }
        }
    }
}
