//! An image on its way in.
//!
//! The file is made with its whole size at once, so that a full disk is known before the first byte and the file system
//! can lay it out in one piece; the marker `.__NAME.incomplete` lies beside it, on the disk, before the file does.
//!
//! A thread of its own writes. Network pieces of 16 to 64 KiB are gathered into vectored writes of up to 1 MiB.
//!
//! An upload that broke off is continued in the same file, where its marker says (module `note`); a thread beside this one
//! hashes what was written (module `digest`).
//!
//! **Syncing.** The contract asks for an fsync every 4 MiB and at the end. The ones on the way do not make anything
//! safe (until the last one the marker says "broken"); they keep the page cache from filling with dirty pages, which
//! would freeze the board at the end and make the progress shown a lie. A plain fsync stops the pipeline for a
//! journal commit each time. So on the way we only *start* the writing of each 4 MiB window and wait for the one
//! before it: at most two windows are dirty, the disk always has work, and the metadata is committed once, at the end.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::digest::{Follower, Sha256};
use crate::name::ImageName;
use crate::note::Note;
use crate::place::{Place, Site};
use crate::transfer::{self, PIECE, Progress, failed};
use crate::{Error, scan};

/// How long an image is still checked whose client has left after the last byte: nearly always that is enough.
const GRACE: Duration = Duration::from_millis(500);

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The image.
    pub name: String,
    /// Bytes announced.
    pub size: u64,
    /// Bytes written; fewer than announced leave an incomplete image.
    pub written: u64,
    /// Of a complete image, as it lies in the file.
    pub sha256: Option<Sha256>,
}

pub(crate) type Reply = oneshot::Sender<Result<Written, Error>>;

#[derive(Debug)]
pub(crate) enum Piece {
    Data(Bytes),
    /// These were all, and this is what they should be.
    Finish(Option<Sha256>, Reply),
}

/// What is to be written.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) name: ImageName,
    /// Bytes announced.
    pub(crate) size: u64,
    /// The byte to go on at; 0 begins anew.
    pub(crate) from: u64,
    /// Goes on to the end of the image.
    pub(crate) whole: bool,
    pub(crate) remove_incomplete: bool,
}

/// An image being written. Dropped before [`Write::finish`], it is aborted.
#[derive(Debug)]
pub struct Write {
    name: String,
    size: u64,
    sent: u64,
    pieces: mpsc::Sender<Piece>,
    progress: Arc<Progress>,
}

impl Write {
    pub(crate) fn new(
        name: String,
        size: u64,
        from: u64,
        pieces: mpsc::Sender<Piece>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { name, size, sent: from, pieces, progress }
    }

    /// The image's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes announced.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes written so far (a little behind the bytes given).
    #[must_use]
    pub fn written(&self) -> u64 {
        self.progress.done()
    }

    /// Writes the next piece; waits while the disk is behind.
    ///
    /// # Errors
    /// [`Error::TooMuchData`], [`Error::Io`], [`Error::Cancelled`].
    pub async fn chunk(&mut self, mut data: Bytes) -> Result<(), Error> {
        self.sent = self.sent.saturating_add(data.len() as u64);
        if self.sent > self.size {
            return Err(Error::TooMuchData(self.size));
        }
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            self.send(Piece::Data(piece)).await?;
        }
        Ok(())
    }

    /// Ends the write: everything is on the disk when this answers, and the region is free. A complete image must have
    /// this digest, if one is given; else it stays incomplete, and cannot be continued.
    ///
    /// # Errors
    /// As [`Write::chunk`], and [`Error::Digest`].
    pub async fn finish(self, wanted: Option<Sha256>) -> Result<Written, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Piece::Finish(wanted, reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.progress.failure()))
    }

    async fn send(&self, piece: Piece) -> Result<(), Error> {
        self.pieces.send(piece).await.map_err(|_| self.progress.failure())
    }
}

/// How a write ended, for the owner of the region, who frees it and then tells the client.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Written, Error>,
    pub(crate) reply: Option<Reply>,
}

/// A file made ready.
#[derive(Debug)]
pub(crate) struct Upload {
    order: Order,
    window: u64,
    place: Place,
    file: File,
    marker: File,
    /// What the marker says.
    note: Note,
}

/// How the client ended it.
enum Last {
    /// It left.
    Left,
    /// It said that this was all, and what it should be.
    Said(Option<Sha256>, Reply),
}

impl Upload {
    /// Makes the file, its directories and its marker, or opens those there are. Blocks.
    pub(crate) fn prepare(root: &Path, order: Order, window: u64) -> Result<Self, Error> {
        if order.from > 0 { Self::reopen(root, order, window) } else { Self::make(root, order, window) }
    }

    fn reopen(root: &Path, order: Order, window: u64) -> Result<Self, Error> {
        let nowhere = |written| Error::NoSuchOffset {
            name: order.name.as_str().to_owned(),
            wanted: order.from,
            written,
        };
        let site = Site::survey(root, order.name.as_str())?;
        site.occupied(order.name.as_str())?;
        let place = Place::find(root, order.name.as_str()).map_err(|_| nowhere(0))?;
        let (mut file, marker) = place.reopen().map_err(|_| nowhere(0))?;
        let path = place.path().to_owned();
        let failed = failed(&path);
        let long = file.metadata().map_err(&failed)?.len();
        let note = Note::read(&marker).map_err(&failed)?;
        let Some(note) = note.filter(|note| note.size == order.size && long == order.size) else {
            return Err(nowhere(0));
        };
        if order.from > note.written {
            return Err(nowhere(note.written));
        }
        file.seek(SeekFrom::Start(order.from)).map_err(&failed)?;
        Ok(Self { order, window, place, file, marker, note })
    }

    fn make(root: &Path, order: Order, window: u64) -> Result<Self, Error> {
        let size = order.size;
        let site = Site::survey(root, order.name.as_str())?;
        let taken = site.occupied(order.name.as_str())?;
        let free = scan::space_at(site.nearest()).map_err(failed(site.path()))?.free.saturating_add(taken);
        if size > free {
            return Err(Error::NoSpace { wanted: size, free });
        }
        let place = site.build()?;
        // A broken image is not written over but made anew: whatever lies there may be more than it seems.
        place.clear()?;
        let (file, marker) = place.create()?;
        let upload = Self { order, window, place, file, marker, note: Note { size, written: 0 } };
        if let Err(error) = extend(&upload.file, size) {
            upload.remove();
            if error.raw_os_error() == Some(Errno::ENOSPC as i32) {
                return Err(Error::NoSpace { wanted: size, free });
            }
            return Err(failed(upload.place.path())(error));
        }
        Ok(upload)
    }

    /// Writes until the client finishes, leaves, or `cancel`. Blocks; runs on its own thread.
    pub(crate) fn run(
        mut self,
        runtime: &Handle,
        mut pieces: mpsc::Receiver<Piece>,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Ended {
        let mut reply = None;
        let result = self.follow().and_then(|follower| {
            let last = self.pump(runtime, &mut pieces, progress, cancel, &follower)?;
            let Last::Said(wanted, answer) = last else { return Ok(None) };
            if progress.done() < self.order.size {
                reply = Some(answer);
                return Ok(None);
            }
            let (result, answer) = self.complete(runtime, cancel, follower, wanted, answer);
            reply = answer;
            result.map(Some)
        });
        if let Err(error) = &result {
            progress.fail(error);
        }
        if !matches!(result, Ok(Some(_))) {
            self.leave_incomplete(&result, progress.done());
        }
        let (name, size) = (self.order.name.as_str().to_owned(), self.order.size);
        let written = progress.done();
        Ended { result: result.map(|sha256| Written { name, size, written, sha256 }), reply }
    }

    fn follow(&self) -> Result<Follower, Error> {
        let clone = |file: &File| file.try_clone().map_err(failed(self.place.path()));
        let (file, marker) = (clone(&self.file)?, clone(&self.marker)?);
        let follower = Follower::start(file, marker, self.note, self.order.from, self.order.whole);
        follower.map_err(failed(self.place.path()))
    }

    /// Removes what is there, or notes how far it came: everything up to there is on the disk then. An image whose bytes
    /// are all there, of which nobody waited for the check, did not break off: it stays.
    fn leave_incomplete(&self, result: &Result<Option<Sha256>, Error>, written: u64) {
        let unchecked = written >= self.order.size && matches!(result, Ok(None) | Err(Error::Cancelled));
        if self.order.remove_incomplete && !unchecked {
            return self.remove();
        }
        let note = match result {
            Err(Error::Digest { .. }) => Note { written: 0, ..self.note },
            // What could not be written may not be there.
            Err(Error::Io { .. }) => return,
            _ => Note { written: written.min(self.order.size), ..self.note },
        };
        if let Err(error) = self.file.sync_data().and_then(|()| note.write(&self.marker)) {
            log::warn!("{:?} cannot be continued later: {error}", self.order.name.as_str());
        }
    }

    fn pump(
        &mut self,
        runtime: &Handle,
        pieces: &mut mpsc::Receiver<Piece>,
        progress: &Progress,
        cancel: &CancellationToken,
        follower: &Follower,
    ) -> Result<Last, Error> {
        let from = self.order.from;
        let mut writeback = Writeback { window: self.window, started: from, waited: from, ranges: true };
        let mut batch = Vec::with_capacity(transfer::QUEUE);
        loop {
            let first = transfer::wait(runtime, cancel, pieces.recv()).ok_or(Error::Cancelled)?;
            let mut next = first;
            let mut end = None;
            let mut gathered = 0;
            // Everything that is there already goes out in one call.
            loop {
                match next {
                    Some(Piece::Data(data)) => {
                        gathered += data.len();
                        batch.push(data);
                    }
                    Some(Piece::Finish(wanted, reply)) => end = Some(Last::Said(wanted, reply)),
                    None => end = Some(Last::Left),
                }
                if end.is_some() || gathered >= PIECE {
                    break;
                }
                let Ok(piece) = pieces.try_recv() else { break };
                next = Some(piece);
            }
            write_all(&mut self.file, &mut batch).map_err(failed(self.place.path()))?;
            progress.add(gathered);
            follower.wrote(progress.done());
            writeback.wrote(&self.file, progress.done()).map_err(failed(self.place.path()))?;
            if let Some(last) = end {
                return Ok(last);
            }
        }
    }

    /// Brings the whole image to the disk, checks it, and takes the marker away. An image that went on late may have to be
    /// read for minutes: that ends when the client leaves, who can come back with the last byte.
    fn complete(
        &self,
        runtime: &Handle,
        cancel: &CancellationToken,
        follower: Follower,
        wanted: Option<Sha256>,
        mut reply: Reply,
    ) -> (Result<Sha256, Error>, Option<Reply>) {
        let (stop, cancel) = (follower.stopper(), cancel.clone());
        let (done, is_done) = oneshot::channel::<()>();
        let watch = runtime.spawn(async move {
            let left = async {
                reply.closed().await;
                sleep(GRACE).await;
            };
            tokio::select! {
                _ = is_done => {}
                () = cancel.cancelled() => stop(),
                () = left => stop(),
            }
            reply
        });
        let synced = self.file.sync_all();
        let found = follower.finish(self.order.size);
        drop(done);
        let reply = runtime.block_on(watch).ok();
        (self.check(synced, found, wanted), reply)
    }

    fn check(
        &self,
        synced: io::Result<()>,
        found: io::Result<Option<Sha256>>,
        wanted: Option<Sha256>,
    ) -> Result<Sha256, Error> {
        let failed = failed(self.place.path());
        synced.map_err(&failed)?;
        let found = found.map_err(&failed)?.ok_or(Error::Cancelled)?;
        match wanted {
            Some(wanted) if wanted != found => Err(Error::Digest { wanted, found }),
            _ => self.place.unmark().map(|()| found),
        }
    }

    fn remove(&self) {
        if let Err(error) = self.place.clear() {
            log::warn!("an unfinished image stays: {error}");
        }
    }
}

/// Gives the file its size, its blocks reserved where the file system can do that.
fn extend(file: &File, size: u64) -> io::Result<()> {
    let len = i64::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    if len == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => file.set_len(size),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes a batch whole and empties it.
fn write_all(file: &mut File, batch: &mut Vec<Bytes>) -> io::Result<()> {
    // A call with nothing in it would look like a disk that takes nothing.
    batch.retain(|data| !data.is_empty());
    let mut first = 0;
    while first < batch.len() {
        let slices = batch[first..].iter().map(|data| IoSlice::new(data)).collect::<Vec<_>>();
        let mut written = match file.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        while let Some(data) = batch.get_mut(first) {
            let here = written.min(data.len());
            data.advance(here);
            written -= here;
            if !data.is_empty() {
                break;
            }
            first += 1;
        }
    }
    batch.clear();
    Ok(())
}

/// Keeps at most two windows of dirty pages (see the module's words on syncing).
struct Writeback {
    window: u64,
    started: u64,
    waited: u64,
    /// The file system knows ranges; else a window is synced whole.
    ranges: bool,
}

impl Writeback {
    fn wrote(&mut self, file: &File, end: u64) -> io::Result<()> {
        if end - self.started < self.window {
            return Ok(());
        }
        if self.ranges {
            let ranged = sys::writeback::start(file, self.started, end - self.started)
                .and_then(|()| self.wait_for_the_one_before(file));
            match ranged {
                Err(error) if matches!(error.raw_os_error(), Some(code) if code == Errno::ENOSYS as i32 || code == Errno::EINVAL as i32 || code == Errno::ESPIPE as i32) =>
                {
                    self.ranges = false;
                }
                other => other?,
            }
        }
        if !self.ranges {
            file.sync_data()?;
        }
        self.waited = self.started;
        self.started = end;
        Ok(())
    }

    fn wait_for_the_one_before(&self, file: &File) -> io::Result<()> {
        // A length of zero would mean "to the end of the file".
        if self.started == self.waited {
            return Ok(());
        }
        sys::writeback::wait(file, self.waited, self.started - self.waited)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn prepare(root: &Path, name: &str, size: u64) -> Result<Upload, Error> {
        prepare_from(root, name, size, 0)
    }

    fn prepare_from(root: &Path, name: &str, size: u64, from: u64) -> Result<Upload, Error> {
        let name = ImageName::parse(name).unwrap();
        Upload::prepare(root, Order { name, size, from, whole: true, remove_incomplete: false }, 4096)
    }

    #[test]
    fn a_prepared_file_has_its_size_and_its_marker_and_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), "a/b/c.iso", 10_000).unwrap();
        assert_eq!(fs::metadata(dir.path().join("a/b/c.iso")).unwrap().len(), 10_000);
        assert!(dir.path().join("a/b/.__c.iso.incomplete").exists());
    }

    #[test]
    fn an_image_larger_than_the_disk_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let error = prepare(dir.path(), "sub/big.img", 1 << 60).unwrap_err();
        assert!(matches!(error, Error::NoSpace { wanted, free } if wanted == 1 << 60 && free < wanted));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_whole_image_is_not_overwritten_and_a_broken_one_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), b"old").unwrap();
        assert!(matches!(prepare(dir.path(), "x", 1), Err(Error::ImageExists(name)) if name == "x"));
        assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"old");
        fs::write(dir.path().join(".__x.incomplete"), b"").unwrap();
        prepare(dir.path(), "x", 2).unwrap();
        assert_eq!(fs::read(dir.path().join("x")).unwrap(), [0, 0]);
    }

    #[test]
    fn a_broken_image_goes_on_where_its_marker_says_and_before_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let upload = prepare(dir.path(), "sub/x", 10).unwrap();
        Note { size: 10, written: 4 }.write(&upload.marker).unwrap();
        drop(upload);
        for from in [1, 4] {
            let mut upload = prepare_from(dir.path(), "sub/x", 10, from).unwrap();
            assert_eq!(upload.file.stream_position().unwrap(), from);
        }
        let refused = |name, size, from| match prepare_from(dir.path(), name, size, from) {
            Err(Error::NoSuchOffset { written, .. }) => Some(written),
            _ => None,
        };
        assert_eq!(refused("sub/x", 10, 5), Some(4));
        assert_eq!(refused("sub/x", 11, 4), Some(0), "another size is another image");
        assert_eq!(refused("none", 10, 4), Some(0));
        fs::write(dir.path().join("sub/.__x.incomplete"), b"").unwrap();
        assert_eq!(refused("sub/x", 10, 4), Some(0), "a marker of somebody else");
        fs::remove_file(dir.path().join("sub/.__x.incomplete")).unwrap();
        assert!(matches!(prepare_from(dir.path(), "sub/x", 10, 4), Err(Error::ImageExists(_))));
    }

    #[test]
    fn directories_that_are_links_or_files_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("way")).unwrap();
        symlink(outside.path().join("target"), dir.path().join("file")).unwrap();
        fs::write(dir.path().join("plain"), b"").unwrap();
        assert!(matches!(prepare(dir.path(), "way/x", 1), Err(Error::BadName { .. })));
        assert!(matches!(prepare(dir.path(), "way/sub/x", 1), Err(Error::BadName { .. })));
        assert!(matches!(prepare(dir.path(), "plain/x", 1), Err(Error::BadName { .. })));
        assert!(matches!(prepare(dir.path(), "file", 1), Err(Error::ImageExists(_))));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_marker_that_is_a_link_costs_nobody_a_file() {
        let house = tempfile::tempdir().unwrap();
        let root = house.path().join("msd");
        fs::create_dir(&root).unwrap();
        fs::write(house.path().join("totp.secret"), b"SECRET").unwrap();
        for image_there in [false, true] {
            symlink("../totp.secret", root.join(".__x.iso.incomplete")).unwrap();
            if image_there {
                fs::write(root.join("x.iso"), b"broken").unwrap();
            }
            let upload = prepare(&root, "x.iso", 5).unwrap();
            assert_eq!(fs::read(house.path().join("totp.secret")).unwrap(), b"SECRET");
            assert!(root.join(".__x.iso.incomplete").symlink_metadata().unwrap().is_file());
            upload.remove();
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_broken_image_that_is_also_somebody_elses_file_is_not_cut() {
        let house = tempfile::tempdir().unwrap();
        let root = house.path().join("msd");
        fs::create_dir(&root).unwrap();
        fs::write(house.path().join("precious"), b"precious").unwrap();
        fs::hard_link(house.path().join("precious"), root.join("x")).unwrap();
        fs::write(root.join(".__x.incomplete"), b"").unwrap();
        prepare(&root, "x", 2).unwrap();
        assert_eq!(fs::read(house.path().join("precious")).unwrap(), b"precious");
        assert_eq!(fs::read(root.join("x")).unwrap(), [0, 0]);
    }

    proptest! {
        #[test]
        fn a_batch_arrives_whole_and_in_order(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..20), window in 1u64..5000) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            let mut file = File::create(&path).unwrap();
            let mut writeback = Writeback { window, started: 0, waited: 0, ranges: true };
            let mut end = 0;
            for chunk in parts.chunks(3) {
                let mut batch = chunk.iter().cloned().map(Bytes::from).collect::<Vec<_>>();
                end += chunk.iter().map(|part| part.len() as u64).sum::<u64>();
                write_all(&mut file, &mut batch).unwrap();
                writeback.wrote(&file, end).unwrap();
                prop_assert!(batch.is_empty());
                prop_assert!(end - writeback.started < window);
            }
            prop_assert_eq!(fs::read(&path).unwrap(), parts.concat());
        }
    }
}
