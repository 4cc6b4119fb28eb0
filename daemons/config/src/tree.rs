//! The settings as a tree of typed sections; every field is named as its key.

use std::path::PathBuf;
use std::time::Duration;

use crate::Layout;
use crate::rule::{Foreign, flag, foreign, integer, mode, path, seconds};
use crate::section::{Section, section};

mod auth;
mod device;
pub(crate) mod driver;
mod gpio;
mod hid;
mod otg;
mod own;
mod streamer;

pub use auth::{
    Auth, AuthClaim, AuthExternal, AuthExternalType, AuthInternal, AuthInternalType, Throttle, Totp,
    TotpSecret, Usc, UserRole,
};
pub use device::{
    Atx, AtxType, Fan, Hw, Info, LogReader, Msd, MsdType, Ocr, Prometheus, PrometheusAuth, Snapshot, Switch,
};
pub use driver::{
    CmdDriver, CmdRetDriver, Driver, GpioDriver, HidRelayDriver, LocatorDriver, NoopDriver, OtgconfDriver,
    PwmDriver, ServoDriver, WolDriver,
};
pub use gpio::{Channel, Gpio, GpioMode, Header, Pulse, View};
pub use hid::{Hid, HidType, Jiggler, Keyboard, Mouse, MouseAlt, Range};
pub use otg::{
    Otg, OtgAudio, OtgCamera, OtgDevices, OtgDrive, OtgDrives, OtgEthernet, OtgEthernetDriver, OtgExtraDrive,
    OtgHid, OtgInquiry, OtgInquiryCdrom, OtgInquiryFlash, OtgMic, OtgMsd, OtgSerial, OtgSpeakers, OtgStart,
};
pub use own::{
    Accel, CrashLoop, Deadlines, Http, Https, Journald, Nginx, Releases, Storage, Supervisor, Tls, Users, Vm,
    VmDisplay,
};
pub use streamer::{
    Chroma, DesiredFps, DvTimings, Format, H264Bitrate, H264Gop, Resolutions, Source, SourceType, Streamer,
};

section! {
    /// All settings: PiKVM's sections and our own.
    pub struct Config(layout) {
        /// The API daemon and the devices it drives.
        kvmd: Kvmd,
        /// The HTTPS and HTTP listeners. The name is inherited; there is no nginx.
        nginx: Nginx,
        /// The virtual machine that stands in for a cabled target. Our own.
        vm: Vm,
        /// The process that starts all others. Our own.
        supervisor: Supervisor,
        /// Media sockets; nothing reads this yet.
        media: Foreign = Foreign::default() => foreign(),
        /// Persistent storage service; nothing reads this yet.
        pst: Foreign = Foreign::default() => foreign(),
        /// Network block devices; nothing reads this yet.
        nbd: Foreign = Foreign::default() => foreign(),
        /// The USB device we pretend to be.
        otg: Otg,
        /// The USB network; nothing reads this yet.
        otgnet: Foreign = Foreign::default() => foreign(),
        /// IPMI; nothing reads this yet.
        ipmi: Foreign = Foreign::default() => foreign(),
        /// VNC; nothing reads this yet.
        vnc: Foreign = Foreign::default() => foreign(),
        /// WebRTC; nothing reads this yet.
        janus: Foreign = Foreign::default() => foreign(),
        /// The hardware watchdog; nothing reads this yet.
        watchdog: Foreign = Foreign::default() => foreign(),
        /// The small display; nothing reads this yet.
        oled: Foreign = Foreign::default() => foreign(),
        /// Time limits between daemons; nothing reads this yet.
        clients: Foreign = Foreign::default() => foreign(),
        /// The display driver of some boards; nothing reads this yet.
        localhid: Foreign = Foreign::default() => foreign(),
    }
}

section! {
    /// The API daemon.
    pub struct Kvmd(layout) {
        /// The daemon's own sockets.
        server: Server,
        /// Who may come in.
        auth: Auth,
        /// `/api/log`.
        log_reader: LogReader,
        /// Figures for Prometheus.
        prometheus: Prometheus,
        /// What `/api/info` tells.
        info: Info,
        /// Keyboard and mouse.
        hid: Hid,
        /// Power and reset buttons, power and disk lights.
        atx: Atx,
        /// The drive lent to the target.
        msd: Msd,
        /// Pictures of the target's screen.
        streamer: Streamer,
        /// Reading text from pictures.
        ocr: Ocr,
        /// Pictures taken by the clock.
        snapshot: Snapshot,
        /// Named switches and lights.
        gpio: Gpio,
        /// The multi-port switch.
        switch: Switch,
        /// What WebSocket clients are told. Our own.
        events: Events,
        /// New releases of the system. Our own.
        update: Update,
        /// Older spelling of a GPIO driver; nothing reads this.
        wol: Foreign = Foreign::default() => foreign(),
    }
}

section! {
    /// The daemon's own sockets.
    pub struct Server(layout) {
        /// Unix socket of the API; callers are known by their uid.
        unix: PathBuf = layout.run.join("kvmd.sock") => path(),
        /// Permissions of the unix socket.
        unix_mode: u32 = 0o660 => mode(),
        /// Whether a stale socket file is removed at start.
        unix_rm: bool = true => flag(),
        /// Seconds between two pings to a WebSocket client.
        heartbeat: Duration = Duration::from_secs(15) => seconds(0.1, 3600.0),
    }
}

section! {
    /// New releases of the system. Our own.
    pub struct Update(layout) {
        /// Seconds a new release has, from its start, to prove that it can serve; then the old one comes back.
        health_deadline: Duration = Duration::from_secs(120) => seconds(5.0, 240.0),
        /// Directory uploaded bundles are received in, below our own state.
        uploads: PathBuf = layout.kvmd_state().join("update") => path(),
        /// Bytes of the largest bundle that is taken.
        max_size: u64 = 1 << 30 => integer(1, 1 << 40),
    }
}

section! {
    /// What WebSocket clients are told. Our own.
    pub struct Events(layout) {
        /// Whether the events of PiKVM before 4.0 (`hid_state` and the like) are sent beside the new ones.
        legacy: bool = true => flag(),
    }
}

impl Config {
    /// Every setting at its default.
    #[must_use]
    pub fn defaults(layout: &Layout) -> Self {
        Section::defaults(layout)
    }
}
