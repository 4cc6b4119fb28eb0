//! Where an image lies: the directory is held open, and everything is done in it by name.
//!
//! Others write in the storage too (the target's emulator, whoever copies images by SSH, who prepared the card), and a
//! link they plant could lead our hand anywhere. So no link is ever followed, on the way or at the end, only regular
//! files are touched, and what should be new has to be new. Holding the directory means that its path may be swapped
//! under us without any effect.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::libc::{S_IFMT, S_IFREG};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sys::beneath;

use crate::transfer::failed;
use crate::{Error, name};

/// What a new image may be read by: us and the storage's group, in which the target's emulator is.
const IMAGE_MODE: u32 = 0o640;
const MARKER_MODE: u32 = 0o640;
/// The least that an image has which the target may write.
const LENT_MODE: u32 = 0o660;
const GROUP_WRITES: u32 = 0o060;

/// An image's name in its directory, whether it exists or not.
#[derive(Debug)]
pub(crate) struct Place {
    dir: OwnedFd,
    name: PathBuf,
    marker: PathBuf,
    /// For messages only: nothing is opened by it.
    path: PathBuf,
}

/// A place whose last directories may be missing.
#[derive(Debug)]
pub(crate) struct Site {
    nearest: OwnedFd,
    missing: Vec<PathBuf>,
    name: PathBuf,
    marker: PathBuf,
    path: PathBuf,
}

impl Place {
    /// The place of an image in a directory there is. Blocks.
    pub(crate) fn find(root: &Path, image: &str) -> Result<Self, Error> {
        let site = Site::survey(root, image)?;
        if site.missing.is_empty() { site.build() } else { Err(Error::UnknownImage(image.to_owned())) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the image for reading. Blocks.
    pub(crate) fn open(&self) -> Result<File, Error> {
        beneath::read(&self.dir, &self.name).map_err(failed(&self.path))
    }

    /// Lets the storage's group write the image: the target's emulator is in it, and is another user than we are. The
    /// umask kept it out. Stays so, because an emulator that is started again takes the image again. Blocks.
    pub(crate) fn lend(&self) -> Result<(), Error> {
        let file = self.open()?;
        let mode = file.metadata().map_err(failed(&self.path))?.permissions().mode() & 0o777;
        // A file system without modes shows those of its mount, and may refuse to hear of others.
        if mode & GROUP_WRITES == GROUP_WRITES {
            return Ok(());
        }
        file.set_permissions(Permissions::from_mode(mode | LENT_MODE)).map_err(failed(&self.path))
    }

    /// Opens an unfinished image to go on with it, and its marker. Blocks.
    pub(crate) fn reopen(&self) -> Result<(File, File), Error> {
        let open = |name| beneath::write(&self.dir, name).map_err(failed(&self.path));
        Ok((open(&self.name)?, open(&self.marker)?))
    }

    /// Makes the marker, then the image; neither may exist (see [`Place::clear`]). Blocks.
    pub(crate) fn create(&self) -> Result<(File, File), Error> {
        let failed = failed(&self.path);
        let marker = beneath::create_new(&self.dir, &self.marker, MARKER_MODE).map_err(&failed)?;
        let made = self
            .sync()
            .and_then(|()| beneath::create_new(&self.dir, &self.name, IMAGE_MODE).map_err(&failed));
        if made.is_err() {
            let _ = self.unlink(&self.marker);
        }
        Ok((made?, marker))
    }

    /// Removes the image, if there is one and it is a regular file, then its marker. In this order, on the disk too: a
    /// marker without an image means nothing, an image without its marker would be taken for whole. Blocks.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        if self.look(&self.name)?.is_some() {
            self.unlink(&self.name)?;
            self.sync()?;
        }
        if self.look(&self.marker)?.is_some() { self.unlink(&self.marker) } else { Ok(()) }
    }

    /// Removes an image there is, and its marker. Blocks.
    pub(crate) fn remove(&self, image: &str) -> Result<(), Error> {
        match self.look(&self.name)? {
            Some(stat) if is_regular(&stat) => self.clear(),
            _ => Err(Error::UnknownImage(image.to_owned())),
        }
    }

    /// The image is whole now. Blocks.
    pub(crate) fn unmark(&self) -> Result<(), Error> {
        self.unlink(&self.marker)?;
        self.sync()
    }

    fn look(&self, name: &Path) -> Result<Option<FileStat>, Error> {
        look(&self.dir, name).map_err(failed(&self.path))
    }

    fn unlink(&self, name: &Path) -> Result<(), Error> {
        unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| failed(&self.path.with_file_name(name))(errno.into()))
    }

    /// Names made and removed are on the disk.
    fn sync(&self) -> Result<(), Error> {
        nix::unistd::fsync(&self.dir).map_err(|errno| failed(&self.path)(errno.into()))
    }
}

impl Site {
    /// Finds the directories there are. A link or a file among them is refused. Blocks.
    pub(crate) fn survey(root: &Path, image: &str) -> Result<Self, Error> {
        let bad = |why| Error::BadName { name: image.to_owned(), why };
        let path = root.join(image);
        let relative = Path::new(image);
        let (Some(parent), Some(name), Some(marker)) =
            (relative.parent(), relative.file_name(), name::marker(Path::new(image)))
        else {
            return Err(bad("not a file name"));
        };
        let (name, marker) = (PathBuf::from(name), marker.file_name().map(PathBuf::from).unwrap_or_default());
        // The storage itself may be given by a link: that is the administrator's word.
        let top = File::open(root).map_err(failed(root))?;
        let mut missing = Vec::new();
        for dir in parent.ancestors() {
            match beneath::directory(&top, dir) {
                Ok(nearest) => {
                    missing.reverse();
                    return Ok(Self { nearest, missing, name, marker, path });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.extend(dir.file_name().map(PathBuf::from));
                }
                Err(error) if is_obstacle(&error) => return Err(bad("a part of it is not a directory")),
                Err(error) => return Err(failed(&root.join(dir))(error)),
            }
        }
        Err(failed(root)(io::ErrorKind::NotFound.into()))
    }

    /// The bytes a broken image of that name takes on the disk; an error when the name is somebody else's. Blocks.
    pub(crate) fn occupied(&self, image: &str) -> Result<u64, Error> {
        if !self.missing.is_empty() {
            return Ok(0);
        }
        let look = |name: &Path| look(&self.nearest, name).map_err(failed(&self.path));
        match look(&self.name)? {
            None => Ok(0),
            Some(stat) if is_regular(&stat) && look(&self.marker)?.is_some() => {
                Ok(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512))
            }
            Some(_) => Err(Error::ImageExists(image.to_owned())),
        }
    }

    /// Where the file will lie: for asking about the file system.
    pub(crate) fn nearest(&self) -> &OwnedFd {
        &self.nearest
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directories that are missing. Blocks.
    pub(crate) fn build(self) -> Result<Place, Error> {
        let Self { nearest: mut dir, missing, name, marker, path } = self;
        for part in missing {
            match mkdirat(&dir, &part, Mode::from_bits_truncate(0o777)) {
                // Somebody else made it meanwhile: it is opened with the same care.
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(&path)(errno.into())),
            }
            dir = beneath::directory(&dir, &part).map_err(failed(&path))?;
        }
        Ok(Place { dir, name, marker, path })
    }
}

/// A link or a file where a directory should be.
fn is_obstacle(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ELOOP | Errno::ENOTDIR))
}

fn is_regular(stat: &FileStat) -> bool {
    stat.st_mode & S_IFMT == S_IFREG
}

fn look(dir: &OwnedFd, name: &Path) -> io::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_image_swapped_for_a_link_or_a_pipe_is_not_read() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        symlink(outside.path(), dir.path().join("way")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        for image in ["link", "pipe"] {
            let refused = Place::find(dir.path(), image).unwrap().open().unwrap_err();
            assert!(matches!(refused, Error::Io { .. }), "{image}: {refused}");
        }
        assert!(matches!(Place::find(dir.path(), "way/secret"), Err(Error::BadName { .. })));
    }

    #[test]
    fn lending_an_image_adds_the_group_and_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, b"").unwrap();
        for (before, after) in
            [(0o600, 0o660), (0o640, 0o660), (0o644, 0o664), (0o770, 0o770), (0o060, 0o060)]
        {
            fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            // Without root a file that is not ours to read cannot be lent.
            if Place::find(dir.path(), "x").unwrap().lend().is_ok() {
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, after);
            }
        }
    }

    #[test]
    fn a_link_is_not_lent() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        symlink(outside.path(), dir.path().join("x")).unwrap();
        assert!(Place::find(dir.path(), "x").unwrap().lend().is_err());
        assert_eq!(fs::metadata(outside.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_removed_through_a_link_or_instead_of_an_image() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        symlink(outside.path(), dir.path().join("way")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        assert!(Place::find(dir.path(), "way/secret").is_err());
        let refused = Place::find(dir.path(), "link").unwrap().remove("link").unwrap_err();
        assert_eq!(refused, Error::UnknownImage("link".to_owned()));
        assert!(outside.path().join("secret").exists() && dir.path().join("link").is_symlink());
        assert_eq!(
            Place::find(dir.path(), "no/such").unwrap_err(),
            Error::UnknownImage("no/such".to_owned())
        );
    }

    #[test]
    fn a_directory_moved_away_meanwhile_still_is_the_one_that_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let place = Site::survey(dir.path(), "sub/x").unwrap().build().unwrap();
        fs::rename(dir.path().join("sub"), dir.path().join("moved")).unwrap();
        symlink(outside.path(), dir.path().join("sub")).unwrap();
        place.create().unwrap();
        assert!(dir.path().join("moved/x").exists() && dir.path().join("moved/.__x.incomplete").exists());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
