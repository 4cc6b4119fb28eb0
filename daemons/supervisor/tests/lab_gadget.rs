//! The USB gadget on a real kernel as the supervisor holds it: whose everything is, and what outlives whom.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::supervisor::{Answer, GadgetFate};
use config::{Args, Config, Layout};
use gadget::{LastReport, Paths};
use supervisor::account::Accounts;
use supervisor::gadget::Gadget;
use testkit::lab::{self, Node, inside, usb_node, wait_for};

const LIMIT: Duration = Duration::from_secs(30);
const SETTINGS: &str = "kvmd: {hid: {type: otg}, msd: {type: otg}}\nvm: {enabled: false}\n";

struct Run {
    dir: tempfile::TempDir,
    config: Config,
    accounts: Accounts,
}

impl Run {
    fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc", "run", "var"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("etc/override.yaml"), format!("{SETTINGS}{settings}")).unwrap();
        let args = Args { state: Some(dir.path().to_owned()), ..Args::default() };
        let config = config::load(&args).unwrap().0;
        let accounts = Accounts::find(&config.supervisor.users);
        Self { dir, config, accounts }
    }

    fn layout(&self) -> Layout {
        Layout::under_with_share(self.dir.path(), None)
    }

    async fn start(&self) -> Gadget {
        Gadget::start(&self.config, &self.layout(), &self.accounts).await.unwrap()
    }

    fn is_kvmd_s(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| found.uid() == self.accounts.kvmd.uid)
    }
}

async fn status(gadget: &Gadget) -> client::supervisor::Gadget {
    let Answer::Gadget { gadget: Some(status) } = gadget.status().await else { unreachable!("a status") };
    status
}

/// The host's directory of us.
fn device() -> Option<PathBuf> {
    let devices = fs::read_dir("/sys/bus/usb/devices").unwrap().flatten().map(|entry| entry.path());
    devices.into_iter().find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        !name.starts_with("usb") && !name.contains(':')
    })
}

fn host(attribute: &str) -> Option<String> {
    fs::read_to_string(device()?.join(attribute)).ok().map(|text| text.trim().to_owned())
}

fn hidraw(interface: u8) -> File {
    let mut opened = None;
    wait_for("the host's node", LIMIT, || {
        let open = |path| OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).ok();
        opened = usb_node(Node::Hidraw, interface, 0).and_then(open);
        opened.is_some()
    });
    opened.unwrap()
}

fn report(from: &mut File) -> Vec<u8> {
    let (mut buffer, mut len) = ([0; 64], 0);
    wait_for("a report", LIMIT, || {
        len = from.read(&mut buffer).unwrap_or(0);
        len > 0
    });
    buffer[..len].to_vec()
}

fn send(node: &str, report: &[u8]) {
    wait_for("the host to take a report", LIMIT, || {
        OpenOptions::new().write(true).open(node).and_then(|mut node| node.write_all(report)).is_ok()
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_kvmd_needs_is_its_own_again_after_every_rebind() {
    if !inside() {
        return;
    }
    let run = Run::new("otg: {init_delay: 1, devices: {drives: {enabled: true}}}\n");
    let began = Instant::now();
    let gadget = run.start().await;
    let paths = Paths::default();
    let links = ["/dev/kvmd-hid-keyboard", "/dev/kvmd-hid-mouse", "/dev/kvmd-hid-mouse-alt"];
    let nodes = ["hid.usb0", "hid.usb1", "hid.usb2"].map(|function| paths.hidg(function).unwrap());
    for (link, node) in links.iter().zip(&nodes) {
        assert_eq!(fs::read_link(link).unwrap(), *node);
        assert!(run.is_kvmd_s(node), "{}", node.display());
    }
    for lun in [paths.lun(0), paths.lun(1)] {
        for name in ["cdrom", "ro", "file", "forced_eject", "inquiry_string"] {
            assert!(run.is_kvmd_s(&lun.join(name)), "{}/{name}", lun.display());
        }
        assert!(!run.is_kvmd_s(&lun.join("removable")));
    }
    let controller = lab::udc().unwrap();
    assert!(run.is_kvmd_s(&Path::new("/sys/class/udc").join(&controller).join("srp")));
    assert!(run.is_kvmd_s(&run.layout().run.join("otg/last-absolute")));
    wait_for("the cable to be handed over", LIMIT, || {
        run.is_kvmd_s(&paths.udc_file()) && run.is_kvmd_s(&paths.configuration())
    });
    assert!(began.elapsed() >= Duration::from_secs(1), "not before the delay");
    for _ in 0..5 {
        fs::write(paths.udc_file(), "\n").unwrap();
        assert!(nodes.iter().all(|node| !node.exists()));
        fs::write(paths.udc_file(), &controller).unwrap();
        wait_for("the nodes", Duration::from_secs(2), || nodes.iter().all(|node| run.is_kvmd_s(node)));
    }
    assert_eq!(status(&gadget).await.fault, None);
    let meta = fs::read_to_string(run.layout().run.join("otg/mass_storage.usb1@meta.json")).unwrap();
    assert!(meta.contains(r#""endpoints":2"#), "{meta}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_kvmd_held_is_released_where_the_pointer_is() {
    if !inside() {
        return;
    }
    let run = Run::new("");
    let gadget = run.start().await;
    let (mut keyboard, mut mouse) = (hidraw(0), hidraw(1));
    let last = LastReport::open(&run.layout().run.join("otg/last-absolute")).unwrap();
    let (key, click) = ([2, 0, 4, 0, 0, 0, 0, 0], [1, 0x34, 0x12, 0x78, 0x56, 0, 0]);
    last.record(&click);
    send("/dev/kvmd-hid-keyboard", &key);
    send("/dev/kvmd-hid-mouse", &click);
    assert_eq!((report(&mut keyboard), report(&mut mouse)), (key.to_vec(), click.to_vec()));
    gadget.let_go().await;
    assert_eq!(report(&mut keyboard), [0; 8]);
    assert_eq!(report(&mut mouse), [0, 0x34, 0x12, 0x78, 0x56, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_supervisor_is_not_seen_by_the_host_and_releases_all_keys() {
    if !inside() {
        return;
    }
    let run = Run::new("otg: {init_delay: 30}\n");
    let gadget = run.start().await;
    let mut keyboard = hidraw(0);
    let address = host("devnum").unwrap();
    send("/dev/kvmd-hid-keyboard", &[0, 0, 4, 0, 0, 0, 0, 0]);
    assert_eq!(report(&mut keyboard), [0, 0, 4, 0, 0, 0, 0, 0]);
    drop(gadget);
    let _again = run.start().await;
    assert_eq!(report(&mut keyboard), [0; 8], "its kvmd died with it");
    assert_eq!(host("devnum").unwrap(), address);
    assert!(run.is_kvmd_s(&Paths::default().udc_file()), "nothing to wait for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bios_safe_mode_and_the_cable_are_switched_and_the_mode_is_remembered() {
    if !inside() {
        return;
    }
    let run = Run::new("");
    let gadget = run.start().await;
    let interfaces = |count: &str| {
        wait_for("the interfaces", LIMIT, || host("bNumInterfaces").is_some_and(|have| have == count));
    };
    interfaces("4");
    assert_eq!(gadget.set_bios_safe(true).await, Answer::Done);
    interfaces("1");
    let shown = status(&gadget).await;
    assert!(shown.bios_safe && shown.used == 1);
    assert_eq!(shown.functions[3].fate, GadgetFate::BiosSafe);
    drop(gadget);
    let gadget = run.start().await;
    assert!(status(&gadget).await.bios_safe);
    interfaces("1");

    assert_eq!(gadget.connect(false).await, Answer::Done);
    wait_for("the host to see nothing", LIMIT, || device().is_none());
    assert_eq!(gadget.set_bios_safe(false).await, Answer::Done);
    let shown = status(&gadget).await;
    assert_eq!((shown.connected, shown.state.as_str()), (false, "unbound"), "a mode is no reason to plug in");
    assert_eq!(gadget.connect(true).await, Answer::Done);
    interfaces("4");

    // Below --state nothing is left.
    gadget.close().await;
    assert!(!Paths::default().gadget().exists());
    assert!(!Path::new("/dev/kvmd-hid-keyboard").is_symlink());
    assert!(!run.layout().run.join("otg").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_another_gadget_has_is_taken_when_it_is_free() {
    if !inside() {
        return;
    }
    let other = Paths { name: "other".to_owned(), ..Paths::default() };
    for dir in ["configs/c.1", "functions/acm.x", "strings/0x409"] {
        fs::create_dir_all(other.gadget().join(dir)).unwrap();
    }
    std::os::unix::fs::symlink(other.function("acm.x"), other.link("acm.x")).unwrap();
    fs::write(other.udc_file(), lab::udc().unwrap()).unwrap();
    let run = Run::new("");
    let gadget = run.start().await;
    let fault = status(&gadget).await.fault.unwrap();
    assert!(fault.contains("UDC"), "{fault}");
    fs::write(other.udc_file(), "\n").unwrap();
    wait_for("our own", LIMIT, || host("product").is_some_and(|have| have == "PiKVM Composite Device"));
    assert_eq!(status(&gadget).await.fault, None);
}
