//! What images on their way in and out have in common.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{io, thread};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// Pieces between the network and the disk. Each has at most [`PIECE`] bytes, commonly 16 to 64 KiB.
pub(crate) const QUEUE: usize = 16;
/// A piece is no larger than this.
pub(crate) const PIECE: usize = 1024 * 1024;

/// How far a transfer is, seen by all who take part in it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicU64,
    failure: OnceLock<Error>,
}

impl Progress {
    /// Of what begins with so many bytes that are there already.
    pub(crate) fn starting_at(bytes: u64) -> Self {
        Self { done: AtomicU64::new(bytes), ..Self::default() }
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, error: &Error) {
        let _ = self.failure.set(error.clone());
    }

    /// What went wrong, if anything did.
    pub(crate) fn failed(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    /// Why the other side has gone.
    pub(crate) fn failure(&self) -> Error {
        self.failed().unwrap_or(Error::Stopped)
    }
}

/// Waits on a blocking thread for something asynchronous, or for the end of the transfer (`None`).
pub(crate) fn wait<T>(
    runtime: &Handle,
    cancel: &CancellationToken,
    what: impl Future<Output = T>,
) -> Option<T> {
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            done = what => Some(done),
        }
    })
}

/// Starts the thread that owns the file.
pub(crate) fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(|error| Error::Io { path: name.into(), why: error.to_string() })
}

pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::Io { path: path.to_owned(), why: error.to_string() }
}
