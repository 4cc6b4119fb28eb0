//! From the settings to what the gadget shall be, and from its functions back to the settings' keys.

use config::{Config, HidType, MsdType, OtgEthernetDriver, OtgInquiry};
use gadget::Role;
use gadget::settings::{
    Audio, Camera, Drive, Ethernet, EthernetDriver, Identity, Inquiry, Keyboard, Mouse, Serial, Settings,
};

/// What the settings want; BIOS-safe mode is not among them.
pub(crate) fn wanted(config: &Config) -> Settings {
    let (otg, hid) = (&config.otg, &config.kvmd.hid);
    let devices = &otg.devices;
    let has_hid = hid.r#type == HidType::Otg;
    let mouse = Mouse {
        start: devices.hid.mouse.start,
        absolute: hid.mouse.absolute,
        horizontal_wheel: hid.mouse.horizontal_wheel,
    };
    let mouse_alt = Mouse {
        start: devices.hid.mouse_alt.start,
        absolute: !hid.mouse.absolute,
        horizontal_wheel: hid.mouse_alt.horizontal_wheel,
    };
    Settings {
        identity: Identity {
            vendor_id: otg.vendor_id,
            product_id: otg.product_id,
            usb_version: otg.usb_version,
            device_version: u16::try_from(otg.device_version).ok(),
            manufacturer: otg.manufacturer.clone(),
            product: otg.product.clone(),
            serial: otg.serial.clone(),
            configuration: otg.config.clone(),
            max_power_ma: otg.max_power,
            remote_wakeup: otg.remote_wakeup,
        },
        endpoints: otg.endpoints,
        bios_safe: false,
        keyboard: has_hid.then_some(Keyboard { start: devices.hid.keyboard.start }),
        mouse: has_hid.then_some(mouse),
        mouse_alt: (has_hid && hid.mouse_alt.device.is_some()).then_some(mouse_alt),
        drive: (config.kvmd.msd.r#type == MsdType::Otg).then(|| drive(config)),
        extra_drives: extra_drives(config),
        ethernet: ethernet(&devices.ethernet),
        serial: devices.serial.enabled.then_some(Serial { start: devices.serial.start }),
        audio: devices.audio.enabled.then_some(Audio {
            start: devices.audio.start,
            speakers: devices.audio.speakers.enabled,
            mic: devices.audio.mic.enabled,
        }),
        camera: devices.camera.enabled.then_some(Camera { start: devices.camera.start }),
    }
}

fn drive(config: &Config) -> Drive {
    let (msd, default) = (&config.otg.devices.msd, &config.otg.devices.msd.default);
    Drive {
        start: msd.start,
        stall: default.stall,
        cdrom: default.cdrom,
        rw: default.rw,
        removable: default.removable,
        fua: default.fua,
        file: default.file.clone(),
        inquiry_cdrom: inquiry_cdrom(config, &default.inquiry_string),
        inquiry_flash: inquiry_flash(config, &default.inquiry_string),
    }
}

fn extra_drives(config: &Config) -> Vec<Drive> {
    let (drives, default) = (&config.otg.devices.drives, &config.otg.devices.drives.default);
    let drive = Drive {
        start: drives.start,
        stall: default.stall,
        cdrom: default.cdrom,
        rw: default.rw,
        removable: default.removable,
        fua: default.fua,
        file: default.file.clone(),
        inquiry_cdrom: inquiry_cdrom(config, &default.inquiry_string),
        inquiry_flash: inquiry_flash(config, &default.inquiry_string),
    };
    if drives.enabled { vec![drive; drives.count] } else { Vec::new() }
}

fn vendor<'a>(config: &'a Config, own: &'a str) -> &'a str {
    if own.is_empty() { &config.otg.manufacturer } else { own }
}

fn inquiry_cdrom(config: &Config, settings: &OtgInquiry) -> Inquiry {
    let text = &settings.cdrom;
    Inquiry::new(vendor(config, &text.vendor), &text.product, &text.revision)
}

fn inquiry_flash(config: &Config, settings: &OtgInquiry) -> Inquiry {
    let text = &settings.flash;
    Inquiry::new(vendor(config, &text.vendor), &text.product, &text.revision)
}

fn ethernet(settings: &config::OtgEthernet) -> Option<Ethernet> {
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    settings.enabled.then(|| Ethernet {
        start: settings.start,
        driver: match settings.driver {
            OtgEthernetDriver::Ecm => EthernetDriver::Ecm,
            OtgEthernetDriver::Eem => EthernetDriver::Eem,
            OtgEthernetDriver::Ncm => EthernetDriver::Ncm,
            OtgEthernetDriver::Rndis => EthernetDriver::Rndis,
            OtgEthernetDriver::Rndis5 => EthernetDriver::Rndis5,
        },
        host_mac: settings.host_mac.map(text),
        kvm_mac: settings.kvm_mac.map(text),
    })
}

/// Below which key of `otg.devices` a function's settings are.
fn section(role: Role) -> &'static [&'static str] {
    match role {
        Role::Keyboard => &["hid", "keyboard"],
        Role::Mouse => &["hid", "mouse"],
        Role::MouseAlt => &["hid", "mouse_alt"],
        Role::Drive => &["msd"],
        Role::ExtraDrive(_) => &["drives"],
        Role::Ethernet => &["ethernet"],
        Role::Serial => &["serial"],
        Role::Audio => &["audio"],
        Role::Camera => &["camera"],
    }
}

/// The path of the key that says whether a function is started.
pub(crate) fn starter(role: Role) -> Vec<&'static str> {
    [&["otg", "devices"], section(role), &["start"]].concat()
}

/// The keys to set to false so that these functions are not shown.
pub(crate) fn switches(roles: &[Role]) -> Vec<String> {
    roles.iter().map(|role| starter(*role).join(".")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Config {
        Config::defaults(&config::Layout::system())
    }

    #[test]
    fn an_appliance_s_defaults_are_the_usual_gadget() {
        assert_eq!(wanted(&defaults()), Settings::default());
    }

    #[test]
    fn what_goes_another_way_is_not_in_the_gadget() {
        let mut config = defaults();
        config.kvmd.hid.r#type = HidType::Ch9329;
        let settings = wanted(&config);
        assert_eq!((settings.keyboard, settings.mouse, settings.mouse_alt), (None, None, None));
        assert!(settings.drive.is_some());
        config.kvmd.msd.r#type = MsdType::Disabled;
        assert_eq!(wanted(&config).drive, None);
    }

    #[test]
    fn what_is_optional_comes_by_its_switch() {
        let mut config = defaults();
        let devices = &mut config.otg.devices;
        (devices.drives.enabled, devices.drives.count) = (true, 2);
        devices.ethernet.enabled = true;
        devices.ethernet.host_mac = Some([2, 0, 0, 0, 0, 0xab]);
        devices.audio.enabled = true;
        config.otg.device_version = 0x0123;
        config.otg.manufacturer = "Somebody".to_owned();
        config.kvmd.hid.mouse.absolute = false;
        let settings = wanted(&config);
        let somebody = |drive: Drive| Drive {
            inquiry_cdrom: Inquiry::new("Somebody", "Optical Drive", "1.00"),
            inquiry_flash: Inquiry::new("Somebody", "Flash Drive", "1.00"),
            ..drive
        };
        assert_eq!(settings.extra_drives, vec![somebody(Drive::extra()); 2]);
        assert_eq!(settings.ethernet.and_then(|one| one.host_mac).as_deref(), Some("02:00:00:00:00:ab"));
        assert_eq!(settings.audio, Some(Audio { start: true, speakers: false, mic: true }));
        assert_eq!(settings.identity.device_version, Some(0x0123));
        assert!(settings.mouse.is_some_and(|mouse| !mouse.absolute));
        assert!(settings.mouse_alt.is_some_and(|mouse| mouse.absolute));
    }

    #[test]
    fn advice_names_keys_that_exist() {
        let shown = config::documentation();
        for role in [
            Role::Keyboard,
            Role::Mouse,
            Role::MouseAlt,
            Role::Drive,
            Role::ExtraDrive(1),
            Role::Ethernet,
            Role::Serial,
            Role::Audio,
            Role::Camera,
        ] {
            let key = switches(&[role]).concat();
            assert!(shown.contains(&key), "{key}");
        }
    }
}
