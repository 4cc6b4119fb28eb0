//! The end of everything: services in turn, then whatever is left, then gadget and drive.

use std::sync::TryLockError;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Runner;
use crate::service::{Event, State};

/// Longest wait for the USB gadget to come to rest.
const GADGET_CLOSES: Duration = Duration::from_secs(3);

/// Longest wait for the boot choice to be written.
const UPDATE_ENDS: Duration = Duration::from_secs(3);

impl Runner {
    pub(super) fn begin_stop(&mut self) {
        log::info!("stopping everything");
        self.parts.life.notifier().stopping();
        self.give_up_at = Some(Instant::now() + self.parts.shutdown);
        let updates = self.parts.updates.clone();
        self.ending = Some(tokio::spawn(async move { updates.end().await }));
    }

    /// Stops the last service that still runs; false when none does. The next one's turn comes when it has ended.
    pub(super) async fn stop_next(&mut self) -> bool {
        loop {
            let last = self.units.iter().rposition(|unit| unit.service.state() != State::Stopped);
            let Some(at) = last else { return false };
            if self.units.get(at).is_none_or(|unit| !unit.service.wanted()) {
                return true;
            }
            self.feed(at, Event::Unwant).await;
        }
    }

    /// Leaves nothing behind.
    pub(super) async fn end(&mut self) {
        if let Some(ending) = self.ending.take()
            && tokio::time::timeout(UPDATE_ENDS, ending).await.is_err()
        {
            log::warn!("the boot choice takes too long: a trial may count as failed");
        }
        // Whatever escaped its group by starting a session of its own has become our child by now.
        for _ in 0..100 {
            let left = children();
            if left.is_empty() {
                break;
            }
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
            while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some()) {}
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Whoever waits for one of them, with the drive in hand, hears that there is nobody to wait for.
        self.running.clear();
        self.parts.jobs.close();
        while self.parts.jobs.try_recv().is_ok() {}
        for (path, _) in self.units.iter().filter_map(|unit| unit.notify.as_ref()) {
            let _ = std::fs::remove_file(path);
        }
        if let Some(gadget) = &self.parts.gadget
            && tokio::time::timeout(GADGET_CLOSES, gadget.close()).await.is_err()
        {
            log::warn!("the USB gadget takes too long to come to rest");
        }
        // A mount that hangs on a broken card must not keep us from ending.
        for _ in 0..200 {
            match self.storage.try_lock() {
                Ok(mut storage) => return storage.close(),
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner().close(),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        log::warn!("the drive's storage is busy: it may stay mounted");
    }
}

/// Our children, the adopted ones included.
fn children() -> Vec<Pid> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}
