//! The handle everybody has.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::drive::{Drive, Remount};
use crate::model::State;
use crate::transfer::{Compression, Read, Write};

/// Where the storage is, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory images lie in.
    pub root: PathBuf,
    /// Bytes read at once.
    pub read_chunk: usize,
    /// Bytes written between two waits for the disk.
    pub sync_chunk: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { root: PathBuf::from("/var/lib/kvmd/msd"), read_chunk: 65_536, sync_chunk: 4 * 1024 * 1024 }
    }
}

/// The handle.
#[derive(Debug, Clone)]
pub struct Msd {
    state: watch::Receiver<State>,
}

impl Msd {
    /// The handle of a drive that is not fitted.
    #[must_use]
    pub fn disabled() -> Self {
        Self { state: watch::channel(State::default()).1 }
    }

    /// The state, now and on every change (at most once a second while data flows).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Chooses what the next connect shows. `image`: `None` leaves it, `Some(None)` takes it out.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::UnknownImage`].
    pub async fn set_params(
        &self,
        image: Option<Option<String>>,
        cdrom: Option<bool>,
        rw: Option<bool>,
    ) -> Result<(), Error> {
        let _ = (image, cdrom, rw);
        Err(Error::Disabled)
    }

    /// Shows the chosen image to the target, or takes it away.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::Disconnected`], [`Error::ImageNotSelected`],
    /// [`Error::UnknownImage`], [`Error::Remount`], [`Error::Locked`], [`Error::Permissions`], [`Error::Drive`].
    pub async fn set_connected(&self, connected: bool) -> Result<(), Error> {
        let _ = connected;
        Err(Error::Disabled)
    }

    /// Removes an image.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::UnknownImage`], [`Error::ImageStatic`],
    /// [`Error::Remount`], [`Error::Io`].
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let _ = name;
        Err(Error::Disabled)
    }

    /// Ends a transfer under way, disconnects the drive and looks at everything anew.
    ///
    /// # Errors
    /// [`Error::Disabled`]; everything else is only logged.
    pub async fn reset(&self) -> Result<(), Error> {
        Err(Error::Disabled)
    }

    /// Begins an image of `size` bytes.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::ImageExists`],
    /// [`Error::NoSpace`], [`Error::Remount`], [`Error::Io`].
    pub async fn begin_write(&self, name: &str, size: u64, remove_incomplete: bool) -> Result<Write, Error> {
        let _ = (name, size, remove_incomplete);
        Err(Error::Disabled)
    }

    /// Begins to read an image out.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::UnknownImage`], [`Error::Io`].
    pub async fn begin_read(&self, name: &str, compression: Compression) -> Result<Read, Error> {
        let _ = (name, compression);
        Err(Error::Disabled)
    }
}

/// Starts the owner. It ends when `stop` is cancelled, leaving what is connected connected.
pub fn spawn(
    settings: Settings,
    drive: impl Drive + 'static,
    remount: impl Remount + 'static,
    stop: CancellationToken,
) -> (Msd, JoinHandle<()>) {
    let _ = (settings, drive, remount);
    (Msd::disabled(), tokio::spawn(async move { stop.cancelled().await }))
}
