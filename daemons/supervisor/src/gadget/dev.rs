//! Noticing that a HID node has appeared: they are made anew, as root's, whenever the gadget is plugged in. Also that
//! one is somebody else's now: udev gives nodes their owner after they are there. Our own giving is noticed too, once:
//! what is given already is not given again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// The queue as tokio wants it.
struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A directory of device nodes.
pub(crate) struct Nodes {
    queue: Option<AsyncFd<Queue>>,
}

impl Nodes {
    /// Watches it. Where the kernel gives no watches, nothing is noticed, and the log says so.
    #[expect(deprecated, reason = "its successor is an unsafe fn; `Queue` owns the descriptor it names")]
    pub(crate) fn watch(dir: &Path) -> Self {
        let queue = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .and_then(|inotify| {
                let what = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB;
                inotify.add_watch(dir, what).map(|_| inotify)
            })
            .map_err(io::Error::from)
            .and_then(|inotify| AsyncFd::new(Queue(inotify)));
        if let Err(error) = &queue {
            log::warn!("{}: new USB nodes go unnoticed: {error}", dir.display());
        }
        Self { queue: queue.ok() }
    }

    /// A HID node has appeared or has another owner. Cancel-safe.
    pub(crate) async fn appeared(&mut self) {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = queue.readable().await else { return std::future::pending().await };
            let mut is_ours = false;
            while let Ok(events) = queue.get_ref().0.read_events() {
                // A queue that overran names nothing, and may have lost ours.
                is_ours |= events.iter().any(|event| {
                    event.name.as_ref().is_none_or(|name| name.as_encoded_bytes().starts_with(b"hidg"))
                });
            }
            ready.clear_ready();
            if is_ours {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn only_hid_nodes_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes = Nodes::watch(dir.path());
        std::fs::write(dir.path().join("sda"), "").unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), nodes.appeared()).await;
        assert!(waited.is_err(), "a disk is not a keyboard");
        std::fs::write(dir.path().join("hidg7"), "").unwrap();
        tokio::time::timeout(Duration::from_secs(20), nodes.appeared()).await.unwrap();
    }
    #[tokio::test]
    async fn a_node_that_somebody_else_gives_away_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("hidg0");
        std::fs::write(&node, "").unwrap();
        let mut nodes = Nodes::watch(dir.path());
        std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o640)).unwrap();
        tokio::time::timeout(Duration::from_secs(20), nodes.appeared()).await.unwrap();
    }
}
