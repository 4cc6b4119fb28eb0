//! The drive of a virtual machine: a disc in its CD drive, or a flash drive on its USB controller.
//!
//! What QEMU holds is the truth, and is adopted when we start. A QEMU that was started again is empty: it gets back
//! what it had. It is known by the mark it lacks ([`media::seen`]), as a connection that was lost says nothing: the same
//! QEMU may be behind the next. A guest that opens the tray, or lets go of the flash drive, has ejected: that is not put
//! back, also if nobody listened when it did.
//!
//! Events say only that it is time to look. What we do ourselves moves trays too, and one that comes in the middle of it,
//! or is lost, is seen in the state all the same.

use std::path::PathBuf;

use ::vm::media::{self, Media};
use ::vm::qmp::Event;
use ::vm::{Qmp, RunState};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::drive::{Current, Doing, Drive, DriveError, Medium};

type Reply = oneshot::Sender<Result<(), DriveError>>;

enum Wish {
    Insert(Medium, Reply),
    Eject(Reply),
}

/// The driver's handle, for [`crate::spawn`].
#[derive(Debug)]
pub struct VmDrive {
    wishes: mpsc::Sender<Wish>,
    current: watch::Receiver<Current>,
}

impl VmDrive {
    /// Drives the machine behind `qmp`. Call within a tokio runtime; its task ends with `stop`, and leaves the drive as
    /// it is.
    #[must_use]
    pub fn new(qmp: Qmp, stop: CancellationToken) -> Self {
        let (wishes, inbox) = mpsc::channel(1);
        let (publish, current) = watch::channel(Current::Absent);
        let keeper = Keeper { qmp, wanted: None, publish };
        tokio::spawn(stop.run_until_cancelled_owned(keeper.run(inbox)));
        Self { wishes, current }
    }

    async fn ask(&self, wish: impl FnOnce(Reply) -> Wish) -> Result<(), DriveError> {
        let (reply, answer) = oneshot::channel();
        self.wishes.send(wish(reply)).await.map_err(|_| DriveError::Absent)?;
        answer.await.unwrap_or(Err(DriveError::Absent))
    }
}

impl Drive for VmDrive {
    fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(self.ask(|reply| Wish::Insert(medium, reply)))
    }

    fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(self.ask(Wish::Eject))
    }

    fn current(&self) -> watch::Receiver<Current> {
        self.current.clone()
    }
}

struct Keeper {
    qmp: Qmp,
    /// What a QEMU that was started again is given back.
    wanted: Option<Medium>,
    publish: watch::Sender<Current>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Wish>) {
        let mut run_state = self.qmp.run_state();
        run_state.mark_changed();
        let mut events = self.qmp.events();
        loop {
            tokio::select! {
                biased;
                changed = run_state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let reachable = *run_state.borrow_and_update() != RunState::Unreachable;
                    self.look(reachable).await;
                }
                event = events.recv() => {
                    match event {
                        Ok(event) if !moves_media(&event) => continue,
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                    // Before the machine is known to be there, that it comes says to look.
                    if *run_state.borrow() != RunState::Unreachable {
                        self.look(true).await;
                    }
                }
                wish = inbox.recv() => match wish {
                    Some(wish) => self.serve(wish).await,
                    None => return,
                },
            }
        }
    }

    async fn serve(&mut self, wish: Wish) {
        match wish {
            Wish::Insert(medium, reply) => {
                let result = self.insert(&medium).await.map_err(failed);
                if result.is_ok() {
                    self.wanted = Some(medium.clone());
                    self.publish.send_replace(Current::Holds(medium));
                }
                let _ = reply.send(result);
            }
            Wish::Eject(reply) => {
                self.wanted = None;
                let result = self.eject().await.map_err(failed);
                if result.is_ok() {
                    self.show(Current::Empty);
                }
                let _ = reply.send(result);
            }
        }
    }

    /// Something may have changed: what is in the drives, or the machine itself.
    async fn look(&mut self, reachable: bool) {
        if !reachable {
            return self.show(Current::Absent);
        }
        // If it is gone, the run state says so next.
        if let Err(error) = self.compare().await {
            log::warn!("what is in the machine's drives is not known: {error}");
        }
    }

    async fn compare(&mut self) -> Result<(), ::vm::Error> {
        let is_new = !media::seen(&self.qmp).await?;
        let media = media::state(&self.qmp).await?;
        let let_go = media.let_go;
        let mut held = held(media);
        if is_new {
            if held.is_none()
                && let Some(medium) = self.wanted.clone()
            {
                held = self.give_back(medium).await?;
            }
            // Only now: a machine that is lost before this is new at the next look, too.
            match media::mark_seen(&self.qmp).await {
                // Somebody else was faster.
                Ok(()) | Err(::vm::Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let_go || (held.is_none() && self.wanted.is_some() && !is_new) {
            self.guest_ejected().await;
            return Ok(());
        }
        self.wanted.clone_from(&held);
        self.show(held.map_or(Current::Empty, Current::Holds));
        Ok(())
    }

    /// To a machine that was started anew. An error if it should be tried again.
    async fn give_back(&self, medium: Medium) -> Result<Option<Medium>, ::vm::Error> {
        log::info!("the machine was started anew: connecting {} again", medium.path.display());
        match self.insert(&medium).await {
            Ok(()) => Ok(Some(medium)),
            Err(error @ (::vm::Error::Unreachable | ::vm::Error::Lost(_) | ::vm::Error::Timeout(_))) => {
                Err(error)
            }
            Err(error) => {
                log::error!("{} could not be connected again: {error}", medium.path.display());
                Ok(None)
            }
        }
    }

    async fn guest_ejected(&mut self) {
        log::info!("the target ejected its medium");
        self.wanted = None;
        // An open tray still holds the disc: the file would stay open.
        match self.eject().await {
            Ok(()) => self.show(Current::Empty),
            Err(error) => log::error!("the ejected medium could not be taken out: {error}"),
        }
    }

    async fn insert(&self, medium: &Medium) -> Result<(), ::vm::Error> {
        if medium.cdrom {
            media::insert_cd(&self.qmp, &medium.path).await
        } else {
            media::plug_flash(&self.qmp, &medium.path, medium.rw).await
        }
    }

    async fn eject(&self) -> Result<(), ::vm::Error> {
        media::unplug_flash(&self.qmp).await?;
        media::eject_cd(&self.qmp).await
    }

    fn show(&self, current: Current) {
        self.publish.send_if_modified(|shown| {
            let changed = *shown != current;
            *shown = current;
            changed
        });
    }
}

fn held(media: Media) -> Option<Medium> {
    let medium = |path: String, cdrom, rw| Medium { path: PathBuf::from(path), cdrom, rw };
    let flash = media.flash.map(|(path, writable)| medium(path, false, writable));
    flash.or_else(|| media.cd.map(|path| medium(path, true, false)))
}

/// After these another medium may be in a drive, or none.
fn moves_media(event: &Event) -> bool {
    matches!(event.name.as_str(), "DEVICE_TRAY_MOVED" | "DEVICE_DELETED")
}

fn failed(error: ::vm::Error) -> DriveError {
    match error {
        ::vm::Error::Unreachable => DriveError::Absent,
        ::vm::Error::Refused { description, .. } if description.contains("Permission denied") => {
            DriveError::Permissions(description)
        }
        ::vm::Error::Refused { description, .. } if description.contains("is locked") => DriveError::Locked,
        other => DriveError::Failed(other.to_string()),
    }
}
