//! The lent drive on a real USB gadget, seen from both ends of the cable.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

#[path = "lab_otg/bench.rs"]
mod bench;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::process::Command;
use std::time::{Duration, Instant};

use msd::{Current, Drive as _, DriveError, Drives, Error, Medium, Names, Otg, Plain};
use testkit::lab;
use testkit::lab::Node;

use self::bench::{Gadget, House, SOON, content, errno, until, write};

const EBUSY: i32 = 16;
const ETOOSMALL: i32 = 525;

#[tokio::test]
async fn an_image_is_seen_as_a_cd_and_as_a_disk_byte_for_byte() {
    if !lab::inside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = content(5 << 20, 1);
    let path = dir.path().canonicalize().unwrap().join("image.iso");
    fs::write(&path, &data).unwrap();
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let gadget = Gadget::new(1);
    let name = |product: &str| format!("PiKVM   {product:16}1.00");
    let names = Names { cdrom: name("Optical Drive"), flash: name("Flash Drive") };
    let mut drive = Otg::named(gadget.lun(0), names).unwrap();

    drive.insert(Medium { path: path.clone(), cdrom: true, rw: false }).await.unwrap();
    let cable = gadget.bind();
    assert!(cable.node(Node::Cdrom).ends_with("sr0"));
    assert_eq!(cable.model(Node::Cdrom), "Optical Drive");
    assert!(cable.read(Node::Cdrom, data.len()) == data, "the CD differs");
    drive.eject().await.unwrap();
    let error = until(SOON, || File::open(cable.node(Node::Cdrom)).err()).await;
    assert_eq!(errno(&error), 123, "no medium: {error}");
    drop(cable);

    drive.insert(Medium { path: path.clone(), cdrom: false, rw: false }).await.unwrap();
    let cable = gadget.bind();
    assert!(cable.read(Node::Disk, data.len()) == data, "the disk differs");
    assert_eq!(cable.model(Node::Disk), "Flash Drive");
    let name = cable.node(Node::Disk).file_name().unwrap().to_owned();
    let ro = fs::read_to_string(std::path::Path::new("/sys/block").join(name).join("ro")).unwrap();
    assert_eq!(ro.trim(), "1", "the host may not write");
    drive.eject().await.unwrap();
    drop(cable);
    assert!(fs::read(&path).unwrap() == data, "a read-only image stays as it is");
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[tokio::test]
async fn a_medium_changes_while_the_cable_is_in() {
    if !lab::inside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let gadget = Gadget::new(1);
    let cable = gadget.bind();
    let mut drive = Otg::new(gadget.lun(0)).unwrap();
    for (seed, len) in [(1, 1 << 20), (2, 3 << 20), (3, 2 << 20)] {
        let data = content(len, seed);
        let path = dir.path().canonicalize().unwrap().join(format!("{seed}.iso"));
        fs::write(&path, &data).unwrap();
        drive.insert(Medium { path, cdrom: true, rw: false }).await.unwrap();
        assert!(cable.read(Node::Cdrom, len) == data, "CD {seed}");
        drive.eject().await.unwrap();
    }
}

#[tokio::test]
async fn a_writable_image_keeps_what_the_host_wrote_and_the_storage_is_open_only_meanwhile() {
    if !lab::inside() {
        return;
    }
    let gadget = Gadget::new(1);
    let house = House::on_ext4(Otg::new(gadget.lun(0)).unwrap()).await;
    let data = content(4 << 20, 7);
    assert!(!house.is_writable());
    house.upload("disk.img", &data).await;
    assert!(!house.is_writable(), "closed after an upload");
    house.connect("disk.img", false, true).await.unwrap();
    assert!(house.is_writable());
    let cable = gadget.bind();
    assert!(cable.read(Node::Disk, data.len()) == data);
    let written = content(1 << 20, 8);
    let mut disk = OpenOptions::new().write(true).open(cable.node(Node::Disk)).unwrap();
    disk.write_all(&written).unwrap();
    disk.sync_all().unwrap();
    // It is held open: the host has locked its drive. We take it out all the same.
    house.msd.set_connected(false).await.unwrap();
    assert!(!house.is_writable());
    let mut expected = data.clone();
    expected[..written.len()].copy_from_slice(&written);
    assert!(
        house.on_the_disk("disk.img") == expected,
        "what the host wrote is on the disk when we say that it is out"
    );
    assert!(house.read("disk.img").await == expected);
    drop(disk);
}

#[tokio::test]
async fn what_the_host_did_not_flush_is_on_the_disk_also_where_nothing_is_remounted() {
    if !lab::inside() {
        return;
    }
    let gadget = Gadget::new(1);
    let house = House::on_open_ext4(Otg::new(gadget.lun(0)).unwrap()).await;
    house.upload("disk.img", &content(1 << 20, 1)).await;
    let cable = gadget.bind();
    for (seed, reset) in [(2, false), (3, true)] {
        house.connect("disk.img", false, true).await.unwrap();
        let written = content(1 << 20, seed);
        let disk = until(SOON, || OpenOptions::new().write(true).open(cable.node(Node::Disk)).ok()).await;
        disk.write_all_at(&written, 0).unwrap();
        // Sent to the drive, which is not told to bring it to the disk: a close would unlock it, and that tells it so.
        cable.push(Node::Disk);
        assert!(house.on_the_disk("disk.img") != written, "there was something to do");
        if reset {
            house.msd.reset().await.unwrap();
        } else {
            house.msd.set_connected(false).await.unwrap();
        }
        assert!(house.on_the_disk("disk.img") == written, "{seed}");
        drop(disk);
        assert!(!house.now().drive.unwrap().connected);
    }
}

#[tokio::test]
async fn the_host_s_lock_does_not_keep_us_from_taking_it_out() {
    if !lab::inside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a.iso");
    fs::write(&path, content(1 << 20, 1)).unwrap();
    let gadget = Gadget::new(1);
    let mut drive = Otg::new(gadget.lun(0)).unwrap();
    drive.insert(Medium { path: path.clone(), cdrom: true, rw: false }).await.unwrap();
    let cable = gadget.bind();
    let held = cable.open(Node::Cdrom);
    sys::cdrom::lock_door(&held, true).unwrap();
    // Others are refused, and so is a kernel of ours that could not force.
    assert_eq!(write(&gadget.lun(0), "file", "\n").unwrap_err(), EBUSY);
    assert!(matches!(&*drive.current().borrow(), Current::Holds(_)));
    drive.eject().await.unwrap();
    assert_eq!(fs::read(gadget.lun(0).join("file")).unwrap(), b"");
    drive.insert(Medium { path, cdrom: true, rw: false }).await.unwrap();
}

#[tokio::test]
async fn the_host_s_own_eject_is_seen_at_once_and_the_storage_closed() {
    if !lab::inside() {
        return;
    }
    let gadget = Gadget::new(1);
    let mut house = House::on_ext4(Otg::new(gadget.lun(0)).unwrap()).await;
    house.upload("a.img", &content(1 << 20, 1)).await;
    // A CD drive with a writable disk in it: the host knows how to eject those.
    house.connect("a.img", true, false).await.unwrap();
    let cable = gadget.bind();
    drop(cable.open(Node::Cdrom));
    let began = Instant::now();
    sys::cdrom::eject(cable.open_empty(Node::Cdrom)).unwrap();
    let state = house.until(|state| !state.drive.as_ref().unwrap().connected).await;
    assert_eq!(state.drive.unwrap().image.unwrap().name, "a.img", "the choice stays");
    // The slow look would take seconds: it was the closing of the image that told.
    bench::tell("seen", began);

    write(&gadget.lun(0), "cdrom", "0\n").unwrap();
    house.connect("a.img", false, true).await.unwrap();
    assert!(house.is_writable());
    let began = Instant::now();
    sys::cdrom::eject(cable.open_empty(Node::Cdrom)).unwrap();
    house.until(|state| !state.drive.as_ref().unwrap().connected).await;
    bench::tell("seen", began);
    lab::wait_for("the storage is closed", SOON, || !house.is_writable());
}

#[tokio::test]
async fn an_image_put_in_by_hand_is_shown_and_forgotten_when_it_is_out() {
    if !lab::inside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("by hand.iso");
    fs::write(&path, content(1 << 20, 1)).unwrap();
    let gadget = Gadget::new(1);
    let mut house = House::on_ext4(Otg::new(gadget.lun(0)).unwrap()).await;
    write(&gadget.lun(0), "file", &format!("{}\n", path.display())).unwrap();
    let drive = house.until(|state| state.drive.as_ref().unwrap().connected).await.drive.unwrap();
    let image = drive.image.unwrap();
    assert_eq!(
        (image.name.as_str(), image.in_storage, image.image.complete),
        (path.to_str().unwrap(), false, true)
    );
    assert_eq!((image.image.size, drive.cdrom, drive.rw), (1 << 20, true, false));
    write(&gadget.lun(0), "file", "\n").unwrap();
    let drive = house.until(|state| !state.drive.as_ref().unwrap().connected).await.drive.unwrap();
    assert_eq!(drive.image, None);
}

#[tokio::test]
async fn the_lun_comes_and_goes_and_the_owner_goes_on() {
    if !lab::inside() {
        return;
    }
    let gadget = Gadget::new(1);
    let lun = gadget.lun(0);
    let mut house = House::on_ext4(Otg::new(&lun).unwrap()).await;
    house.upload("a.iso", &content(1 << 20, 1)).await;
    for cabled in [false, true, false] {
        house.connect("a.iso", true, false).await.unwrap();
        let cable = cabled.then(|| gadget.bind());
        drop(cable);
        gadget.remove();
        house.until(|state| !state.online).await;
        assert_eq!(house.msd.set_connected(true).await, Err(Error::Offline));
        gadget.make();
        let drive = house.until(|state| state.online).await.drive.unwrap();
        assert!(!drive.connected);
        assert_eq!(drive.image.unwrap().name, "a.iso");
    }
    house.connect("a.iso", true, false).await.unwrap();
}

#[tokio::test]
async fn what_the_kernel_does_not_open_is_told_and_nothing_is_in_the_drive() {
    if !lab::inside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let file = |name: &str, len: usize| {
        fs::write(root.join(name), vec![0; len]).unwrap();
        root.join(name)
    };
    let gadget = Gadget::new(1);
    let mut drive = Otg::new(gadget.lun(0)).unwrap();
    for (path, cdrom, says) in [
        (file("small.iso", 614_399), true, "614400"),
        (file("small.img", 511), false, "512"),
        (root.clone(), false, "regular"),
        (root.join("missing"), true, "No such file"),
    ] {
        match drive.insert(Medium { path, cdrom, rw: false }).await {
            Err(DriveError::Permissions(why)) => assert!(why.contains(says), "{why}"),
            other => panic!("{says}: {other:?}"),
        }
        assert_eq!(*drive.current().borrow(), Current::Empty);
    }
    // The limits are the kernel's own.
    for (path, cdrom) in [(file("least.iso", 614_400), true), (file("least.img", 512), false)] {
        drive.insert(Medium { path, cdrom, rw: false }).await.unwrap();
        drive.eject().await.unwrap();
    }
    // A file system that is read-only: the kernel would quietly show it unwritable.
    let storage = lab::ext4_on_loop(16 << 20).unwrap();
    fs::write(storage.path().join("x"), vec![0; 4096]).unwrap();
    bench::remount(&storage.path(), false).unwrap();
    let medium = Medium { path: storage.path().canonicalize().unwrap().join("x"), cdrom: false, rw: true };
    let refused = drive.insert(medium.clone()).await.unwrap_err();
    assert!(matches!(&refused, DriveError::Permissions(why) if why.contains("not written")), "{refused}");
    assert_eq!(*drive.current().borrow(), Current::Empty);
    drive.insert(Medium { rw: false, ..medium }).await.unwrap();
}

/// What the driver and its fake in `src/otg/tests/fake.rs` build on.
#[test]
fn the_kernel_keeps_the_rules_that_our_fake_keeps() {
    if !lab::inside() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a\nb.img\n");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let gadget = Gadget::new(1);
    let lun = gadget.lun(0);
    let read = |name: &str| String::from_utf8(fs::read(lun.join(name)).unwrap()).unwrap();
    assert_eq!((read("cdrom"), read("ro"), read("file")), ("1\n".into(), "1\n".into(), String::new()));
    // A CD is read-only by itself, and what was one is still.
    write(&lun, "cdrom", "0\n").unwrap();
    write(&lun, "ro", "0\n").unwrap();
    write(&lun, "cdrom", "1\n").unwrap();
    assert_eq!(read("ro"), "1\n");
    write(&lun, "cdrom", "0\n").unwrap();
    assert_eq!(read("ro"), "1\n");
    write(&lun, "ro", "0\n").unwrap();
    // By descriptor, and its real path is shown, newlines and all.
    let image = File::open(&path).unwrap();
    write(&lun, "file", &format!("/proc/self/fd/{}\n", image.as_raw_fd())).unwrap();
    assert_eq!(read("file"), format!("{}\n", path.display()));
    assert_eq!(write(&lun, "ro", "1\n").unwrap_err(), EBUSY);
    assert_eq!(write(&lun, "cdrom", "1\n").unwrap_err(), EBUSY);
    assert_eq!((read("cdrom"), read("ro")), ("0\n".into(), "0\n".into()));
    // One that is refused leaves the other in.
    let small = dir.path().join("small");
    fs::write(&small, vec![0; 511]).unwrap();
    assert_eq!(write(&lun, "file", &format!("{}\n", small.display())).unwrap_err(), ETOOSMALL);
    assert_eq!(read("file"), format!("{}\n", path.display()));
    fs::remove_file(&path).unwrap();
    assert_eq!(read("file"), format!("{} (deleted)\n", path.display()));
    write(&lun, "forced_eject", "\n").unwrap();
    assert_eq!(read("file"), "");
    write(&lun, "forced_eject", "\n").unwrap();
}

/// The unprivileged part of the next test, which runs this one again as another user.
#[test]
fn as_somebody_without_rights() {
    let (Some(lun), Some(root)) = (std::env::var_os("LAB_LUN"), std::env::var_os("LAB_ROOT")) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut drive = Otg::new(lun).unwrap();
        let medium = |name: &str, rw| {
            let path = std::path::Path::new(&root).join(name);
            Medium { path, cdrom: false, rw }
        };
        drive.insert(medium("own", true)).await.unwrap();
        drive.eject().await.unwrap();
        drive.insert(medium("group-readable", false)).await.unwrap();
        drive.eject().await.unwrap();
        let refused = drive.insert(medium("group-readable", true)).await.unwrap_err();
        assert!(matches!(&refused, DriveError::Permissions(why) if why.contains("not written")), "{refused}");
        for rw in [false, true] {
            let refused = drive.insert(medium("root-s", rw)).await.unwrap_err();
            assert!(matches!(&refused, DriveError::Permissions(why) if why.contains("denied")), "{refused}");
        }
        assert_eq!(*drive.current().borrow(), Current::Empty);
    });
}

#[test]
fn a_daemon_without_rights_lends_what_is_its_own_and_nothing_else() {
    if !lab::inside() {
        return;
    }
    const KVMD: u32 = 960;
    let dir = tempfile::tempdir_in("/run").unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    for (name, uid, gid, mode) in
        [("own", KVMD, KVMD, 0o600), ("group-readable", 0, KVMD, 0o640), ("root-s", 0, 0, 0o600)]
    {
        let file = OpenOptions::new().write(true).create(true).mode(mode).open(root.join(name)).unwrap();
        file.set_len(1 << 20).unwrap();
        chown(root.join(name), Some(uid), Some(gid)).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let gadget = Gadget::new(1);
    let lun = gadget.lun(0);
    for name in ["ro", "cdrom", "file", "forced_eject"] {
        chown(lun.join(name), Some(KVMD), Some(KVMD)).unwrap();
    }
    // The test's own path may be closed to other users.
    let program = root.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = Command::new("setpriv")
        .args(["--reuid=960", "--regid=960", "--clear-groups", "--no-new-privs", "--inh-caps=-all"])
        .arg(&program)
        .args(["--exact", "as_somebody_without_rights", "--nocapture"])
        .env("LAB_LUN", &lun)
        .env("LAB_ROOT", &root)
        .current_dir("/")
        .status()
        .unwrap();
    assert!(ended.success());
}

#[tokio::test]
async fn a_storage_that_comes_late_is_seen_when_it_is_mounted() {
    if !lab::inside() {
        return;
    }
    let gadget = Gadget::new(1);
    let place = tempfile::tempdir_in("/run").unwrap();
    // As the supervisor leaves it: a closed mount point. Root may look into it, so here it is none at all.
    let root = place.path().join("msd");
    let settings = msd::Settings { root: root.clone(), ..msd::Settings::default() };
    let stop = tokio_util::sync::CancellationToken::new();
    let (msd, _owner) = msd::spawn(settings, Otg::new(gadget.lun(0)).unwrap(), Plain, stop.clone());
    let mut state = msd.subscribe();
    assert!(!state.borrow_and_update().online);
    let storage = lab::ext4_on_loop(16 << 20).unwrap();
    fs::create_dir(&root).unwrap();
    let began = Instant::now();
    let bound = Command::new("mount").arg("--bind").args([storage.path(), root.clone()]).status().unwrap();
    assert!(bound.success());
    tokio::time::timeout(Duration::from_secs(20), state.wait_for(|state| state.online))
        .await
        .unwrap()
        .unwrap();
    bench::tell("seen", began);
    stop.cancel();
    assert!(Command::new("umount").arg(&root).status().unwrap().success());
}

#[tokio::test]
async fn two_drives_of_one_gadget_are_seen_side_by_side() {
    if !lab::inside() {
        return;
    }
    let gadget = Gadget::new(2);
    let (main, mut other) = (Otg::new(gadget.lun(0)).unwrap(), Otg::new(gadget.lun(1)).unwrap());
    let shown = Otg::new(gadget.lun(1)).unwrap();
    let house = House::on_ext4(Drives::new(main).and(shown)).await;
    let (a, b) = (content(1 << 20, 1), content(2 << 20, 2));
    house.upload("a.iso", &a).await;
    house.upload("b.img", &b).await;
    house.connect("a.iso", true, false).await.unwrap();
    other.insert(Medium { path: house.root().join("b.img"), cdrom: false, rw: false }).await.unwrap();
    let cable = gadget.bind();
    assert!(cable.read(Node::Cdrom, a.len()) == a);
    assert!(cable.read_at(Node::Disk, 1, b.len()) == b);
    house.msd.set_connected(false).await.unwrap();
    lab::wait_for("the other drive is known", SOON, || {
        fs::read(gadget.lun(1).join("file")).is_ok_and(|file| !file.is_empty())
    });
    assert_eq!(house.msd.remove("b.img").await, Err(Error::Connected));
    other.eject().await.unwrap();
    // Its own watcher has to hear of it first.
    let mut removed = house.msd.remove("b.img").await;
    let began = Instant::now();
    while removed.is_err() && began.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(10)).await;
        removed = house.msd.remove("b.img").await;
    }
    removed.unwrap();
    let mut none = Vec::new();
    File::open(gadget.lun(1).join("file")).unwrap().read_to_end(&mut none).unwrap();
    assert!(none.is_empty());
}
