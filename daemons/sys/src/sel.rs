//! The partition that every computer can read (`sel`): read-only, and writable for as long as somebody writes.
//!
//! Whoever writes there goes through [`Writable`], one process at a time: a lock on the directory keeps one writer from
//! closing it under another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

/// Writable until it is closed or dropped.
#[derive(Debug)]
pub struct Writable {
    dir: PathBuf,
    lock: Option<Flock<File>>,
    /// Whether we opened it.
    remounted: bool,
}

impl Writable {
    /// Opens the partition mounted at `dir`, and waits while another process writes there. A directory that is no mount
    /// point, or one that is writable anyway, is only locked.
    ///
    /// # Errors
    ///
    /// The kernel's words.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let lock = Flock::lock(File::open(dir)?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let read_only = statvfs(dir)?.flags().contains(FsFlags::ST_RDONLY);
        let remounted = read_only && is_mount_point(dir)?;
        if remounted {
            remount(dir, false)?;
        }
        Ok(Self { dir: dir.to_owned(), lock: Some(lock), remounted })
    }

    /// Read-only again, when everything is on the disk.
    ///
    /// # Errors
    ///
    /// The kernel's words; what was written may then not be on the disk.
    pub fn close(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        let synced = nix::unistd::syncfs(&*lock).map_err(io::Error::from);
        let closed = if self.remounted { remount(&self.dir, true) } else { Ok(()) };
        synced.and(closed)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        // Who wants to know closes it.
        let _ = self.end();
    }
}

/// The options it is mounted with, beside the one that changes.
fn remount(dir: &Path, read_only: bool) -> io::Result<()> {
    let mode = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    let options = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none: Option<&Path> = None;
    mount(none, dir, none, options | mode, none)?;
    Ok(())
}

fn is_mount_point(dir: &Path) -> io::Result<bool> {
    let parent = dir.parent().unwrap_or(dir);
    Ok(fs::metadata(dir)?.dev() != fs::metadata(parent)?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_only_locked_and_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let open = Writable::open(dir.path()).unwrap();
        fs::write(dir.path().join("x"), "x").unwrap();
        let second = || Flock::lock(File::open(dir.path()).unwrap(), FlockArg::LockExclusiveNonblock);
        assert!(second().is_err());
        open.close().unwrap();
        assert!(second().is_ok());
    }

    #[test]
    fn what_is_not_there_cannot_be_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Writable::open(&dir.path().join("x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
