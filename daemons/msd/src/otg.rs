//! The drive of the USB gadget: one LUN of its mass storage function.
//!
//! What the kernel holds is the truth: it is adopted when we start and shown as it is, whoever put it in. The attributes
//! lie in a directory that the supervisor made and gave to us; while it is missing the drive is [`Current::Absent`].
//!
//! ```text
//! Absent <--the LUN is made, removed--> Empty <--insert / eject, the target ejects, somebody writes `file`--> Holds
//! ```
//!
//! One named thread owns the LUN, because the kernel makes its attributes wait for what the target is doing. It looks
//! when something happened to the LUN, the directories above it or the image (module `notice`), and every few seconds in
//! any case: images may lie where no event comes from.

mod lun;
mod notice;

#[cfg(test)]
mod tests;

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub use self::lun::Names;
use self::lun::{Attributes, Directory};
use self::notice::Notice;
use crate::drive::{Current, Doing, Drive, DriveError, Flags, Medium};

/// How often it is looked at although nothing seems to have happened.
const SLOW_LOOK_MS: u16 = 5_000;
/// The same where the kernel gives no events.
const BLIND_LOOK_MS: u16 = 1_000;
/// After a look the next event waits this long: an image that is read all the time must not keep us busy.
const REST_MS: u16 = 50;
/// How long the kernel may take. It waits for the target's command and for the disk the image lies on.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the first look may take before we go on without.
const FIRST_LOOK: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<T>;

enum Wish {
    Insert(Medium, Reply<Result<(), DriveError>>),
    Eject(Reply<Result<(), DriveError>>),
    Flags(Reply<Option<Flags>>),
}

/// The driver's handle, for [`crate::spawn`]. Dropped, it leaves the drive as it is.
#[derive(Debug)]
pub struct Otg {
    /// `None` only while it is dropped.
    wishes: Option<SyncSender<Wish>>,
    wake: Arc<EventFd>,
    current: watch::Receiver<Current>,
}

impl Otg {
    /// Drives the LUN whose attributes lie in `dir`, which may come later. Waits a moment for the first look.
    ///
    /// # Errors
    /// No thread or no descriptor can be had.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        Self::with(Directory(dir.clone()), dir, None)
    }

    /// The same, and calls it by these names.
    ///
    /// # Errors
    /// As [`Otg::new`].
    pub fn named(dir: impl Into<PathBuf>, names: Names) -> io::Result<Self> {
        let dir = dir.into();
        Self::with(Directory(dir.clone()), dir, Some(names))
    }

    fn with(lun: impl Attributes + 'static, dir: PathBuf, names: Option<Names>) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (wishes, inbox) = sync_channel(1);
        let (publish, current) = watch::channel(Current::Absent);
        let notice = Notice::new()
            .inspect_err(|error| log::warn!("changes of the drive are noticed late: {error}"))
            .ok();
        let keeper =
            Keeper { lun, dir, names, notice, wake: Arc::clone(&wake), inbox, publish, complained: None };
        let (looked, first) = sync_channel(1);
        thread::Builder::new().name("msd-lun".to_owned()).spawn(move || keeper.run(&looked))?;
        // What is connected should be known before the owner decides whether the storage may be closed.
        let _ = first.recv_timeout(FIRST_LOOK);
        Ok(Self { wishes: Some(wishes), wake, current })
    }

    async fn ask<T>(&self, wish: impl FnOnce(Reply<T>) -> Wish) -> Result<T, DriveError> {
        let (reply, answer) = oneshot::channel();
        let stuck = || DriveError::Failed("the gadget does not answer".to_owned());
        let wishes = self.wishes.as_ref().ok_or_else(stuck)?;
        // Full: what was asked before still waits for the kernel.
        wishes.try_send(wish(reply)).map_err(|_| stuck())?;
        let _ = self.wake.write(1);
        timeout(PATIENCE, answer).await.ok().and_then(Result::ok).ok_or_else(stuck)
    }
}

impl Drop for Otg {
    fn drop(&mut self) {
        // In this order: the thread finds that nobody is there any more.
        self.wishes = None;
        let _ = self.wake.write(1);
    }
}

impl Drive for Otg {
    fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(async move { self.ask(|reply| Wish::Insert(medium, reply)).await? })
    }

    fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(async move { self.ask(Wish::Eject).await? })
    }

    fn current(&self) -> watch::Receiver<Current> {
        self.current.clone()
    }

    fn flags(&mut self) -> Doing<'_, Option<Flags>> {
        Box::pin(async move { self.ask(Wish::Flags).await.ok().flatten() })
    }
}

/// The thread.
struct Keeper<A> {
    lun: A,
    dir: PathBuf,
    names: Option<Names>,
    notice: Option<Notice>,
    wake: Arc<EventFd>,
    inbox: Receiver<Wish>,
    publish: watch::Sender<Current>,
    /// What was said last of a LUN that cannot be read, so that it is said once.
    complained: Option<String>,
}

impl<A: Attributes> Keeper<A> {
    fn run(mut self, looked: &SyncSender<()>) {
        self.look();
        let _ = looked.send(());
        loop {
            if self.wait() {
                self.look();
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(wish) => self.serve(wish),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// Until there is a wish, or (true) it is time to look.
    fn wait(&mut self) -> bool {
        let wish = PollFd::new(self.wake.as_fd(), PollFlags::POLLIN);
        // A signal is as good a reason to look as any.
        let _ = match &self.notice {
            None => poll(&mut [wish], PollTimeout::from(BLIND_LOOK_MS)),
            Some(notice) => match poll(&mut [wish.clone()], PollTimeout::from(REST_MS)) {
                Ok(0) => {
                    let event = PollFd::new(notice.fd(), PollFlags::POLLIN);
                    poll(&mut [wish, event], PollTimeout::from(SLOW_LOOK_MS))
                }
                other => other,
            },
        };
        self.wake.read().is_err()
    }

    fn serve(&mut self, wish: Wish) {
        match wish {
            Wish::Insert(medium, reply) => {
                // Whoever asked has given up on it.
                if reply.is_closed() {
                    return;
                }
                if let Some(names) = &self.names {
                    lun::rename(&self.lun, names, medium.cdrom);
                }
                let result = lun::insert(&self.lun, &medium).map(|held| self.show(Current::Holds(held)));
                self.look();
                let _ = reply.send(result);
            }
            Wish::Eject(reply) => {
                if reply.is_closed() {
                    return;
                }
                let result = lun::eject(&self.lun);
                if result.is_ok() {
                    self.show(Current::Empty);
                }
                self.look();
                let _ = reply.send(result);
            }
            Wish::Flags(reply) => drop(reply.send(lun::flags(&self.lun).ok())),
        }
    }

    fn look(&mut self) {
        if let Some(notice) = &mut self.notice {
            // Before the look: what happens after it brings the next.
            notice.drain();
            notice.watch_lun(&self.dir);
        }
        let mut found = lun::current(&self.lun);
        if let Some(notice) = &mut self.notice {
            let image = match &found {
                Ok(Current::Holds(medium)) => Some(medium.path.as_path()),
                _ => None,
            };
            if notice.watch_image(image) {
                found = lun::current(&self.lun);
            }
        }
        match found {
            Ok(current) => {
                self.complained = None;
                self.told(&current);
                self.show(current);
            }
            Err(error) => {
                let why = error.to_string();
                if self.complained.as_ref() != Some(&why) {
                    log::warn!("{} cannot be read: {why}", self.dir.display());
                    self.complained = Some(why);
                }
            }
        }
    }

    /// What happened without us is worth a line.
    fn told(&self, now: &Current) {
        match (&*self.publish.borrow(), now) {
            (Current::Holds(_), Current::Empty) => log::info!("the target ejected its medium"),
            (Current::Absent, Current::Empty) => log::info!("the drive {} is there", self.dir.display()),
            (Current::Empty | Current::Holds(_), Current::Absent) => {
                log::warn!("the drive {} is gone", self.dir.display());
            }
            (before, Current::Holds(medium)) if before != now => {
                log::info!("the drive holds {}", medium.path.display());
            }
            _ => {}
        }
    }

    fn show(&self, current: Current) {
        self.publish.send_if_modified(|shown| {
            let changed = *shown != current;
            *shown = current;
            changed
        });
    }
}
