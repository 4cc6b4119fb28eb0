//! The sections that are not `kvmd`: listeners, the virtual machine, the supervisor.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::Layout;
use crate::rule::{
    Resolution, address, choice, choices, command, flag, integer, list, optional, path, path_or_empty,
    resolution, seconds, text, user,
};
use crate::section::section;

section! {
    /// The HTTPS and HTTP listeners. The name is inherited; there is no nginx.
    pub struct Nginx(layout) {
        /// The listener that answers 301 to HTTPS.
        http: Http,
        /// The listener that serves everything.
        https: Https,
    }
}

/// Where we listen: everywhere on an appliance, on this machine alone in a run below `--state`.
fn ipv4(layout: &Layout) -> Option<Ipv4Addr> {
    Some(if layout.has_state() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED })
}

fn ipv6(layout: &Layout) -> Option<Ipv6Addr> {
    Some(if layout.has_state() { Ipv6Addr::LOCALHOST } else { Ipv6Addr::UNSPECIFIED })
}

section! {
    /// The listener that answers 301 to HTTPS.
    pub struct Http(layout) {
        /// Whether it is there at all. Our own.
        enabled: bool = true => flag(),
        /// IPv4 address; `""` = none.
        ipv4: Option<Ipv4Addr> = ipv4(layout) => address("an IPv4 address"),
        /// IPv6 address; `""` = none.
        ipv6: Option<Ipv6Addr> = ipv6(layout) => address("an IPv6 address"),
        /// TCP port.
        port: u16 = if layout.has_state() { 8080 } else { 80 } => integer(0, 65535),
    }
}

section! {
    /// The listener that serves everything.
    pub struct Https(layout) {
        /// Whether it is there; without it, HTTP serves everything.
        enabled: bool = true => flag(),
        /// IPv4 address; `""` = none.
        ipv4: Option<Ipv4Addr> = ipv4(layout) => address("an IPv4 address"),
        /// IPv6 address; `""` = none.
        ipv6: Option<Ipv6Addr> = ipv6(layout) => address("an IPv6 address"),
        /// TCP port.
        port: u16 = if layout.has_state() { 8443 } else { 443 } => integer(0, 65535),
    }
}

choices! {
    /// How QEMU runs the machine's instructions.
    pub enum Accel {
        /// KVM where it is proven to work, else TCG.
        Auto = "auto",
        /// In software.
        Tcg = "tcg",
        /// By the processor.
        Kvm = "kvm",
    }
}

section! {
    /// The virtual machine that stands in for a cabled target.
    pub struct Vm(layout) {
        /// Whether the supervisor starts one.
        enabled: bool = layout.has_state() => flag(),
        /// The QEMU program.
        qemu: String = "qemu-system-x86_64".to_owned() => command(),
        /// How it runs the machine's instructions.
        accel: Accel = Accel::Auto => choice(),
        /// Seconds a KVM guest may take to prove, before the machine is started, that KVM works.
        kvm_probe_timeout: Duration = Duration::from_secs(5) => seconds(0.1, 60.0),
        /// Memory in MiB.
        memory: u32 = 256 => integer(16, 1_048_576),
        /// Processors.
        cpus: u32 = 1 => integer(1, 256),
        /// The disk image; `""` = no disk.
        disk: Option<PathBuf> = None => path_or_empty(),
        /// The disk image's format.
        disk_format: String = "raw".to_owned() => text(),
        /// Whether what the target writes to its disk is forgotten when it ends.
        snapshot: bool = true => flag(),
        /// The display.
        display: VmDisplay,
        /// Directory of QEMU's sockets.
        sockets: PathBuf = layout.vm_sockets() => path(),
        /// More flags for QEMU.
        extra_args: Vec<String> = Vec::new() => list(text()),
    }
}

section! {
    /// The virtual machine's display.
    pub struct VmDisplay(layout) {
        /// The size the graphics card offers first; `""` = the card's own choice.
        resolution: Option<Resolution> = None => optional(resolution()),
    }
}

section! {
    /// The process that starts all others.
    pub struct Supervisor(layout) {
        /// The control socket.
        unix: PathBuf = layout.supervisor_socket() => path(),
        /// Whether the web page may say who comes in by SSH, as root: keys, and whether passwords are taken. Without it only
        /// root does, in a shell or by a card's `kvm.yaml`.
        ssh_by_web: bool = true => flag(),
        /// Which users the children run as, when the supervisor is root.
        users: Users,
        /// How long children may take.
        deadlines: Deadlines,
        /// What happens to a child that keeps dying.
        crash_loop: CrashLoop,
        /// The certificate made at first start.
        tls: Tls,
        /// The file system with the drive's images.
        storage: Storage,
        /// The system journal.
        journald: Journald,
        /// The memory pictures are passed on in.
        ring: Ring,
        /// Where updates find what they need.
        update: Releases,
    }
}

section! {
    /// Where updates find what they need.
    pub struct Releases(layout) {
        /// The mounted partition with the boot choice.
        boot: PathBuf = within(layout, "/boot/sel", "boot/sel") => path(),
        /// What the kernel was started with: it names the slot that runs.
        cmdline: PathBuf = within(layout, "/proc/cmdline", "cmdline") => path(),
        /// What the release that runs says of itself.
        release: PathBuf = layout.lib.join("release") => path(),
        /// Directory of the slots' settings, one directory each.
        etc: PathBuf = within(layout, "/data/etc", "data/etc") => path(),
        /// Directory of bundles on their way, and of the history.
        dir: PathBuf = layout.var.join("update") => path(),
        /// Where the initramfs says why a start failed.
        failure: PathBuf = within(layout, "/data/boot-failure", "data/boot-failure") => path(),
        /// The RAUC program.
        rauc: String = "rauc".to_owned() => command(),
        /// The program, with its arguments, that restarts the machine.
        reboot: Vec<String> = ["systemctl", "--no-block", "reboot"].map(str::to_owned).to_vec() => list(text()),
    }
}

/// A path of the system, or its stand-in below `--state`.
fn within(layout: &Layout, system: &str, state: &str) -> PathBuf {
    layout.state.as_ref().map_or_else(|| system.into(), |dir| dir.join(state))
}

section! {
    /// The memory pictures are passed on in, from the streamer to all who show them.
    pub struct Ring(layout) {
        /// Bytes of the largest picture; one that takes more is encoded with a lower quality. Memory is taken only where a
        /// picture was written.
        slot_bytes: u32 = 4_194_304 => integer(4096, 67_108_864),
    }
}

section! {
    /// Which users the children run as, when the supervisor is root.
    pub struct Users(layout) {
        /// The API daemon.
        kvmd: String = "kvmd".to_owned() => user(),
        /// The streamer.
        streamer: String = "kvmd-streamer".to_owned() => user(),
        /// The virtual machine.
        vm: String = "kvmd-vm".to_owned() => user(),
        /// The group that may use our sockets.
        group: String = "kvmd".to_owned() => user(),
    }
}

section! {
    /// How long children may take.
    pub struct Deadlines(layout) {
        /// Seconds until a started child says that it is ready.
        ready: Duration = Duration::from_secs(20) => seconds(0.1, 600.0),
        /// Seconds a child has to stop before it is killed.
        stop: Duration = Duration::from_secs(5) => seconds(0.1, 600.0),
        /// Seconds without a sign of life before a child is killed.
        watchdog: Duration = Duration::from_secs(10) => seconds(1.0, 600.0),
        /// Seconds for everything together when the appliance stops.
        shutdown: Duration = Duration::from_secs(15) => seconds(0.1, 600.0),
    }
}

section! {
    /// What happens to a child that keeps dying.
    pub struct CrashLoop(layout) {
        /// Seconds before the first restart.
        first_delay: Duration = Duration::from_millis(100) => seconds(0.0, 60.0),
        /// The longest wait before a restart, in seconds; each wait is twice the one before.
        max_delay: Duration = Duration::from_secs(30) => seconds(0.1, 3600.0),
        /// Deaths within `window` after which the state says "crash loop".
        deaths: u32 = 5 => integer(1, 1000),
        /// Seconds.
        window: Duration = Duration::from_secs(60) => seconds(1.0, 86_400.0),
    }
}

section! {
    /// The certificate made at first start.
    pub struct Tls(layout) {
        /// The certificate. One that is not ours is never touched.
        cert: PathBuf = layout.tls().join("server.crt") => path(),
        /// Its key.
        key: PathBuf = layout.tls().join("server.key") => path(),
        /// Days a new certificate is good for.
        days: u32 = 397 => integer(1, 36_500),
        /// Days before its end when a new one is made.
        renew_days: u32 = 30 => integer(0, 36_500),
        /// More names and addresses the certificate holds for.
        names: Vec<String> = Vec::new() => list(crate::rule::host()),
    }
}

section! {
    /// The file system with the drive's images.
    pub struct Storage(layout) {
        /// Its label; without such a file system the directory `kvmd.msd.path` is used as it is.
        label: String = "PIMSD".to_owned() => text(),
        /// Its device node, instead of looking for the label.
        device: Option<PathBuf> = None => path_or_empty(),
    }
}

section! {
    /// The system journal.
    pub struct Journald(layout) {
        /// Whether one is started when none runs.
        start: bool = true => flag(),
    }
}
