//! What tests inside the laboratory need (`cargo xtask lab`): its GPIO chip, its nodes, a drive, patience.
//!
//! A test binary named `lab_*` runs there, each test in a kernel of its own; see `.config/nextest.toml`. It begins with
//!
//! ```no_run
//! if !testkit::lab::inside() {
//!     return;
//! }
//! ```
//!
//! Several tests of one process share a kernel when there is no nextest: they leave the lines pulled down and the nodes as they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Whether this is the laboratory. Says on standard output why a test does nothing when it is not.
#[must_use]
#[expect(clippy::print_stdout, reason = "a test's own way to speak")]
pub fn inside() -> bool {
    let inside = here();
    if !inside {
        println!("skipped: this is not the laboratory (cargo nextest run, or cargo xtask lab -- PROGRAM)");
    }
    inside
}

/// The same without a word.
pub(crate) fn here() -> bool {
    Path::new("/run/lab").exists()
}

/// Waits for a condition of the kernel or of another process, which cannot wake us.
///
/// # Panics
/// It did not come true before the deadline.
#[track_caller]
pub fn wait_for(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < deadline, "waited {} ms for {what}", deadline.as_millis());
        #[expect(clippy::disallowed_methods, reason = "it cannot wake us")]
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The laboratory's GPIO chip: 32 lines, `gpio0` to `gpio31`, whose outside world is this.
#[derive(Debug, Clone)]
pub struct GpioSim {
    node: PathBuf,
    lines: PathBuf,
}

impl GpioSim {
    /// Finds the chip.
    ///
    /// # Errors
    /// It is not there.
    pub fn open() -> anyhow::Result<Self> {
        let config = Path::new("/sys/kernel/config/gpio-sim/lab");
        let device = read(&config.join("dev_name"))?;
        let chip = read(&config.join("bank0/chip_name"))?;
        let lines = Path::new("/sys/devices/platform").join(device).join(&chip);
        ensure!(lines.join("sim_gpio0").is_dir(), "no lines below {}", lines.display());
        Ok(Self { node: Path::new("/dev").join(chip), lines })
    }

    /// `/dev/gpiochipN`.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// What the world does to an input: pulls it up or down. On an output it shows only when the output is let go.
    ///
    /// # Errors
    /// There is no such line.
    pub fn pull(&self, line: u32, high: bool) -> anyhow::Result<()> {
        let path = self.lines.join(format!("sim_gpio{line}/pull"));
        fs::write(&path, if high { "pull-up" } else { "pull-down" })
            .with_context(|| path.display().to_string())
    }

    /// What the world sees: the level an output is driven to, and that to which any other line is pulled. Electrical: an active-low
    /// output that is on reads as low.
    ///
    /// # Errors
    /// There is no such line.
    pub fn level(&self, line: u32) -> anyhow::Result<bool> {
        Ok(read(&self.lines.join(format!("sim_gpio{line}/value")))? == "1")
    }
}

/// The first video node whose name begins so: `vivid` (a capture card with an HDMI input, selected, and a webcam input), `stateful-encoder`.
///
/// # Errors
/// There is none.
pub fn video_node(name: &str) -> anyhow::Result<PathBuf> {
    let mut nodes = entries(Path::new("/sys/class/video4linux"));
    nodes.sort_by_key(|node| number(node));
    let found = nodes.iter().find(|node| read(&node.join("name")).is_ok_and(|found| found.starts_with(name)));
    let found = found.and_then(|node| node.file_name()).with_context(|| format!("no video node {name}"))?;
    Ok(Path::new("/dev").join(found))
}

/// The USB device controller, as it is written to a gadget's `UDC`.
///
/// # Errors
/// There is none.
pub fn udc() -> anyhow::Result<String> {
    let found = entries(Path::new("/sys/class/udc")).into_iter().min().context("no USB device controller")?;
    Ok(found.file_name().context("no name")?.to_string_lossy().into_owned())
}

/// The host side's node of a USB function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// `/dev/hidrawN`.
    Hidraw,
    /// `/dev/input/eventN`.
    Event,
    /// `/dev/sdX`: a mass storage LUN that is a disk.
    Disk,
    /// `/dev/srN`: a mass storage LUN that is a CD.
    Cdrom,
}

/// The node that the host side made for a function of the gadget, if it did. Functions are counted as the gadget's configuration links
/// them: the interface number. Of several LUNs it is number `lun`; for keyboards and mice that is 0.
#[must_use]
pub fn usb_node(kind: Node, interface: u8, lun: u8) -> Option<PathBuf> {
    let (class, prefix, dev) = match kind {
        Node::Hidraw => ("/sys/class/hidraw", "hidraw", "/dev"),
        Node::Event => ("/sys/class/input", "event", "/dev/input"),
        Node::Disk => ("/sys/class/block", "sd", "/dev"),
        Node::Cdrom => ("/sys/class/block", "sr", "/dev"),
    };
    let mut found: Vec<_> = entries(Path::new(class))
        .into_iter()
        .filter_map(|entry| {
            let name = entry.file_name()?.to_str()?.to_owned();
            let device = fs::canonicalize(entry.join("device")).ok()?;
            let wanted = name.starts_with(prefix) && place(&device) == Some((interface, lun));
            wanted.then(|| (number(&entry), name))
        })
        .collect();
    found.sort();
    let (_, name) = found.into_iter().next()?;
    Some(Path::new(dev).join(name))
}

/// Interface and LUN of a device below the laboratory's USB controller.
fn place(device: &Path) -> Option<(u8, u8)> {
    let mut parts = device.components().filter_map(|part| part.as_os_str().to_str());
    parts.by_ref().find(|part| part.starts_with("dummy_hcd"))?;
    // "1-1:1.2": bus 1, port 1, configuration 1, interface 2.
    let interface =
        parts.by_ref().find_map(|part| part.split_once(':')?.1.split_once('.')?.1.parse().ok())?;
    // "0:0:0:1": host, channel, target, LUN.
    let lun = parts
        .find_map(|part| (part.split(':').count() == 4).then(|| part.rsplit(':').next()?.parse().ok())?);
    Some((interface, lun.unwrap_or(0)))
}

/// An ext4 file system on a loop device. Dropping it takes it away.
#[derive(Debug)]
pub struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// The file that it lies in, which may be as large as was asked for.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Makes an ext4 file system of `size_bytes` in memory and mounts it. Only inside the laboratory.
///
/// # Errors
/// It cannot be made or mounted, or this is not the laboratory.
pub fn ext4_on_loop(size_bytes: u64) -> anyhow::Result<Mounted> {
    ensure!(inside(), "not on somebody's own machine");
    let mounted = Mounted { dir: tempfile::tempdir()? };
    fs::File::create(mounted.image())?.set_len(size_bytes)?;
    fs::create_dir(mounted.path())?;
    done(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(mounted.image()))?;
    done(Command::new("mount").args(["-o", "loop"]).arg(mounted.image()).arg(mounted.path()))?;
    Ok(mounted)
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned())
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The number at the end of a name, for an order in which 10 comes after 9.
fn number(path: &Path) -> u32 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_tells_its_interface_and_lun() {
        let usb = "/sys/devices/platform/dummy_hcd.0/usb1/1-1/1-1:1.";
        for (rest, expected) in [
            ("0/0003:1D6B:0104.0001", Some((0, 0))),
            ("12/0003:1D6B:0104.000A/input/input3", Some((12, 0))),
            ("3/host0/target0:0:0/0:0:0:2", Some((3, 2))),
        ] {
            assert_eq!(place(Path::new(&format!("{usb}{rest}"))), expected, "{rest}");
        }
        for other in [
            "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0",
            "/sys/devices/platform/dummy_hcd.0/usb1",
            "/",
        ] {
            assert_eq!(place(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn names_are_ordered_by_their_numbers() {
        assert_eq!((number(Path::new("/dev/video10")), number(Path::new("/dev/video9"))), (10, 9));
        assert_eq!(number(Path::new("/dev/sda")), 0);
    }
}
