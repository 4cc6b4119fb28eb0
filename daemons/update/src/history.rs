//! What became of updates: one line of JSON each, the newest last, so many and no more.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

pub use client::update::{Entry, Outcome};

/// How many are kept.
pub const KEPT: usize = 64;
/// Longest file that is read.
const LONGEST: u64 = 256 * 1024;

/// Reads the history; lines that make no sense are left out.
#[must_use]
pub fn read(path: &Path) -> Vec<Entry> {
    let long = fs::metadata(path).is_ok_and(|found| found.len() > LONGEST);
    let text = if long { String::new() } else { fs::read_to_string(path).unwrap_or_default() };
    let all: Vec<Entry> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let surplus = all.len().saturating_sub(KEPT);
    all.into_iter().skip(surplus).collect()
}

/// Adds an entry, and forgets the oldest when there are too many.
///
/// # Errors
///
/// The kernel's words; the file is then as it was.
pub fn add(path: &Path, entry: &Entry) -> io::Result<Vec<Entry>> {
    let mut all = read(path);
    all.push(entry.clone());
    all.drain(..all.len().saturating_sub(KEPT));
    let mut text = Vec::new();
    for entry in &all {
        serde_json::to_writer(&mut text, entry)?;
        text.push(b'\n');
    }
    replace(path, &text)?;
    Ok(all)
}

/// Replaces a file in one step.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    fs::File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u64) -> Entry {
        Entry {
            at,
            version: "0.2.0".into(),
            from: "0.1.0".into(),
            slot: "b".into(),
            outcome: Outcome::RolledBack,
            reason: Some("why \"so\"\nso".into()),
        }
    }

    #[test]
    fn the_newest_are_kept_and_what_is_broken_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        assert_eq!(read(&path), []);
        fs::write(&path, "{half\n\nnull\n").unwrap();
        for at in 0..100 {
            add(&path, &entry(at)).unwrap();
        }
        let all = read(&path);
        assert_eq!((all.len(), all[0].at, all[63].clone()), (KEPT, 36, entry(99)));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), KEPT);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
