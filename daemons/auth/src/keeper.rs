//! What goes on behind the guard's back: ending sessions in time, and writing sessions and counters down.
//!
//! Logins and logouts wait for their write themselves ([`crate::ledger`]). What is written from here is what nobody
//! waits for: at once, further changes at most once per gap; and whatever failed, again and again. A disk that takes no
//! more stops nobody from logging in.

use std::{path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Epoch},
    error::Error,
    file,
    guard::Guard,
};

/// The longest sleep: the timer does not run while the machine is suspended, lifetimes do.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// How often the files behind sessions are looked at.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
const SESSIONS_GAP: Duration = Duration::from_secs(1);
const THROTTLE_GAP: Duration = Duration::from_secs(5);
/// Soon: a logout that is not on the disk could be undone by a restart.
const SESSIONS_RETRY: Duration = Duration::from_secs(1);
const THROTTLE_RETRY: Duration = Duration::from_secs(30);
const MAX_BYTES: u64 = 16 << 20;

/// A state file: what was true, and when.
#[derive(Serialize, Deserialize)]
pub(crate) struct State<T> {
    pub(crate) epoch: Epoch,
    pub(crate) content: T,
}

impl<T: Serialize + DeserializeOwned> State<T> {
    pub(crate) fn new(clock: &dyn Clock, content: T) -> Self {
        Self { epoch: Epoch::new(clock.now(), clock.boot_id()), content }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::Write { path: path.to_owned(), source: error.into() })?;
        file::replace(path, &bytes)
    }

    /// What the file holds; nothing when it is missing or damaged, which is no reason not to start.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        if !path.exists() {
            return None;
        }
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| Error::Read { path: path.to_owned(), source: error.into() })
        };
        match file::read(path, MAX_BYTES).and_then(parse) {
            Ok(state) => Some(state),
            Err(error) => {
                log::warn!("Starting without this state: {error}");
                None
            }
        }
    }
}

/// Runs until `stop`, then writes everything a last time.
pub(crate) async fn keep(guard: Arc<Guard>, stop: CancellationToken) {
    tokio::join!(
        expire(&guard, &stop),
        judge(&guard, &stop),
        save_sessions(&guard, &stop),
        save_throttle(&guard, &stop),
        guard.tokens.expire(&*guard.clock, &stop),
        guard.tokens.keep(&*guard.clock, &stop),
    );
}

async fn expire(guard: &Guard, stop: &CancellationToken) {
    loop {
        let sleep = guard.time_to_next_end().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        tokio::select! {
            () = stop.cancelled() => return,
            () = guard.deadlines_changed.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
        guard.end_expired();
    }
}

/// Sessions and rights whose password was changed end; roles that were changed count.
async fn judge(guard: &Arc<Guard>, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(JUDGE_EVERY)).await.is_some() {
        // Looking at one file costs less than a thread that does so.
        let (roles, somebody) = (guard.has_other_roles(), guard.has_somebody());
        if roles || somebody {
            let guard = Arc::clone(guard);
            let work = move || {
                if roles {
                    guard.read_roles_and_judge();
                } else {
                    guard.judge();
                }
            };
            // A panic in it would be one of the service's: the next second is another try.
            let _ = tokio::task::spawn_blocking(work).await;
        }
    }
}

/// Failures are told by the ledger.
async fn save_sessions(guard: &Arc<Guard>, stop: &CancellationToken) {
    while changed(&guard.sessions_changed, stop).await {
        let pause = match guard.write_sessions().await {
            Ok(()) => SESSIONS_GAP,
            Err(_) => {
                guard.sessions_changed.notify_one();
                SESSIONS_RETRY
            }
        };
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    if let Err(error) = guard.write_sessions().await {
        log::warn!("The last sessions could not be written: {error}");
    }
}

async fn save_throttle(guard: &Arc<Guard>, stop: &CancellationToken) {
    let mut failing = false;
    while changed(&guard.throttle_changed, stop).await {
        let pause = match write_aside(guard).await {
            Ok(()) => {
                failing = false;
                THROTTLE_GAP
            }
            Err(error) => {
                if !failing {
                    log::warn!(
                        "Counters of wrong passwords will not outlive a restart until this is mended: {error}"
                    );
                }
                failing = true;
                guard.throttle_changed.notify_one();
                THROTTLE_RETRY
            }
        };
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    if let Err(error) = write_aside(guard).await {
        log::warn!("The last counters could not be written: {error}");
    }
}

/// Waits for a change; false at the end.
async fn changed(what: &Notify, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = what.notified() => true,
    }
}

async fn write_aside(guard: &Arc<Guard>) -> Result<(), Error> {
    let guard = Arc::clone(guard);
    tokio::task::spawn_blocking(move || guard.save_throttle()).await.unwrap_or(Err(Error::Unfinished))
}
