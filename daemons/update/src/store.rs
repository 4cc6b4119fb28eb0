//! Where the boot choice is kept: in GRUB's environment block, or for a Raspberry Pi's firmware.
//!
//! Everything is written **in place**, a sector at a time: the files have their final length from the start, so that no
//! table of the FAT and no directory changes, and a sector is written whole or not at all.
//!
//! | Boot loader | Files | Which says what |
//! |---|---|---|
//! | GRUB | `grub/grubenv` | everything, in its first sector |
//! | Pi's firmware | `autoboot.txt`, `kvmd-choice` | the first: the primary; the second: trial, tried, bad |
//!
//! The Pi's two files cannot change together. So each has its own part, `autoboot.txt` is written first (its change *is* the
//! change of the primary), and a trial of what has become the primary means nothing ([`Choice::tidy`]). A cut between
//! the two leaves the new choice, not a mixture.

use std::io;

use crate::block::{self, Block, SECTOR};
use crate::{Choice, Slot, autoboot};

/// GRUB's block, on the first partition.
const GRUBENV: &str = "grub/grubenv";
/// Our own block beside `autoboot.txt`.
const OURS: &str = "kvmd-choice";

/// The files of the first partition.
pub trait Files {
    /// A whole file, or the kernel's words.
    ///
    /// # Errors
    ///
    /// `NotFound` when it is not there.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Writes into a file, and answers when it is on the disk.
    ///
    /// # Errors
    ///
    /// The kernel's words.
    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()>;
}

/// What starts this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// GRUB.
    Grub,
    /// A Raspberry Pi's firmware.
    Firmware,
}

/// Why there is no choice to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither boot loader's file is there.
    #[error("there is no boot choice here")]
    Absent,
    /// It is there, and makes no sense.
    #[error("{0} is damaged")]
    Damaged(&'static str),
    /// The disk.
    #[error("the boot choice: {0}")]
    Io(#[from] io::Error),
}

impl Loader {
    /// Which one it is, by the files that are there.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`], [`Error::Io`].
    pub fn find(files: &impl Files) -> Result<Self, Error> {
        for (name, loader) in [(GRUBENV, Self::Grub), (autoboot::NAME, Self::Firmware)] {
            match files.read(name) {
                Ok(_) => return Ok(loader),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Absent)
    }

    /// The choice as it is kept.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn read(self, files: &impl Files) -> Result<Choice, Error> {
        match self {
            Self::Grub => {
                let bytes = files.read(GRUBENV)?;
                let kept = grub_block(&bytes).as_ref().and_then(kept);
                let (primary, kept) = kept.ok_or(Error::Damaged(GRUBENV))?;
                Ok(kept.with(primary))
            }
            Self::Firmware => {
                let ours = match files.read(OURS) {
                    Ok(bytes) => Block::parse(block::OURS, &bytes).as_ref().and_then(kept),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error.into()),
                };
                let firmware = autoboot::primary(&files.read(autoboot::NAME)?);
                match (firmware, ours) {
                    // A card that was just written has no second file yet.
                    (Some(primary), None) => Ok(Choice::settled(primary)),
                    (Some(primary), Some((_, kept))) | (None, Some((primary, kept))) => {
                        Ok(kept.with(primary))
                    }
                    (None, None) => Err(Error::Damaged(autoboot::NAME)),
                }
            }
        }
    }

    /// Keeps a choice.
    ///
    /// # Errors
    ///
    /// The kernel's words; the old choice may then be kept, or the new one, never another.
    pub fn write(self, files: &mut impl Files, choice: &Choice) -> io::Result<()> {
        let name = |slot: Option<Slot>| slot.map_or("none", Slot::name);
        let values = [
            ("kvmd_primary", choice.primary.name()),
            ("kvmd_trial", name(choice.trial)),
            ("kvmd_tried", if choice.tried { "1" } else { "0" }),
            ("kvmd_bad", name(choice.bad)),
        ];
        match self {
            Self::Grub => {
                let old = files.read(GRUBENV).unwrap_or_default();
                let block = grub_block(&old).unwrap_or_else(|| Block::new(block::GRUB));
                replace(files, GRUBENV, &old, &block.with(&values).render())
            }
            Self::Firmware => {
                let old = files.read(autoboot::NAME).unwrap_or_default();
                if autoboot::primary(&old) != Some(choice.primary) {
                    replace(files, autoboot::NAME, &old, &autoboot::render(choice.primary))?;
                }
                let old = files.read(OURS).unwrap_or_default();
                replace(files, OURS, &old, &Block::new(block::OURS).with(&values).render())
            }
        }
    }
}

/// GRUB's block; when only its second sector is damaged, what the first one holds.
fn grub_block(bytes: &[u8]) -> Option<Block> {
    Block::parse(block::GRUB, bytes).or_else(|| {
        let mut repaired = bytes.get(..SECTOR)?.to_vec();
        repaired.resize(block::GRUB.1, b'#');
        Block::parse(block::GRUB, &repaired)
    })
}

/// Everything but the primary.
struct Kept {
    trial: Option<Slot>,
    tried: bool,
    bad: Option<Slot>,
}

impl Kept {
    fn with(self, primary: Slot) -> Choice {
        Choice { primary, trial: self.trial, tried: self.tried, bad: self.bad }.tidy()
    }
}

/// What a block says; `None` when it does not say all of it. That nothing is bad need not be said.
fn kept(block: &Block) -> Option<(Slot, Kept)> {
    let maybe = |value: &str| match value {
        "none" => Some(None),
        name => Slot::parse(name).map(Some),
    };
    let tried = match block.get("kvmd_tried")? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let trial = maybe(block.get("kvmd_trial")?)?;
    let bad = maybe(block.get("kvmd_bad").unwrap_or("none"))?;
    Some((Slot::parse(block.get("kvmd_primary")?)?, Kept { trial, tried, bad }))
}

/// Writes the sectors that differ.
fn replace(files: &mut impl Files, name: &str, old: &[u8], new: &[u8]) -> io::Result<()> {
    for (at, sector) in new.chunks(SECTOR).enumerate() {
        let offset = at * SECTOR;
        if old.get(offset..offset + sector.len()) != Some(sector) {
            files.write(name, offset, sector)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::choice::tests::{choice, slot};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A partition whose power fails at a given write.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Memory {
        pub(crate) files: BTreeMap<String, Vec<u8>>,
        pub(crate) writes: usize,
        pub(crate) fails_at: Option<usize>,
    }

    impl Files for Memory {
        fn read(&self, name: &str) -> io::Result<Vec<u8>> {
            self.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
            if self.fails_at.is_some_and(|at| self.writes >= at) {
                return Err(io::Error::other("no power"));
            }
            assert!(bytes.len() <= SECTOR && offset.is_multiple_of(SECTOR), "one sector at a time");
            self.writes += 1;
            let file = self.files.entry(name.to_owned()).or_default();
            file.resize(file.len().max(offset + bytes.len()), 0);
            file[offset..offset + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    pub(crate) fn fresh(loader: Loader, choice: &Choice) -> Memory {
        let mut files = Memory::default();
        loader.write(&mut files, choice).unwrap();
        Memory { writes: 0, ..files }
    }

    fn loader() -> impl Strategy<Value = Loader> {
        prop_oneof![Just(Loader::Grub), Just(Loader::Firmware)]
    }

    #[test]
    fn the_block_grub_reads_is_frozen() {
        let choice = Choice { primary: Slot::A, trial: Some(Slot::B), tried: true, bad: None };
        let files = fresh(Loader::Grub, &choice);
        let text = String::from_utf8(files.files["grub/grubenv"].clone()).unwrap();
        let begin = "# GRUB Environment Block\nkvmd_primary=a\nkvmd_trial=b\nkvmd_tried=1\nkvmd_bad=none\n#";
        assert!(text.starts_with(begin) && text.len() == 1024, "{text}");
        assert_eq!(Loader::find(&files).unwrap(), Loader::Grub);
    }

    #[test]
    fn a_block_of_an_image_that_knows_three_variables_is_read() {
        let values = [("kvmd_primary", "a"), ("kvmd_trial", "none"), ("kvmd_tried", "0")];
        let bytes = Block::new(block::GRUB).with(&values).render();
        let files = Memory { files: [(GRUBENV.to_owned(), bytes)].into(), ..Memory::default() };
        assert_eq!(Loader::Grub.read(&files).unwrap(), Choice::settled(Slot::A));
    }

    #[test]
    fn a_card_that_was_just_written_has_only_the_firmwares_file() {
        let files = [("autoboot.txt".to_owned(), autoboot::render(Slot::A))].into();
        let files = Memory { files, ..Memory::default() };
        let loader = Loader::find(&files).unwrap();
        assert_eq!((loader, loader.read(&files).unwrap()), (Loader::Firmware, Choice::settled(Slot::A)));
    }

    #[test]
    fn what_grub_itself_wrote_into_the_block_stays() {
        let values =
            [("recordfail", "1"), ("kvmd_primary", "a"), ("kvmd_trial", "none"), ("kvmd_tried", "0")];
        let bytes = Block::new(block::GRUB).with(&values).render();
        let mut files = Memory { files: [(GRUBENV.to_owned(), bytes)].into(), ..Memory::default() };
        Loader::Grub.write(&mut files, &Choice::settled(Slot::B)).unwrap();
        let block = Block::parse(block::GRUB, &files.files[GRUBENV]).unwrap();
        assert_eq!((block.get("recordfail"), block.get("kvmd_primary")), (Some("1"), Some("b")));
    }

    #[test]
    fn a_damaged_second_sector_costs_nothing() {
        let mut files = fresh(Loader::Grub, &Choice::settled(Slot::B));
        files.files.get_mut(GRUBENV).unwrap()[SECTOR..].fill(0xff);
        assert_eq!(Loader::Grub.read(&files).unwrap(), Choice::settled(Slot::B));
        Loader::Grub.write(&mut files, &Choice::settled(Slot::B)).unwrap();
        assert!(
            Block::parse(block::GRUB, &files.files[GRUBENV]).is_some(),
            "and is repaired by the next write"
        );
    }

    #[test]
    fn no_boot_choice_is_no_image() {
        assert!(matches!(Loader::find(&Memory::default()), Err(Error::Absent)));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read(loader in loader(), old in choice(), new in choice()) {
            let mut files = fresh(loader, &old);
            loader.write(&mut files, &new).unwrap();
            prop_assert_eq!(loader.read(&files).unwrap(), new);
            prop_assert!(files.writes <= 2);
            if old == new {
                prop_assert_eq!(files.writes, 0, "what does not change is not written");
            }
        }

        /// Power fails before any of the writes: the choice is the old one or the new one. (For the firmware a finished
        /// trial may still stand beside its slot as the primary: that is the new one.)
        #[test]
        fn a_power_cut_leaves_the_old_or_the_new_choice(
            loader in loader(),
            primary in slot(),
            steps in proptest::collection::vec(0_u8..6, 1..12),
            cut in 0_usize..3,
        ) {
            let mut now = Choice::settled(primary);
            let mut running = primary;
            for step in steps {
                let new = match step {
                    0 => now.with_bad(running.other()).unwrap_or(now),
                    1 => now.with_primary(running.other()),
                    2 => now.with_good(running, running),
                    3 => now.with_failed_trial(),
                    4 => now.with_orderly_end(running),
                    _ => now.with_start(now.next()),
                };
                let mut files = fresh(loader, &now);
                files.fails_at = Some(cut);
                let _ = loader.write(&mut files, &new);
                let found = loader.read(&files).unwrap();
                prop_assert!(found == now || found == new, "{now:?} -> {new:?}: {found:?}");
                if step == 5 {
                    running = now.next();
                }
                now = new;
            }
        }

        #[test]
        fn garbage_is_damage_and_a_write_repairs_it(
            loader in loader(),
            garbage in proptest::collection::vec(any::<u8>(), 0..1100),
            choice in choice(),
        ) {
            let mut files = fresh(loader, &Choice::settled(Slot::A));
            for content in files.files.values_mut() {
                content.clone_from(&garbage);
            }
            let _ = loader.read(&files);
            loader.write(&mut files, &choice).unwrap();
            prop_assert_eq!(loader.read(&files).unwrap(), choice);
        }

        #[test]
        fn a_torn_sector_is_never_another_choice(old in choice(), new in choice(), at in 0_usize..SECTOR) {
            let mut files = fresh(Loader::Grub, &old);
            let whole = fresh(Loader::Grub, &new).files[GRUBENV].clone();
            files.files.get_mut(GRUBENV).unwrap()[..at].copy_from_slice(&whole[..at]);
            // Disks write sectors whole. One that does not may mix the two, but invents nothing that starts a bad slot.
            if let Ok(found) = Loader::Grub.read(&files) {
                prop_assert_eq!(found, found.tidy());
                prop_assert!(found.primary == old.primary || found.primary == new.primary);
            }
        }
    }
}
