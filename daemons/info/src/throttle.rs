//! What the firmware of a Raspberry Pi says about its power supply and cooling.
//!
//! Three ways to the same word, tried in this order: the vendor kernel's attribute; the mailbox, where somebody has made
//! its node readable for us; and the mainline kernel's voltage sensor, which knows only of undervoltage, and only while it lasts: that it
//! was ever so is remembered here, since we started.

use std::fs::{self, File};
use std::path::Path;

use crate::hwmon;

/// The mailbox's property "throttled".
const PROPERTY: u32 = 0x0003_0046;
/// Undervoltage, now and ever.
const NOW: u32 = 1;
const EVER: u32 = 1 << 16;
/// At most this many buses are looked at.
const BUSES: usize = 256;

/// Asks again and again.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    seen: u32,
}

impl Throttle {
    /// The word; `None` where there is no such firmware. Bits 0 to 2 are now, 16 to 18 ever since power-on.
    pub(crate) fn look(&mut self, root: &Path) -> Option<u32> {
        attribute(root).or_else(|| mailbox(root)).or_else(|| self.sensor(root))
    }

    fn sensor(&mut self, root: &Path) -> Option<u32> {
        let sensor = hwmon::named(root, &["rpi_volt"])?;
        if hwmon::number(&sensor, "in0_lcrit_alarm")? != 0 {
            self.seen |= EVER;
            return Some(self.seen | NOW);
        }
        Some(self.seen)
    }
}

/// `soc`, `soc@0` or `soc@107c000000`, by board and kernel: the firmware is a device on that bus.
fn attribute(root: &Path) -> Option<u32> {
    let buses = fs::read_dir(root.join("sys/devices/platform")).ok()?;
    buses.flatten().take(BUSES).find_map(|bus| {
        let name = bus.file_name().into_string().ok().filter(|name| name.starts_with("soc"))?;
        let file = bus.path().join(format!("{name}:firmware/get_throttled"));
        flags(&fs::read_to_string(file).ok()?)
    })
}

/// The node is root's, and we get it from nobody: whoever may open it may ask the firmware for anything, memory and
/// clocks included, and one number is not worth that. So as delivered this answers only a process of root.
fn mailbox(root: &Path) -> Option<u32> {
    let mailbox = File::open(root.join("dev/vcio")).ok()?;
    sys::vcio::property(&mailbox, PROPERTY).ok()
}

/// The firmware's word in hexadecimal, `0x` or not.
fn flags(text: &str) -> Option<u32> {
    let text = text.trim();
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_attribute_is_found_on_every_board_s_bus() {
        for bus in ["soc", "soc@0", "soc@107c000000"] {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), "sys/devices/platform/serial8250/uevent", "");
            put(root.path(), &format!("sys/devices/platform/{bus}/{bus}:firmware/get_throttled"), "50005\n");
            assert_eq!(Throttle::default().look(root.path()), Some(0x50005), "{bus}");
        }
    }

    #[test]
    fn a_voltage_sensor_knows_of_now_and_we_remember() {
        let root = tempfile::tempdir().unwrap();
        let alarm = |on: &str| put(root.path(), "sys/class/hwmon/hwmon2/in0_lcrit_alarm", on);
        put(root.path(), "sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
        put(root.path(), "sys/class/hwmon/hwmon2/name", "rpi_volt\n");
        let mut throttle = Throttle::default();
        let mut seen = |on| {
            alarm(on);
            throttle.look(root.path())
        };
        assert_eq!([seen("0\n"), seen("1\n"), seen("0\n")], [Some(0), Some(NOW | EVER), Some(EVER)]);
    }

    #[test]
    fn a_machine_without_such_a_firmware_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Throttle::default().look(root.path()), None);
        // A file that is no mailbox.
        put(root.path(), "dev/vcio", "");
        assert_eq!(Throttle::default().look(root.path()), None);
    }

    proptest! {
        #[test]
        fn any_word_is_read_without_panic(text in any::<String>()) {
            let _ = flags(&text);
        }

        #[test]
        fn a_word_is_read_with_and_without_its_prefix(word in any::<u32>()) {
            prop_assert_eq!(flags(&format!("{word:x}\n")), Some(word));
            prop_assert_eq!(flags(&format!("0x{word:x}")), Some(word));
        }
    }
}
