//! Who waits until what happened is on the disk. One write serves everybody who came before it began.
//!
//! Every change of the sessions has a number. A write takes the number of the last change, then the state, and so
//! covers all changes up to it. Writes never overlap, not even when who asked for one has left: an older state cannot
//! land on a newer one.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::Error;

/// What a write came to.
pub(crate) type Outcome = Result<(), Arc<Error>>;

/// The last write.
#[derive(Debug)]
struct Last {
    /// The last change in it; 0 = none.
    covered: u64,
    outcome: Outcome,
}

/// The book of writes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Mutex<Last>>);

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Last { covered: 0, outcome: Ok(()) })))
    }

    /// Waits until a write that covers `change` has ended, well or not; makes it if nobody has. `write` runs on a
    /// blocking thread, to its end even when the caller leaves, and answers which change was the last in it.
    pub(crate) async fn settle(
        &self,
        change: u64,
        write: impl FnOnce() -> (u64, Result<(), Error>) + Send + 'static,
    ) -> Outcome {
        let last = Arc::clone(&self.0).lock_owned().await;
        if last.covered >= change {
            return last.outcome.clone();
        }
        Self::run(last, write).await
    }

    /// As [`Ledger::settle`], but a write that failed is made again.
    pub(crate) async fn mend(
        &self,
        change: u64,
        write: impl FnOnce() -> (u64, Result<(), Error>) + Send + 'static,
    ) -> Outcome {
        let last = Arc::clone(&self.0).lock_owned().await;
        if last.covered >= change && last.outcome.is_ok() {
            return Ok(());
        }
        Self::run(last, write).await
    }

    async fn run(
        mut last: OwnedMutexGuard<Last>,
        write: impl FnOnce() -> (u64, Result<(), Error>) + Send + 'static,
    ) -> Outcome {
        let work = move || {
            let (covered, result) = write();
            let outcome = result.map_err(Arc::new);
            match (&last.outcome, &outcome) {
                (Ok(()), Err(error)) => {
                    log::error!("Sessions will not outlive a restart until this is mended: {error}");
                }
                (Err(_), Ok(())) => log::info!("Sessions are written down again"),
                _ => {}
            }
            *last = Last { covered, outcome: outcome.clone() };
            outcome
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Arc::new(Error::Unfinished)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn broken() -> Error {
        Error::Unfinished
    }

    #[tokio::test]
    async fn everybody_who_waits_while_a_write_runs_is_served_by_the_next_one() {
        let (ledger, changes, writes) =
            (Ledger::new(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let running = Arc::clone(&ledger.0).lock_owned().await;
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let change = changes.fetch_add(1, Ordering::SeqCst) + 1;
            let (ledger, changes, writes) = (ledger.clone(), Arc::clone(&changes), Arc::clone(&writes));
            waiting.spawn(async move {
                let write = move || {
                    writes.fetch_add(1, Ordering::SeqCst);
                    (changes.load(Ordering::SeqCst), Ok(()))
                };
                ledger.settle(change, write).await
            });
        }
        tokio::task::yield_now().await;
        drop(running);
        while let Some(outcome) = waiting.join_next().await {
            assert!(outcome.unwrap().is_ok());
        }
        assert_eq!(writes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failed_write_is_told_to_all_it_covered_and_the_next_change_is_tried_again() {
        let ledger = Ledger::new();
        assert!(ledger.settle(3, || (3, Err(broken()))).await.is_err());
        assert!(ledger.settle(2, || (3, Ok(()))).await.is_err(), "not written again: it was in it");
        assert!(ledger.settle(4, || (4, Ok(()))).await.is_ok());
        assert!(ledger.settle(2, || (4, Err(broken()))).await.is_ok(), "the later write holds it too");
    }

    #[tokio::test]
    async fn a_repeated_write_mends_what_failed_and_writes_nothing_twice() {
        let ledger = Ledger::new();
        assert!(ledger.settle(1, || (1, Err(broken()))).await.is_err());
        assert!(ledger.mend(1, || (1, Ok(()))).await.is_ok());
        assert!(ledger.mend(1, || (1, Err(broken()))).await.is_ok());
        assert!(ledger.settle(1, || (1, Err(broken()))).await.is_ok());
    }
}
