//! What is made in configfs: for each function its cost and its attributes (API.md section 13), as data.

use std::path::PathBuf;

use hid_wire::descriptor;

use crate::plan::{Cost, Fate, Function, Rest, Role};
use crate::settings::{Audio, Drive, Ethernet, EthernetDriver, Identity, Mouse, Settings};

/// The language of every string: US English.
const LANGUAGE: &str = "0x409";
/// Pictures of the camera: width, height.
const PICTURES: [(u32, u32); 4] = [(1280, 720), (960, 540), (640, 360), (320, 180)];
/// Time between two of them, in 100 ns: 30 a second.
const INTERVAL: u32 = 333_333;

/// Something to be made; paths are relative to the gadget's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A directory, which the kernel may have made already.
    Dir(PathBuf),
    /// A value to be written.
    Write {
        /// The attribute.
        path: PathBuf,
        /// Its value.
        value: Value,
        /// What it means that it is another.
        rule: Rule,
    },
    /// A value that has an attribute of its own in some kernels only; afterwards it may change.
    WriteEither {
        /// The attribute of its own.
        path: PathBuf,
        /// Where it goes otherwise.
        instead: PathBuf,
        /// The value.
        value: Value,
    },
    /// A link to another place of the gadget.
    Link {
        /// Where it lies.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// In decimal.
    Number(u32),
    /// In hexadecimal with that many digits.
    Hex(u32, usize),
    /// One line.
    Text(String),
    /// As it is.
    Bytes(Vec<u8>),
}

/// What an attribute's value means for a gadget that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Another value is another gadget.
    Held,
    /// Likewise, where the kernel offers the attribute at all.
    Offered,
    /// The kernel raises it by itself when a host asks.
    Raised,
    /// Never written; the kernel's value is empty.
    Empty,
    /// Written at the beginning; afterwards it may change.
    Once,
    /// Likewise, where the kernel offers the attribute at all.
    OnceIfOffered,
    /// Likewise, if it can be: what it names may come later.
    OnceIfThere,
}

impl Rule {
    /// Whether a kernel without this attribute is good enough.
    pub(crate) fn may_be_missing(self) -> bool {
        matches!(self, Self::Offered | Self::OnceIfOffered | Self::Empty)
    }
}

impl Value {
    /// What is written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Number(number) => format!("{number}\n").into_bytes(),
            Self::Hex(number, digits) => format!("0x{number:0digits$x}\n").into_bytes(),
            Self::Text(text) => format!("{text}\n").into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }

    /// Whether what was read says the same. The kernel has its own ways to write numbers and to pad text.
    pub(crate) fn is(&self, read: &[u8]) -> bool {
        let text = String::from_utf8_lossy(read);
        let text = text.trim_end_matches(['\0', '\n', ' ']);
        match self {
            Self::Bytes(bytes) => bytes == read,
            Self::Text(own) => own.trim_end() == text,
            Self::Number(number) | Self::Hex(number, _) => parse(text) == Some(*number),
        }
    }
}

/// A number as the kernel writes it.
pub(crate) fn parse(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Items of one directory.
struct Dir {
    path: PathBuf,
    items: Vec<Item>,
}

impl Dir {
    fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { items: vec![Item::Dir(path.clone())], path }
    }

    fn dir(&mut self, name: &str) {
        self.items.push(Item::Dir(self.path.join(name)));
    }

    fn put(&mut self, name: &str, value: Value, rule: Rule) {
        self.items.push(Item::Write { path: self.path.join(name), value, rule });
    }

    fn number(&mut self, name: &str, number: u32) {
        self.put(name, Value::Number(number), Rule::Held);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, Value::Text(text.to_owned()), Rule::Held);
    }

    fn link(&mut self, name: &str, to: &str) {
        self.items.push(Item::Link { path: self.path.join(name), to: self.path.join(to) });
    }
}

/// What is made beside the functions.
pub(crate) fn device(settings: &Settings) -> Vec<Item> {
    let identity = &settings.identity;
    let mut device = Dir::new("");
    device.put("idVendor", Value::Hex(identity.vendor_id.into(), 4), Rule::Held);
    device.put("idProduct", Value::Hex(identity.product_id.into(), 4), Rule::Held);
    device.put("bcdDevice", Value::Hex(device_version(settings).into(), 4), Rule::Held);
    device.put("bcdUSB", Value::Hex(identity.usb_version.into(), 4), Rule::Raised);
    let strings = strings(identity);
    let mut configuration = Dir::new("configs/c.1");
    configuration.number("MaxPower", identity.max_power_ma.into());
    let attributes = if identity.remote_wakeup { 0xa0 } else { 0x80 };
    configuration.put("bmAttributes", Value::Hex(attributes, 2), Rule::Held);
    let mut items = [device.items, strings.items, configuration.items].concat();
    if let Some(text) = &identity.configuration {
        let mut strings = Dir::new(format!("configs/c.1/strings/{LANGUAGE}"));
        strings.text("configuration", text);
        items.extend(strings.items);
    }
    if has_os_descriptors(settings) {
        let mut descriptors = Dir::new("os_desc");
        descriptors.number("use", 1);
        descriptors.put("b_vendor_code", Value::Hex(0xcd, 2), Rule::Held);
        descriptors.text("qw_sign", "MSFT100");
        items.extend(descriptors.items);
        items.push(Item::Link { path: "os_desc/c.1".into(), to: "configs/c.1".into() });
    }
    items
}

fn strings(identity: &Identity) -> Dir {
    let mut strings = Dir::new(format!("strings/{LANGUAGE}"));
    strings.text("manufacturer", &identity.manufacturer);
    strings.text("product", &identity.product);
    match &identity.serial {
        Some(serial) => strings.text("serialnumber", serial),
        None => strings.put("serialnumber", Value::Text(String::new()), Rule::Empty),
    }
    strings
}

fn has_os_descriptors(settings: &Settings) -> bool {
    let driver = settings.ethernet.as_ref().map(|ethernet| ethernet.driver);
    matches!(driver, Some(EthernetDriver::Ncm | EthernetDriver::Rndis))
}

/// Windows remembers drivers by this number, so the kinds of network card have different ones.
fn device_version(settings: &Settings) -> u16 {
    let automatic = || match settings.ethernet.as_ref().map(|ethernet| ethernet.driver) {
        Some(EthernetDriver::Rndis) => 0x0101,
        Some(EthernetDriver::Ncm) => 0x0102,
        _ => 0x0100,
    };
    settings.identity.device_version.unwrap_or_else(automatic)
}

/// Every function there is, in the contract's order, and whether it is started. Their fates are not decided here.
pub(crate) fn functions(settings: &Settings) -> Vec<(Function, bool)> {
    let wakeup = settings.identity.remote_wakeup;
    let mut all = Vec::new();
    if let Some(it) = settings.keyboard {
        all.push((keyboard(wakeup), it.start));
    }
    if let Some(it) = settings.mouse {
        all.push((mouse("hid.usb1", Role::Mouse, it, wakeup), it.start));
    }
    if let Some(it) = settings.mouse_alt {
        all.push((mouse("hid.usb2", Role::MouseAlt, it, wakeup), it.start));
    }
    if let Some(it) = &settings.drive {
        all.push((drive(0, it), it.start));
    }
    for (number, it) in (1..).zip(&settings.extra_drives) {
        all.push((drive(number, it), it.start));
    }
    if let Some(it) = &settings.ethernet {
        all.push((ethernet(it), it.start));
    }
    if let Some(it) = settings.serial {
        all.push((simple("acm.usb0", Role::Serial, "Serial Port", Cost::new(3, 2, 1)), it.start));
    }
    if let Some(it) = settings.audio {
        all.push((audio(it), it.start));
    }
    if let Some(it) = settings.camera {
        all.push((camera(), it.start));
    }
    all
}

fn simple(name: &str, role: Role, description: &str, cost: Cost) -> Function {
    made(Dir::new(format!("functions/{name}")), name, role, description, cost)
}

fn made(dir: Dir, name: &str, role: Role, description: &str, cost: Cost) -> Function {
    Function {
        name: name.to_owned(),
        role,
        description: description.to_owned(),
        cost,
        fate: Fate::NotStarted,
        rest: None,
        items: dir.items,
    }
}

/// Protocol, subclass and descriptor of a HID function.
struct Hid<'a> {
    protocol: u32,
    subclass: u32,
    rest: Rest,
    descriptor: &'a [u8],
    wakeup: bool,
}

fn hid(name: &str, role: Role, description: &str, hid: &Hid<'_>) -> Function {
    let mut dir = Dir::new(format!("functions/{name}"));
    dir.number("protocol", hid.protocol);
    dir.number("subclass", hid.subclass);
    let (Rest::Zeroes { len } | Rest::AtLastPosition { len }) = hid.rest;
    dir.number("report_length", len.into());
    // Lights come by the control endpoint then: one endpoint less, and firmware likes it better.
    dir.put("no_out_endpoint", Value::Number(1), Rule::Offered);
    dir.put("wakeup_on_write", Value::Number(hid.wakeup.into()), Rule::Offered);
    dir.put("report_desc", Value::Bytes(hid.descriptor.to_vec()), Rule::Held);
    Function { rest: Some(hid.rest), ..made(dir, name, role, description, Cost::new(1, 1, 0)) }
}

fn keyboard(wakeup: bool) -> Function {
    let descriptor = &descriptor::KEYBOARD;
    hid(
        "hid.usb0",
        Role::Keyboard,
        "Keyboard",
        &Hid { protocol: 1, subclass: 1, rest: Rest::Zeroes { len: 8 }, descriptor, wakeup },
    )
}

fn mouse(name: &str, role: Role, mouse: Mouse, wakeup: bool) -> Function {
    let (rest, descriptor): (Rest, &[u8]) = match (mouse.absolute, mouse.horizontal_wheel) {
        (true, true) => (Rest::AtLastPosition { len: 7 }, &descriptor::ABSOLUTE_MOUSE),
        (true, false) => (Rest::AtLastPosition { len: 6 }, &descriptor::ABSOLUTE_MOUSE_WITHOUT_PAN),
        (false, true) => (Rest::Zeroes { len: 5 }, &descriptor::RELATIVE_MOUSE),
        (false, false) => (Rest::Zeroes { len: 4 }, &descriptor::RELATIVE_MOUSE_WITHOUT_PAN),
    };
    let (protocol, subclass, description) =
        if mouse.absolute { (0, 0, "Absolute Mouse") } else { (2, 1, "Relative Mouse") };
    hid(name, role, description, &Hid { protocol, subclass, rest, descriptor, wakeup })
}

fn drive(number: u32, drive: &Drive) -> Function {
    let name = format!("mass_storage.usb{number}");
    let mut dir = Dir::new(format!("functions/{name}"));
    dir.number("stall", drive.stall.into());
    dir.dir("lun.0");
    // While there is no medium: with one, the kernel refuses a change.
    dir.put("lun.0/cdrom", Value::Number(drive.cdrom.into()), Rule::Once);
    dir.put("lun.0/ro", Value::Number((!drive.rw).into()), Rule::Once);
    dir.number("lun.0/removable", drive.removable.into());
    dir.number("lun.0/nofua", (!drive.fua).into());
    let text = |inquiry: &crate::settings::Inquiry| Value::Text(inquiry.text());
    dir.put("lun.0/inquiry_string", text(&drive.inquiry_flash), Rule::OnceIfOffered);
    if drive.cdrom {
        dir.items.push(Item::WriteEither {
            path: dir.path.join("lun.0/inquiry_string_cdrom"),
            instead: dir.path.join("lun.0/inquiry_string"),
            value: text(&drive.inquiry_cdrom),
        });
    } else {
        dir.put("lun.0/inquiry_string_cdrom", text(&drive.inquiry_cdrom), Rule::OnceIfOffered);
    }
    if let Some(file) = &drive.file {
        let file = Value::Text(file.to_string_lossy().into_owned());
        dir.put("lun.0/file", file, Rule::OnceIfThere);
    }
    let cost = Cost::new(2, 1, 1);
    match number {
        0 => made(dir, &name, Role::Drive, "Mass Storage Drive", cost),
        _ => made(dir, &name, Role::ExtraDrive(number), &format!("Extra Drive #{number}"), cost),
    }
}

fn ethernet(ethernet: &Ethernet) -> Function {
    let name = format!("{}.usb0", ethernet.driver.function());
    let mut dir = Dir::new(format!("functions/{name}"));
    for (attribute, mac) in [("host_addr", &ethernet.host_mac), ("dev_addr", &ethernet.kvm_mac)] {
        if let Some(mac) = mac {
            // As the kernel shows it.
            dir.text(attribute, &mac.to_ascii_lowercase());
        }
    }
    let ids = match ethernet.driver {
        EthernetDriver::Ncm => Some(("interface.ncm", "WINNCM", None)),
        EthernetDriver::Rndis => Some(("interface.rndis", "RNDIS", Some("5162001"))),
        _ => None,
    };
    if let Some((interface, compatible, sub_compatible)) = ids {
        let of = |attribute: &str| format!("os_desc/{interface}/{attribute}");
        dir.dir(&format!("os_desc/{interface}"));
        dir.text(&of("compatible_id"), compatible);
        if let Some(id) = sub_compatible {
            dir.text(&of("sub_compatible_id"), id);
        }
    }
    let inputs = if ethernet.driver == EthernetDriver::Eem { 1 } else { 2 };
    made(dir, &name, Role::Ethernet, "Ethernet", Cost::new(3, inputs, 1))
}

fn audio(audio: Audio) -> Function {
    let mut dir = Dir::new("functions/uac2.usb0");
    // The kernel names the directions by who captures: `c` is what the host plays to us.
    for (direction, on) in [("c", audio.speakers), ("p", audio.mic)] {
        dir.number(&format!("{direction}_chmask"), if on { 0b11 } else { 0 });
        dir.number(&format!("{direction}_srate"), 48_000);
        dir.number(&format!("{direction}_ssize"), 2);
    }
    let (speakers, mic) = (u32::from(audio.speakers), u32::from(audio.mic));
    let cost = Cost::new(1 + speakers + mic, 1 + speakers + mic, speakers);
    made(dir, "uac2.usb0", Role::Audio, "Audio", cost)
}

fn camera() -> Function {
    let mut dir = Dir::new("functions/uvc.usb0");
    dir.dir("control/header/h");
    for speed in ["fs", "ss"] {
        dir.link(&format!("control/class/{speed}/h"), "control/header/h");
    }
    dir.dir("streaming/mjpeg/m");
    for (width, height) in PICTURES {
        let frame = format!("streaming/mjpeg/m/{height}p");
        dir.dir(&frame);
        // The kernel shows lists of intervals its own way; a camera is not worth a comparison.
        for (attribute, value) in [
            ("wWidth", width),
            ("wHeight", height),
            ("dwMaxVideoFrameBufferSize", width * height * 2),
            ("dwDefaultFrameInterval", INTERVAL),
            ("dwFrameInterval", INTERVAL),
        ] {
            dir.put(&format!("{frame}/{attribute}"), Value::Number(value), Rule::Once);
        }
    }
    dir.dir("streaming/header/h");
    dir.link("streaming/header/h/m", "streaming/mjpeg/m");
    for speed in ["fs", "hs", "ss"] {
        dir.link(&format!("streaming/class/{speed}/h"), "streaming/header/h");
    }
    made(dir, "uvc.usb0", Role::Camera, "Camera", Cost::new(2, 2, 0))
}
