//! The task that owns the storage and the drive.

mod flow;
mod show;
mod storage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use self::flow::{Active, ended};
use self::storage::{lend, sync};
use crate::Error;
use crate::download::{Compression, Read};
use crate::drive::{Current, DriveError, Flags, Medium, Remount};
use crate::drives::Drives;
use crate::handle::Settings;
use crate::model::State;
use crate::notice::{MountNotice, Notice};
use crate::place::Place;
use crate::scan::{self, Scan};
use crate::selection::{Change, Selection};
use crate::upload::{Order, Write};

/// How often progress and free space are shown while data flows.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long changes are gathered before the storage is looked at again.
const GATHER: Duration = Duration::from_millis(200);

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What somebody wants.
pub(crate) enum Verb {
    SetParams(Change, Reply<()>),
    SetConnected(bool, Reply<()>),
    Remove(String, Reply<()>),
    Reset(Reply<()>),
    BeginWrite(Order, Reply<Write>),
    BeginRead { name: String, compression: Compression, reply: Reply<Read> },
}

/// A wish, and the region it holds (a reset holds none).
pub(crate) struct Command {
    pub(crate) verb: Verb,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Owner {
    settings: Settings,
    drives: Drives,
    remount: Box<dyn Remount>,
    /// The storage should be read-only, and is not yet.
    unclosed: bool,
    current: watch::Receiver<Current>,
    /// What `current` said when we last acted on it: what we show and judge by never runs ahead of what we did.
    seen: Current,
    /// How the drive stood when it was first seen is known.
    stands: bool,
    publish: watch::Sender<State>,
    /// `None`: the storage is not there.
    scan: Option<Scan>,
    selection: Selection,
    active: Option<Active>,
    working: bool,
    notice: Notice,
    mounts: MountNotice,
    rescan_at: Option<Instant>,
    stop: CancellationToken,
}

impl Owner {
    pub(crate) fn new(
        settings: Settings,
        drives: Drives,
        remount: Box<dyn Remount>,
        publish: watch::Sender<State>,
    ) -> Self {
        let current = drives.main.current();
        Self {
            settings,
            drives,
            remount,
            unclosed: false,
            current,
            seen: Current::Absent,
            stands: false,
            publish,
            scan: None,
            selection: Selection::default(),
            active: None,
            working: false,
            notice: Notice::new(),
            mounts: MountNotice::new(),
            rescan_at: None,
            stop: CancellationToken::new(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        self.stop = stop.clone();
        self.begin().await;
        let mut progress = interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut mounts = interval(self.settings.look_every);
        mounts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drive_live = true;
        loop {
            // Biased: what has happened comes before what is wanted.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ended = ended(&mut self.active) => self.end_transfer(ended).await,
                changed = self.current.changed(), if drive_live => {
                    drive_live = changed.is_ok();
                    self.drive_changed_by_itself().await;
                }
                command = inbox.recv() => match command {
                    Some(command) => self.serve(command).await,
                    None => break,
                },
                () = self.notice.changed(), if self.rescan_at.is_none() => {
                    self.rescan_at = Some(Instant::now() + GATHER);
                    continue;
                }
                () = sleep_until(self.rescan_at.unwrap_or_else(Instant::now)), if self.rescan_at.is_some() => {
                    self.rescan().await;
                }
                _ = progress.tick(), if self.active.is_some() => self.measure().await,
                () = self.mounts.changed() => self.look_at_mounts().await,
                _ = mounts.tick() => {
                    self.look_at_mounts().await;
                    // A file system that is made larger while it is mounted says so to nobody.
                    self.measure().await;
                    self.close_storage_at_last().await;
                }
            }
            self.show();
        }
        self.end_active().await;
        self.show();
    }

    /// Takes over what the drive holds. A storage that a killed predecessor left writable is closed.
    async fn begin(&mut self) {
        // A root given by a link would not be the beginning of the paths the drive reports.
        if let Ok(root) = std::fs::canonicalize(&self.settings.root) {
            self.settings.root = root;
        }
        self.rescan().await;
        self.drive_changed();
        self.adopt_flags().await;
        if !self.seen_writable() {
            self.close_storage().await;
        }
        self.show();
    }

    async fn serve(&mut self, command: Command) {
        let Command { verb, permit } = command;
        // A reader's thread frees the region before it reports: whoever has the region is past that point.
        if permit.is_some() && self.active.is_some() {
            let ended = ended(&mut self.active).await;
            self.end_transfer(ended).await;
        }
        self.working = matches!(verb, Verb::SetConnected(..) | Verb::Remove(..) | Verb::Reset(_));
        if self.working {
            self.show();
        }
        match verb {
            Verb::SetParams(change, reply) => {
                let result = self.set_params(change);
                self.answer(reply, result, permit);
            }
            Verb::SetConnected(true, reply) => {
                let result = self.connect().await;
                self.answer(reply, result, permit);
            }
            Verb::SetConnected(false, reply) => {
                let result = self.disconnect().await;
                self.answer(reply, result, permit);
            }
            Verb::Remove(name, reply) => {
                let result = self.remove(&name).await;
                self.answer(reply, result, permit);
            }
            Verb::Reset(reply) => {
                self.reset().await;
                self.answer(reply, Ok(()), permit);
            }
            Verb::BeginWrite(order, reply) => match self.begin_write(order, permit).await {
                Ok(write) => self.answer(reply, Ok(write), None),
                Err((error, permit)) => self.answer(reply, Err(error), permit),
            },
            Verb::BeginRead { name, compression, reply } => {
                let result = self.begin_read(name, compression, permit).await;
                self.answer(reply, result, None);
            }
        }
    }

    /// The region first, then the state, then the answer: who is told of the end by either finds it free.
    fn answer<T>(&mut self, reply: Reply<T>, result: Result<T, Error>, permit: Option<OwnedSemaphorePermit>) {
        self.working = false;
        drop(permit);
        self.show();
        // A client that has left drops what it was given: a write ends as aborted.
        let _ = reply.send(result);
    }

    fn set_params(&mut self, change: Change) -> Result<(), Error> {
        let images = Arc::clone(&self.online()?.images);
        self.check_disconnected()?;
        self.selection.apply(change, |name| images.get(name)).map_err(Error::UnknownImage)
    }

    async fn connect(&mut self) -> Result<(), Error> {
        self.online()?;
        self.check_disconnected()?;
        let name = self.selection.image.clone().ok_or(Error::ImageNotSelected)?;
        // It may have been removed or made unwritable by somebody else a moment ago.
        self.rescan().await;
        let scan = self.online()?;
        let images = Arc::clone(&scan.images);
        let own = scan::part_of(&scan.parts, &name).is_empty();
        if !images.contains_key(&name) {
            return Err(Error::UnknownImage(name));
        }
        self.selection.settle(|name| images.get(name));
        let Selection { cdrom, rw, .. } = self.selection;
        // Two drives may show the same image, but not while one of them writes it.
        if self.drives.holds_beside(&self.settings.root.join(&name)).is_some_and(|written| written || rw) {
            return Err(Error::Connected);
        }
        if rw && own {
            self.open_storage().await?;
        }
        if rw {
            lend(self.settings.root.clone(), name.clone()).await;
        }
        let medium = Medium { path: self.settings.root.join(&name), cdrom, rw };
        if let Err(error) = self.drives.main.insert(medium).await {
            self.close_storage().await;
            return Err(drive_failed(error));
        }
        self.drive_changed();
        log::info!("connected {name:?} (cdrom={cdrom}, rw={rw})");
        Ok(())
    }

    async fn disconnect(&mut self) -> Result<(), Error> {
        self.online()?;
        if !self.connected() {
            return Err(Error::Disconnected);
        }
        self.eject().await.map_err(drive_failed)?;
        log::info!("disconnected the drive");
        self.drive_changed();
        self.close_storage().await;
        self.rescan().await;
        Ok(())
    }

    async fn remove(&mut self, image: &str) -> Result<(), Error> {
        self.online()?;
        self.check_disconnected()?;
        let scan = self.online()?;
        let found = scan.images.get(image).ok_or_else(|| Error::UnknownImage(image.to_owned()))?;
        if !found.removable {
            return Err(Error::ImageStatic(image.to_owned()));
        }
        self.check_not_beside(image)?;
        let own = scan::part_of(&scan.parts, image).is_empty();
        if own {
            self.open_storage().await?;
        }
        let (root, name) = (self.settings.root.clone(), image.to_owned());
        // Not given up on: a large file may take a slow card a while, and what is half removed is not told.
        let removed = spawn_blocking(move || Place::find(&root, &name)?.remove(&name)).await;
        if own {
            self.close_storage().await;
        }
        self.rescan().await;
        removed.unwrap_or(Err(Error::Stopped))
    }

    async fn reset(&mut self) {
        self.end_active().await;
        if let Err(error) = self.eject().await
            && error != DriveError::Absent
        {
            log::error!("reset: the drive could not be disconnected: {error}");
        }
        self.drive_changed();
        self.close_storage().await;
        self.rescan().await;
    }

    /// Takes out what is in the drive. What the target wrote is on the disk when this returns.
    async fn eject(&mut self) -> Result<(), DriveError> {
        let written = self.written();
        self.drives.main.eject().await?;
        if let Some(path) = written {
            sync(self.settings.root.clone(), path).await;
        }
        Ok(())
    }

    /// The image the target may be writing.
    fn written(&self) -> Option<PathBuf> {
        match &self.seen {
            Current::Holds(medium) if medium.rw => Some(medium.path.clone()),
            _ => None,
        }
    }

    /// The drive says that something is different. What it holds becomes what is selected.
    fn drive_changed(&mut self) {
        self.seen = self.current.borrow_and_update().clone();
        match self.seen.clone() {
            Current::Holds(Medium { path, cdrom, rw }) => {
                let image = Some(self.key_of(&path));
                self.selection = Selection { image, cdrom, rw };
            }
            Current::Empty => {
                // An image from elsewhere is forgotten once it is out.
                self.selection.image.take_if(|image| image.starts_with('/'));
                self.forget_a_vanished_image();
            }
            Current::Absent => {}
        }
    }

    /// The target ejected what it could write, or somebody else changed the drive behind our back.
    async fn drive_changed_by_itself(&mut self) {
        let written = self.written();
        if let Some(path) = &written
            && *self.current.borrow() != self.seen
        {
            sync(self.settings.root.clone(), path.clone()).await;
        }
        self.drive_changed();
        self.adopt_flags().await;
        if written.is_some() && !self.connected() && self.active.is_none() {
            self.close_storage().await;
        }
    }

    /// The first empty drive we see tells how it stands; after that it is told.
    async fn adopt_flags(&mut self) {
        if self.stands || self.seen == Current::Absent {
            return;
        }
        self.stands = true;
        if self.seen == Current::Empty
            && let Some(Flags { cdrom, rw }) = self.drives.main.flags().await
        {
            self.selection = Selection { cdrom, rw: rw && !cdrom, ..self.selection.clone() };
        }
    }

    /// An image's name: below the storage, or its whole path.
    fn key_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.settings.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn online(&self) -> Result<&Scan, Error> {
        if self.seen == Current::Absent {
            return Err(Error::Offline);
        }
        self.scan.as_ref().ok_or(Error::Offline)
    }

    fn connected(&self) -> bool {
        matches!(self.seen, Current::Holds(_))
    }

    fn seen_writable(&self) -> bool {
        matches!(&self.seen, Current::Holds(medium) if medium.rw)
    }

    /// Not while another drive holds it.
    fn check_not_beside(&self, image: &str) -> Result<(), Error> {
        match self.drives.holds_beside(&self.settings.root.join(image)) {
            Some(_) => Err(Error::Connected),
            None => Ok(()),
        }
    }

    fn check_disconnected(&self) -> Result<(), Error> {
        if self.connected() { Err(Error::Connected) } else { Ok(()) }
    }
}

fn drive_failed(error: DriveError) -> Error {
    match error {
        DriveError::Absent => Error::Offline,
        DriveError::Locked => Error::Locked,
        DriveError::Permissions(why) => Error::Permissions(why),
        DriveError::Failed(why) => Error::Drive(why),
    }
}
