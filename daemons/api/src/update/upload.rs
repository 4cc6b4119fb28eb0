//! A bundle on its way in: to a directory of its own, bounded by what is free, whole or not at all.

use crate::failure::Failure;
use bytes::Bytes;
use model::{ErrorClass, update::Upload as Shown};
use nix::fcntl::{FallocateFlags, fallocate};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
};

/// What a bundle is called when it is whole; the supervisor looks for that.
const WHOLE: &str = "upload.raucb";
/// And until then.
const PART: &str = "upload.part";
/// What an upload leaves free, for everybody else who keeps something there.
const RESERVE: u64 = 32 << 20;

/// Uploads, one at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Uploads {
    dir: PathBuf,
    max_size: u64,
    one: Arc<Semaphore>,
    shown: Arc<watch::Sender<Option<Shown>>>,
}

impl Uploads {
    /// Uploads into that directory. What an earlier life left half done is removed.
    #[must_use]
    pub fn new(dir: PathBuf, max_size: u64) -> Self {
        let _ = fs::remove_file(dir.join(PART));
        let shown = whole(&dir);
        Self { dir, max_size, one: Arc::new(Semaphore::new(1)), shown: Arc::new(watch::Sender::new(shown)) }
    }

    /// What is uploaded, or waits to be installed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Shown>> {
        self.shown.subscribe()
    }

    /// Looks whether the uploaded bundle is still there.
    pub async fn look(&self) {
        let Ok(_one) = Arc::clone(&self.one).try_acquire_owned() else { return };
        let dir = self.dir.clone();
        if spawn_blocking(move || whole(&dir)).await.ok().flatten().is_none() {
            self.shown.send_replace(None);
        }
    }

    /// Makes room for a bundle of that size; the one before it is gone then.
    ///
    /// # Errors
    ///
    /// Another one is being uploaded, or there is no room for this one.
    pub async fn begin(&self, size: u64) -> Result<Upload, Failure> {
        let busy = || Failure::new(ErrorClass::UpdateIsBusy, "Another bundle is being uploaded");
        let one = Arc::clone(&self.one).try_acquire_owned().map_err(|_| busy())?;
        if size == 0 || size > self.max_size {
            return Err(Failure::invalid(format!("A bundle has 1 to {} bytes, not {size}", self.max_size)));
        }
        let dir = self.dir.clone();
        let made = spawn_blocking(move || prepare(&dir, size)).await.map_err(Failure::internal)?;
        let file = made.map_err(|error| self.failed(&error, size))?;
        self.shown.send_replace(Some(Shown { size, received: 0, complete: false, sha256: None }));
        let uploads = self.clone();
        let file = tokio::fs::File::from_std(file);
        Ok(Upload { uploads, file, hash: Sha256::new(), size, received: 0, kept: false, _one: one })
    }

    fn failed(&self, error: &io::Error, size: u64) -> Failure {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::new(
                ErrorClass::UpdateNoSpace,
                format!("There is no room for a bundle of {size} bytes"),
            ),
            _ => Failure::internal(format!("{}: {error}", self.dir.display())),
        }
    }
}

/// A bundle being received. Dropped before [`Upload::finish`] it is removed.
pub struct Upload {
    uploads: Uploads,
    file: tokio::fs::File,
    hash: Sha256,
    size: u64,
    received: u64,
    kept: bool,
    _one: OwnedSemaphorePermit,
}

impl Upload {
    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// More than was announced, or the disk.
    pub async fn chunk(&mut self, chunk: &Bytes) -> Result<(), Failure> {
        let before = self.percent();
        self.received += chunk.len() as u64;
        if self.received > self.size {
            return Err(Failure::invalid("The upload is longer than was announced"));
        }
        self.hash.update(chunk);
        self.file.write_all(chunk).await.map_err(|error| self.uploads.failed(&error, self.size))?;
        if self.percent() != before {
            let received = self.received;
            self.uploads.shown.send_modify(|shown| {
                if let Some(shown) = shown {
                    shown.received = received;
                }
            });
        }
        Ok(())
    }

    fn percent(&self) -> u64 {
        self.received.saturating_mul(100) / self.size
    }

    /// It is whole: on the disk, and its hash known.
    ///
    /// # Errors
    ///
    /// It is not: fewer bytes than announced, another hash than `wanted`, or the disk.
    pub async fn finish(mut self, wanted: Option<&str>) -> Result<String, Failure> {
        if self.received != self.size {
            return Err(Failure::invalid(format!(
                "The upload ended after {} of {} bytes",
                self.received, self.size
            )));
        }
        let sha256 = hex::encode(std::mem::take(&mut self.hash).finalize());
        if let Some(wanted) = wanted.filter(|wanted| *wanted != sha256) {
            return Err(Failure::invalid(format!("The upload's hash is {sha256}, not {wanted}")));
        }
        let failed = |error: io::Error| self.uploads.failed(&error, self.size);
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        let dir = self.uploads.dir.clone();
        let renamed = spawn_blocking(move || fs::rename(dir.join(PART), dir.join(WHOLE))).await;
        renamed.map_err(Failure::internal)?.map_err(failed)?;
        self.kept = true;
        let (size, hash) = (self.size, Some(sha256.clone()));
        self.uploads.shown.send_replace(Some(Shown { size, received: size, complete: true, sha256: hash }));
        Ok(sha256)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(self.uploads.dir.join(PART));
            self.uploads.shown.send_replace(None);
        }
    }
}

/// A bundle that waits. Its hash is known only to who saw it come.
fn whole(dir: &Path) -> Option<Shown> {
    let size = fs::symlink_metadata(dir.join(WHOLE)).ok().filter(fs::Metadata::is_file)?.len();
    Some(Shown { size, received: size, complete: true, sha256: None })
}

/// The file, with room for all of it. Blocks.
fn prepare(dir: &Path, size: u64) -> io::Result<fs::File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Before room is looked for: the last one is not wanted any more.
    for name in [WHOLE, PART] {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let found = nix::sys::statvfs::statvfs(dir)?;
    if found.blocks_available().saturating_mul(found.fragment_size()) < size.saturating_add(RESERVE) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let path = dir.join(PART);
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let length = i64::try_from(size).map_err(io::Error::other)?;
    match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
        // Not every file system can; it is then only known when it is too late.
        Ok(()) | Err(nix::errno::Errno::EOPNOTSUPP) => Ok(file),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn uploads(dir: &tempfile::TempDir) -> Uploads {
        Uploads::new(dir.path().join("update"), 1 << 20)
    }

    fn left(dir: &tempfile::TempDir) -> Vec<String> {
        let names = fs::read_dir(dir.path().join("update")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_whole_bundle_is_kept_with_its_hash_and_the_next_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = uploads(&dir);
        for _ in 0..2 {
            let mut upload = uploads.begin(3).await.unwrap();
            upload.chunk(&Bytes::from_static(b"ab")).await.unwrap();
            assert_eq!(uploads.subscribe().borrow().as_ref().unwrap().received, 2);
            upload.chunk(&Bytes::from_static(b"c")).await.unwrap();
            assert_eq!(upload.finish(Some(DIGEST)).await.unwrap(), DIGEST);
            assert_eq!(left(&dir), [WHOLE]);
        }
        assert!(uploads.subscribe().borrow().as_ref().unwrap().complete);
        let again = self::uploads(&dir);
        assert!(again.subscribe().borrow().as_ref().unwrap().complete, "also after a restart");
        fs::remove_file(dir.path().join("update").join(WHOLE)).unwrap();
        uploads.look().await;
        assert_eq!(*uploads.subscribe().borrow(), None);
    }

    #[tokio::test]
    async fn what_is_not_whole_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let uploads = uploads(&dir);
        let mut long = uploads.begin(1).await.unwrap();
        assert_eq!(long.chunk(&Bytes::from_static(b"ab")).await.unwrap_err().class.name(), "ValidatorError");
        drop(long);
        let mut short = uploads.begin(3).await.unwrap();
        short.chunk(&Bytes::from_static(b"ab")).await.unwrap();
        assert_eq!(short.finish(None).await.unwrap_err().class.name(), "ValidatorError");
        let mut other = uploads.begin(3).await.unwrap();
        other.chunk(&Bytes::from_static(b"abd")).await.unwrap();
        assert_eq!(other.finish(Some(DIGEST)).await.unwrap_err().class.name(), "ValidatorError");
        drop(uploads.begin(3).await.unwrap());
        assert!(left(&dir).is_empty());
        assert_eq!(*uploads.subscribe().borrow(), None);
    }

    #[tokio::test]
    async fn what_cannot_be_taken_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let huge = Uploads::new(dir.path().join("update"), u64::MAX);
        let failure = huge.begin(1 << 60).await.err().unwrap();
        assert_eq!((failure.class.name(), failure.class.status()), ("UpdateNoSpaceError", 507));
        assert!(left(&dir).is_empty());
        let uploads = uploads(&dir);
        for size in [0, (1 << 20) + 1] {
            assert_eq!(uploads.begin(size).await.err().unwrap().class.name(), "ValidatorError");
        }
        let first = uploads.begin(3).await.unwrap();
        assert_eq!(uploads.begin(3).await.err().unwrap().class.name(), "UpdateIsBusyError");
        drop(first);
        uploads.begin(3).await.unwrap();
    }
}
