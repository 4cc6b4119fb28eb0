//! What the gadget shall be, as plain data.

/// What the gadget shall be. Every function is there or not (`None`), and started or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How it presents itself.
    pub identity: Identity,
    /// How many endpoints all linked functions may have together; the controller may have fewer.
    pub endpoints: u32,
    /// Show the host nothing but a boot keyboard: some firmware trips over anything else.
    pub bios_safe: bool,
    /// The keyboard.
    pub keyboard: Option<Keyboard>,
    /// The mouse.
    pub mouse: Option<Mouse>,
    /// A second mouse, for hosts that want the other kind.
    pub mouse_alt: Option<Mouse>,
    /// The drive of the API.
    pub drive: Option<Drive>,
    /// More drives.
    pub extra_drives: Vec<Drive>,
    /// A network card.
    pub ethernet: Option<Ethernet>,
    /// A serial port.
    pub serial: Option<Serial>,
    /// A sound card.
    pub audio: Option<Audio>,
    /// A camera.
    pub camera: Option<Camera>,
}

impl Default for Settings {
    /// Keyboard, both mice and a CD-ROM drive, as PiKVM presents itself.
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            endpoints: 9,
            bios_safe: false,
            keyboard: Some(Keyboard { start: true }),
            mouse: Some(Mouse { start: true, absolute: true, horizontal_wheel: true }),
            mouse_alt: Some(Mouse { start: true, absolute: false, horizontal_wheel: true }),
            drive: Some(Drive::default()),
            extra_drives: Vec::new(),
            ethernet: None,
            serial: None,
            audio: None,
            camera: None,
        }
    }
}

/// How the gadget presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `idVendor`
    pub vendor_id: u16,
    /// `idProduct`
    pub product_id: u16,
    /// `bcdUSB`
    pub usb_version: u16,
    /// `bcdDevice`; without one it says which kind of network card there is.
    pub device_version: Option<u16>,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub product: String,
    /// Its serial number, if it has one.
    pub serial: Option<String>,
    /// A name for the configuration, if it has one.
    pub configuration: Option<String>,
    /// Current drawn from the host, in milliamperes.
    pub max_power_ma: u16,
    /// Whether we may wake the host.
    pub remote_wakeup: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            vendor_id: 0x1d6b,
            product_id: 0x0104,
            usb_version: 0x0200,
            device_version: None,
            manufacturer: "PiKVM".to_owned(),
            product: "PiKVM Composite Device".to_owned(),
            serial: Some("CAFEBABE".to_owned()),
            configuration: None,
            max_power_ma: 250,
            remote_wakeup: true,
        }
    }
}

/// The keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyboard {
    /// Whether the host sees it.
    pub start: bool,
}

/// A mouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mouse {
    /// Whether the host sees it.
    pub start: bool,
    /// Whether it says where the pointer is, rather than how far it moved.
    pub absolute: bool,
    /// Whether it has a second wheel.
    pub horizontal_wheel: bool,
}

/// A drive, as it is before anybody lends something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// Whether the host sees it.
    pub start: bool,
    /// Whether endpoints may be halted to end a transfer early. Some controllers cannot.
    pub stall: bool,
    /// A CD-ROM drive rather than a disk.
    pub cdrom: bool,
    /// Whether the host may write.
    pub rw: bool,
    /// Whether the medium can be taken out.
    pub removable: bool,
    /// Whether "force unit access" of the host is obeyed.
    pub fua: bool,
    /// The medium it starts with; none is the usual.
    pub file: Option<std::path::PathBuf>,
    /// What it is called while it is a CD-ROM drive.
    pub inquiry_cdrom: Inquiry,
    /// What it is called while it is a disk.
    pub inquiry_flash: Inquiry,
}

impl Default for Drive {
    fn default() -> Self {
        Self {
            start: true,
            stall: false,
            cdrom: true,
            rw: false,
            removable: true,
            fua: true,
            file: None,
            inquiry_cdrom: Inquiry::new("PiKVM", "Optical Drive", "1.00"),
            inquiry_flash: Inquiry::new("PiKVM", "Flash Drive", "1.00"),
        }
    }
}

impl Drive {
    /// A disk that the host may write, as additional drives are.
    #[must_use]
    pub fn extra() -> Self {
        Self { cdrom: false, rw: true, ..Self::default() }
    }
}

/// What a drive says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// Up to 8 characters.
    pub vendor: String,
    /// Up to 16 characters.
    pub product: String,
    /// Up to 4 characters.
    pub revision: String,
}

impl Inquiry {
    /// From its parts.
    #[must_use]
    pub fn new(vendor: &str, product: &str, revision: &str) -> Self {
        Self { vendor: vendor.to_owned(), product: product.to_owned(), revision: revision.to_owned() }
    }

    /// The 28 characters of the SCSI answer: each part left-aligned, padded with blanks, cut. What is not printable
    /// ASCII becomes a blank: the answer knows nothing else.
    #[must_use]
    pub fn text(&self) -> String {
        let field = |text: &str, len: usize| -> String {
            let plain = text.chars().map(|one| if matches!(one, ' '..='~') { one } else { ' ' });
            plain.chain(std::iter::repeat(' ')).take(len).collect()
        };
        field(&self.vendor, 8) + &field(&self.product, 16) + &field(&self.revision, 4)
    }
}

/// Which protocol a network card speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EthernetDriver {
    /// CDC ECM.
    Ecm,
    /// CDC EEM.
    Eem,
    /// CDC NCM, with descriptors by which Windows finds its driver.
    Ncm,
    /// RNDIS, likewise.
    Rndis,
    /// RNDIS without them.
    Rndis5,
}

impl EthernetDriver {
    /// The kernel's name for the function.
    #[must_use]
    pub fn function(self) -> &'static str {
        match self {
            Self::Ecm => "ecm",
            Self::Eem => "eem",
            Self::Ncm => "ncm",
            Self::Rndis | Self::Rndis5 => "rndis",
        }
    }
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ethernet {
    /// Whether the host sees it.
    pub start: bool,
    /// Which protocol it speaks.
    pub driver: EthernetDriver,
    /// The host's address; by chance where there is none.
    pub host_mac: Option<String>,
    /// Our own address; by chance where there is none.
    pub kvm_mac: Option<String>,
}

/// A serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    /// Whether the host sees it.
    pub start: bool,
}

/// A sound card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio {
    /// Whether the host sees it.
    pub start: bool,
    /// Whether the host can play to us.
    pub speakers: bool,
    /// Whether the host can record from us.
    pub mic: bool,
}

/// A camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Camera {
    /// Whether the host sees it.
    pub start: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_drive_s_name_has_its_parts_at_their_columns() {
        assert_eq!(Drive::default().inquiry_cdrom.text(), "PiKVM   Optical Drive   1.00");
        let long = Inquiry::new("Manufacturer", "A product of some length", "12.345");
        assert_eq!(long.text(), "ManufactA product of som12.3");
        assert_eq!(Inquiry::new("ü\n", "", "").text(), " ".repeat(28));
    }

    proptest! {
        #[test]
        fn every_drive_s_name_is_28_plain_characters(vendor in ".*", product in ".*", revision in ".*") {
            let text = Inquiry::new(&vendor, &product, &revision).text();
            prop_assert!(text.len() == 28 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
