//! The laboratory has what it promises.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use testkit::lab;

#[test]
fn the_kernel_has_just_booted() {
    if !lab::inside() {
        return;
    }
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    println!("boot to first test: {} s", uptime.split(' ').next().unwrap());
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "lab");
    assert!(fs::read_to_string("/sys/class/net/lo/flags").unwrap().trim().ends_with('9'), "loopback is down");
    assert!(std::net::TcpListener::bind("127.0.0.1:0").is_ok());
}

#[test]
fn a_capture_card_is_there() {
    if !lab::inside() {
        return;
    }
    let node = lab::video_node("vivid").unwrap();
    assert!(fs::File::options().read(true).write(true).open(&node).is_ok(), "{}", node.display());
    assert_ne!(lab::video_node("stateful-encoder").unwrap(), node);
}

#[test]
fn lines_are_pulled_and_read() {
    if !lab::inside() {
        return;
    }
    let chip = lab::GpioSim::open().unwrap();
    assert!(chip.node().exists());
    for line in [0, 31] {
        for high in [true, false] {
            chip.pull(line, high).unwrap();
            assert_eq!(chip.level(line).unwrap(), high);
        }
    }
    assert!(chip.level(32).is_err());
}

#[test]
fn a_gadget_shows_up_on_the_host_side() {
    if !lab::inside() {
        return;
    }
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(1 << 20).unwrap();
    let gadget = Path::new("/sys/kernel/config/usb_gadget/smoke");
    let dir = |path: &str| fs::create_dir_all(gadget.join(path)).unwrap();
    let put = |path: &str, bytes: &[u8]| fs::write(gadget.join(path), bytes).unwrap();
    dir("configs/c.1");
    dir("functions/hid.0");
    dir("functions/mass_storage.0");
    put("idVendor", b"0x1d6b");
    put("idProduct", b"0x0104");
    put("functions/hid.0/report_length", b"1");
    // One byte of eight buttons.
    put(
        "functions/hid.0/report_desc",
        &[
            0x05, 0x01, 0x09, 0x05, 0xa1, 0x01, 0x05, 0x09, 0x19, 0x01, 0x29, 0x08, 0x15, 0x00, 0x25, 0x01,
            0x75, 0x01, 0x95, 0x08, 0x81, 0x02, 0xc0,
        ],
    );
    put("functions/mass_storage.0/lun.0/file", image.path().as_os_str().as_encoded_bytes());
    for function in ["hid.0", "mass_storage.0"] {
        let link = gadget.join("configs/c.1").join(function);
        std::os::unix::fs::symlink(gadget.join("functions").join(function), link).unwrap();
    }
    put("UDC", lab::udc().unwrap().as_bytes());

    let patience = Duration::from_secs(20);
    for (kind, interface) in [(lab::Node::Hidraw, 0), (lab::Node::Event, 0), (lab::Node::Disk, 1)] {
        lab::wait_for(&format!("{kind:?}"), patience, || {
            lab::usb_node(kind, interface, 0).is_some_and(|node| node.exists())
        });
    }
    let mut host = fs::File::open(lab::usb_node(lab::Node::Hidraw, 0, 0).unwrap()).unwrap();
    fs::File::options().write(true).open("/dev/hidg0").unwrap().write_all(&[0x81]).unwrap();
    let mut report = [0; 8];
    let count = std::io::Read::read(&mut host, &mut report).unwrap();
    assert_eq!(report[..count], [0x81]);
}

#[test]
fn a_drive_holds_what_is_written() {
    if !lab::inside() {
        return;
    }
    let drive = lab::ext4_on_loop(16 << 20).unwrap();
    fs::write(drive.path().join("a"), b"b").unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(
        mounts.lines().any(|line| line.contains(drive.path().to_str().unwrap()) && line.contains(" ext4 ")),
        "{mounts}"
    );
}
