//! What lies on the storage.
//!
//! Every regular file is an image, in sub-directories too. Left out: names that start with a dot, `lost+found`, symbolic
//! links, names that are not UTF-8 (no client could ask for them). A file system mounted below is a part of its own, and
//! its images are as writable as it lets us; those of the storage itself always are, because it is remounted on demand.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::sys::statvfs::{Statvfs, fstatvfs, statvfs};
use nix::unistd::{AccessFlags, access};

use crate::model::{Image, Part};
use crate::{mounts, name, note};

/// Directories deeper than this are not looked into.
const DEPTH: usize = 16;
/// More images than this are not listed: the list goes to every client.
const IMAGES: usize = 10_000;

/// The storage at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) images: Arc<BTreeMap<String, Image>>,
    pub(crate) parts: BTreeMap<String, Part>,
    /// Every directory looked into, for whoever waits for changes.
    pub(crate) dirs: Vec<PathBuf>,
    /// Where other file systems are mounted.
    pub(crate) mounts: Vec<PathBuf>,
}

/// Looks at everything. The error is for a storage that is not there.
pub(crate) fn scan(root: &Path) -> io::Result<Scan> {
    let mounts = mount_points(root);
    let mut walk =
        Walk { root, mounts: &mounts, images: BTreeMap::new(), parts: BTreeMap::new(), dirs: Vec::new() };
    walk.parts.insert(String::new(), Part { writable: true, ..space(root)? });
    // An unreadable root is a storage that is not there; unreadable places below are only left out.
    fs::read_dir(root)?;
    walk.dir(root, Owner::Storage, 0);
    let Walk { images, parts, dirs, .. } = walk;
    Ok(Scan { images: Arc::new(images), parts, dirs, mounts })
}

/// The mount points below `root`; none where the kernel does not say.
pub(crate) fn mount_points(root: &Path) -> Vec<PathBuf> {
    fs::read("/proc/self/mountinfo").map_or_else(|_| Vec::new(), |text| mounts::below(root, &text))
}

/// The size and the free space of the file system a path lies on.
pub(crate) fn space(path: &Path) -> io::Result<Part> {
    Ok(part(&statvfs(path)?))
}

/// The same for something open.
pub(crate) fn space_at(fd: impl AsFd) -> io::Result<Part> {
    Ok(part(&fstatvfs(fd)?))
}

fn part(stat: &Statvfs) -> Part {
    let fragment = stat.fragment_size();
    Part {
        size: stat.blocks().saturating_mul(fragment),
        free: stat.blocks_available().saturating_mul(fragment),
        writable: true,
    }
}

/// Which part a path belongs to: the longest mount point above it, by its key.
pub(crate) fn part_of<'a>(parts: &'a BTreeMap<String, Part>, image: &str) -> &'a str {
    let inside = |key: &str| image.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
    parts.keys().map(String::as_str).filter(|key| inside(key)).max_by_key(|key| key.len()).unwrap_or("")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Ours: remounted when needed, so always writable.
    Storage,
    /// Somebody else's: as it is.
    Adopted,
}

struct Walk<'a> {
    root: &'a Path,
    mounts: &'a [PathBuf],
    images: BTreeMap<String, Image>,
    parts: BTreeMap<String, Part>,
    dirs: Vec<PathBuf>,
}

impl Walk<'_> {
    fn dir(&mut self, dir: &Path, owner: Owner, depth: usize) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        self.dirs.push(dir.to_owned());
        let mut files = Vec::new();
        let mut marked = HashSet::new();
        for entry in entries.flatten() {
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            if let Some(file) = name::marked(&file_name) {
                marked.insert(file.to_owned());
            }
            if file_name.starts_with('.') || file_name == "lost+found" {
                continue;
            }
            // `file_type` does not follow links: a link is neither of the two below.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH => self.below(&entry.path(), owner, depth + 1),
                Ok(kind) if kind.is_file() => files.push((file_name, entry)),
                _ => {}
            }
        }
        let dir_writable = owner == Owner::Storage || may_write(dir);
        for (file_name, entry) in files {
            let (Some(key), Ok(meta)) = (self.key(&entry.path()), entry.metadata()) else { continue };
            if self.images.len() == IMAGES {
                return;
            }
            let complete = !marked.contains(&file_name);
            let written = if complete { None } else { note::of(dir, &file_name, meta.len()) };
            let image = Image {
                complete,
                removable: dir_writable,
                writable: !name::is_iso(&file_name) && (owner == Owner::Storage || may_write(&entry.path())),
                size: meta.len(),
                modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                written,
            };
            self.images.insert(key, image);
        }
    }

    fn below(&mut self, dir: &Path, owner: Owner, depth: usize) {
        if !self.mounts.iter().any(|mount| mount == dir) {
            return self.dir(dir, owner, depth);
        }
        if let (Some(key), Ok(part)) = (self.key(dir), space(dir)) {
            self.parts.insert(key, Part { writable: may_write(dir), ..part });
            self.dir(dir, Owner::Adopted, depth);
        }
    }

    fn key(&self, path: &Path) -> Option<String> {
        path.strip_prefix(self.root).ok()?.to_str().map(str::to_owned)
    }
}

fn may_write(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn storage(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"12345").unwrap();
        }
        dir
    }

    #[test]
    fn regular_files_are_images_wherever_they_lie() {
        let dir = storage(&["a.img", "sub/deep/b c.ISO", "файл"]);
        let found = scan(dir.path()).unwrap();
        assert_eq!(found.images.keys().collect::<Vec<_>>(), ["a.img", "sub/deep/b c.ISO", "файл"]);
        let image = &found.images["a.img"];
        assert!(image.complete && image.removable && image.writable);
        assert_eq!(image.size, 5);
        assert!(!found.images["sub/deep/b c.ISO"].writable, "an .iso is never writable");
    }

    #[test]
    fn hidden_files_lost_and_found_and_links_are_left_out() {
        let dir = storage(&[".hidden", ".dir/x", "lost+found/x", "real"]);
        symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        symlink("/", dir.path().join("dirlink")).unwrap();
        assert_eq!(scan(dir.path()).unwrap().images.keys().collect::<Vec<_>>(), ["real"]);
    }

    #[test]
    fn a_marker_makes_its_own_image_incomplete_and_no_other() {
        let dir = storage(&["a", "b", ".__a.incomplete", "sub/b", "sub/.__b.incomplete"]);
        let found = scan(dir.path()).unwrap();
        let complete = |name: &str| found.images[name].complete;
        assert_eq!([complete("a"), complete("b"), complete("sub/b")], [false, true, false]);
    }

    #[test]
    fn the_storage_itself_is_the_part_without_a_name() {
        let dir = storage(&[]);
        let part = scan(dir.path()).unwrap().parts[""];
        assert!(part.writable && part.size > 0 && part.free <= part.size);
    }

    #[test]
    fn a_missing_storage_is_an_error() {
        assert!(scan(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn an_image_belongs_to_the_innermost_part() {
        let parts = ["", "nas", "nas/deep"].map(|key| (key.to_owned(), Part::default())).into();
        assert_eq!(part_of(&parts, "a"), "");
        assert_eq!(part_of(&parts, "nas.img"), "");
        assert_eq!(part_of(&parts, "nas/x"), "nas");
        assert_eq!(part_of(&parts, "nas/deep/x"), "nas/deep");
    }
}
