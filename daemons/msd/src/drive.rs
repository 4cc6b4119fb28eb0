//! The seam to what the target sees, and to whoever mounts the storage.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use tokio::sync::watch;

/// A future of a driver.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is in the drive, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Medium {
    /// The image file.
    pub path: PathBuf,
    /// As a CD, else as a flash drive.
    pub cdrom: bool,
    /// The target may write.
    pub rw: bool,
}

/// What the drive holds, as far as the driver can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Current {
    /// There is no drive just now.
    #[default]
    Absent,
    /// Nothing is connected.
    Empty,
    /// The target sees this.
    Holds(Medium),
}

/// How a drive stands, whatever is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// A CD drive, else a flash drive.
    pub cdrom: bool,
    /// The target may write.
    pub rw: bool,
}

/// Why a drive refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    /// There is no drive just now.
    #[error("no drive")]
    Absent,
    /// The target holds the medium.
    #[error("locked by the target")]
    Locked,
    /// The file may not be opened.
    #[error("no permission: {0}")]
    Permissions(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A drive the target sees.
pub trait Drive: Send {
    /// Connects a medium. The drive is empty before.
    fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>>;

    /// Disconnects whatever is in it, even if the target objects. Nothing in it is no error.
    fn eject(&mut self) -> Doing<'_, Result<(), DriveError>>;

    /// What it holds, kept up to date by the driver: also when the target ejects, or the drive comes and goes.
    fn current(&self) -> watch::Receiver<Current>;

    /// How it stands while it is empty; `None` for one that has no say in it.
    fn flags(&mut self) -> Doing<'_, Option<Flags>> {
        Box::pin(std::future::ready(None))
    }
}

impl<D: Drive + ?Sized> Drive for Box<D> {
    fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>> {
        (**self).insert(medium)
    }

    fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
        (**self).eject()
    }

    fn current(&self) -> watch::Receiver<Current> {
        (**self).current()
    }

    fn flags(&mut self) -> Doing<'_, Option<Flags>> {
        (**self).flags()
    }
}

/// Makes the storage writable and read-only again.
pub trait Remount: Send {
    /// Does it; the text says why it could not be done.
    fn remount(&mut self, rw: bool) -> Doing<'_, Result<(), String>>;
}

impl<R: Remount + ?Sized> Remount for Box<R> {
    fn remount(&mut self, rw: bool) -> Doing<'_, Result<(), String>> {
        (**self).remount(rw)
    }
}
