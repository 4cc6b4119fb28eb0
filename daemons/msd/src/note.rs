//! What a marker says: how far its image came, so that an upload can go on.
//!
//! One line of fixed length, written over in place, so that a power cut leaves the old one or the new one (it lies in one
//! sector). Other programs' markers are empty: such an image begins anew. Nothing is taken on trust that matters: the bytes
//! up to the number were on the disk when it was written, and a finished image is hashed as it lies in the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::name;

/// The whole line.
const LEN: u64 = 52;
const START: &str = "resume v1 ";

/// How far an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    /// Bytes announced.
    pub(crate) size: u64,
    /// Bytes of it that are on the disk, from the first.
    pub(crate) written: u64,
}

impl Note {
    fn line(self) -> String {
        format!("{START}{:020} {:020}\n", self.size, self.written)
    }

    fn parse(text: &str) -> Option<Self> {
        let (size, written) = text.strip_prefix(START)?.strip_suffix('\n')?.split_once(' ')?;
        let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.len() == 20);
        let note = Self { size: number(size)?, written: number(written)? };
        (note.written <= note.size).then_some(note)
    }

    /// Writes it into the marker and to the disk. Blocks.
    pub(crate) fn write(self, marker: &File) -> io::Result<()> {
        marker.write_all_at(self.line().as_bytes(), 0)?;
        marker.sync_data()
    }

    /// Reads it from the marker; `None` for one that says nothing. Blocks.
    pub(crate) fn read(marker: &File) -> io::Result<Option<Self>> {
        let mut text = String::new();
        // Longer than it should be is not ours.
        let read = marker.take(LEN + 1).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The byte to go on at with an unfinished image in a directory, if its marker says so and fits. Blocks.
///
/// One whose bytes are all there, but were not checked, goes on at its last byte: no client sends a part with nothing in it,
/// so it could never be finished.
pub(crate) fn of(dir: &Path, image: &str, size: u64) -> Option<u64> {
    let marker = name::marker(Path::new(image))?;
    let dir = File::open(dir).ok()?;
    let marker = sys::beneath::read(&dir, &marker).ok()?;
    let note = Note::read(&marker).ok()??;
    (note.size == size).then_some(note.written.min(size.saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_note_written_over_is_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".__x.incomplete");
        let marker = File::create_new(&path).unwrap();
        for written in [u64::MAX, 0, 17] {
            let note = Note { size: u64::MAX, written };
            note.write(&marker).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), LEN);
            assert_eq!(Note::read(&File::open(&path).unwrap()).unwrap(), Some(note));
        }
        assert_eq!(of(dir.path(), "x", u64::MAX), Some(17));
        assert_eq!(of(dir.path(), "x", 18), None, "the file has another size");
        assert_eq!(of(dir.path(), "y", 18), None, "there is no marker");
        for (written, from) in [(17, 16), (16, 16), (0, 0)] {
            Note { size: 17, written }.write(&marker).unwrap();
            assert_eq!(
                of(dir.path(), "x", 17),
                Some(from),
                "one whose bytes are all there has its last one left"
            );
        }
        Note { size: 0, written: 0 }.write(&marker).unwrap();
        assert_eq!(of(dir.path(), "x", 0), Some(0));
    }

    #[test]
    fn a_marker_of_somebody_else_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        for text in [&b""[..], b"resume v1 1 1\n", b"\xff\xff", &[b'x'; 100]] {
            fs::write(&path, text).unwrap();
            assert_eq!(Note::read(&File::open(&path).unwrap()).unwrap(), None);
        }
    }

    proptest! {
        #[test]
        fn a_note_is_read_as_it_was_written_and_torn_ones_are_none(size in any::<u64>(), part in any::<u64>(), cut in 0_usize..52) {
            let note = Note { size, written: part.min(size) };
            prop_assert_eq!(Note::parse(&note.line()), Some(note));
            prop_assert_eq!(Note::parse(&note.line()[..cut]), None);
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Note::parse(&text);
        }
    }
}
