//! Opening paths that cannot lead out of a directory, whoever else may write there: openat2(2).
//!
//! No symbolic link is followed on the way or at the end, not even one that leads nowhere. Mounts below the directory
//! are part of it. Kernels before 5.6 are served by walking one name at a time; the answers are the same, up to which
//! of `ELOOP` and `ENOTDIR` a link gives.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Opens a directory below `root`; an empty path is `root` itself, opened anew.
///
/// # Errors
///
/// What open(2) says: `NotFound`; `ELOOP` or `ENOTDIR` where a part of the path is a link or no directory;
/// `InvalidInput` for a path that is not made of plain names.
pub fn directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    if path.as_os_str().is_empty() {
        return Ok(openat(root, ".", flags | OFlag::O_CLOEXEC, Mode::empty())?);
    }
    open(root, path, flags, Mode::empty())
}

/// Opens a regular file below `root` for reading.
///
/// # Errors
///
/// As [`directory`]; `InvalidInput` for what is no regular file. A pipe or a device without its other end does not
/// block.
pub fn read(root: impl AsFd, path: &Path) -> io::Result<File> {
    let file: File =
        open(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty())?.into();
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Opens a regular file there is below `root` for reading and writing. Nothing of it is cut.
///
/// # Errors
///
/// As [`read`].
pub fn write(root: impl AsFd, path: &Path) -> io::Result<File> {
    let file: File =
        open(root, path, OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty())?.into();
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Makes a new regular file below `root` for reading and writing, of exactly this mode, whatever the umask.
///
/// # Errors
///
/// As [`directory`]; `AlreadyExists` for whatever has that name, a link included. The mode is only a wish where a file
/// system has none of its own.
pub fn create_new(root: impl AsFd, path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
    let mode = Mode::from_bits_truncate(mode);
    let fd = open(root, path, flags, mode)?;
    match nix::sys::stat::fchmod(&fd, mode) {
        Ok(()) | Err(Errno::EPERM | Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(fd.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn open(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
    plain(path)?;
    match resolve(&root, path, flags, mode) {
        Err(Errno::ENOSYS) => Ok(walk(&root, path, flags, mode)?),
        other => Ok(other?),
    }
}

/// Names only. `..` would be refused by the kernel when it leads out; a path that needs it was not made by us.
fn plain(path: &Path) -> io::Result<()> {
    let mut parts = path.components().peekable();
    if parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_))) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain path"))
}

fn resolve(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    // Unlike open(2), it refuses a mode for nothing.
    let mode = if flags.contains(OFlag::O_CREAT) { mode } else { Mode::empty() };
    let how = OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    openat2(root, path, how)
}

/// The same, name by name.
fn walk(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let on_the_way = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut here: Option<OwnedFd> = None;
    let mut parts = path.iter().peekable();
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_some() { on_the_way } else { flags };
        let next = match &here {
            Some(dir) => step(dir, part, flags, mode),
            None => step(&root, part, flags, mode),
        };
        here = Some(next?);
    }
    here.ok_or(Errno::EINVAL)
}

fn step(dir: impl AsFd, name: &OsStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    openat(dir, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, mode)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use proptest::prelude::*;

    use super::*;

    type Opener = fn(&File, &Path, OFlag, Mode) -> nix::Result<OwnedFd>;
    const WAYS: [(&str, Opener); 2] = [
        ("openat2", |root, path, flags, mode| resolve(root, path, flags, mode)),
        ("name by name", |root, path, flags, mode| walk(root, path, flags, mode)),
    ];

    /// A directory with a file inside, a file outside, and links of each kind to it.
    fn house() -> (tempfile::TempDir, File) {
        let house = tempfile::tempdir().unwrap();
        let root = house.path().join("root");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::write(root.join("sub/deep/file"), b"inside").unwrap();
        fs::write(house.path().join("secret"), b"outside").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("sub/deep/file", root.join("inner")).unwrap();
        symlink("sub", root.join("way")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("../new", root.join("dangling")).unwrap();
        let fd = File::open(&root).unwrap();
        (house, fd)
    }

    #[test]
    fn neither_way_of_opening_follows_a_link() {
        for (name, open) in WAYS {
            let (house, root) = house();
            for path in ["link", "inner", "way/deep/file", "up/secret", "dangling", "up/new"] {
                for flags in [OFlag::O_RDONLY, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC] {
                    let refused = open(&root, Path::new(path), flags, Mode::S_IRUSR).unwrap_err();
                    assert!(matches!(refused, Errno::ELOOP | Errno::ENOTDIR), "{name} {path}: {refused}");
                }
            }
            assert_eq!(fs::read(house.path().join("secret")).unwrap(), b"outside");
            assert!(!house.path().join("new").exists());
        }
    }

    #[test]
    fn both_ways_find_what_is_inside_and_miss_what_is_not() {
        for (name, open) in WAYS {
            let (_house, root) = house();
            let mut text = String::new();
            let fd = open(&root, Path::new("sub/deep/file"), OFlag::O_RDONLY, Mode::empty()).unwrap();
            File::from(fd).read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{name}");
            let missing = open(&root, Path::new("sub/no/file"), OFlag::O_RDONLY, Mode::empty()).unwrap_err();
            assert_eq!(missing, Errno::ENOENT, "{name}");
        }
    }

    #[test]
    fn only_regular_files_are_read_and_a_pipe_blocks_nobody() {
        let (house, root) = house();
        nix::unistd::mkfifo(&house.path().join("root/pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        for path in ["pipe", "sub"] {
            assert_eq!(
                read(&root, Path::new(path)).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{path}"
            );
        }
        assert!(read(&root, Path::new("sub/deep/file")).is_ok());
    }

    #[test]
    fn a_new_file_is_new_and_has_its_mode_whatever_the_umask() {
        let (house, root) = house();
        let mut file = create_new(&root, Path::new("sub/new"), 0o666).unwrap();
        file.write_all(b"x").unwrap();
        let mode = fs::metadata(house.path().join("root/sub/new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o666);
        for taken in ["sub/new", "link", "dangling"] {
            let refused = create_new(&root, Path::new(taken), 0o600).unwrap_err();
            assert!(
                refused.kind() == io::ErrorKind::AlreadyExists || refused.raw_os_error() == Some(libc::ELOOP),
                "{taken}: {refused}"
            );
        }
    }

    #[test]
    fn a_directory_is_opened_and_the_empty_path_is_the_root() {
        let (_house, root) = house();
        assert!(read(directory(&root, Path::new("sub/deep")).unwrap(), Path::new("file")).is_ok());
        assert!(read(directory(&root, Path::new("")).unwrap(), Path::new("sub/deep/file")).is_ok());
        assert!(directory(&root, Path::new("way")).is_err() && directory(&root, Path::new("up")).is_err());
    }

    #[test]
    fn paths_that_are_not_plain_are_refused() {
        let (_house, root) = house();
        for path in ["", "/etc/passwd", "..", "../secret", "sub/../../secret", "."] {
            assert_eq!(
                read(&root, Path::new(path)).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn both_ways_agree_on_every_path(parts in prop::collection::vec(
            prop_oneof![Just("sub"), Just("deep"), Just("file"), Just("way"), Just("up"), Just("link"), Just("secret")], 1..5)
        ) {
            let (_house, root) = house();
            let path = parts.join("/");
            let [one, two] = WAYS.map(|(_, open)| open(&root, Path::new(&path), OFlag::O_RDONLY, Mode::empty()).is_ok());
            prop_assert_eq!(one, two);
        }
    }
}
