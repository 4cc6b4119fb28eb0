//! `kvmd.hid.*`: keyboard and mouse.

use std::path::PathBuf;
use std::time::Duration;

use crate::rule::{choice, choices, flag, integer, list, path, path_or_empty, seconds, text};
use crate::section::section;

choices! {
    /// The cable between us and the target's keyboard and mouse inputs.
    pub enum HidType {
        /// The virtual machine.
        Vm = "vm",
        /// None: events are accepted and forgotten.
        Noop = "noop",
        /// USB, as a gadget.
        Otg = "otg",
        /// A micro-controller on a serial line.
        Serial = "serial",
        /// A micro-controller on SPI.
        Spi = "spi",
        /// Bluetooth.
        Bt = "bt",
        /// The CH9329 chip.
        Ch9329 = "ch9329",
    }
}

section! {
    /// Keyboard and mouse.
    pub struct Hid(layout) {
        /// The cable to the target.
        r#type: HidType = if layout.has_state() { HidType::Vm } else { HidType::Otg } => choice(),
        /// The layout text is typed in when the client names none.
        keymap: PathBuf = layout.share.join("keymaps/en-us") => path(),
        /// Keys that are never passed on, by their web names.
        ignore_keys: Vec<String> = Vec::new() => list(text()),
        /// Whether one client at a time has keyboard and mouse: the first who types, until they give them up. Our own.
        one_holder: bool = false => flag(),
        /// Where the left and right edge of the screen are in absolute coordinates.
        mouse_x_range: Range,
        /// Where the upper and lower edge of the screen are in absolute coordinates.
        mouse_y_range: Range,
        /// Moves the mouse now and then, so that the target does not fall asleep.
        jiggler: Jiggler,
        /// Whether the gadget accepts events and forgets them.
        noop: bool = false => flag(),
        /// The serial port of a CH9329.
        device: PathBuf = "/dev/kvmd-hid".into() => path(),
        /// Bits per second of that port.
        speed: u32 = 9600 => integer(1200, 921_600),
        /// Seconds an answer from there may take.
        read_timeout: Duration = Duration::from_millis(300) => seconds(0.1, 60.0),
        /// The keyboard.
        keyboard: Keyboard,
        /// The mouse.
        mouse: Mouse,
        /// The second mouse, for targets that want the other kind.
        mouse_alt: MouseAlt,
    }
}

section! {
    /// A part of the absolute coordinates; the smaller number first.
    pub struct Range(layout) {
        /// The smaller edge.
        min: i16 = i16::MIN => integer(-32768, 32767),
        /// The greater edge.
        max: i16 = i16::MAX => integer(-32768, 32767),
    }
}

section! {
    /// Moves the mouse now and then, so that the target does not fall asleep.
    pub struct Jiggler(layout) {
        /// Whether clients may switch it on.
        enabled: bool = true => flag(),
        /// Whether it is on after a start.
        active: bool = false => flag(),
        /// Seconds without any input before each move.
        interval: Duration = Duration::from_secs(60) => seconds(1.0, 86_400.0),
    }
}

section! {
    /// The keyboard.
    pub struct Keyboard(layout) {
        /// The gadget's device node.
        device: PathBuf = "/dev/kvmd-hid-keyboard".into() => path(),
        /// Seconds to wait until the device takes a report.
        select_timeout: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// Seconds to wait for an event before looking at the device.
        queue_timeout: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// How often a report is tried before it is given up. Counts for the mice as well.
        write_retries: u32 = 150 => integer(1, 10_000),
    }
}

section! {
    /// The mouse.
    pub struct Mouse(layout) {
        /// The gadget's device node.
        device: PathBuf = "/dev/kvmd-hid-mouse".into() => path(),
        /// Seconds to wait until the device takes a report.
        select_timeout: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// Seconds to wait for an event before looking at the device.
        queue_timeout: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// Without effect: `kvmd.hid.keyboard.write_retries` counts for all three.
        write_retries: u32 = 150 => integer(1, 10_000),
        /// Whether this mouse is absolute; the second one is the other kind.
        absolute: bool = true => flag(),
        /// Whether clients may choose the shifted coordinates Windows 98 wants.
        absolute_win98_fix: bool = false => flag(),
        /// Whether there is a horizontal wheel.
        horizontal_wheel: bool = true => flag(),
    }
}

section! {
    /// The second mouse, for targets that want the other kind.
    pub struct MouseAlt(layout) {
        /// The gadget's device node; `""` = there is no second mouse.
        device: Option<PathBuf> = Some("/dev/kvmd-hid-mouse-alt".into()) => path_or_empty(),
        /// Seconds to wait until the device takes a report.
        select_timeout: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// Seconds to wait for an event before looking at the device.
        queue_timeout: Duration = Duration::from_millis(100) => seconds(0.01, 60.0),
        /// Without effect: `kvmd.hid.keyboard.write_retries` counts for all three.
        write_retries: u32 = 150 => integer(1, 10_000),
        /// Whether there is a horizontal wheel.
        horizontal_wheel: bool = true => flag(),
    }
}
