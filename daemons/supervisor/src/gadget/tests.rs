//! What can be seen of the owner without a controller; the rest is in `tests/lab_gadget.rs`.

use super::*;
use std::fs;

#[test]
fn a_link_is_made_moved_and_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("kvmd-hid-keyboard");
    for node in ["/dev/hidg0", "/dev/hidg0", "/dev/hidg3"] {
        point(&link, Path::new(node)).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(node));
    }
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join("planted")).unwrap();
    point(&dir.path().join("planted"), Path::new("/dev/hidg0")).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    point(&victim, Path::new("/dev/hidg0")).unwrap_err();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn each_function_says_what_it_is_and_what_is_gone_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let all = gadget::plan(&gadget::Settings::default(), &Controller::unknown());
    write_metadata(dir.path(), &all).unwrap();
    assert_eq!(
        fs::read_to_string(dir.path().join("hid.usb2@meta.json")).unwrap(),
        r#"{"description":"Relative Mouse","endpoints":1,"function":"hid.usb2","starter":["otg","devices","hid","mouse_alt","start"]}"#
    );
    let settings = gadget::Settings { mouse_alt: None, ..gadget::Settings::default() };
    write_metadata(dir.path(), &gadget::plan(&settings, &Controller::unknown())).unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["hid.usb0@meta.json", "hid.usb1@meta.json", "mass_storage.usb0@meta.json"]);
}

#[test]
fn bios_safe_mode_is_remembered_and_nonsense_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gadget.json");
    assert!(!Remembered::read(&path).bios_safe);
    Remembered { bios_safe: true }.write(&path).unwrap();
    assert!(Remembered::read(&path).bios_safe);
    fs::write(&path, "{").unwrap();
    assert!(!Remembered::read(&path).bios_safe);
}

fn owner(dir: &Path) -> Owner {
    let layout = Layout::under_with_share(dir, None);
    let config = Config::defaults(&layout);
    let owner = Owner::new(&config, &layout, crate::account::tests::found());
    Owner { paths: Paths { configfs: dir.join("config"), ..Paths::default() }, ..owner }
}

#[test]
fn what_is_pulled_on_purpose_has_no_fault_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = owner(dir.path());
    owner.apply();
    assert!(owner.fault.is_some() && owner.retry_at.is_some(), "there is no configfs");
    owner.connect(false).unwrap();
    assert_eq!((owner.fault.take(), owner.due()), (None, None));
}

#[test]
fn a_gadget_that_lacks_something_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = owner(dir.path());
    fs::create_dir_all(owner.paths.gadgets()).unwrap();
    owner.settings = gadget::Settings { endpoints: 1, ..gadget::Settings::default() };
    owner.connected = false;
    owner.apply();
    let fault = owner.status().fault.unwrap();
    assert!(fault.contains("not enough endpoints"), "{fault}");
    assert_eq!((owner.done(), owner.due()), (Ok(()), None), "there is nothing to try again");
}

#[test]
fn a_cable_that_was_pulled_for_a_moment_only_is_plugged_in_when_kvmd_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = owner(dir.path());
    fs::create_dir_all(&owner.run).unwrap();
    // That it tries is seen by its fault: there is no configfs.
    owner.plug_in_again();
    assert_eq!(owner.fault, None, "what was pulled on purpose stays pulled");
    fs::write(owner.relinking(), "1").unwrap();
    owner.plug_in_again();
    assert!(owner.fault.take().is_some());
    owner.plug_in_again();
    assert_eq!(owner.fault, None, "once");
}

#[test]
fn what_does_not_fit_is_remembered_as_told_though_nothing_can_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = owner(dir.path());
    owner.apply();
    assert!(owner.gadget.is_none());
    assert!(owner.told.is_some());
}

#[tokio::test]
async fn no_gadget_is_made_for_a_virtual_machine() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under_with_share(dir.path(), None);
    let config = Config::defaults(&layout);
    let accounts = crate::account::tests::found();
    assert!(Gadget::start(&config, &layout, &accounts).await.is_none());
}
