//! Temperatures, load, memory, power supply, uptime: from the kernel's own files.
//!
//! Read by hand rather than by `sysinfo`: these are four small files below a root that tests can choose, and the load
//! is the difference between two looks at one line.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::{Cpu, Health, Memory, Temperature, Throttling, Uptime};
use crate::system::{self, degrees};
use crate::throttle::Throttle;

/// At most this many sensors are looked at.
const SENSORS: usize = 64;

/// Looks at the machine again and again.
#[derive(Debug)]
pub(crate) struct Doctor {
    root: PathBuf,
    ignore_past: bool,
    throttle: Throttle,
    before: Option<Ticks>,
    percent: Option<u8>,
    last: Option<(Instant, Health)>,
}

/// Looks closer together than this get the same answer: a load over a moment says nothing, and the firmware's word takes
/// a mailbox call.
const FRESH: Duration = Duration::from_secs(1);

/// Time the processors have spent since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Doctor {
    pub(crate) fn new(root: PathBuf, ignore_past: bool) -> Self {
        Self { root, ignore_past, throttle: Throttle::default(), before: None, percent: None, last: None }
    }

    /// How the machine feels at `now`. Blocks for as long as the kernel takes.
    pub(crate) fn look(&mut self, now: Instant) -> Health {
        if let Some((at, health)) = self.last
            && now.duration_since(at) < FRESH
        {
            return health;
        }
        let health = self.examine();
        self.last = Some((now, health));
        health
    }

    fn examine(&mut self) -> Health {
        let read = |path: &str| fs::read_to_string(self.root.join(path)).ok();
        let now = read("proc/stat").and_then(|text| ticks(&text));
        // Two looks within one tick show nothing: the last answer stands. The first one is over all time since the start.
        if let Some(now) = now {
            let before = self.before.unwrap_or(Ticks { idle: 0, all: 0 });
            self.percent = load(before, now).or(self.percent);
        }
        self.before = now.or(self.before);
        Health {
            temp: Temperature { cpu: system::cpu_temperature(&self.root), gpu: gpu(&self.root) },
            cpu: Cpu { percent: self.percent },
            mem: read("proc/meminfo").map(|text| memory(&text)).unwrap_or_default(),
            throttling: self
                .throttle
                .look(&self.root)
                .map(|flags| Throttling::from_flags(flags, self.ignore_past)),
        }
    }
}

/// A sensor that says it is the graphics part's.
fn gpu(root: &Path) -> Option<f64> {
    let zones = fs::read_dir(root.join("sys/class/thermal")).ok()?;
    zones
        .flatten()
        .take(SENSORS)
        .find_map(|zone| {
            let kind = fs::read_to_string(zone.path().join("type")).ok()?;
            kind.trim()
                .to_ascii_lowercase()
                .contains("gpu")
                .then(|| fs::read_to_string(zone.path().join("temp")).ok())?
        })
        .and_then(|text| degrees(&text))
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal guest guest_nice`.
fn ticks(text: &str) -> Option<Ticks> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // The guest's are in the user's already.
    let numbers = numbers.take(8).map(|number| number.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
    let idle = numbers.get(3)?.saturating_add(*numbers.get(4).unwrap_or(&0));
    Some(Ticks { idle, all: numbers.iter().fold(0, |sum: u64, number| sum.saturating_add(*number)) })
}

fn load(before: Ticks, now: Ticks) -> Option<u8> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    // The kernel's idle counts may go back a little.
    let idle = now.idle.saturating_sub(before.idle).min(all);
    let percent = (u128::from(all - idle) * 100 + u128::from(all) / 2) / u128::from(all);
    u8::try_from(percent).ok()
}

/// `/proc/meminfo`, in KiB.
fn memory(text: &str) -> Memory {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let percent = total.zip(available).filter(|(total, _)| *total > 0).and_then(|(total, available)| {
        let used = total.saturating_sub(available);
        // One digit after the point.
        u32::try_from(u128::from(used) * 1000 / u128::from(total)).ok().map(|tenths| f64::from(tenths) / 10.0)
    });
    Memory { percent, total_bytes: total, available_bytes: available }
}

pub(crate) fn uptime(root: &Path) -> Uptime {
    let text = fs::read_to_string(root.join("proc/uptime")).unwrap_or_default();
    let seconds = text.split_whitespace().next().and_then(|seconds| seconds.parse::<f64>().ok());
    Uptime(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::NowPast;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_board_with_every_sensor_tells_everything() {
        let root = machine(&[
            ("proc/stat", "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n"),
            ("proc/meminfo", "MemTotal:        4000 kB\nMemFree:  1 kB\nMemAvailable:    3455 kB\n"),
            ("sys/class/thermal/thermal_zone0/temp", "57187\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "35000\n"),
            ("sys/class/thermal/thermal_zone1/type", "gpu-thermal\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
        ]);
        let mut doctor = Doctor::new(root.path().to_owned(), true);
        let start = Instant::now();
        let health = doctor.look(start);
        assert_eq!(health.temp, Temperature { cpu: Some(57.187), gpu: Some(35.0) });
        assert_eq!(health.cpu.percent, Some(20));
        let wanted =
            Memory { percent: Some(13.6), total_bytes: Some(4_096_000), available_bytes: Some(3_537_920) };
        assert_eq!(health.mem, wanted);
        let throttling = health.throttling.unwrap();
        assert_eq!(throttling.raw_flags, 0x50005);
        assert_eq!(throttling.undervoltage, NowPast { now: true, past: true });
        assert_eq!(throttling.freq_capped, NowPast { now: false, past: false });
        assert_eq!(throttling.throttled, NowPast { now: true, past: true });
        assert!(throttling.ignore_past);
        fs::write(root.path().join("proc/stat"), "cpu  190 0 100 710 100 0 0 0 50 0\n").unwrap();
        assert_eq!(doctor.look(start + FRESH / 2), health, "too soon to look again");
        assert_eq!(doctor.look(start + FRESH).cpu.percent, Some(90));
        assert_eq!(
            doctor.look(start + FRESH * 2).cpu.percent,
            Some(90),
            "no tick passed: the last answer stands"
        );
    }

    #[test]
    fn a_machine_without_sensors_tells_nothing() {
        let root = machine(&[]);
        assert_eq!(Doctor::new(root.path().to_owned(), false).look(Instant::now()), Health::default());
    }

    #[test]
    fn the_machine_of_this_test_is_alive() {
        let health = Doctor::new(PathBuf::from("/"), false).look(Instant::now());
        assert!(health.cpu.percent.is_some() && health.mem.percent.is_some());
        assert!(uptime(Path::new("/")).total() > 0);
    }

    #[test]
    fn an_uptime_has_days_hours_minutes_and_seconds() {
        let root = machine(&[("proc/uptime", "183845.37 400000.00\n")]);
        let up = uptime(root.path());
        assert_eq!((up.total(), up.days(), up.hours(), up.minutes(), up.seconds()), (183_845, 2, 3, 4, 5));
        assert_eq!(uptime(Path::new("/nowhere")).total(), 0);
    }

    #[test]
    fn temperatures_below_zero_are_temperatures() {
        assert_eq!(degrees("-1500\n"), Some(-1.5));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = (ticks(&text), memory(&text), degrees(&text));
        }

        #[test]
        fn a_load_is_between_nothing_and_everything(before in any::<(u64, u64)>(), now in any::<(u64, u64)>()) {
            let ticks = |(idle, all)| Ticks { idle, all };
            prop_assert!(load(ticks(before), ticks(now)).is_none_or(|percent| percent <= 100));
        }

        #[test]
        fn parts_of_an_uptime_add_up(seconds in 0u64..10_000_000) {
            let up = Uptime(Duration::from_secs(seconds));
            prop_assert_eq!(((up.days() * 24 + up.hours()) * 60 + up.minutes()) * 60 + up.seconds(), seconds);
        }
    }
}
