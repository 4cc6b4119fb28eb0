//! What goes on behind the guard's back: ending sessions in time, and writing sessions and counters down.
//!
//! A change is written at once, further ones at most once per gap: a login is on the disk a moment after it happened,
//! a flood of them costs a few writes. A disk that takes no more stops nobody from logging in.

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
const SESSIONS_GAP: Duration = Duration::from_secs(1);
const THROTTLE_GAP: Duration = Duration::from_secs(5);
const RETRY_GAP: Duration = Duration::from_secs(30);
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
        save(&guard, &guard.sessions_changed, SESSIONS_GAP, Guard::save_sessions, &stop),
        save(&guard, &guard.throttle_changed, THROTTLE_GAP, Guard::save_throttle, &stop),
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

async fn save(
    guard: &Arc<Guard>,
    changed: &Notify,
    gap: Duration,
    write: fn(&Guard) -> Result<(), Error>,
    stop: &CancellationToken,
) {
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = changed.notified() => {}
        }
        let pause = match write_aside(guard, write).await {
            Ok(()) => {
                failing = false;
                gap
            }
            Err(error) => {
                if !failing {
                    log::warn!("Logins will not outlive a restart until this is mended: {error}");
                }
                failing = true;
                changed.notify_one();
                RETRY_GAP
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Err(error) = write_aside(guard, write).await {
        log::warn!("The last state could not be written: {error}");
    }
}

async fn write_aside(guard: &Arc<Guard>, write: fn(&Guard) -> Result<(), Error>) -> Result<(), Error> {
    let guard = Arc::clone(guard);
    tokio::task::spawn_blocking(move || write(&guard)).await.unwrap_or(Err(Error::Unfinished))
}
