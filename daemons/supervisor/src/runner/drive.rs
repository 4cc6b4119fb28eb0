//! The drive's storage in the loop: checked by a child, mounted and remounted beside the loop, shown among the services.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::supervisor::{Answer, ServiceStatus};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::{Runner, milliseconds};
use crate::STORAGE;
use crate::launch::{self, Started};
use crate::storage::{self, Shown};

/// How often, and how far apart, a drive that is busy is made read-only: what the target ejected is closed a moment later.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A check of the drive's file system.
pub(super) struct Check {
    device: PathBuf,
    pid: Pid,
    /// Open until it has ended: a start that fails writes into it.
    _outcome: OwnedFd,
    /// `None` when it has been given up.
    pub(super) give_up_at: Option<Instant>,
}

impl Check {
    /// Whether that process is the one that checks.
    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

impl Runner {
    /// Off the loop: making a drive read-only writes out everything that is still in memory.
    pub(super) fn remount(&self, rw: bool, answer: tokio::sync::oneshot::Sender<Answer>) {
        let (storage, shown) = (Arc::clone(&self.storage), Arc::clone(&self.shown));
        tokio::spawn(async move {
            let mut busy_tries = BUSY_TRIES;
            let mut tries = tokio::time::interval(BUSY_PAUSE);
            let result = loop {
                tries.tick().await;
                let (storage, shown) = (Arc::clone(&storage), Arc::clone(&shown));
                let once = tokio::task::spawn_blocking(move || {
                    let mut storage = locked(&storage);
                    let result = storage.remount(rw);
                    locked(&shown).update(storage.shown());
                    result
                });
                match once.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Err(error) if !rw && storage::is_busy(&error) && busy_tries > 0 => busy_tries -= 1,
                    other => break other,
                }
            };
            let _ = answer.send(match result {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Failed { reason: error.to_string() },
            });
        });
    }

    /// Begins to check the drive's file system, as a child like others; the mount comes when that has ended.
    pub(super) fn open_storage(&mut self) {
        let device = locked(&self.storage).to_check().map(Path::to_owned);
        if let Some(device) = device {
            let started = storage::checker(&device)
                .ok_or_else(|| io::Error::other("fsck is not installed"))
                .and_then(launch::start);
            match started {
                Ok(Started { pid, outcome }) => {
                    let give_up_at = Some(Instant::now() + self.parts.check_limit);
                    self.check = Some(Check { device, pid, _outcome: outcome, give_up_at });
                    return;
                }
                Err(error) => log::info!("{} is not checked: {error}", device.display()),
            }
        }
        self.mount_storage();
    }

    pub(super) fn give_check_up(&mut self, now: Instant) {
        let limit = self.parts.check_limit.as_secs();
        let Some(check) = self.check.as_mut().filter(|check| check.give_up_at.is_some_and(|at| now >= at))
        else {
            return;
        };
        check.give_up_at = None;
        let _ = killpg(check.pid, Signal::SIGKILL);
        // Not waited for: a check that hangs in the kernel does not die either.
        let mut storage = locked(&self.storage);
        storage.fail(format!("the check of {} took longer than {limit} s", check.device.display()));
        locked(&self.shown).update(storage.shown());
    }

    pub(super) fn checked(&mut self, status: WaitStatus) {
        let Some(check) = self.check.take() else { return };
        if check.give_up_at.is_some() && self.give_up_at.is_none() {
            storage::checked(&check.device, status);
            self.mount_storage();
        }
    }

    /// Off the loop: a broken card may take minutes to say so.
    pub(super) fn mount_storage(&mut self) {
        let after = self.parts.after_storage.take();
        let (storage, shown) = (Arc::clone(&self.storage), Arc::clone(&self.shown));
        let (accounts, stop) = (self.parts.accounts.clone(), self.parts.life.stop().clone());
        tokio::task::spawn_blocking(move || {
            let mut storage = locked(&storage);
            storage.mount(&accounts);
            // What is left to do takes minutes on a large card, and keeps nobody from reading.
            locked(&shown).update(storage.shown());
            if let Some(work) = after.and_then(|after| after(stop.clone())) {
                storage.while_writable(|| tokio::runtime::Handle::current().block_on(work));
            }
            // Nobody else would when the stop has not waited for us.
            if stop.is_cancelled() {
                storage.close();
            }
            locked(&shown).update(storage.shown());
        });
    }
}

/// The storage among the services, where it is a partition.
pub(super) fn storage_row(shown: &Shown, now: Instant) -> Option<ServiceStatus> {
    Some(ServiceStatus {
        name: STORAGE.to_owned(),
        state: shown.state?,
        since_ms: milliseconds(now.saturating_duration_since(shown.since)),
        pid: None,
        restarts: 0,
        last_end: shown.fault.clone(),
        text: None,
    })
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
