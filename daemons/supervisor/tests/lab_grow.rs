//! The drive's partition on a card that is larger than its image: table, kernel and file system, on a loop device.
#![expect(clippy::unwrap_used, reason = "a test says by a panic what is wrong")]

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use supervisor::grow;
use supervisor::tool::Tools;
use testkit::lab;
use tokio_util::sync::CancellationToken;

/// What a command prints.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {text} {why}");
    text
}

/// A card on a loop device.
struct Card {
    dir: tempfile::TempDir,
    device: String,
}

impl Card {
    /// Two partitions of 8 and 16 MiB, as an image has them, on a card of `size` MiB.
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir_in("/run").unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(26 << 20).unwrap();
        let layout = dir.path().join("layout");
        fs::write(&layout, "label: gpt\nstart=2048, size=16384, name=data\nsize=32768, name=msd\n").unwrap();
        run("sh", &["-c", &format!("sfdisk -q {} <{}", image.display(), layout.display())]);
        OpenOptions::new().write(true).open(&image).unwrap().set_len(size << 20).unwrap();
        let device = run("losetup", &["--find", "--show", "--partscan", image.to_str().unwrap()]);
        Self { dir, device: device.trim().to_owned() }
    }

    fn partition(&self) -> PathBuf {
        let link = self.dir.path().join("msd");
        if !link.exists() {
            // As the initramfs does.
            std::os::unix::fs::symlink(format!("{}p2", self.device), &link).unwrap();
        }
        link
    }

    fn partition_mib(&self) -> u64 {
        let name = Path::new(&self.device).file_name().unwrap().to_str().unwrap().to_owned() + "p2";
        let sectors = fs::read_to_string(format!("/sys/class/block/{name}/size")).unwrap();
        (sectors.trim().parse::<u64>().unwrap() * 512) >> 20
    }

    fn file_system_mib(&self) -> u64 {
        let text = run("dumpe2fs", &["-h", self.partition().to_str().unwrap()]);
        let number = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        assert!(text.contains("clean"), "{text}");
        (number("Block count:") * number("Block size:")) >> 20
    }

    /// Lets the partition grow, and tells which programs were run for it.
    fn grow(&self) -> Vec<String> {
        self.grow_with(None)
    }

    /// Likewise; what is left to do when it is mounted is done there.
    fn grow_with(&self, mount: Option<&Path>) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tools, mut jobs) = Tools::new();
        runtime.block_on(async {
            let programs = tokio::spawn(async move {
                let mut programs = Vec::new();
                while let Some(job) = jobs.recv().await {
                    let mut words = job.launch.command.iter();
                    // The system's manager would run what follows, as root with all rights: so does the laboratory.
                    if words.clone().any(|word| word == "--") {
                        words.by_ref().find(|word| *word == "--");
                    }
                    let program = Path::new(words.next().unwrap()).to_owned();
                    // Whether anything is run at all is only asked.
                    assert_eq!(job.whole, !program.ends_with("true"), "{:?}", job.launch.command);
                    let status = Command::new(&program).args(words).status().unwrap();
                    programs.push(program.file_name().unwrap().to_string_lossy().into_owned());
                    let status = WaitStatus::Exited(Pid::from_raw(1), status.code().unwrap());
                    job.end.send(Ok(status)).unwrap();
                }
                programs
            });
            let marker = self.dir.path().join("growing");
            let left = grow::grow(self.partition(), "PIMSD".to_owned(), marker.clone(), tools.clone()).await;
            assert_eq!(left, mount.is_some());
            assert!(!marker.exists());
            if let Some(mount) = mount {
                let partition = self.partition();
                run("mount", &[partition.to_str().unwrap(), mount.to_str().unwrap()]);
                grow::grow_mounted(partition, tools, CancellationToken::new()).await;
                run("umount", &[mount.to_str().unwrap()]);
            } else {
                drop(tools);
            }
            programs.await.unwrap()
        })
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

#[test]
fn a_fresh_drive_takes_all_room_there_is() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(96);
    let device = card.partition();
    run("mke2fs", &["-q", "-t", "ext4", "-L", "PIMSD", device.to_str().unwrap()]);
    assert_eq!((card.partition_mib(), card.file_system_mib()), (16, 16));
    assert_eq!(card.grow(), ["e2fsck", "resize2fs"], "nothing is on it");
    assert_eq!((card.partition_mib(), card.file_system_mib()), (86, 86));
    run("sfdisk", &["--verify", &card.device]);
    assert_eq!(card.grow(), Vec::<String>::new(), "there is nothing left to do");
}

#[test]
fn a_drive_with_images_grows_while_it_is_mounted() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(96);
    let device = card.partition();
    run("mke2fs", &["-q", "-t", "ext4", "-L", "PIMSD", device.to_str().unwrap()]);
    let mount = card.dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    run("mount", &[device.to_str().unwrap(), mount.to_str().unwrap()]);
    fs::write(mount.join("image.iso"), vec![7; 3 << 20]).unwrap();
    run("umount", &[mount.to_str().unwrap()]);
    assert_eq!((card.partition_mib(), card.file_system_mib()), (16, 16));

    assert_eq!(card.grow_with(Some(&mount)), ["true", "resize2fs"]);
    assert_eq!((card.partition_mib(), card.file_system_mib()), (86, 86));
    run("e2fsck", &["-f", "-n", device.to_str().unwrap()]);
    run("mount", &[device.to_str().unwrap(), mount.to_str().unwrap()]);
    assert_eq!(fs::read(mount.join("image.iso")).unwrap(), vec![7; 3 << 20]);
    run("umount", &[mount.to_str().unwrap()]);
    assert_eq!(card.grow(), Vec::<String>::new(), "there is nothing left to do");
}

#[test]
fn a_start_that_was_cut_off_between_table_and_file_system_is_gone_on_with() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(96);
    // The kernel and the table know the new size, the file system does not.
    card.grow();
    let device = card.partition();
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "PIMSD", device.to_str().unwrap(), "16M"]);
    assert_eq!((card.partition_mib(), card.file_system_mib()), (86, 16));
    assert_eq!(card.grow(), ["e2fsck", "resize2fs"]);
    assert_eq!(card.file_system_mib(), 86);
    // Cut off when all was written but the last word.
    File::create(card.dir.path().join("growing")).unwrap();
    assert_eq!(card.grow(), ["e2fsck"]);
    assert_eq!(card.grow(), Vec::<String>::new());
}

#[test]
fn a_partition_that_was_never_used_gets_a_file_system() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(96);
    assert_eq!(card.grow(), ["mke2fs"]);
    assert_eq!((card.partition_mib(), card.file_system_mib()), (86, 86));
    assert!(run("e2label", &[card.partition().to_str().unwrap()]).contains("PIMSD"));
    assert_eq!(card.grow(), Vec::<String>::new());
}

#[test]
fn a_partition_with_something_else_keeps_it() {
    if !lab::inside() {
        return;
    }
    let card = Card::new(96);
    fs::write(card.partition(), b"somebody's").unwrap();
    assert_eq!(card.grow(), Vec::<String>::new());
    assert!(fs::read(card.partition()).unwrap().starts_with(b"somebody's"));
}
