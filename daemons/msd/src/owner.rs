//! The task that owns the storage and the drive.

mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::download::{Compression, Download, Out, Read};
use crate::drive::{Current, Drive, DriveError, Medium, Remount};
use crate::handle::Settings;
use crate::model::{Part, State};
use crate::name::ImageName;
use crate::notice::Notice;
use crate::place::Place;
use crate::scan::{self, Scan};
use crate::selection::{Change, Selection};
use crate::transfer::{self, Progress};
use crate::upload::{Ended, Upload, Write};
use crate::{Error, upload};

/// How often progress and free space are shown while data flows.
const PROGRESS: Duration = Duration::from_secs(1);
/// How often mounts are looked at; changes of files are noticed at once.
const MOUNTS: Duration = Duration::from_secs(10);
/// How long changes are gathered before the storage is looked at again.
const GATHER: Duration = Duration::from_millis(200);
/// How long looking at the storage may take: a dead network share must not stop us for good.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What somebody wants.
pub(crate) enum Verb {
    SetParams(Change, Reply<()>),
    SetConnected(bool, Reply<()>),
    Remove(String, Reply<()>),
    Reset(Reply<()>),
    BeginWrite { name: ImageName, size: u64, remove_incomplete: bool, reply: Reply<Write> },
    BeginRead { name: String, compression: Compression, reply: Reply<Read> },
}

/// A wish, and the region it holds (a reset holds none).
pub(crate) struct Command {
    pub(crate) verb: Verb,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// A transfer under way.
struct Active {
    direction: Direction,
    name: String,
    size: u64,
    progress: Arc<Progress>,
    cancel: CancellationToken,
    ended: oneshot::Receiver<Ended>,
    /// Held here for a write, which ends with our remount. A read's is held by its thread, which can free it before the
    /// client sees the last byte.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

pub(crate) struct Owner {
    settings: Settings,
    drive: Box<dyn Drive>,
    remount: Box<dyn Remount>,
    current: watch::Receiver<Current>,
    /// What `current` said when we last acted on it: what we show and judge by never runs ahead of what we did.
    seen: Current,
    publish: watch::Sender<State>,
    /// `None`: the storage is not there.
    scan: Option<Scan>,
    selection: Selection,
    active: Option<Active>,
    working: bool,
    notice: Notice,
    rescan_at: Option<Instant>,
    stop: CancellationToken,
}

impl Owner {
    pub(crate) fn new(
        settings: Settings,
        drive: Box<dyn Drive>,
        remount: Box<dyn Remount>,
        publish: watch::Sender<State>,
    ) -> Self {
        let current = drive.current();
        Self {
            settings,
            drive,
            remount,
            current,
            seen: Current::Absent,
            publish,
            scan: None,
            selection: Selection::default(),
            active: None,
            working: false,
            notice: Notice::new(),
            rescan_at: None,
            stop: CancellationToken::new(),
        }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        self.stop = stop.clone();
        self.begin().await;
        let mut progress = interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut mounts = interval(MOUNTS);
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
                _ = mounts.tick() => self.look_at_mounts().await,
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
            Verb::BeginWrite { name, size, remove_incomplete, reply } => {
                match self.begin_write(name, size, remove_incomplete, permit).await {
                    Ok(write) => self.answer(reply, Ok(write), None),
                    Err((error, permit)) => self.answer(reply, Err(error), permit),
                }
            }
            Verb::BeginRead { name, compression, reply } => {
                let result = self.begin_read(name, compression, permit).await;
                self.answer(reply, result, None);
            }
        }
    }

    /// The state first, then the region, then the answer: who is answered finds both free.
    fn answer<T>(&mut self, reply: Reply<T>, result: Result<T, Error>, permit: Option<OwnedSemaphorePermit>) {
        self.working = false;
        self.show();
        drop(permit);
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
        if rw && own {
            self.open_storage().await?;
        }
        if rw {
            lend(self.settings.root.clone(), name.clone()).await;
        }
        let medium = Medium { path: self.settings.root.join(&name), cdrom, rw };
        if let Err(error) = self.drive.insert(medium).await {
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
        let written = match &self.seen {
            Current::Holds(medium) if medium.rw => Some(medium.path.clone()),
            _ => None,
        };
        self.drive.eject().await.map_err(drive_failed)?;
        if let Some(path) = written {
            sync(self.settings.root.clone(), path).await;
        }
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
        if let Err(error) = self.drive.eject().await
            && error != DriveError::Absent
        {
            log::error!("reset: the drive could not be disconnected: {error}");
        }
        self.drive_changed();
        self.close_storage().await;
        self.rescan().await;
    }

    /// Gives the region back with the error.
    async fn begin_write(
        &mut self,
        name: ImageName,
        size: u64,
        remove_incomplete: bool,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Write, (Error, Option<OwnedSemaphorePermit>)> {
        let own = match self.may_write(name.as_str()).await {
            Ok(own) => own,
            Err(error) => return Err((error, permit)),
        };
        match self.start_write(name, size, remove_incomplete).await {
            Ok((write, active)) => {
                self.active = Some(Active { permit, ..active });
                Ok(write)
            }
            Err(error) => {
                if own {
                    self.close_storage().await;
                }
                self.rescan().await;
                Err((error, permit))
            }
        }
    }

    /// Checks, and opens the storage where the image goes to our own part (`true`).
    async fn may_write(&mut self, image: &str) -> Result<bool, Error> {
        self.online()?;
        self.check_disconnected()?;
        let scan = self.online()?;
        if scan.images.get(image).is_some_and(|found| found.complete) {
            return Err(Error::ImageExists(image.to_owned()));
        }
        let own = scan::part_of(&scan.parts, image).is_empty();
        if own {
            self.open_storage().await?;
        }
        Ok(own)
    }

    async fn start_write(
        &mut self,
        name: ImageName,
        size: u64,
        remove_incomplete: bool,
    ) -> Result<(Write, Active), Error> {
        let (root, window) = (self.settings.root.clone(), self.settings.sync_chunk);
        let image = name.as_str().to_owned();
        let prepare = move || Upload::prepare(&root, name, size, remove_incomplete, window);
        let prepared = spawn_blocking(prepare).await.unwrap_or(Err(Error::Stopped))?;
        let (pieces, inbox) = mpsc::channel::<upload::Piece>(transfer::QUEUE);
        let (progress, cancel) = (Arc::new(Progress::default()), self.stop.child_token());
        let (report, ended) = oneshot::channel();
        let (runtime, seen, token) = (Handle::current(), Arc::clone(&progress), cancel.clone());
        transfer::start("msd-write", move || {
            let _ = report.send(prepared.run(&runtime, inbox, &seen, &token));
        })?;
        log::info!("writing {image:?}, {size} bytes");
        self.rescan_at = Some(Instant::now());
        let write = Write::new(image.clone(), size, pieces, Arc::clone(&progress));
        Ok((
            write,
            Active { direction: Direction::In, name: image, size, progress, cancel, ended, permit: None },
        ))
    }

    async fn begin_read(
        &mut self,
        image: String,
        compression: Compression,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Read, Error> {
        self.online()?;
        self.check_disconnected()?;
        if !self.online()?.images.contains_key(&image) {
            return Err(Error::UnknownImage(image));
        }
        let (root, name, piece) = (self.settings.root.clone(), image.clone(), self.settings.read_chunk);
        let open = move || Download::open(&root, &name, compression, piece);
        let download = spawn_blocking(open).await.unwrap_or(Err(Error::Stopped))?;
        let size = download.size;
        let (pieces, outbox) = mpsc::channel(transfer::QUEUE);
        let (progress, cancel) = (Arc::new(Progress::default()), self.stop.child_token());
        let (report, ended) = oneshot::channel();
        let read = Read::new(image.clone(), size, outbox, Arc::clone(&progress));
        let (runtime, seen, token, name) =
            (Handle::current(), Arc::clone(&progress), cancel.clone(), image.clone());
        transfer::start("msd-read", move || {
            download.run(&Out { runtime: &runtime, cancel: &token, pieces: &pieces }, &seen);
            let written = upload::Written { name, size, written: seen.done() };
            // In this order: when the state says "not busy" the region is free, and when the client sees the end too.
            drop(permit);
            let _ = report.send(Ended { result: Ok(written), reply: None });
            drop(pieces);
        })?;
        self.active = Some(Active {
            direction: Direction::Out,
            name: image,
            size,
            progress,
            cancel,
            ended,
            permit: None,
        });
        Ok(read)
    }

    /// Ends a transfer under way and waits for its thread.
    async fn end_active(&mut self) {
        if let Some(active) = &self.active {
            active.cancel.cancel();
            let ended = ended(&mut self.active).await;
            self.end_transfer(ended).await;
        }
    }

    async fn end_transfer(&mut self, ended: Option<Ended>) {
        let Some(active) = self.active.take() else { return };
        let result = ended.map_or((Err(Error::Stopped), None), |ended| (ended.result, ended.reply));
        if active.direction == Direction::In {
            match &result.0 {
                Ok(written) if result.1.is_some() => {
                    log::info!("wrote {:?}, {} bytes", written.name, written.written);
                }
                Ok(written) => log::warn!(
                    "the client left after {} of {} bytes of {:?}",
                    written.written,
                    active.size,
                    active.name
                ),
                Err(error) => log::error!("writing {:?} failed: {error}", active.name),
            }
            if !self.connected() {
                self.close_storage().await;
            }
            self.rescan().await;
        }
        self.show();
        drop(active.permit);
        if let (result, Some(reply)) = result {
            let _ = reply.send(result);
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
        let writable = self.seen_writable();
        self.drive_changed();
        if writable && !self.connected() && self.active.is_none() {
            self.close_storage().await;
        }
    }

    /// An image's name: below the storage, or its whole path.
    fn key_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.settings.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    async fn open_storage(&mut self) -> Result<(), Error> {
        self.remount.remount(true).await.map_err(Error::Remount)
    }

    /// A failure is only told: everything that mattered is done.
    async fn close_storage(&mut self) {
        if let Err(why) = self.remount.remount(false).await {
            log::warn!("the storage stays writable: {why}");
        }
    }

    async fn rescan(&mut self) {
        self.rescan_at = None;
        let root = self.settings.root.clone();
        let Some(found) = blocking(move || scan::scan(&root)).await else {
            log::warn!("the storage does not answer: what is shown may be old");
            return;
        };
        match found {
            Ok(found) => {
                self.notice.watch(&found.dirs);
                if self.scan.is_none() {
                    log::info!(
                        "storage {} is online, {} images",
                        self.settings.root.display(),
                        found.images.len()
                    );
                }
                self.scan = Some(found);
            }
            Err(error) => {
                if self.scan.take().is_some() {
                    log::warn!("storage {} is offline: {error}", self.settings.root.display());
                }
            }
        }
        self.forget_a_vanished_image();
    }

    fn forget_a_vanished_image(&mut self) {
        let Some(scan) = &self.scan else { return };
        let gone = self.selection.image.as_deref().is_some_and(|image| !scan.images.contains_key(image));
        if gone && !self.connected() {
            self.selection.image = None;
        }
    }

    /// Free space goes down while an image is written.
    async fn measure(&mut self) {
        let Some(scan) = &self.scan else { return };
        let (root, parts) = (self.settings.root.clone(), scan.parts.clone());
        if let (Some(parts), Some(scan)) = (blocking(move || measure(&root, parts)).await, &mut self.scan) {
            scan.parts = parts;
        }
    }

    /// Mounts come and go without a file event.
    async fn look_at_mounts(&mut self) {
        let root = self.settings.root.clone();
        let found = blocking(move || (root.is_dir(), scan::mount_points(&root))).await;
        let Some((there, mounts)) = found else { return };
        let known = self.scan.as_ref().map(|scan| &scan.mounts);
        if known != there.then_some(&mounts) {
            self.rescan().await;
        }
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

    fn check_disconnected(&self) -> Result<(), Error> {
        if self.connected() { Err(Error::Connected) } else { Ok(()) }
    }
}

/// The end of the transfer under way; never, without one. `None`: its thread died.
async fn ended(active: &mut Option<Active>) -> Option<Ended> {
    match active {
        Some(active) => (&mut active.ended).await.ok(),
        None => std::future::pending().await,
    }
}

/// Runs something that may block for long, and gives up on it after [`PATIENCE`].
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(PATIENCE, spawn_blocking(work)).await.ok()?.ok()
}

/// Lets the target's emulator write the image. A failure is only told: whether it may write after all (it may be the
/// same user as we are, or the file be everybody's) is for the drive to find out.
async fn lend(root: PathBuf, image: String) {
    if let Ok(Err(error)) = spawn_blocking(move || Place::find(&root, &image)?.lend()).await {
        log::warn!("the target may not be able to write: {error}");
    }
}

/// What the target wrote is on the disk before we say that the drive is out.
async fn sync(root: PathBuf, path: PathBuf) {
    let sync = move || -> Result<(), Error> {
        let file = match path.strip_prefix(&root).ok().and_then(Path::to_str) {
            Some(image) => Place::find(&root, image)?.open()?,
            // Put in by hand from elsewhere.
            None => std::fs::File::open(&path).map_err(transfer::failed(&path))?,
        };
        file.sync_all().map_err(transfer::failed(&path))
    };
    if let Ok(Err(error)) = spawn_blocking(sync).await {
        log::error!("what the target wrote may not be on the disk: {error}");
    }
}

fn measure(root: &Path, parts: BTreeMap<String, Part>) -> BTreeMap<String, Part> {
    let now = |(key, part): (String, Part)| {
        let space = scan::space(&root.join(&key)).map_or(part, |now| Part { writable: part.writable, ..now });
        (key, space)
    };
    parts.into_iter().map(now).collect()
}

fn drive_failed(error: DriveError) -> Error {
    match error {
        DriveError::Absent => Error::Offline,
        DriveError::Locked => Error::Locked,
        DriveError::Permissions(why) => Error::Permissions(why),
        DriveError::Failed(why) => Error::Drive(why),
    }
}
