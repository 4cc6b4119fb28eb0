//! The drive's storage on a real ext4 partition: found by its label, checked, mounted, remounted, taken over.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says by a panic what is wrong, and shows the log of what failed"
)]

#[path = "processes/child.rs"]
mod child;
#[expect(dead_code, reason = "shared with the tests of processes")]
#[path = "processes/started.rs"]
mod started;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use client::supervisor::{Answer, Request, ServiceState};
use started::{Started, wait_for};
use testkit::lab;

/// Not a test: what the children's scripts run.
#[test]
fn pretend_to_be_a_daemon() {
    if let Ok(role) = std::env::var("PRETEND") {
        child::run(&role);
    }
}

/// What a command prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A partition on a loop device.
struct Card {
    dir: tempfile::TempDir,
    device: PathBuf,
}

impl Card {
    fn new(options: &[&str]) -> Self {
        let dir = tempfile::tempdir_in("/run").unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(32 << 20).unwrap();
        run("mkfs.ext4", &[&["-q", "-F"], options, &[image.to_str().unwrap()]].concat());
        let device = run("losetup", &["--find", "--show", image.to_str().unwrap()]);
        Self { dir, device: device.trim().into() }
    }

    fn device(&self) -> &str {
        self.device.to_str().unwrap()
    }

    /// The mount's device, file system and options, if it is mounted there.
    fn mounted(&self, started: &Started) -> Option<(String, Vec<String>)> {
        let target = started.state_dir().join("var/msd").canonicalize().ok()?;
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == target.to_str())?;
        let fields: Vec<_> = line.split(' ').collect();
        assert_eq!(Path::new(fields[0]), self.device);
        Some((fields[2].to_owned(), fields[3].split(',').map(str::to_owned).collect()))
    }

    fn options(&self, started: &Started) -> Vec<String> {
        self.mounted(started).unwrap().1
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
        assert!(self.dir.path().exists());
    }
}

fn ready(started: &Started) {
    wait_for("the mount", || (started.state("storage") == ServiceState::Ready).then_some(()));
}

fn remount(started: &Started, rw: bool) -> Answer {
    started.ask(&Request::RemountMsd { rw })
}

/// Settings whose fstab names the partition like that.
fn with_fstab(device: &str) -> Started {
    Started::with_files("good", |dir| {
        let etc = dir.join("state/etc");
        fs::create_dir_all(&etc).unwrap();
        let target = dir.join("state/var/msd");
        let line = format!("{device} {} ext4 nofail,ro,X-kvmd.otgmsd-user=kvmd 0 2\n", target.display());
        fs::write(etc.join("fstab"), line).unwrap();
    })
}

#[test]
fn a_partition_labelled_so_is_mounted_safely_and_open_only_on_request() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(&["-L", "PIMSD"]);
    let _other = Card::new(&["-L", "OTHER"]);
    let mut started = Started::new("good");
    ready(&started);
    let (kind, options) = card.mounted(&started).unwrap();
    assert_eq!(kind, "ext4");
    for option in ["ro", "nosuid", "nodev", "noexec", "nosymfollow"] {
        assert!(options.iter().any(|have| have == option), "{option} in {options:?}");
    }
    let root = started.state_dir().join("var/msd");
    let found = fs::metadata(&root).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (960, 0o2770), "it is kvmd's");
    let refused = File::create(root.join("x")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(remount(&started, true), Answer::Done);
    assert_eq!(card.options(&started)[0], "rw");
    fs::write(root.join("x"), b"kept").unwrap();
    assert_eq!(remount(&started, false), Answer::Done);
    let options = card.options(&started);
    assert!(options[0] == "ro" && options.iter().any(|have| have == "nosymfollow"), "{options:?}");
    assert_eq!(started.stop(), Some(0));
    assert_eq!(card.mounted(&started), None);
    // Unmounted in order: nothing is left for a check.
    assert!(run("dumpe2fs", &["-h", card.device()]).contains("Filesystem state:         clean"));
}

#[test]
fn a_file_still_open_delays_the_closing_and_a_file_kept_open_prevents_it() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(&["-L", "PIMSD"]);
    let mut started = Started::new("good");
    ready(&started);
    assert_eq!(remount(&started, true), Answer::Done);
    let mut held = File::create(started.state_dir().join("var/msd/x")).unwrap();
    match remount(&started, false) {
        Answer::Failed { reason } => assert!(reason.contains("busy"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(started.status().msd.rw && card.options(&started)[0] == "rw");
    // Let go a moment after the wish, as the kernel lets go of what the target ejected.
    std::thread::scope(|scope| {
        let wish = scope.spawn(|| remount(&started, false));
        held.write_all(b"last words").unwrap();
        let closer = scope.spawn(move || {
            #[expect(clippy::disallowed_methods, reason = "the delay is what is tested")]
            std::thread::sleep(Duration::from_millis(120));
            drop(held);
        });
        closer.join().unwrap();
        assert_eq!(wish.join().unwrap(), Answer::Done);
    });
    assert_eq!(card.options(&started)[0], "ro");
    assert_eq!(started.stop(), Some(0));
}

#[test]
fn a_storage_that_is_written_to_survives_the_supervisor() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(&["-L", "PIMSD"]);
    let started = Started::new("good");
    ready(&started);
    assert_eq!(remount(&started, true), Answer::Done);
    // The gadget's LUN would hold it so.
    let mut held = File::create(started.state_dir().join("var/msd/x")).unwrap();
    let mut started = started;
    started.kill();
    let mut again = started.again();
    ready(&again);
    assert!(again.status().msd.rw, "it cannot be closed");
    held.write_all(b"still here").unwrap();
    held.sync_all().unwrap();
    drop(held);
    assert_eq!(remount(&again, false), Answer::Done);
    assert_eq!(card.options(&again)[0], "ro");
    assert_eq!(again.stop(), Some(0));
    assert_eq!(card.mounted(&again), None);
}

#[test]
fn a_storage_that_is_in_use_at_the_end_stays_where_it_is_for_the_next_start() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(&["-L", "PIMSD"]);
    let mut started = Started::new("good");
    ready(&started);
    assert_eq!(remount(&started, true), Answer::Done);
    // A gadget outlives us, and its LUN holds an image.
    let held = File::create(started.state_dir().join("var/msd/x")).unwrap();
    assert_eq!(started.stop(), Some(0));
    assert!(card.mounted(&started).is_some());
    let mut again = started.again();
    ready(&again);
    assert!(again.status().msd.rw);
    drop(held);
    assert_eq!(again.stop(), Some(0));
    assert_eq!(card.mounted(&again), None);
}

#[test]
fn a_partition_that_needs_it_is_repaired_before_it_is_mounted() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(&["-L", "PIMSD"]);
    // "Has errors", and one that is found: a wrong count of free blocks.
    run("debugfs", &["-w", "-R", "ssv state 2", card.device()]);
    run("debugfs", &["-w", "-R", "ssv free_blocks_count 1", card.device()]);
    let mut started = with_fstab("LABEL=PIMSD");
    ready(&started);
    assert!(card.mounted(&started).is_some());
    assert_eq!(started.stop(), Some(0));
    let state = run("dumpe2fs", &["-h", card.device()]);
    assert!(state.contains("Filesystem state:         clean"), "{state}");
    assert!(!state.contains("Free blocks:              1\n"), "{state}");
}

#[test]
fn a_partition_is_found_by_its_number_too() {
    if !lab::inside() {
        return;
    }
    let number = "6e0a7d2c-1b3f-4c55-9d10-7f2b3c4d5e6f";
    let card = Card::new(&["-U", number]);
    let mut started = with_fstab(&format!("UUID={number}"));
    ready(&started);
    assert_eq!(card.options(&started)[0], "ro");
    assert_eq!(started.stop(), Some(0));
}
