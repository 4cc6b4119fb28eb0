//! Noticing that somebody else changed the storage: files copied by SSH, removed by hand, file systems mounted.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Watches directories. Where the kernel gives no watches it notices nothing, and says so once.
pub(crate) struct Notice {
    queue: Option<AsyncFd<Queue>>,
    complained: bool,
}

impl Notice {
    /// Call within a tokio runtime.
    #[expect(
        deprecated,
        reason = "its successor is an unsafe fn; `Queue` owns the descriptor it names, which is what is asked"
    )]
    pub(crate) fn new() -> Self {
        let queue = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(std::io::Error::from)
            .and_then(|inotify| AsyncFd::new(Queue(inotify)));
        let mut notice = Self { queue: None, complained: false };
        match queue {
            Ok(queue) => notice.queue = Some(queue),
            Err(error) => notice.complain(&error),
        }
        notice
    }

    /// Watches these directories too. Watching one again is free; the kernel forgets removed ones by itself.
    pub(crate) fn watch(&mut self, dirs: &[PathBuf]) {
        // Not MODIFY: an upload would wake us for every piece. A file copied in ends with CLOSE_WRITE.
        let flags = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let Some(queue) = &self.queue else { return };
        let failed = dirs.iter().find_map(|dir| queue.get_ref().0.add_watch(dir, flags).err());
        match failed {
            // Removed since it was found: the removal itself was noticed.
            None | Some(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => {}
            Some(errno) => self.complain(&errno.into()),
        }
    }

    /// Something changed. Cancel-safe.
    pub(crate) async fn changed(&self) {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        let Ok(mut ready) = queue.readable().await else { return std::future::pending().await };
        // What changed does not matter: everything is looked at again. A queue that overran says so by an event too.
        while queue.get_ref().0.read_events().is_ok() {}
        ready.clear_ready();
    }

    fn complain(&mut self, error: &std::io::Error) {
        if !self.complained {
            log::warn!("changes of the storage by others go unnoticed: {error}");
            self.complained = true;
        }
    }
}

/// Notices that something was mounted, remounted or unmounted: the kernel marks that at `mountinfo` as urgent.
pub(crate) struct MountNotice(Option<AsyncFd<File>>);

impl MountNotice {
    /// Call within a tokio runtime.
    #[expect(deprecated, reason = "its successor is an unsafe fn; a `File` owns the descriptor it names")]
    pub(crate) fn new() -> Self {
        let file = File::open("/proc/self/mountinfo")
            .and_then(|file| AsyncFd::with_interest(file, Interest::PRIORITY));
        Self(file.inspect_err(|error| log::info!("mounts are noticed late: {error}")).ok())
    }

    /// Something changed. Cancel-safe.
    pub(crate) async fn changed(&self) {
        let Some(file) = &self.0 else { return std::future::pending().await };
        match file.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}
