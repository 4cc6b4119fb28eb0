//! What clients see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// An image on the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// It was written to its end.
    pub complete: bool,
    /// We may remove it.
    pub removable: bool,
    /// The target may write to it.
    pub writable: bool,
    /// Bytes.
    pub size: u64,
    /// When it last changed.
    pub modified: SystemTime,
    /// Bytes of an unfinished one that are here: an upload can go on there. `None` for a finished one, and where nobody
    /// noted how far it came.
    pub written: Option<u64>,
}

/// The image in the drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveImage {
    /// Its name: the path below the storage, or the whole path of one that is elsewhere.
    pub name: String,
    /// It lies on the storage.
    pub in_storage: bool,
    /// The rest.
    pub image: Image,
}

/// The drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveState {
    /// What is or will be in it.
    pub image: Option<DriveImage>,
    /// The target sees it.
    pub connected: bool,
    /// As a CD, else as a flash drive.
    pub cdrom: bool,
    /// The target may write.
    pub rw: bool,
}

/// A file system images lie on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Bytes.
    pub size: u64,
    /// Bytes we may still use.
    pub free: u64,
    /// We may write to it.
    pub writable: bool,
}

/// How far an image has been moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The image.
    pub name: String,
    /// Bytes in all.
    pub size: u64,
    /// Bytes so far.
    pub done: u64,
    /// Bytes a second of late; 0 until that is known.
    pub speed: u64,
    /// How long the rest will take at that speed.
    pub left: Option<Duration>,
}

/// The storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Images by name (path below the storage). Shared: progress reports do not copy it.
    pub images: Arc<BTreeMap<String, Image>>,
    /// File systems by where they are mounted below the storage; the storage's own is `""`.
    pub parts: BTreeMap<String, Part>,
    /// A client reads this.
    pub downloading: Option<Transfer>,
    /// A client writes this.
    pub uploading: Option<Transfer>,
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// False when no drive is fitted.
    pub enabled: bool,
    /// Storage and drive are there.
    pub online: bool,
    /// Somebody is at work.
    pub busy: bool,
    /// `None` while offline.
    pub drive: Option<DriveState>,
    /// `None` while offline.
    pub storage: Option<Storage>,
}
