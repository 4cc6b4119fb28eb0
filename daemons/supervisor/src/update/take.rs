//! An uploaded bundle taken out of `kvmd`'s reach, before anybody looks at it.
//!
//! What was verified has to be what is installed. So the file is moved into a directory that only root enters, made root's,
//! and taken only if nobody holds it open for writing (a lease on reading is granted only then): from there on nobody but
//! root can change a byte of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, renameat};
use nix::unistd::{Gid, Uid, fchown};

use crate::file;

/// The name a bundle is uploaded under, when it is whole.
pub(super) const NAME: &str = "upload.raucb";
/// Its name with us.
const TAKEN: &str = "taken.raucb";

/// Takes the upload out of `from` into `to`; `None` when there is none. Blocks.
pub(super) fn take(from: &Path, to: &Path) -> io::Result<Option<PathBuf>> {
    file::directory(to, 0o700)?;
    let taken = to.join(TAKEN);
    remove(&taken)?;
    // No link is followed: the directory is kvmd's, and may be anything.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let from = match nix::fcntl::open(from, flags, nix::sys::stat::Mode::empty()) {
        Ok(dir) => dir,
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match renameat(&from, NAME, nix::fcntl::AT_FDCWD, &taken) {
        Ok(()) => {}
        Err(nix::errno::Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    own(&taken).inspect_err(|_| drop(remove(&taken)))?;
    Ok(Some(taken))
}

/// Removes what is there, a directory too: that would let nothing be moved to its place ever after.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Makes a file root's alone; an error when it is no plain file, or somebody still writes it.
fn own(path: &Path) -> io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let bundle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !bundle.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the upload is no plain file"));
    }
    fchown(&bundle, Some(Uid::effective()), Some(Gid::effective()))?;
    bundle.set_permissions(fs::Permissions::from_mode(0o600))?;
    if !sys::lease::has_no_writer(&bundle)? {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the bundle is still being written"));
    }
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_upload_is_taken_and_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        assert!(take(&from, &to).unwrap().is_none(), "no directory yet");
        fs::create_dir(&from).unwrap();
        assert!(take(&from, &to).unwrap().is_none());
        fs::write(from.join(NAME), "bundle").unwrap();
        let taken = take(&from, &to).unwrap().unwrap();
        assert_eq!(fs::read(&taken).unwrap(), b"bundle");
        assert_eq!(fs::metadata(&taken).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&from).unwrap().count(), 0);
    }

    #[test]
    fn one_that_somebody_could_still_change_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        let writer = File::create(from.join(NAME)).unwrap();
        assert_eq!(take(&from, &to).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(writer);
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0, "and is removed");
    }

    #[test]
    fn what_is_no_plain_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to, secret) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("secret"));
        fs::create_dir(&from).unwrap();
        fs::write(&secret, "x").unwrap();
        std::os::unix::fs::symlink(&secret, from.join(NAME)).unwrap();
        take(&from, &to).unwrap_err();
        assert_eq!(fs::read(&secret).unwrap(), b"x");
        nix::unistd::mkfifo(&from.join(NAME), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        take(&from, &to).unwrap_err();
        // A directory in its place must not stay for ever.
        fs::create_dir_all(from.join(NAME).join("deep")).unwrap();
        take(&from, &to).unwrap_err();
        fs::create_dir(to.join(TAKEN)).unwrap();
        fs::write(from.join(NAME), "bundle").unwrap();
        assert!(take(&from, &to).unwrap().is_some());
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join(NAME), "bundle").unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("link")).unwrap();
        take(&dir.path().join("link"), &to).unwrap_err();
    }
}
