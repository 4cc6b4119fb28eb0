//! A value that is looked at again and again, but only while somebody watches.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// When watchers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// When the value is another one.
    Changes,
    /// After every look.
    Always,
}

#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: watch::Sender<T>,
    came: Notify,
}

impl<T: PartialEq> Watched<T> {
    pub(crate) fn subscribe(&self) -> watch::Receiver<T> {
        let receiver = self.value.subscribe();
        self.came.notify_one();
        receiver
    }

    /// Looks at once when the first watcher comes, then `every` so often until the last one is gone.
    pub(crate) async fn poll<F: Future<Output = T>>(
        &self,
        every: Duration,
        tell: Tell,
        look: impl Fn() -> F,
    ) -> Infallible {
        loop {
            // A permit may be left of a watcher who was served already: then there is nobody, and we wait on.
            while self.value.receiver_count() == 0 {
                self.came.notified().await;
            }
            let now = look().await;
            self.value.send_if_modified(|value| {
                let changed = tell == Tell::Always || *value != now;
                *value = now;
                changed
            });
            tokio::select! {
                () = sleep(every) => {}
                () = self.value.closed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;

    struct Poll {
        watched: Arc<Watched<u32>>,
        looks: Arc<AtomicU32>,
        value: Arc<AtomicU32>,
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn poll(tell: Tell) -> Poll {
        let poll = Poll { watched: Arc::default(), looks: Arc::default(), value: Arc::default() };
        let (watched, looks, value) =
            (Arc::clone(&poll.watched), Arc::clone(&poll.looks), Arc::clone(&poll.value));
        tokio::spawn(async move {
            watched
                .poll(SECOND, tell, || {
                    looks.fetch_add(1, Ordering::SeqCst);
                    let value = value.load(Ordering::SeqCst);
                    async move { value }
                })
                .await
        });
        poll
    }

    impl Poll {
        fn looks(&self) -> u32 {
            self.looks.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_looked_at_while_nobody_watches() {
        let poll = poll(Tell::Changes);
        sleep(SECOND * 100).await;
        assert_eq!(poll.looks(), 0);
        let watcher = poll.watched.subscribe();
        sleep(SECOND * 10 + SECOND / 2).await;
        assert_eq!(poll.looks(), 11);
        drop(watcher);
        sleep(SECOND * 100).await;
        assert_eq!(poll.looks(), 11);
        let _watcher = poll.watched.subscribe();
        sleep(SECOND / 2).await;
        assert_eq!(poll.looks(), 12, "the next watcher is served at once");
    }

    #[tokio::test(start_paused = true)]
    async fn only_changes_are_told_where_changes_are_asked_for() {
        let poll = poll(Tell::Changes);
        let mut watcher = poll.watched.subscribe();
        let start = Instant::now();
        sleep(SECOND * 5 / 2).await;
        poll.value.store(7, Ordering::SeqCst);
        watcher.changed().await.unwrap();
        assert_eq!((*watcher.borrow(), start.elapsed()), (7, SECOND * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn every_look_is_told_where_that_is_asked_for() {
        let poll = poll(Tell::Always);
        let mut watcher = poll.watched.subscribe();
        let start = Instant::now();
        for _ in 0..3 {
            watcher.changed().await.unwrap();
        }
        assert_eq!(start.elapsed(), SECOND * 2);
    }
}
