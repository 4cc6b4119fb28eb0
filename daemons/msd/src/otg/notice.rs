//! Noticing that a LUN changed.
//!
//! The kernel reports nothing when the target ejects. But it lets go of the image then, and whoever watches the image sees
//! it closed. What programs of this machine write to the attributes is seen at the LUN, and LUNs that come and go are seen
//! at the directories above.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// How many directories above a LUN are watched: up to the one all gadgets lie in.
const ABOVE: usize = 4;

/// Watches one LUN and the image in it.
#[derive(Debug)]
pub(super) struct Notice {
    queue: Inotify,
    image: Option<(PathBuf, WatchDescriptor)>,
}

impl Notice {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { queue: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?, image: None })
    }

    /// Watches what there is of the LUN's path now. Watching again is free.
    pub(super) fn watch_lun(&self, dir: &Path) {
        let comes_and_goes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        // What is missing is noticed one level up, what is forbidden by the slow look.
        let _ = self.queue.add_watch(dir, comes_and_goes | AddWatchFlags::IN_CLOSE_WRITE);
        for above in dir.ancestors().skip(1).take(ABOVE) {
            let _ = self.queue.add_watch(above, comes_and_goes);
        }
    }

    /// Watches this image and no other; true if it was not watched before, so that it may have been let go meanwhile.
    pub(super) fn watch_image(&mut self, image: Option<&Path>) -> bool {
        if self.image.as_ref().map(|(path, _)| path.as_path()) == image {
            return false;
        }
        if let Some((_, watch)) = self.image.take() {
            // Gone by itself if the file is gone.
            let _ = self.queue.rm_watch(watch);
        }
        let Some(path) = image else { return false };
        let watched = self.queue.add_watch(path, AddWatchFlags::IN_CLOSE | AddWatchFlags::IN_DONT_FOLLOW);
        self.image = watched.ok().map(|watch| (path.to_owned(), watch));
        self.image.is_some()
    }

    /// Forgets what has happened so far.
    pub(super) fn drain(&mut self) {
        loop {
            match self.queue.read_events() {
                Ok(events) => {
                    // The watch ended: the file is gone, or its file system.
                    let ended = |image: &(PathBuf, WatchDescriptor)| {
                        events.iter().any(|event| {
                            event.wd == image.1 && event.mask.contains(AddWatchFlags::IN_IGNORED)
                        })
                    };
                    self.image.take_if(|image| ended(image));
                }
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
