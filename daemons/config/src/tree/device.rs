//! The devices of `kvmd.*` with few keys: ATX, drive, info, log, OCR, snapshots.

use std::path::PathBuf;
use std::time::Duration;

use crate::rule::{choice, choices, command, flag, integer, list, path, path_or_empty, seconds, text};
use crate::section::section;

section! {
    /// `/api/log`.
    pub struct LogReader(layout) {
        /// Whether clients may read the log.
        enabled: bool = true => flag(),
    }
}

section! {
    /// Figures for Prometheus.
    pub struct Prometheus(layout) {
        /// Who may read them.
        auth: PrometheusAuth,
    }
}

section! {
    /// Who may read the figures.
    pub struct PrometheusAuth(layout) {
        /// Whether a login is needed.
        enabled: bool = true => flag(),
    }
}

section! {
    /// What `/api/info` tells.
    pub struct Info(layout) {
        /// A file of any YAML that clients get as it is.
        meta: PathBuf = layout.etc.join("meta.yaml") => path(),
        /// The directory of extras.
        extras: PathBuf = layout.share.join("extras") => path(),
        /// The board.
        hw: Hw,
        /// The fan.
        fan: Fan,
    }
}

section! {
    /// The board.
    pub struct Hw(layout) {
        /// The file of `KEY=VALUE` lines that says which platform this is.
        platform: PathBuf = layout.lib.join("platform") => path(),
        /// How the Raspberry Pi's firmware is asked; kept for old files, not run.
        vcgencmd_cmd: Vec<String> = vec!["/usr/bin/vcgencmd".to_owned()] => list(text()),
        /// Whether throttling that is over is not told.
        ignore_past: bool = false => flag(),
        /// Seconds between two looks at temperature, load and throttling.
        state_poll: Duration = Duration::from_secs(5) => seconds(0.1, 3600.0),
    }
}

section! {
    /// The fan.
    pub struct Fan(layout) {
        /// The unit that drives the fan.
        daemon: String = "kvmd-fan".to_owned() => text(),
        /// Its socket; `""` = no unit, only a fan that the kernel itself drives, where there is one.
        unix: Option<PathBuf> = None => path_or_empty(),
        /// Seconds to wait for its answer.
        timeout: Duration = Duration::from_secs(5) => seconds(0.1, 60.0),
        /// Seconds between two questions.
        state_poll: Duration = Duration::from_secs(5) => seconds(0.1, 3600.0),
    }
}

choices! {
    /// How the front panel is reached.
    pub enum AtxType {
        /// The virtual machine.
        Vm = "vm",
        /// Lines of a GPIO chip.
        Gpio = "gpio",
        /// Pretended: buttons work on a machine that is not there.
        Fake = "fake",
        /// Not at all.
        Disabled = "disabled",
    }
}

section! {
    /// Power and reset buttons, power and disk lights.
    pub struct Atx(layout) {
        /// How the front panel is reached.
        r#type: AtxType = if layout.has_state() { AtxType::Vm } else { AtxType::Gpio } => choice(),
        /// The GPIO chip.
        device: PathBuf = "/dev/gpiochip0".into() => path(),
        /// The line of the power light.
        power_led_pin: u32 = 24 => integer(0, 65535),
        /// Whether that line is low while the light is on.
        power_led_inverted: bool = false => flag(),
        /// Seconds the line must be quiet.
        power_led_debounce: Duration = Duration::from_millis(100) => seconds(0.0, 10.0),
        /// The line of the disk light.
        hdd_led_pin: u32 = 22 => integer(0, 65535),
        /// Whether that line is low while the light is on.
        hdd_led_inverted: bool = false => flag(),
        /// Seconds the line must be quiet.
        hdd_led_debounce: Duration = Duration::from_millis(100) => seconds(0.0, 10.0),
        /// The line of the power button.
        power_switch_pin: u32 = 23 => integer(0, 65535),
        /// The line of the reset button.
        reset_switch_pin: u32 = 27 => integer(0, 65535),
        /// Seconds of a short press.
        click_delay: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// Seconds of a long press.
        long_click_delay: Duration = Duration::from_millis(5500) => seconds(0.1, 60.0),
    }
}

choices! {
    /// How the drive is lent.
    pub enum MsdType {
        /// To the virtual machine.
        Vm = "vm",
        /// As a USB gadget.
        Otg = "otg",
        /// Pretended: images are kept, and nobody sees the drive.
        Fake = "fake",
        /// Not at all.
        Disabled = "disabled",
    }
}

section! {
    /// The drive lent to the target.
    pub struct Msd(layout) {
        /// How it is lent.
        r#type: MsdType = if layout.has_state() { MsdType::Vm } else { MsdType::Otg } => choice(),
        /// Where images are kept. Our own.
        path: PathBuf = layout.var.join("msd") => path(),
        /// Bytes read from an image at once.
        read_chunk_size: usize = 65_536 => integer(1024, 16_777_216),
        /// Bytes written to an image at once.
        write_chunk_size: usize = 65_536 => integer(1024, 16_777_216),
        /// Bytes written before they are forced to the disk.
        sync_chunk_size: usize = 4_194_304 => integer(1024, 1_073_741_824),
        /// Whether the USB gadget is plugged in anew when the drive becomes a CD drive or a disk: a target asks what it is
        /// only then. The keyboard is away for a moment. Our own.
        replug: bool = true => flag(),
        /// Whether images may be fetched from this machine itself and from link-local addresses, too. Our own.
        fetch_near: bool = layout.has_state() => flag(),
        /// PiKVM's helper that makes the storage writable; kept for old files, not run: the supervisor does it.
        remount_cmd: Vec<String> = Vec::new() => list(text()),
    }
}

section! {
    /// Reading text from pictures.
    pub struct Ocr(layout) {
        /// Languages when the client names none.
        langs: Vec<String> = vec!["eng".to_owned()] => list(text()),
        /// Where the languages' data lies.
        tessdata: PathBuf = "/usr/share/tessdata".into() => path(),
        /// The program. Our own.
        cmd: String = "tesseract".to_owned() => command(),
    }
}

section! {
    /// Pictures taken by the clock.
    pub struct Snapshot(layout) {
        /// Seconds between two pictures while nobody watches; 0 = none.
        idle_interval: Duration = Duration::ZERO => seconds(0.0, 1e9),
        /// Seconds between two pictures while somebody watches; 0 = none.
        live_interval: Duration = Duration::ZERO => seconds(0.0, 1e9),
        /// A key that is pressed to wake the target; `""` = none.
        wakeup_key: String = String::new() => text(),
        /// A mouse movement that wakes the target; 0 = none.
        wakeup_move: i16 = 0 => integer(-32768, 32767),
        /// Seconds between waking and the first try.
        online_delay: Duration = Duration::from_secs(5) => seconds(0.0, 3600.0),
        /// How often a picture is tried.
        retries: u32 = 10 => integer(1, 1000),
        /// Seconds between two tries.
        retries_delay: Duration = Duration::from_secs(3) => seconds(0.01, 3600.0),
    }
}

section! {
    /// The multi-port switch; nothing drives one yet.
    pub struct Switch(layout) {
        /// Its device node.
        device: PathBuf = "/dev/kvmd-switch".into() => path(),
        /// The monitor description its ports show.
        default_edid: PathBuf = layout.etc.join("switch-edid.hex") => path(),
        /// Whether the port facing us is taken as always plugged.
        ignore_hpd_on_top: bool = false => flag(),
    }
}
