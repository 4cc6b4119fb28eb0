//! The SHA-256 of an image while it is written.
//!
//! A thread of its own reads what has been written from the file, a little behind the writer: out of the page cache, as a
//! rule. So hashing holds nobody up, what is hashed is what lies in the file, and an upload that goes on after a break is
//! hashed from the first byte while the rest still comes in.
//!
//! The same thread notes now and then how far the image came, after it has brought that to the disk: a power cut costs the
//! bytes since the last note, not the upload. For a part that does not reach the end of the image that is all it does.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::{fmt, io};

use sha2::Digest as _;

use crate::note::Note;

/// Bytes read at once.
const PIECE: usize = 256 * 1024;
/// Bytes between two notes.
const NOTE_EVERY: u64 = 64 << 20;

/// A SHA-256, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the writer says to the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// So many bytes are in the file, and more will come.
    Written(u64),
    /// These were all.
    All(u64),
    /// Nobody wants to know any more.
    Never,
}

#[derive(Debug)]
struct Told {
    word: Mutex<Word>,
    changed: Condvar,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Word> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, word: Word) {
        let mut said = self.lock();
        // Nothing is said after the last word.
        if *said != Word::Never {
            *said = word;
        }
        self.changed.notify_one();
    }

    /// The word, once it is worth something to who has come that far.
    fn hear(&self, seen: u64) -> Word {
        let mut word = self.lock();
        while *word == Word::Written(seen) {
            word = self.changed.wait(word).unwrap_or_else(PoisonError::into_inner);
        }
        *word
    }
}

/// The thread that hashes. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Follower {
    told: Arc<Told>,
    thread: Option<JoinHandle<io::Result<Option<Sha256>>>>,
}

impl Follower {
    /// Begins to follow a file of which `written` bytes are there. `note` is what the marker says. Only with `whole` there
    /// will be a digest.
    pub(crate) fn start(file: File, marker: File, note: Note, written: u64, whole: bool) -> io::Result<Self> {
        let told = Arc::new(Told { word: Mutex::new(Word::Written(written)), changed: Condvar::new() });
        let hasher = whole.then(sha2::Sha256::new);
        let seen = if whole { 0 } else { written };
        let follow = Follow { file, marker, note, told: Arc::clone(&told), hasher, seen };
        let thread = Builder::new().name("msd-hash".to_owned()).spawn(move || follow.run())?;
        Ok(Self { told, thread: Some(thread) })
    }

    /// So many bytes are in the file now.
    pub(crate) fn wrote(&self, written: u64) {
        self.told.say(Word::Written(written));
    }

    /// These were all: waits for the digest. `None` when it was told to stop meanwhile, or there is none.
    pub(crate) fn finish(mut self, size: u64) -> io::Result<Option<Sha256>> {
        self.told.say(Word::All(size));
        self.join()
    }

    /// Who can end the wait in [`Follower::finish`].
    pub(crate) fn stopper(&self) -> impl Fn() + Send + 'static {
        let told = Arc::clone(&self.told);
        move || told.say(Word::Never)
    }

    fn join(&mut self) -> io::Result<Option<Sha256>> {
        let Some(thread) = self.thread.take() else { return Ok(None) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the hashing thread died")))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.told.say(Word::Never);
            // What it noted is of no more interest than what it hashed: the writer notes how far it came.
            let _ = self.join();
        }
    }
}

struct Follow {
    file: File,
    marker: File,
    note: Note,
    told: Arc<Told>,
    hasher: Option<sha2::Sha256>,
    /// How far it has come.
    seen: u64,
}

impl Follow {
    fn run(mut self) -> io::Result<Option<Sha256>> {
        let mut buffer = vec![0; if self.hasher.is_some() { PIECE } else { 0 }];
        loop {
            let (end, all) = match self.told.hear(self.seen) {
                Word::Never => return Ok(None),
                Word::Written(end) => (end, false),
                Word::All(size) => (size, true),
            };
            if self.seen < end {
                self.seen = self.next(end, &mut buffer)?;
                self.note_now_and_then(self.seen);
            } else if all {
                return Ok(self.hasher.map(|hasher| Sha256(hasher.finalize().into())));
            }
        }
    }

    /// Hashes the next bytes, if any are to be hashed; answers how far that leads.
    fn next(&mut self, end: u64, buffer: &mut [u8]) -> io::Result<u64> {
        let Some(hasher) = &mut self.hasher else { return Ok(end) };
        let wanted = usize::try_from(end - self.seen).unwrap_or(PIECE).min(PIECE);
        self.file.read_exact_at(&mut buffer[..wanted], self.seen)?;
        hasher.update(&buffer[..wanted]);
        Ok(self.seen + wanted as u64)
    }

    fn note_now_and_then(&mut self, seen: u64) {
        if seen < self.note.written.saturating_add(NOTE_EVERY) {
            return;
        }
        self.note.written = seen;
        if let Err(error) = self.file.sync_data().and_then(|()| self.note.write(&self.marker)) {
            log::debug!("how far the image came is not noted: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn open(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn follow(dir: &Path, written: u64, size: u64) -> (File, Follower) {
        follow_part(dir, written, size, true)
    }

    fn follow_part(dir: &Path, written: u64, size: u64, whole: bool) -> (File, Follower) {
        let file = open(&dir.join("image"));
        let (note, marker) = (Note { size, written }, open(&dir.join("marker")));
        let follower = Follower::start(file.try_clone().unwrap(), marker, note, written, whole).unwrap();
        (file, follower)
    }

    #[test]
    fn a_part_that_does_not_reach_the_end_is_noted_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        // Not one of the bytes is there: whoever read them would fail.
        let (_, follower) = follow_part(dir.path(), 10, NOTE_EVERY * 3, false);
        follower.wrote(NOTE_EVERY * 2);
        assert_eq!(follower.finish(NOTE_EVERY * 2).unwrap(), None);
        let note = Note::read(&open(&dir.path().join("marker"))).unwrap().unwrap();
        assert_eq!(note.written, NOTE_EVERY * 2);
    }

    #[test]
    fn the_digest_is_that_of_the_file_and_is_shown_in_hexadecimal() {
        let dir = tempfile::tempdir().unwrap();
        let (file, follower) = follow(dir.path(), 0, 3);
        file.write_all_at(b"abc", 0).unwrap();
        follower.wrote(3);
        let digest = follower.finish(3).unwrap().unwrap();
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn the_end_of_the_upload_ends_the_thread() {
        let dir = tempfile::tempdir().unwrap();
        let (_, follower) = follow(dir.path(), 0, 10);
        drop(follower);
        let (_, follower) = follow(dir.path(), 0, 10);
        let stop = follower.stopper();
        stop();
        assert_eq!(follower.finish(10).unwrap(), None, "although not a byte of ten is there");
    }

    #[test]
    fn a_file_that_was_cut_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (_, follower) = follow(dir.path(), 0, 10);
        assert!(follower.finish(10).is_err());
    }

    #[test]
    fn how_far_it_came_is_noted_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let (file, follower) = follow(dir.path(), 0, NOTE_EVERY * 2);
        file.set_len(NOTE_EVERY * 2).unwrap();
        follower.wrote(NOTE_EVERY + 5);
        follower.finish(NOTE_EVERY + 5).unwrap();
        let note = Note::read(&open(&dir.path().join("marker"))).unwrap().unwrap();
        assert_eq!(note, Note { size: NOTE_EVERY * 2, written: NOTE_EVERY });
    }

    proptest! {
        // Some megabytes a case, hashed by code that is not optimised.
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn whatever_the_steps_the_digest_is_the_same(parts in prop::collection::vec(0_usize..400_000, 1..6), first in 0_usize..6) {
            let dir = tempfile::tempdir().unwrap();
            let data = (0..parts.iter().sum()).map(|i: usize| u8::try_from(i * 31 % 251).unwrap()).collect::<Vec<_>>();
            let there = parts.iter().take(first).sum::<usize>();
            let file = open(&dir.path().join("image"));
            file.write_all_at(&data[..there], 0).unwrap();
            let (file, follower) = follow(dir.path(), there as u64, data.len() as u64);
            let mut end = there;
            for part in parts.iter().skip(first) {
                file.write_all_at(&data[end..end + part], end as u64).unwrap();
                end += part;
                follower.wrote(end as u64);
            }
            let wanted: [u8; 32] = sha2::Sha256::digest(&data).into();
            prop_assert_eq!(follower.finish(end as u64).unwrap(), Some(Sha256(wanted)));
        }
    }
}
