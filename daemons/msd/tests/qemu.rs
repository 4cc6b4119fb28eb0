//! The drive of a virtual machine against a real QEMU, without a guest.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use msd::{Current, Drive, DriveError, Medium, VmDrive};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vm::Qmp;

/// Killed when dropped. Processor stopped: only the drives matter.
fn qemu(socket: &Path) -> Child {
    drop(std::fs::remove_file(socket));
    let fixed = "-accel tcg -M q35 -m 64 -S -display none -nodefaults -no-shutdown \
                 -device qemu-xhci,id=xhci -device ide-cd,id=cd0,bootindex=1";
    Command::new("qemu-system-x86_64")
        .args(fixed.split_whitespace())
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn until(current: &mut watch::Receiver<Current>, wanted: Current) {
    let seen = current.wait_for(|current| *current == wanted);
    tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_real_machine_takes_gives_back_and_is_given_again() {
    if std::process::Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        return testkit::skip("qemu-system-x86_64 is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("qmp.sock");
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        path
    };
    let disc = Medium { path: file("a.iso"), cdrom: true, rw: false };
    let stick = Medium { path: file("b.img"), cdrom: false, rw: true };
    let mut machine = qemu(&socket);
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let qmp = Qmp::connect(&socket, stop.clone());
    let mut drive = VmDrive::new(qmp.clone(), stop.clone());
    let mut current = drive.current();
    until(&mut current, Current::Empty).await;

    for medium in [&disc, &stick, &disc] {
        drive.insert(medium.clone()).await.unwrap();
        until(&mut current, Current::Holds(medium.clone())).await;
        // Another process of ours would see the same: nothing is lost by a restart of the daemon.
        let mut second = VmDrive::new(qmp.clone(), stop.clone()).current();
        until(&mut second, Current::Holds(medium.clone())).await;
        drive.eject().await.unwrap();
        until(&mut current, Current::Empty).await;
    }

    drive.insert(disc.clone()).await.unwrap();
    qmp.execute::<Value>("blockdev-open-tray", json!({"id": "cd0", "force": true})).await.unwrap();
    until(&mut current, Current::Empty).await;

    let missing = Medium { path: dir.path().join("missing"), ..disc.clone() };
    assert!(matches!(drive.insert(missing).await, Err(DriveError::Failed(_))));

    for medium in [disc, stick] {
        drive.insert(medium.clone()).await.unwrap();
        machine.kill().await.unwrap();
        until(&mut current, Current::Absent).await;
        machine = qemu(&socket);
        until(&mut current, Current::Holds(medium)).await;
        drive.eject().await.unwrap();
    }
}
