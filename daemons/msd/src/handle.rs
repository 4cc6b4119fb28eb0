//! The handle everybody has.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::download::{Compression, Read};
use crate::drive::Remount;
use crate::drives::Drives;
use crate::model::State;
use crate::name::ImageName;
use crate::owner::{Command, Owner, Reply, Verb};
use crate::selection::Change;
use crate::upload::{Order, Write};

/// Requests that may wait for the owner at once. All but resets hold the region, so there is one of those.
const QUEUE: usize = 8;

/// Where the storage is, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory images lie in.
    pub root: PathBuf,
    /// Bytes read at once.
    pub read_chunk: usize,
    /// Bytes written between two waits for the disk.
    pub sync_chunk: u64,
    /// How often mounts and free space are looked at although no change was told, and a storage that could not be closed is
    /// tried again. Not zero.
    pub look_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/kvmd/msd"),
            read_chunk: 65_536,
            sync_chunk: 4 * 1024 * 1024,
            look_every: Duration::from_secs(10),
        }
    }
}

/// The handle.
#[derive(Debug, Clone)]
pub struct Msd {
    /// `None`: not fitted.
    owner: Option<Reach>,
    state: watch::Receiver<State>,
}

#[derive(Debug, Clone)]
struct Reach {
    commands: mpsc::Sender<Command>,
    region: Arc<Semaphore>,
}

impl Msd {
    /// The handle of a drive that is not fitted: every request is refused, the state says so.
    #[must_use]
    pub fn disabled() -> Self {
        // The sender ends here; receivers keep showing the last value.
        Self { owner: None, state: watch::channel(State::default()).1 }
    }

    /// The state, now and on every change (at most once a second while data flows).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Chooses what the next connect shows. `image`: `None` leaves it, `Some(None)` takes it out. A CD or an image that
    /// cannot be written makes `rw` false, whatever was asked for.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::UnknownImage`].
    pub async fn set_params(
        &self,
        image: Option<Option<String>>,
        cdrom: Option<bool>,
        rw: Option<bool>,
    ) -> Result<(), Error> {
        self.exclusive(|reply| Verb::SetParams(Change { image, cdrom, rw }, reply)).await
    }

    /// Shows the chosen image to the target, or takes it away.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::Disconnected`],
    /// [`Error::ImageNotSelected`], [`Error::UnknownImage`], [`Error::Remount`], [`Error::Locked`],
    /// [`Error::Permissions`], [`Error::Drive`].
    pub async fn set_connected(&self, connected: bool) -> Result<(), Error> {
        self.exclusive(|reply| Verb::SetConnected(connected, reply)).await
    }

    /// Removes an image.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::UnknownImage`],
    /// [`Error::ImageStatic`], [`Error::Remount`], [`Error::Io`].
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        self.exclusive(|reply| Verb::Remove(name.to_owned(), reply)).await
    }

    /// Ends a transfer under way, disconnects the drive and looks at everything anew. Never busy.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Stopped`]; everything else is only logged.
    pub async fn reset(&self) -> Result<(), Error> {
        let owner = self.owner.as_ref().ok_or(Error::Disabled)?;
        owner.ask(None, Verb::Reset).await
    }

    /// Begins an image of `size` bytes. Its directories are made where they are missing. The image is marked incomplete
    /// until [`Write::finish`]; an incomplete one of the same name is written anew.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::BadName`], [`Error::Busy`], [`Error::Offline`], [`Error::Connected`],
    /// [`Error::ImageExists`], [`Error::NoSpace`], [`Error::Remount`], [`Error::Io`].
    pub async fn begin_write(&self, name: &str, size: u64, remove_incomplete: bool) -> Result<Write, Error> {
        self.resume_write(name, size, 0..size, remove_incomplete).await
    }

    /// Goes on with an unfinished image of `size` bytes, from a byte that lies at or before [`crate::Image::written`]. From 0
    /// it begins anew. A part that ends before the image does leaves it unfinished.
    ///
    /// # Errors
    /// As [`Msd::begin_write`], and [`Error::NoSuchOffset`].
    pub async fn resume_write(
        &self,
        name: &str,
        size: u64,
        part: Range<u64>,
        remove_incomplete: bool,
    ) -> Result<Write, Error> {
        if self.owner.is_none() {
            return Err(Error::Disabled);
        }
        let (name, whole) = (ImageName::parse(name)?, part.end >= size);
        let order = Order { name, size, from: part.start, whole, remove_incomplete };
        self.exclusive(|reply| Verb::BeginWrite(order, reply)).await
    }

    /// Begins to read an image out.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Busy`], [`Error::Offline`], [`Error::Connected`], [`Error::UnknownImage`],
    /// [`Error::Io`].
    pub async fn begin_read(&self, name: &str, compression: Compression) -> Result<Read, Error> {
        self.exclusive(|reply| Verb::BeginRead { name: name.to_owned(), compression, reply }).await
    }

    async fn exclusive<T>(&self, verb: impl FnOnce(Reply<T>) -> Verb) -> Result<T, Error> {
        let owner = self.owner.as_ref().ok_or(Error::Disabled)?;
        let permit = Arc::clone(&owner.region).try_acquire_owned().map_err(|_| Error::Busy)?;
        owner.ask(Some(permit), verb).await
    }
}

impl Reach {
    async fn ask<T>(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        verb: impl FnOnce(Reply<T>) -> Verb,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command { verb: verb(reply), permit };
        self.commands.send(command).await.map_err(|_| Error::Stopped)?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }
}

/// Starts the owner. It ends when `stop` is cancelled or the last handle is gone: a transfer under way is ended then,
/// what is connected stays connected. Call within a tokio runtime.
pub fn spawn(
    settings: Settings,
    drives: impl Into<Drives>,
    remount: impl Remount + 'static,
    stop: CancellationToken,
) -> (Msd, JoinHandle<()>) {
    let (commands, inbox) = mpsc::channel(QUEUE);
    let (publish, state) = watch::channel(State { enabled: true, ..State::default() });
    let owner = Owner::new(settings, drives.into(), Box::new(remount), publish);
    let task = tokio::spawn(owner.run(inbox, stop));
    let reach = Reach { commands, region: Arc::new(Semaphore::new(1)) };
    (Msd { owner: Some(reach), state }, task)
}
