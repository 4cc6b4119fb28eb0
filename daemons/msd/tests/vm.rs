//! The drive of a virtual machine, against a fake QEMU.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use msd::{Current, Drive, DriveError, Medium, VmDrive};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use vm::Qmp;
use vm::fake::Monitor;

struct Machine {
    dir: tempfile::TempDir,
    monitor: Monitor,
    drive: VmDrive,
    current: watch::Receiver<Current>,
    stop: DropGuard,
}

impl Machine {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let monitor = Monitor::listen(&socket(dir.path())).unwrap();
        Self::around(dir, monitor).await
    }

    async fn around(dir: tempfile::TempDir, monitor: Monitor) -> Self {
        let stop = CancellationToken::new();
        let qmp = Qmp::connect(socket(dir.path()), stop.clone());
        let drive = VmDrive::new(qmp, stop.clone());
        let current = drive.current();
        let mut machine = Self { dir, monitor, drive, current, stop: stop.drop_guard() };
        machine.until(|current| *current != Current::Absent).await;
        machine
    }

    async fn until(&mut self, wanted: impl FnMut(&Current) -> bool) -> Current {
        tokio::time::timeout(Duration::from_secs(20), self.current.wait_for(wanted))
            .await
            .unwrap()
            .unwrap()
            .clone()
    }

    fn now(&self) -> Current {
        self.current.borrow().clone()
    }

    /// QEMU dies and a new one comes up empty.
    fn restart(&mut self) {
        self.monitor = Monitor::listen(&socket(self.dir.path())).unwrap();
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("qmp.sock")
}

fn disc() -> Medium {
    Medium { path: PathBuf::from("/msd/a.iso"), cdrom: true, rw: false }
}

fn stick() -> Medium {
    Medium { path: PathBuf::from("/msd/b.img"), cdrom: false, rw: true }
}

#[tokio::test]
async fn a_cd_goes_into_the_cd_drive_and_a_disk_onto_the_bus() {
    let mut machine = Machine::new().await;
    assert_eq!(machine.now(), Current::Empty);
    machine.drive.insert(disc()).await.unwrap();
    assert_eq!(machine.monitor.disc().as_deref(), Some("/msd/a.iso"));
    assert_eq!(machine.now(), Current::Holds(disc()));
    machine.drive.eject().await.unwrap();
    assert_eq!((machine.monitor.disc(), machine.now()), (None, Current::Empty));
    machine.drive.insert(stick()).await.unwrap();
    assert_eq!(machine.monitor.flash(), Some(("/msd/b.img".to_owned(), true)));
    assert_eq!(machine.now(), Current::Holds(stick()));
    machine.drive.eject().await.unwrap();
    assert_eq!((machine.monitor.flash(), machine.now()), (None, Current::Empty));
}

#[tokio::test]
async fn what_the_machine_holds_is_adopted() {
    for medium in [disc(), stick()] {
        let mut machine = Machine::new().await;
        machine.drive.insert(medium.clone()).await.unwrap();
        let Machine { dir, monitor, stop, .. } = machine;
        drop(stop);
        let machine = Machine::around(dir, monitor).await;
        assert_eq!(machine.now(), Current::Holds(medium));
    }
}

#[tokio::test]
async fn a_machine_that_was_started_again_gets_its_medium_back() {
    for medium in [disc(), stick()] {
        let mut machine = Machine::new().await;
        machine.drive.insert(medium.clone()).await.unwrap();
        machine.restart();
        machine.until(|current| *current == Current::Absent).await;
        machine.until(|current| *current == Current::Holds(medium.clone())).await;
        assert!(machine.monitor.disc().is_some() || machine.monitor.flash().is_some());
    }
}

#[tokio::test]
async fn a_guest_that_opens_the_tray_has_ejected_for_good() {
    let mut machine = Machine::new().await;
    machine.drive.insert(disc()).await.unwrap();
    machine.monitor.open_tray();
    machine.until(|current| *current == Current::Empty).await;
    assert_eq!(machine.monitor.disc(), None);
    machine.restart();
    machine.until(|current| *current == Current::Absent).await;
    machine.until(|current| *current == Current::Empty).await;
    assert_eq!(machine.monitor.disc(), None);
}

#[tokio::test]
async fn a_guest_that_ejects_while_we_are_at_work_has_ejected() {
    let mut machine = Machine::new().await;
    machine.monitor.open_tray_during("blockdev-change-medium");
    machine.drive.insert(disc()).await.unwrap();
    machine.until(|current| *current == Current::Empty).await;
    assert_eq!(machine.monitor.disc(), None);
}

#[tokio::test]
async fn what_the_guest_ejects_while_nobody_listens_is_not_put_back() {
    for medium in [disc(), stick()] {
        let mut machine = Machine::new().await;
        machine.drive.insert(medium.clone()).await.unwrap();
        machine.monitor.hang_up();
        if medium.cdrom {
            machine.monitor.open_tray();
        } else {
            machine.monitor.lose_flash();
        }
        machine.until(|current| *current == Current::Absent).await;
        machine.until(|current| *current != Current::Absent).await;
        assert_eq!(machine.until(|current| *current == Current::Empty).await, Current::Empty);
        assert_eq!((machine.monitor.disc(), machine.monitor.flash()), (None, None));
        // Its image is free again.
        machine.drive.insert(stick()).await.unwrap();
    }
}

#[tokio::test]
async fn a_flash_drive_whose_tray_the_guest_opens_is_ejected() {
    let mut machine = Machine::new().await;
    machine.drive.insert(stick()).await.unwrap();
    machine.monitor.open_tray();
    machine.until(|current| *current == Current::Empty).await;
    assert_eq!(machine.monitor.flash(), None);
}

#[tokio::test]
async fn a_connection_lost_and_made_again_changes_nothing() {
    for medium in [disc(), stick()] {
        let mut machine = Machine::new().await;
        machine.drive.insert(medium.clone()).await.unwrap();
        let commands = machine.monitor.commands().len();
        machine.monitor.hang_up();
        machine.until(|current| *current == Current::Absent).await;
        machine.until(|current| *current == Current::Holds(medium.clone())).await;
        assert_eq!(machine.monitor.commands().len(), commands, "nothing is done");
    }
}

#[tokio::test]
async fn a_tray_that_closes_and_other_trays_are_no_eject() {
    let mut machine = Machine::new().await;
    machine.drive.insert(disc()).await.unwrap();
    machine.monitor.emit("DEVICE_TRAY_MOVED", json!({"device": "", "id": "cd0", "tray-open": false}));
    machine.monitor.emit("DEVICE_TRAY_MOVED", json!({"device": "", "id": "cd1", "tray-open": true}));
    // Answered after both events were looked at: the same task does both.
    machine.drive.insert(disc()).await.unwrap();
    assert_eq!(machine.now(), Current::Holds(disc()));
    assert!(machine.monitor.commands().iter().all(|(name, _)| name != "eject"));
}

#[tokio::test]
async fn a_refusal_is_told_and_nothing_is_held() {
    let mut machine = Machine::new().await;
    machine.monitor.refuse("blockdev-change-medium", "Could not open '/msd/a.iso': Permission denied");
    assert!(matches!(machine.drive.insert(disc()).await, Err(DriveError::Permissions(_))));
    machine.monitor.accept_all();
    machine.monitor.refuse("device_add", "No bus");
    assert!(matches!(machine.drive.insert(stick()).await, Err(DriveError::Failed(_))));
    assert_eq!(machine.now(), Current::Empty);
}
