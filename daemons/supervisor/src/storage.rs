//! Where the drive's images lie: a partition of its own, read-only except on request, or a plain directory.
//!
//! The partition is the first fstab entry marked `X-kvmd.otgmsd-user=`, else the one labelled `PIMSD` (API.md
//! section 14). It is mounted nosuid, nodev, noexec, nosymfollow, and what root does on it goes through
//! descriptors: links on the card lead nowhere. A mount left over by a killed predecessor is taken over.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use client::supervisor::ServiceState;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::wait::WaitStatus;

use crate::account::Accounts;
use crate::file;
use crate::label::{Devices, Tag};
use crate::launch::{Launch, Rights};

/// `MS_NOSYMFOLLOW`: no path through a link of the drive, not even one of root's. Linux knows it since 5.10;
/// earlier ones ignore the bit.
const NO_LINKS: MsFlags = MsFlags::from_bits_retain(256);
/// The options that nothing on a lent drive needs.
const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC).union(NO_LINKS);
/// Tried in this order when fstab does not name the file system.
const TYPES: &[&str] = &["ext4", "exfat", "vfat", "f2fs", "btrfs", "xfs"];

/// A partition to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The block device.
    pub device: PathBuf,
    /// Where it belongs.
    pub target: PathBuf,
    /// Its file system, when known.
    pub kind: Option<String>,
    /// Where images lie below the target (`X-kvmd.otgmsd-root=`).
    pub root: Option<PathBuf>,
}

/// The first fstab entry marked for the drive.
#[must_use]
pub fn marked(fstab: &str, devices: &Devices) -> Option<Partition> {
    fstab.lines().find_map(|line| {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // Exactly six, as the reference demands.
        let [device, target, kind, options, _, _] = fields.as_slice() else { return None };
        let option = |name: &str| options.split(',').find_map(|option| option.strip_prefix(name));
        option("X-kvmd.otgmsd-user=")?;
        Some(Partition {
            device: match Tag::parse(device) {
                Some((tag, value)) => devices.find(tag, value),
                None => PathBuf::from(device),
            },
            target: PathBuf::from(target),
            kind: (*kind != "auto").then(|| (*kind).to_owned()),
            root: option("X-kvmd.otgmsd-root=").map(PathBuf::from),
        })
    })
}

/// The storage as it is now.
///
/// ```text
///  Opening ── mount ──▶ Mounted          Directory: no partition here
///     └── check or mount fail ──▶ Failed
/// ```
#[derive(Debug)]
pub enum Storage {
    /// A plain directory: always writable.
    Directory {
        /// Where images lie.
        path: PathBuf,
    },
    /// A partition that is still to be checked and mounted. Its mount point is closed to everybody but root.
    Opening {
        /// Which.
        partition: Partition,
    },
    /// A partition.
    Mounted {
        /// Where images lie.
        path: PathBuf,
        /// Where it is mounted.
        target: PathBuf,
        /// Writable at the moment.
        rw: bool,
    },
    /// There is none, for that reason. What would be its directory is closed to everybody but root, so that nobody
    /// takes it for the drive and fills up the system's own file system.
    Failed {
        /// Where images would lie.
        path: PathBuf,
        /// Why, for people.
        reason: String,
    },
}

/// What others are told of the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// In a few words for programs.
    pub msd: client::supervisor::MsdStorage,
    /// Its life as a service has one; `None` for a plain directory, which has none.
    pub state: Option<ServiceState>,
    /// Why there is none.
    pub fault: Option<String>,
    /// Since when.
    pub since: Instant,
}

impl Shown {
    /// Takes news in; the date stays where the state does.
    pub fn update(&mut self, new: Self) {
        let since = if self.state == new.state { self.since } else { new.since };
        *self = Self { since, ..new };
    }
}

impl Storage {
    /// Finds the partition, else makes the directory `default` and lets `kvmd` write there. Touches no device where udev
    /// runs.
    #[must_use]
    pub fn find(
        fstab: &Path,
        devices: &Devices,
        settings: &config::Storage,
        default: &Path,
        accounts: &Accounts,
    ) -> Self {
        let marked = fs::read_to_string(fstab).ok().and_then(|text| marked(&text, devices));
        let labelled = || {
            let by_label = || devices.find(Tag::Label, &settings.label);
            let device = settings.device.clone().unwrap_or_else(by_label);
            device.exists().then(|| Partition { device, target: default.to_owned(), kind: None, root: None })
        };
        // Without root there is nothing to mount, whatever fstab says.
        let partition = if accounts.switch() { marked.or_else(labelled) } else { None };
        let (made, mut storage) = match partition {
            None => {
                let made = file::directory(default, 0o2770)
                    .and_then(|()| accounts.give(default, accounts.kvmd.uid, accounts.vm.gid))
                    // chown clears the set-group-id bit.
                    .and_then(|()| file::directory(default, 0o2770));
                (made, Self::Directory { path: default.to_owned() })
            }
            Some(partition) => (close_mount_point(&partition.target), Self::Opening { partition }),
        };
        if let Err(error) = made {
            storage.fail(format!("{}: {error}", storage.path().display()));
        }
        storage
    }

    /// The device that is to be checked before [`Storage::mount`].
    #[must_use]
    pub fn to_check(&self) -> Option<&Path> {
        let Self::Opening { partition } = self else { return None };
        let device = partition.device.as_path();
        let block = fs::metadata(device).is_ok_and(|found| found.file_type().is_block_device());
        (block && !is_mount_point(&partition.target).unwrap_or(false)).then_some(device)
    }

    /// Mounts what is to be mounted; takes as long as the device does.
    pub fn mount(&mut self, accounts: &Accounts) {
        let Self::Opening { partition } = self else { return };
        match mount_partition(partition, accounts) {
            Ok(()) => {
                let target = partition.target.clone();
                let path = partition.root.clone().unwrap_or_else(|| target.clone());
                *self = Self::Mounted { path, target, rw: false };
                self.prepare(accounts);
            }
            Err(error) => {
                let reason = format!(
                    "mounting {} at {}: {error}",
                    partition.device.display(),
                    partition.target.display()
                );
                self.fail(reason);
            }
        }
    }

    /// There is no storage, for that reason.
    pub fn fail(&mut self, reason: String) {
        log::error!("the drive's storage: {reason}");
        *self = Self::Failed { path: self.path().to_owned(), reason };
    }

    /// Gives the images' directory to `kvmd` once; a file system without owners has none to give.
    fn prepare(&mut self, accounts: &Accounts) {
        let give = |storage: &mut Self| {
            storage.remount(true)?;
            let Self::Mounted { path, target, .. } = storage else { return Ok(()) };
            let images = fs::File::from(file::directory_below(target, path)?);
            accounts.give_open(&images, accounts.kvmd.uid, accounts.vm.gid)?;
            // After the owner: a change of owner clears the set-group-id bit.
            images.set_permissions(fs::Permissions::from_mode(0o2770))
        };
        if let Err(error) = give(self) {
            log::warn!("{} cannot be given to kvmd: {error}", self.path().display());
        }
        if let Err(error) = self.remount(false) {
            log::warn!("{} stays writable: {error}", self.path().display());
        }
    }

    /// Does something to a partition that is mounted, writable for that long.
    pub fn while_writable(&mut self, work: impl FnOnce()) {
        if !matches!(self, Self::Mounted { .. }) {
            return;
        }
        if let Err(error) = self.remount(true) {
            log::warn!("{} cannot be written: {error}", self.path().display());
            return;
        }
        work();
        if let Err(error) = self.remount(false) {
            log::warn!("{} stays writable: {error}", self.path().display());
        }
    }

    /// Makes it writable or read-only; does nothing for a plain directory.
    ///
    /// # Errors
    ///
    /// The kernel's words, `EBUSY` while somebody has a file open for writing; the reason why there is none.
    pub fn remount(&mut self, rw: bool) -> io::Result<()> {
        match self {
            Self::Directory { .. } => {}
            // It will be read-only.
            Self::Opening { .. } if !rw => {}
            Self::Opening { .. } => {
                return Err(io::Error::other("the drive's storage is still being checked"));
            }
            Self::Mounted { target, rw: now, .. } => {
                remount(target, rw)?;
                *now = rw;
            }
            Self::Failed { reason, .. } => return Err(io::Error::other(reason.clone())),
        }
        Ok(())
    }

    /// What to tell those who ask.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let (mounted, rw, state, fault) = match self {
            Self::Directory { .. } => (false, true, None, None),
            Self::Opening { .. } => (false, false, Some(ServiceState::Starting), None),
            Self::Mounted { rw, .. } => (true, *rw, Some(ServiceState::Ready), None),
            Self::Failed { reason, .. } => (false, false, Some(ServiceState::Stopped), Some(reason.clone())),
        };
        let msd = client::supervisor::MsdStorage { path: self.path().to_owned(), mounted, rw };
        Shown { msd, state, fault, since: Instant::now() }
    }

    /// Where images lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory { path } | Self::Mounted { path, .. } | Self::Failed { path, .. } => path,
            Self::Opening { partition } => partition.root.as_deref().unwrap_or(&partition.target),
        }
    }

    /// Lets the partition go; at the end, when no child runs any more. One that is in use stays, for the next start to
    /// take over: a gadget may outlive us, and what it lends then still is where it says.
    pub fn close(&mut self) {
        let Self::Mounted { path, target, .. } = self else { return };
        if let Err(error) = umount2(target, MntFlags::empty()) {
            // Nothing of ours writes any more, so it fails only where somebody else does.
            let open = remount(target, false).is_err();
            let open = if open { ", writable" } else { "" };
            log::warn!("{} stays mounted{open}: {error}", target.display());
        }
        *self = Self::Failed { path: path.clone(), reason: "the supervisor is stopping".to_owned() };
    }
}

/// Makes the mount point, for root alone until something is mounted there.
fn close_mount_point(target: &Path) -> io::Result<()> {
    if is_mount_point(target)? {
        return Ok(());
    }
    file::directory(target, 0o700)?;
    std::os::unix::fs::lchown(target, Some(0), Some(0))
}

fn mount_partition(partition: &Partition, accounts: &Accounts) -> io::Result<()> {
    let Partition { device, target, kind, .. } = partition;
    if is_mount_point(target)? {
        log::info!("{} is mounted already: taking it over", target.display());
        return match remount(target, false) {
            // A gadget outlives us: the target may be writing.
            Err(error) if is_busy(&error) => Ok(()),
            other => other.inspect_err(|_| {
                let _ = umount2(target, MntFlags::MNT_DETACH);
            }),
        };
    }
    let owner = format!("uid={},gid={},umask=0007", accounts.kvmd.uid, accounts.vm.gid);
    let kinds: Vec<&str> = kind.as_deref().map_or_else(|| TYPES.to_vec(), |kind| vec![kind]);
    let mut last = Errno::ENODEV;
    for kind in kinds {
        // File systems without owners get one at the mount.
        let data = ["exfat", "vfat"].contains(&kind).then_some(owner.as_str());
        match mount(Some(device), target, Some(kind), SAFE | MsFlags::MS_RDONLY, data) {
            Ok(()) => {
                log::info!("{} ({kind}) is mounted at {}", device.display(), target.display());
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

fn remount(target: &Path, rw: bool) -> io::Result<()> {
    let mode = if rw { MsFlags::empty() } else { MsFlags::MS_RDONLY };
    let none: Option<&Path> = None;
    mount(none, target, none, SAFE | MsFlags::MS_REMOUNT | mode, none)?;
    Ok(())
}

/// Somebody has a file open for writing. One that the target ejected is closed a moment after it is out of the drive.
#[must_use]
pub fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

/// A directory on another device than its parent.
fn is_mount_point(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(Some(found.dev())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let parent = path.parent().unwrap_or(path);
    Ok(device(path)?.is_some_and(|own| device(parent).is_ok_and(|parent| parent != Some(own))))
}

/// What lets the file system's own checker repair what it can without asking; `None` where there is none.
#[must_use]
pub fn checker(device: &Path) -> Option<Launch> {
    let command = vec![file::program("fsck")?.into(), "-p".into(), device.into()];
    Some(Launch { command, env: Vec::new(), rights: Rights::All, umask: 0o022, fds: Vec::new() })
}

/// Says how the check ended. A dirty one still mounts read-only.
pub fn checked(device: &Path, status: WaitStatus) {
    match status {
        // 0 nothing, 1 repaired.
        WaitStatus::Exited(_, 0 | 1) => {}
        status => log::warn!("the check of {} ended with {status:?}", device.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FSTAB: &str = "\
# <device> <dir> <type> <options> <dump> <pass>
#LABEL=PIMSD /old ext4 X-kvmd.otgmsd-user=kvmd 0 0
LABEL=PIROOT / ext4 ro 0 1
LABEL=SHORT /short ext4 X-kvmd.otgmsd-user=kvmd 0
LABEL=PIMSD  /var/lib/kvmd/msd ext4 nofail,ro,X-kvmd.otgmsd-user=kvmd,X-kvmd.otgmsd-root=/var/lib/kvmd/msd/in 0 2
LABEL=SECOND /second ext4 X-kvmd.otgmsd-user=kvmd 0 2
";

    /// A machine with udev: its links are trusted, whether they are there or not.
    fn udev() -> Devices {
        let nowhere = PathBuf::from("/nowhere");
        Devices { links: "/".into(), class: nowhere.clone(), nodes: nowhere }
    }

    #[test]
    fn the_first_marked_entry_with_six_fields_wins() {
        assert_eq!(
            marked(FSTAB, &udev()),
            Some(Partition {
                device: udev().links.join("by-label/PIMSD"),
                target: "/var/lib/kvmd/msd".into(),
                kind: Some("ext4".into()),
                root: Some("/var/lib/kvmd/msd/in".into()),
            })
        );
        assert_eq!(marked("/dev/sda1 /a auto X-kvmd.otgmsd-user=k 0 0", &udev()).unwrap().kind, None);
        assert_eq!(marked("LABEL=PIROOT / ext4 ro 0 1", &udev()), None);
    }

    #[test]
    fn without_a_partition_it_is_a_directory_and_a_remount_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        let path = dir.path().join("msd");
        let settings = config::Storage { label: "PIMSD".to_owned(), device: None };
        let accounts = crate::account::tests::found();
        let mut storage = Storage::find(&none, &udev(), &settings, &path, &accounts);
        storage.remount(false).unwrap();
        let shown = storage.shown();
        assert_eq!((shown.msd.mounted, shown.msd.rw, shown.msd.path), (false, true, path.clone()));
        assert_eq!((shown.state, shown.fault), (None, None));
        storage.close();
        assert!(path.is_dir());
    }

    #[test]
    fn a_storage_that_failed_says_why_and_is_not_writable() {
        let mut storage = Storage::Directory { path: "/m".into() };
        storage.fail("no such device".to_owned());
        for rw in [true, false] {
            assert_eq!(storage.remount(rw).unwrap_err().to_string(), "no such device");
        }
        let shown = storage.shown();
        assert_eq!((shown.msd.mounted, shown.msd.rw), (false, false));
        assert_eq!(shown.fault.as_deref(), Some("no such device"));
        storage.close();
        assert_eq!(storage.path(), Path::new("/m"));
    }

    #[test]
    fn a_storage_that_is_being_checked_cannot_be_written_yet() {
        let partition = Partition { device: "/d".into(), target: "/m".into(), kind: None, root: None };
        let mut storage = Storage::Opening { partition };
        storage.remount(false).unwrap();
        storage.remount(true).unwrap_err();
        let shown = storage.shown();
        assert_eq!((shown.state, shown.msd.rw), (Some(ServiceState::Starting), false));
    }

    proptest! {
        #[test]
        fn no_fstab_panics(text in "([ -~\t]{0,80}\n){0,5}") {
            let _ = marked(&text, &udev());
        }
    }
}
