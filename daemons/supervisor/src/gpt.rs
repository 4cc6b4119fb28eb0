//! A disk's table of partitions (GPT), made longer at its end: bytes in, writes out.
//!
//! An image is smaller than the card it lies on. What it takes to use the rest: the last partition's end moves, and with it
//! the second copy of the table, which belongs at the end of the disk. Power may go at any moment, and the kernel takes a
//! table only if its first copy is whole; so the entries are never overwritten where the header points to:
//!
//! ```text
//!  1  second copy, entries and header, at the disk's end
//!  2  entries at a free place behind the first copy's
//!  3  header: the new table, entries there        (one sector: written or not)
//!  4  entries where they belong
//!  5  header: entries there                       (one sector)
//! ```
//!
//! Stopped after any of them, the table is the old or the new one, and [`plan`] says how to go on.

/// Bytes of a sector. Disks with others are left alone.
pub const SECTOR: usize = 512;
/// Where the first copy's header is.
const HEADER: u64 = 1;
/// Where entries belong.
const ENTRIES: u64 = 2;
/// Partitions begin and end at multiples of this many sectors.
const ALIGN: u64 = 2048;
/// Bytes at the disk's begin that [`plan`] wants to see.
pub const HEAD: usize = 2048 * SECTOR;

/// Why a table is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none, or its first copy is damaged.
    #[error("there is no sound table of partitions")]
    NoTable,
    /// Sizes that nobody uses.
    #[error("the table of partitions is of an unusual kind")]
    Unusual,
    /// The partition is not there, or not the last one.
    #[error("the partition is not the last one on the disk")]
    NotLast,
}

/// A piece to write, as a whole before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The first sector.
    pub lba: u64,
    /// Whole sectors.
    pub bytes: Vec<u8>,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In this order, each on the disk before the next. Empty when all is done.
    pub writes: Vec<Write>,
    /// The partition's first sector.
    pub first: u64,
    /// Its sectors, when all is done.
    pub sectors: u64,
}

/// The bytes of a header that are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    size: u32,
    own: u64,
    other: u64,
    first_usable: u64,
    last_usable: u64,
    disk: [u8; 16],
    entries: u64,
    count: u32,
    entry_size: u32,
    entries_crc: u32,
    revision: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

impl Header {
    fn read(sector: &[u8]) -> Option<Self> {
        if !sector.starts_with(b"EFI PART") {
            return None;
        }
        let size = u32_at(sector, 12)?;
        let mut body = sector.get(..usize::try_from(size).ok()?)?.to_vec();
        if body.len() < 92 {
            return None;
        }
        body.get_mut(16..20)?.fill(0);
        (crc32(&body) == u32_at(sector, 16)?).then_some(())?;
        Some(Self {
            revision: u32_at(sector, 8)?,
            size,
            own: u64_at(sector, 24)?,
            other: u64_at(sector, 32)?,
            first_usable: u64_at(sector, 40)?,
            last_usable: u64_at(sector, 48)?,
            disk: sector.get(56..72)?.try_into().ok()?,
            entries: u64_at(sector, 72)?,
            count: u32_at(sector, 80)?,
            entry_size: u32_at(sector, 84)?,
            entries_crc: u32_at(sector, 88)?,
        })
    }

    /// As a sector, in the form of 92 bytes.
    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SECTOR);
        bytes.extend_from_slice(b"EFI PART");
        bytes.extend_from_slice(&self.revision.to_le_bytes());
        bytes.extend_from_slice(&92_u32.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for lba in [self.own, self.other, self.first_usable, self.last_usable] {
            bytes.extend_from_slice(&lba.to_le_bytes());
        }
        bytes.extend_from_slice(&self.disk);
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        for number in [self.count, self.entry_size, self.entries_crc] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32(&bytes).to_le_bytes();
        for (to, from) in bytes.iter_mut().skip(16).zip(crc) {
            *to = from;
        }
        bytes.resize(SECTOR, 0);
        bytes
    }
}

/// The table that the first copy holds: header and entries.
fn table(head: &[u8]) -> Result<(Header, Vec<u8>), Error> {
    let header = sectors(head, HEADER, 1).and_then(Header::read).ok_or(Error::NoTable)?;
    if header.own != HEADER {
        return Err(Error::NoTable);
    }
    if header.entry_size != 128 || !(1..=128).contains(&header.count) {
        return Err(Error::Unusual);
    }
    let length = usize::try_from(header.count * header.entry_size).map_err(|_| Error::Unusual)?;
    let entries =
        sectors(head, header.entries, 32).and_then(|entries| entries.get(..length)).ok_or(Error::NoTable)?;
    if crc32(entries) != header.entries_crc {
        return Err(Error::NoTable);
    }
    Ok((header, entries.to_vec()))
}

fn sectors(head: &[u8], lba: u64, count: usize) -> Option<&[u8]> {
    let from = usize::try_from(lba).ok()?.checked_mul(SECTOR)?;
    head.get(from..from.checked_add(count * SECTOR)?)
}

/// One entry's place: number, first and last sector.
fn used(entries: &[u8]) -> impl Iterator<Item = (usize, u64, u64)> {
    entries.chunks_exact(128).enumerate().filter_map(|(at, entry)| {
        entry.iter().take(16).any(|byte| *byte != 0).then_some(())?;
        Some((at, u64_at(entry, 32)?, u64_at(entry, 40)?))
    })
}

/// What it takes to make partition `number` (from 1) reach to the end of a disk of so many sectors, whose first [`HEAD`]
/// bytes are given.
///
/// # Errors
///
/// The table is left alone, for that reason.
pub fn plan(head: &[u8], disk_sectors: u64, number: usize) -> Result<Plan, Error> {
    let (header, entries) = table(head)?;
    let found = used(&entries).find(|(at, _, _)| at + 1 == number).ok_or(Error::NotLast)?;
    let (at, first, last) = found;
    if used(&entries).any(|(_, _, other)| other > last) || last < first {
        return Err(Error::NotLast);
    }
    // Entries, in both copies, and a place between the first copy and the first partition for a third.
    let first_partition = used(&entries).map(|(_, first, _)| first).min().unwrap_or(0);
    let spare = if header.entries == ENTRIES { ENTRIES + 32 } else { header.entries };
    let room = spare >= ENTRIES + 32 && spare + 32 <= first_partition;
    if disk_sectors < last + 1 + 33 || !room {
        return Err(Error::Unusual);
    }
    let end = disk_sectors - 1;
    let last_usable = end - 33;
    let aligned = (last_usable + 1) / ALIGN * ALIGN;
    let grows = aligned > last + 1 && aligned - (last + 1) >= ALIGN;
    let new_last = if grows { aligned - 1 } else { last };
    let sectors = new_last - first + 1;
    if !grows && header.entries == ENTRIES {
        return Ok(Plan { writes: Vec::new(), first, sectors });
    }

    let mut new = entries;
    let field = new.get_mut(at * 128 + 40..at * 128 + 48).ok_or(Error::Unusual)?;
    field.copy_from_slice(&new_last.to_le_bytes());
    let crc = crc32(&new);
    let mut padded = new;
    padded.resize(32 * SECTOR, 0);
    let base = Header { size: 92, last_usable, entries_crc: crc, ..header };
    let second = Header { own: end, other: HEADER, entries: end - 32, ..base };
    let first_copy = |entries| Header { own: HEADER, other: end, entries, ..base };
    let entries_at = |lba| Write { lba, bytes: padded.clone() };
    let header_at = |header: Header| Write { lba: header.own, bytes: header.write() };
    let mut writes = vec![entries_at(end - 32), header_at(second)];
    // Never where the header points to now.
    if header.entries == ENTRIES {
        writes.push(entries_at(spare));
        writes.push(header_at(first_copy(spare)));
    }
    writes.push(entries_at(ENTRIES));
    writes.push(header_at(first_copy(ENTRIES)));
    Ok(Plan { writes, first, sectors })
}

/// The checksum of GPT: CRC-32 as in zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk of `partitions` (first and last sector), as genimage makes it, on a card of `sectors`.
    fn disk(partitions: &[(u64, u64)], made_for: u64, sectors: u64) -> Vec<u8> {
        let mut entries = vec![0; 128 * 128];
        for ((first, last), entry) in partitions.iter().zip(entries.chunks_exact_mut(128)) {
            entry[..16].fill(7);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        let header = Header {
            revision: 0x10000,
            size: 92,
            own: 1,
            other: made_for - 1,
            first_usable: 34,
            last_usable: made_for - 34,
            disk: [3; 16],
            entries: 2,
            count: 128,
            entry_size: 128,
            entries_crc: crc32(&entries),
        };
        let mut bytes = vec![0; usize::try_from(sectors).unwrap() * SECTOR];
        bytes[SECTOR..2 * SECTOR].copy_from_slice(&header.write());
        bytes[2 * SECTOR..34 * SECTOR].copy_from_slice(&entries);
        bytes
    }

    fn apply(disk: &mut [u8], write: &Write, bytes: usize) {
        let from = usize::try_from(write.lba).unwrap() * SECTOR;
        disk[from..from + bytes].copy_from_slice(&write.bytes[..bytes]);
    }

    /// What the kernel sees: the ends of partitions, by the first copy alone.
    fn ends(disk: &[u8]) -> Option<Vec<u64>> {
        let (_, entries) = table(&disk[..HEAD]).ok()?;
        Some(used(&entries).map(|(_, _, last)| last).collect())
    }

    fn second_copy_fits(disk: &[u8]) -> bool {
        let sector = |lba: u64| sectors(disk, lba, 1).unwrap();
        let (first, entries) = table(&disk[..HEAD]).unwrap();
        let second = Header::read(sector(first.other)).unwrap();
        let copy = sectors(disk, second.entries, 32).unwrap();
        second.own == first.other && second.other == 1 && crc32(&copy[..entries.len()]) == first.entries_crc
    }

    const SMALL: &[(u64, u64)] = &[(2048, 4095), (4096, 6143)];

    #[test]
    fn the_last_partition_reaches_to_the_end_and_nothing_is_left_to_do() {
        let mut card = disk(SMALL, 8192, 20_000);
        let found = plan(&card[..HEAD], 20_000, 2).unwrap();
        assert_eq!((found.first, found.sectors), (4096, 18_432 - 4096), "to a whole MiB");
        for write in &found.writes {
            apply(&mut card, write, write.bytes.len());
        }
        assert_eq!(ends(&card), Some(vec![4095, 18_431]));
        assert!(second_copy_fits(&card));
        let (header, _) = table(&card[..HEAD]).unwrap();
        assert_eq!(
            (header.entries, header.other, header.last_usable, header.disk),
            (2, 19_999, 19_966, [3; 16])
        );
        assert_eq!(plan(&card[..HEAD], 20_000, 2).unwrap().writes, []);
    }

    #[test]
    fn the_checksum_is_zip_s() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn what_is_odd_is_left_alone() {
        let card = disk(SMALL, 8192, 20_000);
        assert_eq!(plan(&card[..HEAD], 20_000, 1).unwrap_err(), Error::NotLast);
        assert_eq!(plan(&card[..HEAD], 20_000, 3).unwrap_err(), Error::NotLast);
        assert_eq!(plan(&[], 20_000, 2).unwrap_err(), Error::NoTable);
        assert_eq!(plan(&card[..HEAD], 5000, 2).unwrap_err(), Error::Unusual, "a disk that was cut off");
        let mut damaged = card.clone();
        damaged[2 * SECTOR + 40] ^= 1;
        assert_eq!(plan(&damaged[..HEAD], 20_000, 2).unwrap_err(), Error::NoTable);
        // Just as large as the image: nothing to do.
        let same = disk(SMALL, 8192, 8192);
        assert_eq!(plan(&same[..HEAD], 8192, 2).unwrap().writes, []);
    }

    proptest! {
        #[test]
        fn power_may_go_at_any_moment(
            sectors in 10_300_u64..40_000,
            stop in 0_usize..7,
            torn in 0_usize..32,
        ) {
            let mut card = disk(SMALL, 8192, sectors);
            let whole = plan(&card[..HEAD], sectors, 2).unwrap();
            let old = ends(&card).unwrap();
            let new = vec![4095, whole.first + whole.sectors - 1];
            for (at, write) in whole.writes.iter().enumerate() {
                if at == stop {
                    // Of several sectors some may be there; one is there or not.
                    let some = write.bytes.len().min(torn * SECTOR);
                    let some = if write.bytes.len() == SECTOR { 0 } else { some };
                    apply(&mut card, write, some);
                    break;
                }
                apply(&mut card, write, write.bytes.len());
            }
            let seen = ends(&card);
            prop_assert!(seen.as_ref() == Some(&old) || seen.as_ref() == Some(&new), "{seen:?}");
            // The next start goes on, however often it is cut off.
            let rest = plan(&card[..HEAD], sectors, 2).unwrap();
            for write in &rest.writes {
                apply(&mut card, write, write.bytes.len());
                prop_assert!(ends(&card).is_some());
            }
            prop_assert_eq!(ends(&card), Some(new));
            prop_assert!(second_copy_fits(&card));
            prop_assert_eq!(table(&card[..HEAD]).unwrap().0.entries, ENTRIES);
        }

        #[test]
        fn no_table_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), number in 0_usize..200) {
            let _ = plan(&bytes, 100_000, number);
            let mut card = disk(SMALL, 8192, 20_000);
            bytes.truncate(600);
            card[SECTOR..SECTOR + bytes.len()].copy_from_slice(&bytes);
            let _ = plan(&card[..HEAD], 20_000, number);
        }
    }
}
