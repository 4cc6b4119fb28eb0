//! Files that survive a power cut: written beside, synced, renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};

/// Replaces a file in one step: after a crash it has the old or the new content, never half.
///
/// # Errors
///
/// The kernel's words; the old file is then still there.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = dir.join(name);
    // Left over from a crash, perhaps with another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    // The mode given at creation is subject to the mask; this one is not.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

/// Makes a directory and its parents (0755) where missing, and gives it the mode.
///
/// # Errors
///
/// The kernel's words.
pub fn directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    set_mode(path, mode)
}

/// Gives a path that mode.
///
/// # Errors
///
/// The kernel's words.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a directory where missing; one that is there keeps its mode: it may be a person's.
///
/// # Errors
///
/// The kernel's words.
pub fn directory_if_missing(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() { Ok(()) } else { directory(path, mode) }
}

/// Opens the directory at `path`, at or below `root`, and makes it and its parents (0755) where missing.
///
/// Below `root` no link is followed: what lies there may have been written by anybody, on another machine. The
/// caller changes mode and owner through the descriptor, not by the path.
///
/// # Errors
///
/// The kernel's words; `InvalidInput` for a path that is not below `root`, `ELOOP` or `ENOTDIR` for a link.
pub fn directory_below(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let outside = || io::Error::new(io::ErrorKind::InvalidInput, "not below the mount point");
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let below = path.strip_prefix(root).map_err(|_| outside())?;
    let mut dir = open(root, flags, Mode::empty())?;
    for part in below.components() {
        let Component::Normal(name) = part else { return Err(outside()) };
        dir = match openat(&dir, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                mkdirat(&dir, name, Mode::from_bits_truncate(0o755))?;
                openat(&dir, name, flags, Mode::empty())
            }
            found => found,
        }?;
    }
    Ok(dir)
}

/// A program by path, or by name in `PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(executable);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_below_the_root_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("mount"), dir.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        for path in ["link", "link/below"] {
            directory_below(&root, &root.join(path)).unwrap_err();
        }
        for path in [outside.clone(), root.join("../outside"), root.join("a/../..")] {
            directory_below(&root, &path).unwrap_err();
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made through the link");
        drop(directory_below(&root, &root).unwrap());
        let made = File::from(directory_below(&root, &root.join("a/b")).unwrap());
        made.set_permissions(fs::Permissions::from_mode(0o2770)).unwrap();
        assert_eq!(fs::metadata(root.join("a/b")).unwrap().permissions().mode() & 0o7777, 0o2770);
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(dir.path().join("key.new"), "half").unwrap();
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
