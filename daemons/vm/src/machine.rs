//! How QEMU is started: one plain description, one pure function to the argument list.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's own translator: works everywhere, slow.
    #[default]
    Tcg,
    /// The kernel's hypervisor: needs `/dev/kvm`, and should be proven to work first.
    Kvm,
}

/// The mainboard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Chipset {
    /// PCI Express and AHCI.
    #[default]
    Q35,
    /// PCI and IDE, as in 1996.
    Pc,
}

/// How a disk image is laid out.
///
/// It is said, never guessed: a guest writes what it likes into a raw image, also the header of another format that
/// names a file of ours as its backing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's sectors and nothing else.
    #[default]
    Raw,
    /// QEMU's own, with layers.
    Qcow2,
}

impl DiskFormat {
    /// By its name: `raw` or `qcow2`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Raw, Self::Qcow2].into_iter().find(|format| format.name() == name)
    }

    /// QEMU's name of the driver.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A virtual machine that serves as target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// QEMU's program, as for `Command::new`.
    pub qemu: PathBuf,
    /// What executes the guest's instructions.
    pub accel: Accel,
    /// The mainboard.
    pub chipset: Chipset,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// The disk `disk0`. QEMU locks it for itself.
    pub disk: Option<PathBuf>,
    /// The format of `disk`.
    pub disk_format: DiskFormat,
    /// Directory for the sockets and the serial log; see [`Machine::socket`]. A socket's path must stay under
    /// 108 bytes.
    pub run_dir: PathBuf,
    /// Further arguments, at the end.
    pub extra: Vec<OsString>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            qemu: "qemu-system-x86_64".into(),
            accel: Accel::default(),
            chipset: Chipset::default(),
            memory_mb: 256,
            disk: None,
            disk_format: DiskFormat::default(),
            run_dir: "/run/kvmd/vm".into(),
            extra: Vec::new(),
        }
    }
}

/// The users of a monitor: each has its own, since a monitor serves one connection at a time.
pub const MONITORS: [&str; 3] = ["kvmd", "supervisor", "streamer"];

impl Machine {
    /// The monitor socket of one of the [`MONITORS`].
    #[must_use]
    pub fn socket(&self, user: &str) -> PathBuf {
        self.run_dir.join(format!("qmp-{user}.sock"))
    }

    /// The screen's socket.
    #[must_use]
    pub fn screen_socket(&self) -> PathBuf {
        self.run_dir.join("vnc.sock")
    }

    /// Where the first serial port's output goes.
    #[must_use]
    pub fn serial_log(&self) -> PathBuf {
        self.run_dir.join("serial.log")
    }
}

/// QEMU's arguments for the machine, without the program's name.
///
/// The machine runs from the start, has no network, and stays (run state `shutdown`) when its guest powers
/// off. `run_dir` must exist; a socket left by a predecessor is replaced.
#[must_use]
pub fn command(machine: &Machine) -> Vec<OsString> {
    let mut args = Args(Vec::new());
    args.flag("-nodefaults").flag("-no-user-config").flag("-no-shutdown");
    args.option("-name", "target");
    args.option(
        "-machine",
        match machine.chipset {
            Chipset::Q35 => "q35",
            Chipset::Pc => "pc",
        },
    );
    args.option(
        "-accel",
        match machine.accel {
            Accel::Tcg => "tcg",
            Accel::Kvm => "kvm",
        },
    );
    args.option("-m", machine.memory_mb.to_string());
    args.option("-nic", "none");
    args.option("-vga", "std").option("-display", "none");
    args.path("-vnc", "unix:", &machine.screen_socket(), ",share=force-shared");
    for user in MONITORS {
        let chardev = format!("socket,id=qmp-{user},server=on,wait=off,path=");
        args.path("-chardev", &chardev, &machine.socket(user), "");
        args.option("-mon", format!("chardev=qmp-{user},mode=control"));
    }
    args.path("-chardev", "file,id=serial,path=", &machine.serial_log(), "");
    args.option("-serial", "chardev:serial");
    args.option("-device", "qemu-xhci,id=xhci").option("-device", "usb-tablet,bus=xhci.0");
    // Separate channels, so that neither chipset needs to know about master and slave.
    args.option("-device", "ide-cd,id=cd0,bus=ide.1,bootindex=1");
    if let Some(disk) = &machine.disk {
        let format = machine.disk_format.name();
        let start = format!("driver={format},node-name=disk0-image,file.driver=file,file.filename=");
        args.path("-blockdev", &start, disk, "");
        args.option("-device", "ide-hd,id=disk0,drive=disk0-image,bus=ide.0,bootindex=2");
    }
    args.0.extend(machine.extra.iter().cloned());
    args.0
}

struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }

    /// An option whose value holds a path. A comma would end it, so QEMU wants commas doubled.
    fn path(&mut self, name: &str, before: &str, path: &Path, after: &str) -> &mut Self {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut value = before.as_bytes().to_vec();
        for byte in path.as_os_str().as_bytes() {
            value.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
        }
        value.extend_from_slice(after.as_bytes());
        self.option(name, OsString::from_vec(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(machine: &Machine) -> String {
        let args = command(machine).into_iter().map(|arg| arg.into_string().unwrap());
        args.collect::<Vec<_>>().join(" ").replace(" -", "\n-")
    }

    #[test]
    fn the_default_machine_has_these_arguments() {
        insta::assert_snapshot!(text(&Machine {
            disk: Some("/srv/target.img".into()),
            ..Machine::default()
        }));
    }

    #[test]
    fn an_old_mainboard_with_kvm_and_qcow2_differs_only_there() {
        let machine = Machine {
            accel: Accel::Kvm,
            chipset: Chipset::Pc,
            disk: Some("a.img".into()),
            disk_format: DiskFormat::Qcow2,
            extra: vec!["-snapshot".into()],
            ..Machine::default()
        };
        let text = text(&machine);
        for line in ["-machine pc\n", "-accel kvm\n", "driver=qcow2,", "bootindex=2\n-snapshot"] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_disk_has_the_format_it_is_said_to_have_whatever_its_name() {
        let raw = Machine { disk: Some("a.qcow2".into()), ..Machine::default() };
        assert!(text(&raw).contains("driver=raw,node-name=disk0-image,"));
        let layered = Machine { disk: Some("a.img".into()), disk_format: DiskFormat::Qcow2, ..raw };
        assert!(text(&layered).contains("driver=qcow2,node-name=disk0-image,"));
        assert_eq!(
            ["raw", "qcow2"].map(DiskFormat::from_name),
            [Some(DiskFormat::Raw), Some(DiskFormat::Qcow2)]
        );
        assert_eq!(DiskFormat::from_name("vmdk"), None);
    }

    #[test]
    fn a_comma_in_a_path_cannot_become_an_option() {
        let machine = Machine { run_dir: "/tmp/a,b".into(), ..Machine::default() };
        assert!(text(&machine).contains("-vnc unix:/tmp/a,,b/vnc.sock,share=force-shared"));
    }
}
