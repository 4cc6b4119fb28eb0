//! `otg.*`: the USB device we pretend to be.

use std::path::PathBuf;
use std::time::Duration;

use crate::rule::{
    choice, choices, file_name, flag, integer, mac, optional, path_or_empty, seconds, text, usb_text,
};
use crate::section::section;

section! {
    /// The USB device we pretend to be. It is there when keyboard and mouse or the drive are of the type `otg`.
    pub struct Otg(layout) {
        /// Who says it made the device.
        vendor_id: u16 = 0x1d6b => integer(0, 0xffff),
        /// Which of that vendor's products it is.
        product_id: u16 = 0x0104 => integer(0, 0xffff),
        /// The manufacturer's name.
        manufacturer: String = "PiKVM".to_owned() => usb_text(),
        /// The product's name.
        product: String = "PiKVM Composite Device".to_owned() => usb_text(),
        /// The serial number; nothing = the device has none.
        serial: Option<String> = Some("CAFEBABE".to_owned()) => optional(usb_text()),
        /// A name for the configuration; nothing = it has none.
        config: Option<String> = None => optional(usb_text()),
        /// The device's version in decimal digits written as hexadecimal; -1 = by the kind of network card.
        device_version: i32 = -1 => integer(-1, 0xffff),
        /// The version of USB, likewise.
        usb_version: u16 = 0x0200 => integer(0x0100, 0xffff),
        /// Milliamperes drawn from the target.
        max_power: u16 = 250 => integer(50, 500),
        /// Whether a key may wake the target.
        remote_wakeup: bool = true => flag(),
        /// The controller's name in `/sys/class/udc`; `""` = the first.
        udc: String = String::new() => text(),
        /// The gadget's name in configfs. Our own.
        gadget: String = "kvmd".to_owned() => file_name(),
        /// Endpoints all functions may have together. A function that does not fit is not shown to the target.
        endpoints: u32 = 9 => integer(0, 64),
        /// Seconds between the first showing and the moment from which `kvmd` may plug and unplug.
        init_delay: Duration = Duration::from_secs(3) => seconds(0.0, 60.0),
        /// Whether the device is taken from the target when the appliance's programs stop. Our own.
        remove_on_stop: bool = layout.has_state() => flag(),
        /// The functions.
        devices: OtgDevices,
    }
}

section! {
    /// The functions.
    pub struct OtgDevices(layout) {
        /// Keyboard and mice.
        hid: OtgHid,
        /// The drive.
        msd: OtgMsd,
        /// More drives.
        drives: OtgDrives,
        /// A network card.
        ethernet: OtgEthernet,
        /// A serial port.
        serial: OtgSerial,
        /// A sound card.
        audio: OtgAudio,
        /// A camera.
        camera: OtgCamera,
    }
}

section! {
    /// Keyboard and mice.
    pub struct OtgHid(layout) {
        /// The keyboard.
        keyboard: OtgStart,
        /// The mouse.
        mouse: OtgStart,
        /// The second mouse.
        mouse_alt: OtgStart,
    }
}

section! {
    /// Whether the target sees it.
    pub struct OtgStart(layout) {
        /// Whether the target sees it.
        start: bool = true => flag(),
    }
}

section! {
    /// The drive.
    pub struct OtgMsd(layout) {
        /// Whether the target sees it.
        start: bool = true => flag(),
        /// What it is before an image is lent.
        default: OtgDrive,
    }
}

section! {
    /// What a drive is before an image is lent.
    pub struct OtgDrive(layout) {
        /// The image it starts with; `""` = none.
        file: Option<PathBuf> = None => path_or_empty(),
        /// Whether endpoints may be halted to end a transfer early.
        stall: bool = false => flag(),
        /// Whether it is a CD-ROM drive.
        cdrom: bool = true => flag(),
        /// Whether the target may write.
        rw: bool = false => flag(),
        /// Whether the medium can be taken out.
        removable: bool = true => flag(),
        /// Whether a target's wish to have data on the disk at once is obeyed.
        fua: bool = true => flag(),
        /// What it is called.
        inquiry_string: OtgInquiry,
    }
}

section! {
    /// What an additional drive is before an image is lent.
    pub struct OtgExtraDrive(layout) {
        /// The image it starts with; `""` = none.
        file: Option<PathBuf> = None => path_or_empty(),
        /// Whether endpoints may be halted to end a transfer early.
        stall: bool = false => flag(),
        /// Whether it is a CD-ROM drive.
        cdrom: bool = false => flag(),
        /// Whether the target may write.
        rw: bool = true => flag(),
        /// Whether the medium can be taken out.
        removable: bool = true => flag(),
        /// Whether a target's wish to have data on the disk at once is obeyed.
        fua: bool = true => flag(),
        /// What it is called.
        inquiry_string: OtgInquiry,
    }
}

section! {
    /// What a drive is called.
    pub struct OtgInquiry(layout) {
        /// While it is a CD-ROM drive.
        cdrom: OtgInquiryCdrom,
        /// While it is a disk.
        flash: OtgInquiryFlash,
    }
}

section! {
    /// What a CD-ROM drive is called.
    pub struct OtgInquiryCdrom(layout) {
        /// Up to 8 characters; `""` = the manufacturer.
        vendor: String = String::new() => text(),
        /// Up to 16 characters.
        product: String = "Optical Drive".to_owned() => text(),
        /// Up to 4 characters.
        revision: String = "1.00".to_owned() => text(),
    }
}

section! {
    /// What a disk is called.
    pub struct OtgInquiryFlash(layout) {
        /// Up to 8 characters; `""` = the manufacturer.
        vendor: String = String::new() => text(),
        /// Up to 16 characters.
        product: String = "Flash Drive".to_owned() => text(),
        /// Up to 4 characters.
        revision: String = "1.00".to_owned() => text(),
    }
}

section! {
    /// More drives.
    pub struct OtgDrives(layout) {
        /// Whether there are any.
        enabled: bool = false => flag(),
        /// Whether the target sees them.
        start: bool = true => flag(),
        /// How many.
        count: usize = 1 => integer(1, 8),
        /// What each is before an image is lent.
        default: OtgExtraDrive,
    }
}

choices! {
    /// The protocol of the network card.
    pub enum OtgEthernetDriver {
        /// CDC ECM.
        Ecm = "ecm",
        /// CDC EEM.
        Eem = "eem",
        /// CDC NCM.
        Ncm = "ncm",
        /// RNDIS.
        Rndis = "rndis",
        /// RNDIS without descriptors for Windows.
        Rndis5 = "rndis5",
    }
}

section! {
    /// A network card.
    pub struct OtgEthernet(layout) {
        /// Whether there is one.
        enabled: bool = false => flag(),
        /// Whether the target sees it.
        start: bool = true => flag(),
        /// The protocol it speaks.
        driver: OtgEthernetDriver = OtgEthernetDriver::Ecm => choice(),
        /// The target's address; nothing = by chance.
        host_mac: Option<[u8; 6]> = None => optional(mac()),
        /// Our own address; nothing = by chance.
        kvm_mac: Option<[u8; 6]> = None => optional(mac()),
    }
}

section! {
    /// A serial port.
    pub struct OtgSerial(layout) {
        /// Whether there is one.
        enabled: bool = false => flag(),
        /// Whether the target sees it.
        start: bool = true => flag(),
    }
}

section! {
    /// A sound card: 48 kHz, two channels, 16 bits.
    pub struct OtgAudio(layout) {
        /// Whether there is one.
        enabled: bool = false => flag(),
        /// Whether the target sees it.
        start: bool = true => flag(),
        /// What the target plays to.
        speakers: OtgSpeakers,
        /// What the target records from.
        mic: OtgMic,
    }
}

section! {
    /// What the target plays to.
    pub struct OtgSpeakers(layout) {
        /// Whether it has them.
        enabled: bool = false => flag(),
    }
}

section! {
    /// What the target records from.
    pub struct OtgMic(layout) {
        /// Whether it has one.
        enabled: bool = true => flag(),
    }
}

section! {
    /// A camera.
    pub struct OtgCamera(layout) {
        /// Whether there is one.
        enabled: bool = false => flag(),
        /// Whether the target sees it.
        start: bool = true => flag(),
    }
}
