//! The storage: what lies on it, and whether it is open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::Owner;
use crate::Error;
use crate::model::Part;
use crate::place::Place;
use crate::scan;
use crate::transfer::failed;

/// How long looking at the storage may take: a dead network share must not stop us for good.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of free space more or less that are worth telling while nothing is under way.
const NEWS: u64 = 1 << 20;

impl Owner {
    pub(super) async fn open_storage(&mut self) -> Result<(), Error> {
        self.unclosed = false;
        self.remount.remount(true).await.map_err(Error::Remount)
    }

    /// A failure is only told, and tried again later: everything that mattered is done.
    pub(super) async fn close_storage(&mut self) {
        if self.drives.writes_beside(&self.settings.root) {
            self.unclosed = true;
            return;
        }
        match self.remount.remount(false).await {
            Ok(()) if self.unclosed => {
                log::info!("the storage is read-only again");
                self.unclosed = false;
            }
            Ok(()) => {}
            Err(why) if self.unclosed => log::debug!("the storage still is writable: {why}"),
            Err(why) => {
                log::warn!("the storage stays writable for now: {why}");
                self.unclosed = true;
            }
        }
    }

    /// Somebody was writing there when we wanted to close it.
    pub(super) async fn close_storage_at_last(&mut self) {
        if self.unclosed && self.active.is_none() && !self.seen_writable() {
            self.close_storage().await;
        }
    }

    pub(super) async fn rescan(&mut self) {
        self.rescan_at = None;
        let root = self.settings.root.clone();
        let Some(found) = blocking(move || scan::scan(&root)).await else {
            log::warn!("the storage does not answer: what is shown may be old");
            return;
        };
        match found {
            Ok(found) => {
                self.notice.watch(&found.dirs);
                if self.scan.is_none() {
                    log::info!(
                        "storage {} is online, {} images",
                        self.settings.root.display(),
                        found.images.len()
                    );
                }
                self.scan = Some(found);
            }
            Err(error) => {
                if self.scan.take().is_some() {
                    log::warn!("storage {} is offline: {error}", self.settings.root.display());
                }
            }
        }
        self.forget_a_vanished_image();
    }

    pub(super) fn forget_a_vanished_image(&mut self) {
        let Some(scan) = &self.scan else { return };
        let gone = self.selection.image.as_deref().is_some_and(|image| !scan.images.contains_key(image));
        if gone && !self.connected() {
            self.selection.image = None;
        }
    }

    /// Free space goes down while an image is written. Otherwise a little more or less of it is no news: logs are written
    /// on the same disk all the time, and every client would be told of each line.
    pub(super) async fn measure(&mut self) {
        if let Some(active) = &mut self.active {
            active.speed.saw(active.progress.done(), Instant::now());
        }
        let Some(scan) = &self.scan else { return };
        let (root, parts) = (self.settings.root.clone(), scan.parts.clone());
        if let (Some(parts), Some(scan)) = (blocking(move || measure(&root, parts)).await, &mut self.scan) {
            let busy = self.active.is_some();
            if busy || parts.iter().any(|(key, now)| is_news(scan.parts.get(key), now)) {
                scan.parts = parts;
            }
        }
    }

    /// Mounts come and go without a file event: somebody's below the storage, and the storage's own.
    pub(super) async fn look_at_mounts(&mut self) {
        let root = self.settings.root.clone();
        let found = blocking(move || (root.is_dir(), scan::mount_points(&root))).await;
        let Some((there, mounts)) = found else { return };
        let known = self.scan.as_ref().map(|scan| &scan.mounts);
        if known != there.then_some(&mounts) {
            self.rescan().await;
        }
    }
}

/// Whether this differs from what is shown by so much that people should know.
fn is_news(shown: Option<&Part>, now: &Part) -> bool {
    shown.is_none_or(|shown| shown.size != now.size || shown.free.abs_diff(now.free) > NEWS)
}

/// Runs something that may block for long, and gives up on it after [`PATIENCE`].
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(PATIENCE, spawn_blocking(work)).await.ok()?.ok()
}

/// Lets the target's emulator write the image. A failure is only told: whether it may write after all (it may be the
/// same user as we are, or the file be everybody's) is for the drive to find out.
pub(super) async fn lend(root: PathBuf, image: String) {
    if let Ok(Err(error)) = spawn_blocking(move || Place::find(&root, &image)?.lend()).await {
        log::warn!("the target may not be able to write: {error}");
    }
}

/// What the target wrote is on the disk before we say that the drive is out.
pub(super) async fn sync(root: PathBuf, path: PathBuf) {
    let sync = move || -> Result<(), Error> {
        let file = match path.strip_prefix(&root).ok().and_then(Path::to_str) {
            Some(image) => Place::find(&root, image)?.open()?,
            // Put in by hand from elsewhere.
            None => std::fs::File::open(&path).map_err(failed(&path))?,
        };
        file.sync_all().map_err(failed(&path))
    };
    if let Ok(Err(error)) = spawn_blocking(sync).await {
        log::error!("what the target wrote may not be on the disk: {error}");
    }
}

fn measure(root: &Path, parts: BTreeMap<String, Part>) -> BTreeMap<String, Part> {
    let now = |(key, part): (String, Part)| {
        let space = scan::space(&root.join(&key)).map_or(part, |now| Part { writable: part.writable, ..now });
        (key, space)
    };
    parts.into_iter().map(now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_a_log_is_no_news_and_a_disk_that_grew_is() {
        let shown = Part { size: 1 << 30, free: 1 << 29, writable: true };
        for (now, news) in [
            (shown, false),
            (Part { free: shown.free - 4096, ..shown }, false),
            (Part { free: shown.free + NEWS, ..shown }, false),
            (Part { free: shown.free + NEWS + 1, ..shown }, true),
            (Part { free: shown.free - NEWS - 1, ..shown }, true),
            (Part { size: shown.size + 4096, ..shown }, true),
        ] {
            assert_eq!(is_news(Some(&shown), &now), news, "{now:?}");
        }
        assert!(is_news(None, &shown));
    }
}
