//! Where the drive's images lie: a partition of its own, read-only except on request, or a plain directory.
//!
//! The partition is the first fstab entry marked `X-kvmd.otgmsd-user=`, else the one labelled `PIMSD` (API.md
//! section 14). It is mounted nosuid, nodev, noexec, nosymfollow, and what root does on it goes through
//! descriptors: links on the card lead nowhere. A mount left over by a killed predecessor is taken over.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::account::Accounts;
use crate::file;

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

/// The first fstab entry marked for the drive; `by_label` and `by_uuid` are the directories of udev.
#[must_use]
pub fn marked(fstab: &str, dev_disk: &Path) -> Option<Partition> {
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
            device: resolve(device, dev_disk),
            target: PathBuf::from(target),
            kind: (*kind != "auto").then(|| (*kind).to_owned()),
            root: option("X-kvmd.otgmsd-root=").map(PathBuf::from),
        })
    })
}

fn resolve(device: &str, dev_disk: &Path) -> PathBuf {
    for (tag, dir) in [
        ("LABEL=", "by-label"),
        ("UUID=", "by-uuid"),
        ("PARTLABEL=", "by-partlabel"),
        ("PARTUUID=", "by-partuuid"),
    ] {
        if let Some(value) = device.strip_prefix(tag) {
            return dev_disk.join(dir).join(value.trim_matches('"'));
        }
    }
    PathBuf::from(device)
}

/// The storage as it is now.
#[derive(Debug)]
pub struct Storage {
    path: PathBuf,
    mounted: Option<PathBuf>,
    rw: bool,
}

impl Storage {
    /// A plain directory: always writable.
    #[must_use]
    pub fn directory(path: PathBuf) -> Self {
        Self { path, mounted: None, rw: true }
    }

    /// Finds and mounts the partition, else makes the directory `default`; and lets `kvmd` write there.
    ///
    /// # Errors
    ///
    /// What kept the partition from being mounted; the appliance runs without a drive then.
    pub fn open(
        fstab: &Path,
        dev_disk: &Path,
        settings: &config::Storage,
        default: &Path,
        accounts: &Accounts,
    ) -> io::Result<Self> {
        let marked = fs::read_to_string(fstab).ok().and_then(|text| marked(&text, dev_disk));
        let labelled = || {
            let by_label = dev_disk.join("by-label").join(&settings.label);
            let device = settings.device.clone().unwrap_or(by_label);
            device.exists().then(|| Partition { device, target: default.to_owned(), kind: None, root: None })
        };
        // Without root there is nothing to mount, whatever fstab says.
        let partition = if accounts.switch() { marked.or_else(labelled) } else { None };
        let Some(partition) = partition else {
            file::directory(default, 0o2770)?;
            accounts.give(default, accounts.kvmd.uid, accounts.vm.gid)?;
            return Ok(Self::directory(default.to_owned()));
        };
        let mut storage = Self::mounted(&partition, accounts)?;
        storage.prepare(accounts);
        Ok(storage)
    }

    fn mounted(partition: &Partition, accounts: &Accounts) -> io::Result<Self> {
        let target = &partition.target;
        let path = partition.root.clone().unwrap_or_else(|| target.clone());
        let storage = Self { path, mounted: Some(target.clone()), rw: false };
        if is_mount_point(target)? {
            log::info!("{} is mounted already: taking it over", target.display());
            remount(target, false)?;
            return Ok(storage);
        }
        file::directory(target, 0o755)?;
        check(&partition.device);
        let owner = format!("uid={},gid={},umask=0007", accounts.kvmd.uid, accounts.vm.gid);
        let kinds: Vec<&str> = partition.kind.as_deref().map_or_else(|| TYPES.to_vec(), |kind| vec![kind]);
        let mut last = Errno::ENODEV;
        for kind in kinds {
            // File systems without owners get one at the mount.
            let data = ["exfat", "vfat"].contains(&kind).then_some(owner.as_str());
            match mount(Some(&partition.device), target, Some(kind), SAFE | MsFlags::MS_RDONLY, data) {
                Ok(()) => {
                    log::info!("{} ({kind}) is mounted at {}", partition.device.display(), target.display());
                    return Ok(storage);
                }
                Err(error) => last = error,
            }
        }
        Err(io::Error::new(
            io::Error::from(last).kind(),
            format!("mounting {} at {}: {last}", partition.device.display(), target.display()),
        ))
    }

    /// Gives the images' directory to `kvmd` once; a file system without owners has none to give.
    fn prepare(&mut self, accounts: &Accounts) {
        let give = |storage: &mut Self| {
            storage.remount(true)?;
            let root = storage.mounted.as_deref().unwrap_or(&storage.path);
            let images = fs::File::from(file::directory_below(root, &storage.path)?);
            accounts.give_open(&images, accounts.kvmd.uid, accounts.vm.gid)?;
            // After the owner: a change of owner clears the set-group-id bit.
            images.set_permissions(fs::Permissions::from_mode(0o2770))
        };
        if let Err(error) = give(self) {
            log::warn!("{} cannot be given to kvmd: {error}", self.path.display());
        }
        if let Err(error) = self.remount(false) {
            log::warn!("{} stays writable: {error}", self.path.display());
        }
    }

    /// Makes it writable or read-only; does nothing for a plain directory.
    ///
    /// # Errors
    ///
    /// The kernel's words, `EBUSY` while somebody has a file open for writing.
    pub fn remount(&mut self, rw: bool) -> io::Result<()> {
        if let Some(target) = &self.mounted {
            remount(target, rw)?;
            self.rw = rw;
        }
        Ok(())
    }

    /// What to tell those who ask.
    #[must_use]
    pub fn status(&self) -> client::supervisor::MsdStorage {
        client::supervisor::MsdStorage {
            path: self.path.clone(),
            mounted: self.mounted.is_some(),
            rw: self.rw,
        }
    }

    /// Where images lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the partition go; at the end, when no child runs any more.
    pub fn close(&mut self) {
        if let Some(target) = self.mounted.take() {
            // Lazily if it must be: somebody's shell may stand in it, and we leave no mount behind.
            if umount2(&target, MntFlags::empty()).is_err()
                && let Err(error) = umount2(&target, MntFlags::MNT_DETACH)
            {
                log::warn!("{} stays mounted: {error}", target.display());
            }
        }
    }
}

fn remount(target: &Path, rw: bool) -> io::Result<()> {
    let mode = if rw { MsFlags::empty() } else { MsFlags::MS_RDONLY };
    let none: Option<&Path> = None;
    mount(none, target, none, SAFE | MsFlags::MS_REMOUNT | mode, none)?;
    Ok(())
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

/// Lets the file system's own checker repair what it can without asking. A dirty one still mounts read-only.
fn check(device: &Path) {
    if !fs::metadata(device).is_ok_and(|found| found.file_type().is_block_device()) {
        return;
    }
    let checked =
        Command::new("fsck").arg("-p").arg(device).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match checked {
        // 0 nothing, 1 repaired.
        Ok(status) if matches!(status.code(), Some(0 | 1)) => {}
        Ok(status) => log::warn!("the check of {} ended with {status}", device.display()),
        Err(error) => log::info!("{} is not checked: fsck: {error}", device.display()),
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

    #[test]
    fn the_first_marked_entry_with_six_fields_wins() {
        assert_eq!(
            marked(FSTAB, Path::new("/dev/disk")),
            Some(Partition {
                device: "/dev/disk/by-label/PIMSD".into(),
                target: "/var/lib/kvmd/msd".into(),
                kind: Some("ext4".into()),
                root: Some("/var/lib/kvmd/msd/in".into()),
            })
        );
        assert_eq!(marked("/dev/sda1 /a auto X-kvmd.otgmsd-user=k 0 0", Path::new("/d")).unwrap().kind, None);
        assert_eq!(marked("LABEL=PIROOT / ext4 ro 0 1", Path::new("/d")), None);
    }

    #[test]
    fn without_a_partition_it_is_a_directory_and_a_remount_does_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        let path = dir.path().join("msd");
        let settings = config::Storage { label: "PIMSD".to_owned(), device: None };
        let accounts = crate::account::tests::found();
        let mut storage = Storage::open(&none, &none, &settings, &path, &accounts).unwrap();
        storage.remount(false).unwrap();
        let status = storage.status();
        assert_eq!((status.mounted, status.rw, status.path), (false, true, path.clone()));
        storage.close();
        assert!(path.is_dir());
    }

    proptest! {
        #[test]
        fn no_fstab_panics(text in "([ -~\t]{0,80}\n){0,5}") {
            let _ = marked(&text, Path::new("/d"));
        }
    }
}
