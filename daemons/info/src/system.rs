//! What the board and its kernel call themselves.

use std::fs;
use std::path::Path;

use crate::model::{Kernel, Node, Platform};

/// Longer answers of the kernel or the administrator are cut.
const TEXT: usize = 256;

pub(crate) fn kernel() -> Kernel {
    let Ok(name) = nix::sys::utsname::uname() else { return Kernel::default() };
    let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    Kernel {
        system: text(name.sysname()),
        release: text(name.release()),
        version: text(name.version()),
        machine: text(name.machine()),
    }
}

pub(crate) fn node() -> Node {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
    Node { host: host.unwrap_or_default() }
}

pub(crate) fn platform(root: &Path, file: &Path) -> Platform {
    let values = fs::read_to_string(file).unwrap_or_default();
    Platform {
        kind: "rpi",
        base: device_tree(root, "model"),
        serial: device_tree(root, "serial-number").map(|serial| serial.to_uppercase()),
        model: value(&values, "PIKVM_MODEL"),
        video: value(&values, "PIKVM_VIDEO"),
        board: value(&values, "PIKVM_BOARD"),
    }
}

/// The processor's, in °C.
pub(crate) fn cpu_temperature(root: &Path) -> Option<f64> {
    degrees(&fs::read_to_string(root.join("sys/class/thermal/thermal_zone0/temp")).ok()?)
}

/// Thousandths of a degree.
pub(crate) fn degrees(text: &str) -> Option<f64> {
    text.trim().parse::<i32>().ok().map(|thousandths| f64::from(thousandths) / 1000.0)
}

/// Device tree strings end with a NUL.
fn device_tree(root: &Path, name: &str) -> Option<String> {
    let raw = fs::read(root.join("proc/device-tree").join(name)).ok()?;
    let text = String::from_utf8_lossy(&raw);
    text.split('\0').next().and_then(clean)
}

fn clean(text: &str) -> Option<String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(TEXT).collect();
    (!text.is_empty()).then_some(text)
}

/// The value of a key in a file of `KEY=value` lines; quotes around it are dropped, the last one wins.
fn value(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().rev().filter_map(|line| line.trim().split_once('='));
    let found = lines.into_iter().find(|(name, _)| name.trim() == key)?.1.trim();
    let unquoted = ['"', '\''].into_iter().find_map(|quote| found.strip_prefix(quote)?.strip_suffix(quote));
    clean(unquoted.unwrap_or(found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_board_tells_who_it_is() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("proc/device-tree");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("model"), b"Raspberry Pi 4 Model B Rev 1.5\0").unwrap();
        fs::write(tree.join("serial-number"), b"10000000abcdef01\0").unwrap();
        let file = root.path().join("platform");
        fs::write(&file, "# a comment\nPIKVM_MODEL=v4plus\nPIKVM_VIDEO = \"hdmi\"\nPIKVM_BOARD='rpi4'\n")
            .unwrap();
        let some = |text: &str| Some(text.to_owned());
        let wanted = Platform {
            kind: "rpi",
            base: some("Raspberry Pi 4 Model B Rev 1.5"),
            serial: some("10000000ABCDEF01"),
            model: some("v4plus"),
            video: some("hdmi"),
            board: some("rpi4"),
        };
        assert_eq!(platform(root.path(), &file), wanted);
    }

    #[test]
    fn a_machine_without_device_tree_and_platform_file_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let wanted = Platform { kind: "rpi", ..Platform::default() };
        assert_eq!(platform(root.path(), &root.path().join("none")), wanted);
    }

    #[test]
    fn the_running_kernel_and_machine_have_names() {
        assert_eq!(kernel().system, "Linux");
        assert!(!kernel().release.is_empty() && !node().host.is_empty());
    }

    #[test]
    fn the_last_value_wins_and_half_a_quote_stays() {
        assert_eq!(value("A=1\nA=2\n", "A").as_deref(), Some("2"));
        assert_eq!(value("A=\"1", "A").as_deref(), Some("\"1"));
        assert_eq!(value("A=\nAB=1\n", "A"), None);
    }

    proptest! {
        #[test]
        fn any_file_is_read_without_panic(text in any::<String>()) {
            let _ = value(&text, "A");
        }
    }
}
