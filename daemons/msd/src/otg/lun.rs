//! A LUN of the gadget as the kernel shows it: a directory of attributes, one word in each.
//!
//! What it demands: a value comes in one write(2). `ro` and `cdrom` change only while `file` is empty. While the target
//! has locked the door, `file` does not change either (`EBUSY`); `forced_eject` unlocks and empties it. `file` is opened
//! with the rights of whoever writes it, and a file that may not be written is quietly opened for reading. A medium needs
//! one block of 512 bytes, or 300 of 2048 as a CD.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use sys::beneath;

use crate::drive::{Current, DriveError, Flags, Medium};

/// No attribute is longer: the kernel gives them one page.
const LONGEST: u64 = 65_536;
/// Bytes from which a CD is cut off by kernels that keep to the time on a disc: 256 minutes of 60 s of 75 blocks.
const LONGEST_CD: u64 = 256 * 60 * 75 * 2048;
/// `ETOOSMALL`: not meant to be seen outside the kernel, which is why no list of errors has it.
const TOO_SMALL: i32 = 525;

/// Why an attribute was not written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It could not be opened: it is not there, or not ours.
    Attribute(io::Error),
    /// The kernel would not have the value.
    Value(io::Error),
}

/// The attributes of one LUN. All of it blocks: the kernel waits for the command the target is just having carried out.
pub(super) trait Attributes: Send {
    /// The text of one, as it is.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Gives one a value, in one piece.
    fn write(&self, name: &str, value: &[u8]) -> Result<(), Refusal>;
}

/// The real ones.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Attributes for Directory {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(self.0.join(name))?.take(LONGEST).read_to_end(&mut text)?;
        Ok(text)
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let mut file = OpenOptions::new().write(true).open(self.0.join(name)).map_err(Refusal::Attribute)?;
        file.write_all(value).map_err(Refusal::Value)
    }
}

/// What `file` says; nothing for an empty drive. Only the newline the kernel added is taken off: names may end with one.
pub(super) fn parse_file(text: &[u8]) -> Option<PathBuf> {
    let path = text.strip_suffix(b"\n").unwrap_or(text);
    (!path.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(path)))
}

pub(super) fn parse_flag(text: &[u8]) -> Option<bool> {
    match text.trim_ascii() {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

fn flag(value: bool) -> &'static [u8] {
    if value { b"1\n" } else { b"0\n" }
}

/// What is in it.
///
/// # Errors
/// The kernel's words, or attributes that make no sense. A LUN that is not there is no error.
pub(super) fn current(lun: &impl Attributes) -> io::Result<Current> {
    let look = || {
        let Some(path) = parse_file(&lun.read("file")?) else { return Ok(Current::Empty) };
        let Flags { cdrom, rw } = flags(lun)?;
        Ok(Current::Holds(Medium { path, cdrom, rw }))
    };
    match look() {
        Err(error) if is_gone(&error) => Ok(Current::Absent),
        other => other,
    }
}

/// How it stands, with or without a medium.
///
/// # Errors
/// As [`current`], and a LUN that is not there.
pub(super) fn flags(lun: &impl Attributes) -> io::Result<Flags> {
    let flag = |name| {
        let text = lun.read(name)?;
        parse_flag(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{name} says {}", text.escape_ascii()))
        })
    };
    Ok(Flags { cdrom: flag("cdrom")?, rw: !flag("ro")? })
}

/// The directory was taken away, also between opening an attribute and reading it.
fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ENOENT, Errno::ENOTDIR, Errno::ENODEV, Errno::ENXIO];
    error.raw_os_error().is_some_and(|number| gone.contains(&Errno::from_raw(number)))
}

/// What the drive is called, as a CD drive and as a disk: 28 characters each, as SCSI wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// While it is a CD drive.
    pub cdrom: String,
    /// While it is a disk.
    pub flash: String,
}

/// Calls the drive what it is, for the next time the target asks: there are kernels with one name only. Which name a
/// drive bears is no reason not to lend it.
pub(super) fn rename(lun: &impl Attributes, names: &Names, cdrom: bool) {
    if lun.read("inquiry_string_cdrom").is_ok() {
        return;
    }
    let name = if cdrom { &names.cdrom } else { &names.flash };
    if let Err(refusal) = lun.write("inquiry_string", format!("{name}\n").as_bytes()) {
        log::debug!("the drive keeps its name: {refusal:?}");
    }
}

/// Puts a medium into an empty drive. Returns what the kernel says is in it then.
pub(super) fn insert(lun: &impl Attributes, medium: &Medium) -> Result<Medium, DriveError> {
    let image = open(&medium.path)?;
    if medium.cdrom && image.metadata().is_ok_and(|meta| meta.len() >= LONGEST_CD) {
        // Not refused: there are kernels without the limit, and they do not say so.
        log::warn!(
            "{} has over 2.3 GB: this kernel may show the target only its beginning as a CD; a flash drive has all of it",
            medium.path.display()
        );
    }
    // In this order: a CD is made read-only by the kernel, and a flash drive that was a CD has to be told.
    set(lun, "ro", flag(!medium.rw))?;
    set(lun, "cdrom", flag(medium.cdrom))?;
    // By descriptor: whatever somebody does to the path now, it is the file we looked at. The kernel shows its real path.
    let by_descriptor = format!("/proc/self/fd/{}\n", image.as_raw_fd());
    lun.write("file", by_descriptor.as_bytes()).map_err(|refusal| match refusal {
        Refusal::Attribute(error) => attribute_failed("file", &error),
        Refusal::Value(error) => not_opened(&error, medium.cdrom),
    })?;
    match current(lun).map_err(|error| DriveError::Failed(error.to_string()))? {
        Current::Holds(held) if held.rw == medium.rw && held.cdrom == medium.cdrom => Ok(held),
        Current::Holds(_) => {
            eject(lun)?;
            Err(DriveError::Permissions("it may be read, but not written".to_owned()))
        }
        Current::Empty => Err(DriveError::Failed("the target ejected it at once".to_owned())),
        Current::Absent => Err(DriveError::Absent),
    }
}

/// Takes out whatever is in it, even if the target has locked it.
pub(super) fn eject(lun: &impl Attributes) -> Result<(), DriveError> {
    let forced = match lun.write("forced_eject", b"\n") {
        // Kernels before 6.0 cannot force.
        Err(Refusal::Attribute(error)) if is_gone(&error) => lun.write("file", b"\n"),
        other => other,
    };
    forced.map_err(|refusal| refused("file", &refusal))?;
    match current(lun).map_err(|error| DriveError::Failed(error.to_string()))? {
        Current::Empty => Ok(()),
        Current::Absent => Err(DriveError::Absent),
        Current::Holds(_) => Err(DriveError::Failed("it was put in again".to_owned())),
    }
}

fn set(lun: &impl Attributes, name: &str, value: &[u8]) -> Result<(), DriveError> {
    lun.write(name, value).map_err(|refusal| refused(name, &refusal))
}

fn refused(name: &str, refusal: &Refusal) -> DriveError {
    match refusal {
        Refusal::Attribute(error) => attribute_failed(name, error),
        Refusal::Value(error) if is(error, Errno::EBUSY) => DriveError::Locked,
        Refusal::Value(error) => DriveError::Failed(format!("{name}: {error}")),
    }
}

fn attribute_failed(name: &str, error: &io::Error) -> DriveError {
    if is_gone(error) { DriveError::Absent } else { DriveError::Failed(format!("{name}: {error}")) }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno as i32)
}

/// Why the kernel did not open the image.
fn not_opened(error: &io::Error, cdrom: bool) -> DriveError {
    let why = match error.raw_os_error() {
        Some(TOO_SMALL) if cdrom => "it is too small for a CD: 614400 bytes at least".to_owned(),
        Some(TOO_SMALL) => "it is too small: 512 bytes at least".to_owned(),
        _ if is(error, Errno::EBUSY) => return DriveError::Locked,
        _ => error.to_string(),
    };
    DriveError::Permissions(why)
}

/// The image, without following any link. Its path begins with the storage's, which was resolved before.
fn open(path: &Path) -> Result<File, DriveError> {
    let refused = |error: io::Error| DriveError::Permissions(format!("{}: {error}", path.display()));
    let below = path.strip_prefix("/").map_err(|_| refused(io::ErrorKind::InvalidInput.into()))?;
    let root = File::open("/").map_err(refused)?;
    beneath::read(&root, below).map_err(refused)
}
