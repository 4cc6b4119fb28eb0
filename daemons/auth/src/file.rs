//! Small files that must never be half written, and fingerprints to see that they changed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::Path,
    time::Duration,
};

use nix::{fcntl::OFlag, unistd::Uid};

use crate::error::{Error, random};

/// What tells one state of a file from another without reading it. The inode changes by every rename, the change time
/// by every write, and neither can be set back by who writes the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    len_bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// The stamp of the file a path leads to; `None` when it cannot be looked at.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let ns = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            len_bytes: meta.len(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether the last change lies `margin` or more in the past. A younger file could be written again within the
    /// granularity of its time stamp and look unchanged; so could one from the future.
    #[must_use]
    pub fn settled(&self, wall: Duration, margin: Duration) -> bool {
        let ns = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        self.changed_ns.saturating_add(ns(margin)) <= ns(wall)
    }
}

/// Reads a text file of at most `max_bytes`.
///
/// # Errors
/// [`Error::Read`], also for a file that is larger or not UTF-8.
pub fn read(path: &Path, max_bytes: u64) -> Result<String, Error> {
    let text = |bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"));
    let read = read_bytes(path, max_bytes).and_then(text);
    read.map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn read_bytes(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than it may be"));
    }
    Ok(bytes)
}

/// Reads a text file as [`read`] does; none when there is no such file.
///
/// # Errors
/// [`Error::Read`].
pub fn read_if_there(path: &Path, max_bytes: u64) -> Result<Option<String>, Error> {
    if_there(read(path, max_bytes))
}

/// As [`read_if_there`], whatever is in the file.
///
/// # Errors
/// [`Error::Read`].
pub fn bytes_if_there(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
    if_there(read_bytes(path, max_bytes).map_err(|source| Error::Read { path: path.to_owned(), source }))
}

fn if_there<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match read {
        Err(Error::Read { source, .. }) if matches!(source.kind(), NotFound | NotADirectory) => Ok(None),
        other => other.map(Some),
    }
}

/// Opens a file, and nothing that is none: it might keep us waiting for ever. Root reads here too, where the daemon may
/// write: there no link leads anywhere, else root would read out for the daemon what is not the daemon's.
fn open(path: &Path) -> io::Result<File> {
    let others = |directory: &Path| fs::metadata(directory).is_ok_and(|found| found.uid() != 0);
    let planted = Uid::effective().is_root() && path.parent().is_some_and(others);
    let follow = if planted { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | follow;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(file)
}

/// Replaces a file as a whole: temporary file beside it, fsync, rename, fsync of the directory. Mode 0600; the owner
/// of the file before (or of the directory, for a new one) is kept where we may, so that root's `kvmctl` does not
/// lock the daemon out. Missing parent directories are made, mode 0700.
///
/// # Errors
/// [`Error::Write`]; the file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut tag = [0; 8];
    random(&mut tag)?;
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else { return Err(failed(io::ErrorKind::InvalidInput.into())) };
    let temporary = directory.join(format!(".{}.{}.tmp", name.to_string_lossy(), hex::encode(tag)));
    let write = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // create_new: a link planted in a directory that somebody else can write is never followed.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let before = fs::metadata(path).or_else(|_| fs::metadata(directory))?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            // Only root may give a file away; for others the owner is right already.
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        failed(source)
    })
}

/// First start: copies `from` to `to` unless `to` exists already. Answers whether something was copied.
///
/// # Errors
/// [`Error::Read`] when `from` is there but unreadable, [`Error::Write`].
pub fn adopt(from: &Path, to: &Path, max_bytes: u64) -> Result<bool, Error> {
    if to.exists() || !from.exists() {
        return Ok(false);
    }
    replace(to, read(from, max_bytes)?.as_bytes())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_no_file_is_not_waited_for_and_no_planted_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&fifo, 10).is_err());
        fs::write(dir.path().join("secret"), "x").unwrap();
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), theirs.join("link")).unwrap();
        assert_eq!(read(&theirs.join("link"), 10).unwrap(), "x", "one's own links are followed");
        if Uid::effective().is_root() {
            std::os::unix::fs::chown(&theirs, Some(960), Some(960)).unwrap();
            assert!(read(&theirs.join("link"), 10).is_err());
        }
    }

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/secret");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 100).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_names_the_file_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = replace(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_stamp_changes_with_every_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert_eq!(Stamp::of(&path), None);
        replace(&path, b"same").unwrap();
        let before = Stamp::of(&path).unwrap();
        assert_eq!(Stamp::of(&path), Some(before));
        replace(&path, b"same").unwrap();
        assert_ne!(Stamp::of(&path), Some(before));
    }

    #[test]
    fn a_young_or_future_file_is_not_settled() {
        let stamp = Stamp { device: 0, inode: 0, len_bytes: 0, modified_ns: 0, changed_ns: 10_000_000_000 };
        let margin = Duration::from_secs(2);
        assert!(stamp.settled(Duration::from_secs(12), margin));
        assert!(!stamp.settled(Duration::from_secs(11), margin));
        assert!(!stamp.settled(Duration::from_secs(3), margin));
    }

    #[test]
    fn a_file_over_its_bound_is_an_error_not_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"12345").unwrap();
        assert!(read(&path, 4).is_err());
        assert_eq!(read(&path, 5).unwrap(), "12345");
    }

    #[test]
    fn adoption_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        assert!(!adopt(&from, &to, 100).unwrap());
        replace(&from, b"old").unwrap();
        assert!(adopt(&from, &to, 100).unwrap());
        replace(&to, b"own").unwrap();
        assert!(!adopt(&from, &to, 100).unwrap());
        assert_eq!(read(&to, 100).unwrap(), "own");
    }
}
