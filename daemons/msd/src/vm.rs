//! The drive of a virtual machine: a disc in its CD drive, or a flash drive on its USB controller.
//!
//! What QEMU holds is the truth, and is adopted when we start. A QEMU that was started again is empty: it gets back
//! what it had. A guest that opens the tray, or lets go of the flash drive, has ejected: that is not put back.

use std::path::{Path, PathBuf};

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
                event = events.recv() => match event {
                    Ok(event) if is_eject(&event) => self.guest_ejected().await,
                    Ok(_) | Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                },
                wish = inbox.recv() => match wish {
                    Some(wish) => self.serve(wish).await,
                    None => return,
                },
            }
            // What we did ourselves moves the tray too: those events are not the guest's.
            events = self.qmp.events();
        }
    }

    async fn serve(&mut self, wish: Wish) {
        match wish {
            Wish::Insert(medium, reply) => {
                let result = self.insert(&medium).await;
                if result.is_ok() {
                    self.wanted = Some(medium.clone());
                    self.publish.send_replace(Current::Holds(medium));
                }
                let _ = reply.send(result);
            }
            Wish::Eject(reply) => {
                self.wanted = None;
                let result = self.eject().await;
                if result.is_ok() {
                    self.show(Current::Empty);
                }
                let _ = reply.send(result);
            }
        }
    }

    /// A run state changed: the machine may be another one than before.
    async fn look(&mut self, reachable: bool) {
        if !reachable {
            return self.show(Current::Absent);
        }
        let held = match media::state(&self.qmp).await {
            Ok(media) => held(media),
            Err(error) => {
                // If it is gone, the run state says so next.
                log::warn!("what is in the machine's drives is not known: {error}");
                return;
            }
        };
        if held.is_none()
            && let Some(medium) = self.wanted.clone()
        {
            log::info!("the machine was started anew: connecting {} again", medium.path.display());
            match self.insert(&medium).await {
                Ok(()) => return self.show(Current::Holds(medium)),
                Err(error) => log::error!("{} could not be connected again: {error}", medium.path.display()),
            }
        }
        self.wanted.clone_from(&held);
        self.show(held.map_or(Current::Empty, Current::Holds));
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

    async fn insert(&self, medium: &Medium) -> Result<(), DriveError> {
        let inserted = if medium.cdrom {
            media::insert_cd(&self.qmp, &medium.path).await
        } else {
            media::plug_flash(&self.qmp, &medium.path, medium.rw).await
        };
        inserted.map_err(failed)
    }

    async fn eject(&self) -> Result<(), DriveError> {
        media::unplug_flash(&self.qmp).await.map_err(failed)?;
        media::eject_cd(&self.qmp).await.map_err(failed)
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

/// The guest opened the CD drive's tray, or unplugged the flash drive.
fn is_eject(event: &Event) -> bool {
    match event.name.as_str() {
        "DEVICE_TRAY_MOVED" => {
            event.data["tray-open"] == true && is_device(event.data["id"].as_str(), media::CD)
        }
        "DEVICE_DELETED" => is_device(event.data["device"].as_str(), media::FLASH),
        _ => false,
    }
}

/// QEMU names a device by its id, or by its path in the object tree.
fn is_device(name: Option<&str>, id: &str) -> bool {
    name.and_then(|name| Path::new(name).file_name()).is_some_and(|last| last == id)
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
