//! The kernel's sensors, by the name of their driver.

use std::fs;
use std::path::{Path, PathBuf};

/// At most this many sensors are looked at.
const SENSORS: usize = 64;

/// The first sensor of one of these drivers, lowest number first.
pub(crate) fn named(root: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut sensors: Vec<PathBuf> = fs::read_dir(root.join("sys/class/hwmon"))
        .ok()?
        .flatten()
        .take(SENSORS)
        .map(|entry| entry.path())
        .filter(|sensor| {
            let name = fs::read_to_string(sensor.join("name")).unwrap_or_default();
            names.contains(&name.trim())
        })
        .collect();
    sensors.sort();
    sensors.into_iter().next()
}

/// One value of a sensor.
pub(crate) fn number(sensor: &Path, file: &str) -> Option<u32> {
    fs::read_to_string(sensor.join(file)).ok()?.trim().parse().ok()
}
