//! The drive's partition grows to the card, at the first start and after a card was copied to a larger one.
//!
//! First the table ([`gpt`]), then what the kernel knows of it, then the file system. One that was never used is grown
//! before it is mounted, which takes no rights but the device's. One with images on it is grown while it is mounted, by
//! the kernel, through its journal: a power cut then costs nothing. That takes a right (`CAP_SYS_RESOURCE`) which we have
//! not, so the system's manager is asked to do it. Each step looks at what is there and does what is left to do, so a
//! start that was cut off is gone on with by the next.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::tool::Tools;
use crate::{file, gpt};

/// The initramfs's link to the drive's partition.
pub const MSD: &str = "/dev/kvmd-disk/msd";
/// Longest time for what is done to the file system: cards are large and slow.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of a partition that are looked at: as far as any file system's superblock lies.
const HEAD: usize = 132 << 10;
/// How often, and how far apart, a system that is still starting is asked whether it runs programs for others.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(3);
/// What the system's manager calls the program that grows a file system.
const UNIT: &str = "kvmd-grow.service";
/// How it runs a program, and we wait for it.
const RUN: [&str; 3] = ["--quiet", "--collect", "--wait"];
/// Inodes of a file system that holds nothing: the reserved ones, and `lost+found`.
const RESERVED_INODES: u64 = 11;
/// Less than this is not worth a change.
const WORTH: u64 = 4 << 20;

/// A partition and its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    partition: PathBuf,
    disk: PathBuf,
    number: usize,
}

/// Grows the partition and its file system as far as there is room. What fails is logged: the drive is then as large as it
/// was.
///
/// `marker` is there while the file system is changed: one that is there at the start tells of a power cut in the middle.
/// Says whether the rest is to be done when it is mounted, by [`grow_mounted`].
pub async fn grow(partition: PathBuf, label: String, marker: PathBuf, tools: Tools) -> bool {
    let Ok(Some(place)) =
        place(&partition).inspect_err(|error| log::warn!("{}: {error}", partition.display()))
    else {
        return false;
    };
    let device = place.partition.clone();
    let table = tokio::task::spawn_blocking(move || grow_partition(&place)).await;
    match table.map_err(io::Error::other).and_then(|grown| grown) {
        Ok(false) => {}
        Ok(true) => log::info!("{} reaches to the end of the disk now", device.display()),
        Err(error) => log::error!("{} cannot be made larger: {error}", device.display()),
    }
    let grown = grow_file_system(&device, &label, &marker, &tools).await;
    grown.unwrap_or_else(|error| {
        log::error!("the file system of {} cannot be made larger: {error}", device.display());
        false
    })
}

/// Grows the file system, which is mounted writable, to its partition's end. A stop ends it early; it has returned only
/// when nobody holds the file system any more.
pub async fn grow_mounted(partition: PathBuf, tools: Tools, stop: CancellationToken) {
    let Some(resize2fs) = file::program("resize2fs") else { return };
    let Ok(device) = fs::canonicalize(&partition) else { return };
    let (Some(resize2fs), Some(node)) = (resize2fs.to_str(), device.to_str()) else { return };
    let failed = |error| log::error!("the file system of {node} cannot be made larger: {error}");
    match stop.run_until_cancelled(manager_runs_programs(&tools)).await {
        None => return,
        Some(Err(error)) => return failed(error),
        Some(Ok(())) => {}
    }
    let words = [&RUN[..], &["--unit", UNIT, "--", resize2fs, node]].concat();
    // As a whole: the stop waits, so that the file system is let go before it is unmounted.
    let run = tools.run_whole(PATIENCE, "systemd-run", &words, 0..=0);
    tokio::pin!(run);
    let ended = tokio::select! {
        ended = &mut run => ended,
        () = stop.cancelled() => {
            // The next start does the rest.
            if let Err(error) = tools.run("systemctl", &["stop", UNIT]).await {
                log::warn!("{UNIT}: {error}");
            }
            run.await
        }
    };
    match ended {
        Ok(()) => log::info!("the file system of {node} reaches to its partition's end now"),
        Err(error) if stop.is_cancelled() => log::info!("{node} is made larger at the next start: {error}"),
        Err(error) => failed(error),
    }
}

/// Waits until the system's manager runs programs for others: it may still be starting.
async fn manager_runs_programs(tools: &Tools) -> io::Result<()> {
    let words = [&RUN[..], &["--", "true"]].concat();
    let mut tries_left = TRIES;
    loop {
        tries_left -= 1;
        match tools.run("systemd-run", &words).await {
            Err(error) if tries_left > 0 && error.kind() != io::ErrorKind::NotFound => log::debug!("{error}"),
            last => return last,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where the partition is; none where there is no such partition.
fn place(partition: &Path) -> io::Result<Option<Place>> {
    let Ok(node) = fs::canonicalize(partition) else { return Ok(None) };
    let name = node.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let class = Path::new("/sys/class/block").join(name);
    let Ok(number) = fs::read_to_string(class.join("partition")) else { return Ok(None) };
    let number = number.trim().parse().map_err(io::Error::other)?;
    // A partition's directory lies in its disk's.
    let class = fs::canonicalize(class)?;
    let disk = class.parent().and_then(Path::file_name).ok_or(io::ErrorKind::InvalidInput)?;
    let disk = node.with_file_name(disk);
    Ok(Some(Place { partition: node, disk, number }))
}

/// Says whether anything changed.
fn grow_partition(place: &Place) -> io::Result<bool> {
    let disk = OpenOptions::new().read(true).write(true).open(&place.disk)?;
    let sectors = length(&disk)? / gpt::SECTOR as u64;
    let plan = match planned(&disk, sectors, place.number) {
        Ok(plan) => plan,
        // A table that nobody reads is not ours to change; the drive stays as it is.
        Err(error) => return Err(io::Error::other(error)),
    };
    let changed = !plan.writes.is_empty();
    for write in &plan.writes {
        disk.write_all_at(&write.bytes, write.lba * gpt::SECTOR as u64)?;
        disk.sync_all()?;
    }
    let (first, sectors) = (plan.first * gpt::SECTOR as u64, plan.sectors * gpt::SECTOR as u64);
    if length(&File::open(&place.partition)?)? < sectors {
        let number = i32::try_from(place.number).map_err(io::Error::other)?;
        sys::blkpg::resize(&disk, number, first, sectors)?;
    }
    Ok(changed)
}

fn planned(
    disk: &File,
    sectors: u64,
    number: usize,
) -> Result<gpt::Plan, Box<dyn std::error::Error + Send + Sync>> {
    let mut head = vec![0; gpt::HEAD];
    disk.read_exact_at(&mut head, 0)?;
    Ok(gpt::plan(&head, sectors, number)?)
}

fn length(file: &File) -> io::Result<u64> {
    use std::io::Seek as _;
    let mut file = file;
    file.seek(io::SeekFrom::End(0))
}

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Nothing, as far as one can see.
    Nothing,
    /// ext2 to ext4, of so many bytes, and whether anything was ever put there.
    Ext { bytes: u64, used: bool },
    /// Something else, which is not touched.
    Other,
}

/// Says whether there is something left to do when it is mounted.
async fn grow_file_system(device: &Path, label: &str, marker: &Path, tools: &Tools) -> io::Result<bool> {
    let file = File::open(device)?;
    let room = length(&file)?;
    let mut head = vec![0; HEAD];
    file.read_exact_at(&mut head, 0)?;
    drop(file);
    let cut_off = marker.exists();
    let node = device.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    match holds(&head) {
        Holds::Ext { bytes, used } => {
            let grows = room.saturating_sub(bytes) >= WORTH;
            if grows {
                log::info!("the file system of {node} grows from {} MiB to {} MiB", bytes >> 20, room >> 20);
            }
            if cut_off {
                log::warn!(
                    "the file system of {node} was being made larger when the power went: it is checked"
                );
            }
            let unmounted = grows && !used;
            if unmounted {
                file::replace(marker, b"", 0o600)?;
            }
            if unmounted || cut_off {
                // What resize2fs asks for; whatever it repaired.
                tools.run_whole(PATIENCE, "e2fsck", &["-f", "-y", node], 0..=1).await?;
            }
            if unmounted {
                tools.run_whole(PATIENCE, "resize2fs", &[node], 0..=0).await?;
            }
            if unmounted || cut_off {
                fs::remove_file(marker)?;
            }
            Ok(grows && used)
        }
        Holds::Nothing => {
            log::info!("{node} gets a file system");
            let words = ["-q", "-t", "ext4", "-m", "0", "-L", label, node];
            tools.run_whole(PATIENCE, "mke2fs", &words, 0..=0).await?;
            Ok(false)
        }
        Holds::Other => Ok(false),
    }
}

/// By its first [`HEAD`] bytes.
fn holds(head: &[u8]) -> Holds {
    let number = |at: usize, bytes: usize| {
        let field = head.get(1024 + at..1024 + at + bytes)?;
        Some(field.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)))
    };
    if number(56, 2) == Some(0xEF53) {
        let (low, shift) = (number(4, 4).unwrap_or(0), number(24, 4).unwrap_or(0));
        // `64bit` of the incompatible features.
        let high = if number(96, 4).unwrap_or(0) & 0x80 == 0 { 0 } else { number(336, 4).unwrap_or(0) };
        let blocks = (high << 32) | low;
        let block = 1024_u64.checked_shl(u32::try_from(shift).unwrap_or(64)).unwrap_or(0);
        // Never mounted writable, and nothing put there when it was made but the directory for what is lost.
        let made = number(0, 4).unwrap_or(0).saturating_sub(number(16, 4).unwrap_or(0)) <= RESERVED_INODES;
        let used = number(44, 4) != Some(0) || !made;
        return Holds::Ext { bytes: blocks.saturating_mul(block), used };
    }
    if head.iter().all(|byte| *byte == 0) { Holds::Nothing } else { Holds::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::WaitStatus;
    use nix::unistd::Pid;

    #[test]
    fn what_lies_there_is_told_apart() {
        assert_eq!(holds(&vec![0; 65_536]), Holds::Nothing);
        let mut fat = vec![0; 65_536];
        fat[510..512].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(holds(&fat), Holds::Other);
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let Some(mke2fs) = file::program("mke2fs") else {
            testkit::skip("mke2fs is not installed");
            return;
        };
        let made = std::process::Command::new(mke2fs)
            .args(["-q", "-t", "ext4", "-F"])
            .arg(&image)
            .arg("6M")
            .status();
        assert!(made.unwrap().success());
        let head = fs::read(&image).unwrap();
        assert_eq!(holds(&head[..65_536]), Holds::Ext { bytes: 6 << 20, used: false });
        for (at, value) in [(1024 + 44, 1), (1024 + 16, head[1024 + 16].wrapping_sub(1))] {
            let mut used = head[..65_536].to_vec();
            // Once mounted; one more inode in use.
            used[at] = value;
            assert_eq!(holds(&used), Holds::Ext { bytes: 6 << 20, used: true }, "{at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn growth_waits_for_the_manager_and_a_stop_waits_for_its_end() {
        if ["systemd-run", "systemctl", "resize2fs"].iter().any(|name| file::program(name).is_none()) {
            testkit::skip("systemd or e2fsprogs are not installed");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let partition = dir.path().join("partition");
        fs::write(&partition, "").unwrap();
        let exit = |code| Ok(WaitStatus::Exited(Pid::from_raw(1), code));
        for stopped in [false, true] {
            let ((tools, mut jobs), stop) = (Tools::new(), CancellationToken::new());
            let growing = tokio::spawn(grow_mounted(partition.clone(), tools, stop.clone()));
            for code in [1, 0] {
                let asked = jobs.recv().await.unwrap();
                assert_eq!(
                    (asked.launch.command.last().unwrap().to_str(), asked.whole),
                    (Some("true"), false)
                );
                asked.end.send(exit(code)).unwrap();
            }
            let grows = jobs.recv().await.unwrap();
            assert!(grows.whole && grows.launch.command.contains(&UNIT.into()));
            if stopped {
                stop.cancel();
                let ends = jobs.recv().await.unwrap();
                assert!(ends.launch.command.ends_with(&["stop".into(), UNIT.into()]));
                ends.end.send(exit(0)).unwrap();
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                assert!(!growing.is_finished(), "it still holds the drive");
            }
            grows.end.send(exit(1)).unwrap();
            growing.await.unwrap();
            assert!(jobs.recv().await.is_none(), "what resize2fs says is the last word");
        }
    }

    #[test]
    fn what_is_no_partition_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for path in ["none", "file"] {
            assert_eq!(place(&dir.path().join(path)).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn a_table_in_a_file_is_grown_and_then_left() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk");
        fs::write(&image, vec![0; gpt::HEAD]).unwrap();
        let place = Place { partition: image.clone(), disk: image, number: 1 };
        assert!(grow_partition(&place).unwrap_err().to_string().contains("no sound table"));
    }
}
