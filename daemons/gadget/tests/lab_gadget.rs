//! The gadget on a real kernel, seen from its host: the laboratory's controller is its own host.

#![expect(clippy::unwrap_used, reason = "a test may end that way, its helpers too")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gadget::settings::{Drive, Ethernet, EthernetDriver, Serial};
use gadget::{Controller, Gadget, LastReport, Made, Outcome, Paths, Role, Settings, UdcState, plan, state};
use nix::libc::O_NONBLOCK;
use testkit::lab::{self, Node, usb_node, wait_for};

/// A host that does not answer until then never does.
const PATIENCE: Duration = Duration::from_secs(20);

fn hold(settings: &Settings) -> (Gadget, Made) {
    let controller = Controller::find("").unwrap().unwrap();
    let (gadget, made) = Gadget::hold(Paths::default(), plan(settings, &controller)).unwrap();
    gadget.bind(&controller.name).unwrap();
    configured(PATIENCE);
    (gadget, made)
}

/// The controller's own word is not enough: this one says so from the last binding on.
fn configured(limit: Duration) {
    wait_for("the host to use us", limit, || {
        state::read(&Paths::default()) == UdcState::Configured && usb_node(Node::Hidraw, 0, 0).is_some()
    });
}

/// The host's directory of us.
fn device() -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/bus/usb/devices").unwrap().flatten().map(|entry| entry.path());
    // Root hubs are of another vendor's number in another place: they are called usbN.
    let mut ours = devices.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        !name.starts_with("usb") && !name.contains(':')
    });
    ours.next()
}

fn host(attribute: &str) -> String {
    text(&device().unwrap().join(attribute))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{}: {error}", path.display())).trim().to_owned()
}

fn node(kind: Node, interface: u8) -> PathBuf {
    wait_for("the host's node", PATIENCE, || usb_node(kind, interface, 0).is_some());
    usb_node(kind, interface, 0).unwrap()
}

/// What the host's side of a HID function gets.
fn hidraw(interface: u8) -> File {
    let mut opened = None;
    // The kernel shows a device before it has made its node.
    wait_for("the host's node", PATIENCE, || {
        let path = usb_node(Node::Hidraw, interface, 0);
        let open = |path| OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path).ok();
        opened = path.and_then(open);
        opened.is_some()
    });
    opened.unwrap()
}

fn report(from: &mut File) -> Vec<u8> {
    let mut buffer = [0; 64];
    let mut len = 0;
    wait_for("a report", PATIENCE, || {
        len = from.read(&mut buffer).unwrap_or(0);
        len > 0
    });
    buffer[..len].to_vec()
}

fn send(gadget: &Gadget, role: Role, report: &[u8]) {
    let node = gadget.nodes().into_iter().find(|node| node.role == role).unwrap();
    OpenOptions::new().write(true).open(node.path).unwrap().write_all(report).unwrap();
}

#[test]
fn the_host_sees_the_recorded_descriptors_and_the_contract_s_identity() {
    if !lab::inside() {
        return;
    }
    let (gadget, made) = hold(&Settings::default());
    assert_eq!(made, Made::Anew);
    let recorded = include_str!("../../hid-wire/tests/data/descriptors.txt");
    for (interface, line) in (0..).zip(recorded.lines().filter(|line| !line.starts_with('#'))) {
        let hidraw = node(Node::Hidraw, interface);
        let name = hidraw.file_name().unwrap();
        let shown = Path::new("/sys/class/hidraw").join(name).join("device/report_descriptor");
        assert_eq!(hex::encode(fs::read(shown).unwrap()), line, "interface {interface}");
    }
    for (attribute, value) in [
        ("idVendor", "1d6b"),
        ("idProduct", "0104"),
        ("bcdDevice", "0100"),
        ("version", "2.00"),
        ("manufacturer", "PiKVM"),
        ("product", "PiKVM Composite Device"),
        ("serial", "CAFEBABE"),
        ("bMaxPower", "250mA"),
        ("bmAttributes", "a0"),
        ("bNumInterfaces", "4"),
        ("bNumConfigurations", "1"),
    ] {
        assert_eq!(host(attribute), value, "{attribute}");
    }
    let kinds: Vec<String> = (0..4)
        .map(|interface| {
            let dir = device().unwrap();
            let name = format!("{}:1.{interface}", dir.file_name().unwrap().to_string_lossy());
            ["Class", "SubClass", "Protocol"]
                .map(|what| text(&dir.join(&name).join(format!("bInterface{what}"))))
                .join("/")
        })
        .collect();
    assert_eq!(kinds, ["03/01/01", "03/00/00", "03/01/02", "08/06/50"]);
    let endpoints: Vec<String> = (0..3)
        .map(|interface| {
            let dir = device().unwrap();
            let name = format!("{}:1.{interface}", dir.file_name().unwrap().to_string_lossy());
            text(&dir.join(name).join("bNumEndpoints"))
        })
        .collect();
    assert_eq!(endpoints, ["01", "01", "01"], "lights come by the control endpoint");
    assert_eq!(gadget.nodes().len(), 3);
}

#[test]
fn a_drive_is_called_as_the_settings_say() {
    if !lab::inside() {
        return;
    }
    let settings = Settings { extra_drives: vec![Drive::extra()], ..Settings::default() };
    hold(&settings);
    // This kernel has one name for a drive, others have two.
    for (kind, interface, model) in [(Node::Cdrom, 3, "Optical Drive"), (Node::Disk, 4, "Flash Drive")] {
        let node = node(kind, interface);
        let dir = Path::new("/sys/class/block").join(node.file_name().unwrap()).join("device");
        let said = ["vendor", "model", "rev"].map(|what| text(&dir.join(what)));
        assert_eq!(said, ["PiKVM", model, "1.00"]);
    }
}

#[test]
fn rebinds_lose_nothing_and_each_resumes() {
    if !lab::inside() {
        return;
    }
    // A drive takes the host a second each time, and has nothing to do with it.
    let (gadget, _) = hold(&Settings { drive: None, ..Settings::default() });
    let controller = lab::udc().unwrap();
    for round in 0..30_u8 {
        gadget.unbind().unwrap();
        assert_eq!(state::read(&Paths::default()), UdcState::Unbound);
        wait_for("the host to notice", PATIENCE, || device().is_none());
        gadget.bind(&controller).unwrap();
        configured(PATIENCE);
        let mut keyboard = hidraw(0);
        let key = 4 + round % 26;
        send(&gadget, Role::Keyboard, &[0, 0, key, 0, 0, 0, 0, 0]);
        assert_eq!(report(&mut keyboard), [0, 0, key, 0, 0, 0, 0, 0], "round {round}");
        send(&gadget, Role::Keyboard, &[0; 8]);
        assert_eq!(report(&mut keyboard), [0; 8], "round {round}");
    }
}

#[test]
fn a_gadget_that_is_adopted_is_not_enumerated_again() {
    if !lab::inside() {
        return;
    }
    let settings = Settings {
        endpoints: 20,
        serial: Some(Serial { start: true }),
        ethernet: Some(Ethernet {
            start: true,
            driver: EthernetDriver::Ecm,
            host_mac: Some("02:00:00:00:00:AB".to_owned()),
            kvm_mac: None,
        }),
        extra_drives: vec![Drive::extra()],
        ..Settings::default()
    };
    let (gadget, _) = hold(&settings);
    let address = host("devnum");
    let (keyboard, nodes) = (node(Node::Hidraw, 0), gadget.nodes());
    // As kvmd would lend something.
    let image = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    image.as_file().set_len(1 << 20).unwrap();
    let file = Paths::default().lun(0).join("file");
    fs::write(&file, format!("{}\n", image.path().display())).unwrap();
    drop(gadget);
    for _ in 0..3 {
        let (again, made) = hold(&settings);
        assert_eq!(made, Made::Adopted);
        assert_eq!((host("devnum"), again.nodes()), (address.clone(), nodes.clone()));
    }
    assert_eq!(text(&file), image.path().to_string_lossy(), "what is lent stays lent");
    assert_eq!(node(Node::Hidraw, 0), keyboard);

    let mut other = settings.clone();
    other.identity.product = "Another".to_owned();
    assert_eq!(hold(&other).1, Made::Anew);
    wait_for("the host to see another device", PATIENCE, || {
        device().is_some() && host("product") == "Another"
    });
}

#[test]
fn in_bios_safe_mode_the_host_sees_one_boot_keyboard() {
    if !lab::inside() {
        return;
    }
    let (mut gadget, _) = hold(&Settings::default());
    let controller = Controller::find("").unwrap().unwrap();
    let safe = Settings { bios_safe: true, ..Settings::default() };
    for (settings, interfaces) in [(&safe, "1"), (&Settings::default(), "4"), (&safe, "1")] {
        assert_eq!(gadget.change(plan(settings, &controller)).unwrap(), Made::Relinked);
        gadget.bind(&controller.name).unwrap();
        configured(PATIENCE);
        wait_for("the interfaces", PATIENCE, || device().is_some() && host("bNumInterfaces") == interfaces);
        let mut keyboard = hidraw(0);
        send(&gadget, Role::Keyboard, &[2, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(report(&mut keyboard), [2, 0, 4, 0, 0, 0, 0, 0]);
    }
    assert_eq!(gadget.nodes().len(), 1);
}

#[test]
fn letting_go_releases_everything_and_moves_nothing() {
    if !lab::inside() {
        return;
    }
    let (gadget, _) = hold(&Settings::default());
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let path = dir.path().join("last");
    File::create(&path).unwrap();
    let last = LastReport::open(&path).unwrap();
    let mut hosts: Vec<File> = (0..3).map(hidraw).collect();
    let pressed: [(Role, &[u8]); 3] = [
        (Role::Keyboard, &[2, 0, 4, 5, 0, 0, 0, 0]),
        (Role::Mouse, &[1, 0x34, 0x12, 0x78, 0x56, 0, 0]),
        (Role::MouseAlt, &[4, 9, 9, 0, 0]),
    ];
    last.record(pressed[1].1);
    for ((role, bytes), host) in pressed.iter().zip(&mut hosts) {
        send(&gadget, *role, bytes);
        assert_eq!(report(host), *bytes);
    }
    let outcomes = gadget.let_go(&path, Duration::from_secs(10));
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Sent)), "{outcomes:?}");
    assert_eq!(outcomes.len(), 3);
    assert_eq!(report(&mut hosts[0]), [0; 8]);
    assert_eq!(report(&mut hosts[1]), [0, 0x34, 0x12, 0x78, 0x56, 0, 0]);
    assert_eq!(report(&mut hosts[2]), [0; 5]);
    gadget.unbind().unwrap();
    assert!(gadget.let_go(&path, Duration::from_secs(10)).is_empty(), "there is no host");
}

#[test]
fn nothing_is_left_of_a_gadget_that_is_removed_whoever_made_it() {
    if !lab::inside() {
        return;
    }
    let ncm = Ethernet { start: true, driver: EthernetDriver::Rndis, host_mac: None, kvm_mac: None };
    let mut settings = Settings { endpoints: 20, ethernet: Some(ncm), ..Settings::default() };
    settings.identity.configuration = Some("Everything".to_owned());
    let (gadget, _) = hold(&settings);
    gadget.remove().unwrap();
    assert!(!Paths::default().gadget().exists());
    wait_for("the host to see nothing", PATIENCE, || device().is_none());

    // Somebody else's, with a LUN more and another configuration.
    let dir = Paths::default().gadget();
    for made in ["functions/mass_storage.x/lun.1", "configs/other.1/strings/0x409", "strings/0x409"] {
        fs::create_dir_all(dir.join(made)).unwrap();
    }
    std::os::unix::fs::symlink(dir.join("functions/mass_storage.x"), dir.join("configs/other.1/x")).unwrap();
    fs::write(dir.join("UDC"), lab::udc().unwrap()).unwrap();
    assert_eq!(hold(&Settings::default()).1, Made::Anew);
    assert_eq!(host("product"), "PiKVM Composite Device");
}

#[test]
fn a_function_the_kernel_lacks_does_not_cost_the_keyboard() {
    if !lab::inside() {
        return;
    }
    let camera = Some(gadget::settings::Camera { start: true });
    let settings = Settings { camera, ..Settings::default() };
    let (gadget, _) = hold(&settings);
    let lacks = gadget.is_missing("uvc.usb0");
    assert_eq!(Paths::default().function("uvc.usb0").exists(), !lacks);
    let mut keyboard = hidraw(0);
    send(&gadget, Role::Keyboard, &[0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!(report(&mut keyboard), [0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!(hold(&settings).1, Made::Adopted);
}

#[tokio::test]
async fn the_state_is_told_as_host_and_cable_change_it() {
    if !lab::inside() {
        return;
    }
    let mut states = state::watch(Paths::default(), tokio_util::sync::CancellationToken::new());
    assert_eq!(*states.borrow(), UdcState::Unbound);
    let (gadget, _) = tokio::task::spawn_blocking(|| hold(&Settings::default())).await.unwrap();
    let controller = lab::udc().unwrap();
    for _ in 0..20 {
        for wanted in [UdcState::Configured, UdcState::Unbound] {
            match wanted {
                UdcState::Unbound => gadget.unbind().unwrap(),
                _ => gadget.bind(&controller).unwrap(),
            }
            tokio::time::timeout(PATIENCE, states.wait_for(|state| *state == wanted)).await.unwrap().unwrap();
        }
    }
}

/// The kernel calls a state file that nobody has read yet changed: that is no host that has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_stays_is_told_of_once() {
    if !lab::inside() {
        return;
    }
    let (_gadget, _) = tokio::task::spawn_blocking(|| hold(&Settings::default())).await.unwrap();
    tokio::task::spawn_blocking(|| configured(PATIENCE)).await.unwrap();
    for _ in 0..100 {
        let mut states = state::watch(Paths::default(), tokio_util::sync::CancellationToken::new());
        assert_eq!(*states.borrow_and_update(), UdcState::Configured);
        let told = tokio::time::timeout(Duration::from_millis(20), states.changed()).await;
        assert!(told.is_err(), "told again of what had not changed");
    }
}
