//! What is on for a moment only, written down where it outlives us.
//!
//! A killed process cannot end its pulses. So their channels' names are written into a small file in memory before a
//! line is driven; whoever started us has it too, and ends what it finds there, and what it could not end we do when we
//! start again.
//!
//! The file: the length of the text in four bytes, little endian, then one name a line. Its last byte is 1 once some
//! process has started with it: then the appliance is not new, and hardware that keeps its levels keeps them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Bytes of the file, and no more ever. Names that do not fit are not marked; a name has at most 255 letters.
const LEN: usize = 16 * 1024;
/// Where it stands that somebody has started. The names end before it.
const STARTED: usize = LEN - 1;

/// The file.
#[derive(Debug)]
pub struct Marks(File);

impl Marks {
    /// A new file, and what its other holders are given.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        let file = sys::memfd::create_sealed("pulses", LEN as u64)?;
        Ok((Self::new(file.try_clone()?), file))
    }

    /// The marks in a file that [`Marks::create`] made.
    #[must_use]
    pub fn new(file: OwnedFd) -> Self {
        Self(file.into())
    }

    /// Replaces what is marked.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn set(&self, channels: impl IntoIterator<Item = impl AsRef<str>>) -> io::Result<()> {
        let mut bytes = vec![0; 4];
        for name in channels {
            let name = name.as_ref();
            if bytes.len() + name.len() < STARTED {
                bytes.extend(name.bytes().chain([b'\n']));
            }
        }
        let len = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
        if let Some(head) = bytes.first_chunk_mut() {
            *head = len.to_le_bytes();
        }
        // In one call: a process is not killed in the middle of one.
        self.0.write_all_at(&bytes, 0)
    }

    /// Notes that a process starts with this file, and tells whether it is the first one.
    ///
    /// # Errors
    /// The kernel's word.
    pub fn start(&self) -> io::Result<bool> {
        let mut started = [0];
        self.0.read_exact_at(&mut started, STARTED as u64)?;
        self.0.write_all_at(&[1], STARTED as u64)?;
        Ok(started == [0])
    }

    /// What is marked. Whatever else is in the file is nothing.
    #[must_use]
    pub fn get(&self) -> Vec<String> {
        let mut bytes = [0; LEN];
        let Ok(got) = self.0.read_at(&mut bytes, 0) else { return Vec::new() };
        parse(bytes.get(..got).unwrap_or_default())
    }
}

fn parse(bytes: &[u8]) -> Vec<String> {
    let Some((head, text)) = bytes.split_first_chunk() else { return Vec::new() };
    let len = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
    let text = text.get(..len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks() -> Marks {
        Marks::create().unwrap().0
    }

    #[test]
    fn what_is_marked_is_found_through_another_descriptor() {
        let ours = marks();
        let theirs = Marks(ours.0.try_clone().unwrap());
        assert!(theirs.get().is_empty());
        ours.set(["relay1", "button"]).unwrap();
        assert_eq!(theirs.get(), ["relay1", "button"]);
        ours.set(["button"]).unwrap();
        assert_eq!(theirs.get(), ["button"]);
        ours.set(None::<&str>).unwrap();
        assert!(theirs.get().is_empty());
    }

    #[test]
    fn names_that_do_not_fit_are_left_out_and_nothing_is_torn() {
        let name = "n".repeat(255);
        let ours = marks();
        ours.set(std::iter::repeat_n(name.as_str(), 1000)).unwrap();
        let found = ours.get();
        assert!(found.len() > 60 && found.iter().all(|found| *found == name));
    }

    #[test]
    fn only_the_first_start_is_the_first_whatever_is_marked() {
        let ours = marks();
        ours.set(std::iter::repeat_n("x", LEN)).unwrap();
        assert!(ours.start().unwrap(), "no name reaches that far");
        ours.set(std::iter::repeat_n("x", LEN)).unwrap();
        let theirs = Marks(ours.0.try_clone().unwrap());
        assert!(!theirs.start().unwrap() && !ours.start().unwrap());
        assert!(theirs.get().iter().all(|name| name == "x"));
    }

    proptest! {
        #[test]
        fn any_content_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn names_come_back(names in prop::collection::vec("[A-Za-z0-9_.-]{1,20}", 0..10)) {
            let ours = marks();
            ours.set(names.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(ours.get(), names);
        }
    }
}
