//! Taking turns at sending pictures, so that a crowd of viewers keeps nobody else waiting.
//!
//! A new frame wakes all who watch at once. A worker would then encrypt and send it for each of them, a hundred times,
//! before it looks at its sockets again: a key press among them waits all that time. So only some viewers of a worker
//! go on at once, and the next ones after the worker has looked.

use std::sync::Arc;
use tokio::sync::Mutex;

/// How many viewers of one thread go on without looking at its sockets in between.
const AT_ONCE: usize = 4;

thread_local! {
    /// How many have gone since the thread has looked.
    static GONE: Arc<Mutex<usize>> = Arc::default();
}

/// Waits for a turn, first come first served. To be called before each picture is sent.
pub(super) async fn take() {
    let gone = GONE.with(Arc::clone);
    let mut gone = gone.lock().await;
    if *gone >= AT_ONCE {
        // Who comes behind us waits for the lock meanwhile. The runtime goes on with us when it has looked at its sockets.
        tokio::task::yield_now().await;
        *gone = 0;
    }
    *gone += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::LocalSet,
    };

    /// How many of a crowd of 100 had gone when somebody else, whose byte has come meanwhile, was heard.
    async fn heard_after(turns: bool) -> usize {
        let (mut ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
        // Waiting in the reactor before the crowd wakes.
        let (gate, _) = tokio::sync::watch::channel(false);
        let went = Rc::new(Cell::new(0));
        let local = LocalSet::new();
        let other = {
            let went = Rc::clone(&went);
            local.spawn_local(async move {
                ours.read_u8().await.unwrap();
                went.get()
            })
        };
        for _ in 0..100 {
            let (went, mut opened) = (Rc::clone(&went), gate.subscribe());
            local.spawn_local(async move {
                opened.changed().await.unwrap();
                if turns {
                    take().await;
                }
                went.set(went.get() + 1);
            });
        }
        local.spawn_local(async move {
            tokio::task::yield_now().await;
            theirs.write_u8(1).await.unwrap();
            gate.send_replace(true);
        });
        local.run_until(other).await.unwrap()
    }

    #[tokio::test]
    async fn a_crowd_does_not_go_before_who_has_come() {
        assert!(heard_after(false).await > 2 * AT_ONCE, "without turns the crowd goes first");
        assert!(heard_after(true).await <= 2 * AT_ONCE);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_stops_nobody() {
        for _ in 0..3 * AT_ONCE {
            let mut one = Box::pin(take());
            let _ = futures_util::poll!(&mut one);
            drop(one);
        }
        for _ in 0..3 * AT_ONCE {
            take().await;
        }
    }
}
