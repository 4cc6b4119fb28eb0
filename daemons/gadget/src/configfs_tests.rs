//! On a plain directory tree, which takes every write as configfs does. What only the kernel can show (removal,
//! binding to a controller, the host's view) is in `tests/lab_gadget.rs`.

use super::*;
use crate::hold::{Gadget, Made};
use crate::settings::{Audio, Camera, Ethernet, EthernetDriver, Serial};
use crate::{Controller, Settings, plan};

struct Fake {
    _dir: tempfile::TempDir,
    paths: Paths,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { configfs: dir.path().to_owned(), ..Paths::default() };
        fs::create_dir(paths.gadgets()).unwrap();
        Self { _dir: dir, paths }
    }

    fn hold(&self, settings: &Settings) -> (Gadget, Made) {
        let (gadget, made) =
            Gadget::hold(self.paths.clone(), plan(settings, &Controller::unknown())).unwrap();
        (gadget, made)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.paths.gadget().join(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.paths.gadget().join(path), text).unwrap();
    }

    fn links(&self) -> Vec<String> {
        names(&self.paths.configuration(), fs::FileType::is_symlink).unwrap().into_iter().collect()
    }

    /// Every file and what it says, every link and where it leads.
    fn dump(&self) -> String {
        let mut lines = Vec::new();
        let mut dirs = vec![self.paths.gadget()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap().flatten() {
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                let short = |path: &Path| {
                    path.strip_prefix(self.paths.gadget()).unwrap().to_string_lossy().into_owned()
                };
                let name = short(&path);
                if kind.is_dir() {
                    dirs.push(path);
                } else if kind.is_symlink() {
                    lines.push(format!("{name} -> {}", short(&fs::read_link(&path).unwrap())));
                } else if name.ends_with("report_desc") {
                    lines.push(format!("{name}: {}", hex::encode(fs::read(&path).unwrap())));
                } else {
                    lines.push(format!("{name}: {:?}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        lines.sort();
        lines.join("\n")
    }
}

#[test]
fn the_usual_gadget_is_written_as_the_contract_says() {
    let fake = Fake::new();
    let (gadget, made) = fake.hold(&Settings::default());
    assert_eq!(made, Made::Anew);
    gadget.bind("dummy_udc.0").unwrap();
    insta::assert_snapshot!(fake.dump());
}

#[test]
fn what_is_optional_is_written_as_the_contract_says() {
    let fake = Fake::new();
    let settings = Settings {
        endpoints: 20,
        keyboard: None,
        mouse: None,
        mouse_alt: None,
        drive: None,
        ethernet: Some(Ethernet {
            start: true,
            driver: EthernetDriver::Rndis,
            host_mac: Some("02:00:00:00:00:AB".to_owned()),
            kvm_mac: None,
        }),
        serial: Some(Serial { start: false }),
        audio: Some(Audio { start: true, speakers: false, mic: true }),
        camera: Some(Camera { start: true }),
        ..Settings::default()
    };
    fake.hold(&settings);
    insta::assert_snapshot!(fake.dump());
    assert_eq!(fake.hold(&settings).1, Made::Adopted);
}

#[test]
fn a_network_card_gives_the_device_its_version() {
    for (driver, version) in [
        (EthernetDriver::Ecm, "0x0100\n"),
        (EthernetDriver::Ncm, "0x0102\n"),
        (EthernetDriver::Rndis, "0x0101\n"),
        (EthernetDriver::Rndis5, "0x0100\n"),
    ] {
        let fake = Fake::new();
        let ethernet = Ethernet { start: true, driver, host_mac: None, kvm_mac: None };
        fake.hold(&Settings { ethernet: Some(ethernet), ..Settings::default() });
        assert_eq!(fake.read("bcdDevice"), version, "{driver:?}");
        let finds_its_driver = matches!(driver, EthernetDriver::Ncm | EthernetDriver::Rndis);
        assert_eq!(fake.paths.gadget().join("os_desc/use").exists(), finds_its_driver, "{driver:?}");
    }
}

#[test]
fn a_gadget_that_is_as_planned_is_left_alone() {
    let fake = Fake::new();
    fake.hold(&Settings::default()).0.bind("a.usb").unwrap();
    // As the kernel shows numbers and text, and what others may have changed meanwhile.
    for (path, text) in [
        ("idVendor", "0x1d6b\n"),
        ("bcdUSB", "0x0201\n"),
        ("functions/hid.usb0/report_length", "8\n"),
        ("functions/mass_storage.usb0/lun.0/file", "/images/a.iso\n"),
        ("functions/mass_storage.usb0/lun.0/cdrom", "0\n"),
        ("functions/mass_storage.usb0/lun.0/inquiry_string", "other\n"),
    ] {
        fake.write(path, text);
    }
    let before = fake.dump();
    let (gadget, made) = fake.hold(&Settings::default());
    assert_eq!(made, Made::Adopted);
    gadget.bind("a.usb").unwrap();
    assert_eq!(fake.dump(), before);
    assert_eq!(fake.paths.udc().unwrap().as_deref(), Some("a.usb"), "it was never unbound");
}

#[test]
fn another_number_text_or_descriptor_is_another_gadget() {
    let fake = Fake::new();
    fake.hold(&Settings::default());
    let plan = plan(&Settings::default(), &Controller::unknown());
    let differences = || look(&fake.paths, &plan).unwrap().unwrap().differences;
    assert_eq!(differences(), Vec::<String>::new());
    for (path, text) in [
        ("idProduct", "0x0105\n"),
        ("bcdUSB", "0x0110\n"),
        ("strings/0x409/product", "pikvm composite device\n"),
        ("functions/hid.usb0/report_desc", "\x05\x01"),
        ("functions/mass_storage.usb0/lun.0/removable", "0\n"),
    ] {
        let was = fs::read(fake.paths.gadget().join(path)).unwrap();
        fake.write(path, text);
        let found = differences();
        assert!(found.len() == 1 && found[0].starts_with(path), "{found:?}");
        fs::write(fake.paths.gadget().join(path), was).unwrap();
    }
    fs::create_dir(fake.paths.function("acm.usb0")).unwrap();
    assert_eq!(differences(), ["there is a acm.usb0"]);
}

#[test]
fn a_serial_number_nobody_wants_any_more_is_noticed() {
    let fake = Fake::new();
    fake.hold(&Settings::default());
    let mut settings = Settings::default();
    settings.identity.serial = None;
    let without = plan(&settings, &Controller::unknown());
    let found = look(&fake.paths, &without).unwrap().unwrap().differences;
    assert_eq!(found, ["strings/0x409/serialnumber is CAFEBABE, not "]);
    let fake = Fake::new();
    fake.hold(&settings);
    assert_eq!(fake.hold(&settings).1, Made::Adopted);
}

#[test]
fn bios_safe_mode_changes_links_and_nothing_else() {
    let fake = Fake::new();
    let (mut gadget, _) = fake.hold(&Settings::default());
    gadget.bind("a.usb").unwrap();
    fake.write("functions/mass_storage.usb0/lun.0/file", "/images/a.iso\n");
    let before = fake.dump();
    let safe = Settings { bios_safe: true, ..Settings::default() };
    assert_eq!(gadget.change(plan(&safe, &Controller::unknown())).unwrap(), Made::Relinked);
    assert_eq!(fake.links(), ["hid.usb0"]);
    assert_eq!(fake.paths.udc().unwrap(), None, "links change only while nobody looks");
    assert_eq!(gadget.change(plan(&safe, &Controller::unknown())).unwrap(), Made::Adopted);
    gadget.change(plan(&Settings::default(), &Controller::unknown())).unwrap();
    gadget.bind("a.usb").unwrap();
    assert_eq!(fake.dump(), before);
}

#[test]
fn a_function_that_comes_later_is_added_without_a_new_gadget() {
    let fake = Fake::new();
    let (gadget, _) = fake.hold(&Settings { drive: None, ..Settings::default() });
    gadget.bind("a.usb").unwrap();
    assert_eq!(fake.hold(&Settings::default()).1, Made::Relinked);
    assert_eq!(fake.links(), ["hid.usb0", "hid.usb1", "hid.usb2", "mass_storage.usb0"]);
}

#[test]
fn a_kernel_without_gadgets_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths { configfs: dir.path().to_owned(), ..Paths::default() };
    let error = Gadget::hold(paths, plan(&Settings::default(), &Controller::unknown())).unwrap_err();
    assert!(matches!(error, Error::NoGadgets(_)), "{error}");
}

#[test]
fn what_the_user_of_the_drives_may_change_is_listed() {
    let fake = Fake::new();
    let settings = Settings { extra_drives: vec![crate::settings::Drive::extra()], ..Settings::default() };
    let (gadget, _) = fake.hold(&settings);
    for number in 0..2 {
        for name in ["file", "forced_eject"] {
            fs::write(fake.paths.lun(number).join(name), "").unwrap();
        }
    }
    let shown: Vec<_> = gadget
        .drive_attributes()
        .iter()
        .map(|path| path.strip_prefix(fake.paths.gadget().join("functions")).unwrap().display().to_string())
        .collect();
    assert_eq!(shown.len(), 12);
    assert_eq!(shown[0], "mass_storage.usb0/lun.0/cdrom");
    assert_eq!(shown[11], "mass_storage.usb1/lun.0/inquiry_string_cdrom");
    assert!(gadget.nodes().is_empty(), "there are no device nodes");
}

#[test]
fn a_drive_whose_image_is_not_there_yet_is_made_without_it_and_gets_it_later() {
    let fake = Fake::new();
    let drive = crate::settings::Drive { file: Some("/a.iso".into()), ..crate::settings::Drive::default() };
    let wanted = Settings { drive: Some(drive), ..Settings::default() };
    let (mut gadget, _) = fake.hold(&Settings { drive: None, ..wanted.clone() });
    // An attribute that takes nothing for now stands for a kernel that does not find the image.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("lun.0")).unwrap();
    symlink(elsewhere.path().join("storage/file"), elsewhere.path().join("lun.0/file")).unwrap();
    symlink(elsewhere.path(), fake.paths.function("mass_storage.usb0")).unwrap();
    gadget.change(plan(&wanted, &Controller::unknown())).unwrap();
    assert!(
        !gadget.is_missing("mass_storage.usb0") && fake.links().contains(&"mass_storage.usb0".to_owned())
    );
    gadget.look_again();
    assert!(gadget.is_awaiting());
    assert!(gadget.faults()[0].starts_with("mass_storage.usb0 is empty"), "{:?}", gadget.faults());
    fs::create_dir(elsewhere.path().join("storage")).unwrap();
    gadget.look_again();
    assert!(!gadget.is_awaiting() && gadget.faults().is_empty());
    assert_eq!(fake.read("functions/mass_storage.usb0/lun.0/file"), "/a.iso\n");
}

#[test]
fn what_somebody_else_has_lent_meanwhile_stays() {
    let fake = Fake::new();
    let drive = crate::settings::Drive { file: Some("/a.iso".into()), ..crate::settings::Drive::default() };
    let settings = Settings { drive: Some(drive), ..Settings::default() };
    fake.hold(&settings);
    fake.write("functions/mass_storage.usb0/lun.0/file", "/b.iso\n");
    let plan = plan(&settings, &Controller::unknown());
    let function = plan.functions.iter().find(|one| one.name == "mass_storage.usb0").unwrap();
    assert!(write_late(&fake.paths, function).is_empty());
    assert_eq!(fake.read("functions/mass_storage.usb0/lun.0/file"), "/b.iso\n");
}
