//! `autoboot.txt`: which partition a Raspberry Pi's firmware starts from, and which one when it is asked to try.
//!
//! The firmware reads at most one sector of it. `[all]` counts always, `[tryboot]` when the last restart asked for it (once:
//! the wish does not survive the next reset). `tryboot_a_b=1` says that a trial is another partition and not another
//! `config.txt` on the same one.

use crate::Slot;
use crate::block::SECTOR;

/// The file's name on the first partition.
pub(crate) const NAME: &str = "autoboot.txt";

/// A slot's boot partition, by the order of `board/partitions`.
const fn partition(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "2",
        Slot::B => "3",
    }
}

/// The file for this primary: the other slot is what a trial takes. Exactly one sector.
pub(crate) fn render(primary: Slot) -> Vec<u8> {
    let text = format!(
        "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n[all]\n",
        partition(primary),
        partition(primary.other())
    );
    let mut bytes = text.into_bytes();
    // A comment to the end: the file keeps its length, and is replaced in place.
    bytes.resize(SECTOR - 1, b'#');
    bytes.push(b'\n');
    bytes
}

/// What the firmware takes by itself; `None` when the file does not say.
pub(crate) fn primary(bytes: &[u8]) -> Option<Slot> {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(SECTOR))?);
    let mut applies = true;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            applies = section == "all]";
        } else if applies && let Some(number) = line.strip_prefix("boot_partition=") {
            found = [Slot::A, Slot::B].into_iter().find(|slot| partition(*slot) == number.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_file_is_one_sector_and_says_both() {
        for slot in [Slot::A, Slot::B] {
            let bytes = render(slot);
            assert_eq!(bytes.len(), SECTOR);
            assert_eq!(primary(&bytes), Some(slot));
        }
        let text = String::from_utf8(render(Slot::B)).unwrap();
        let begin = "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n";
        assert!(text.starts_with(begin), "{text}");
    }

    #[test]
    fn a_hand_written_file_is_understood() {
        assert_eq!(primary(b"boot_partition=2\r\n[tryboot]\r\nboot_partition=3\r\n"), Some(Slot::A));
        assert_eq!(primary(b"[tryboot]\nboot_partition=3\n[all]\nboot_partition = 2\n"), None);
        assert_eq!(primary(b"[all]\nboot_partition=7\n"), None);
        assert_eq!(primary(b""), None);
    }

    proptest! {
        #[test]
        fn anything_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = primary(&bytes);
        }
    }
}
