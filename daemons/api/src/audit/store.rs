//! The files: lines are appended to `audit.jsonl`; what is full becomes `audit.1.jsonl` and so on, the oldest goes.
//!
//! A line is written whole or taken back, and half a line that a power cut left is closed off at the next start. Lines that
//! the disk does not take wait in memory, a bounded number of them. The disk is told to keep what was written a few seconds
//! after it was, once for all of it: a power cut may cost these seconds.

use super::{Line, record::Record};
use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// The length at which a file is full, in bytes; and how many full ones are kept.
const FULL: u64 = 1 << 20;
const KEPT: u32 = 4;
/// Lines that wait for a disk that takes nothing.
const WAITING: usize = 256;
/// How long after a failure the disk is tried again when nothing happens.
const RETRY: Duration = Duration::from_secs(30);

pub(super) struct Store {
    dir: PathBuf,
    file: Option<(File, u64)>,
    next: Option<u64>,
    waiting: VecDeque<Line>,
    lost: u64,
    unsynced: bool,
    retry_at: Option<Duration>,
    full: u64,
}

fn place(dir: &Path, number: u32) -> PathBuf {
    match number {
        0 => dir.join("audit.jsonl"),
        _ => dir.join(format!("audit.{number}.jsonl")),
    }
}

impl Store {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            file: None,
            next: None,
            waiting: VecDeque::new(),
            lost: 0,
            unsynced: false,
            retry_at: None,
            full: FULL,
        }
    }

    /// Makes a line of its number and writes it, after those that wait.
    pub(super) fn append(&mut self, text: impl FnOnce(u64) -> String, now: Duration) -> Line {
        let line = self.number(text);
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(line.clone());
        self.write(now);
        line
    }

    fn number(&mut self, text: impl FnOnce(u64) -> String) -> Line {
        let seq = *self.next.get_or_insert_with(|| last(&self.dir).map_or(1, |seq| seq + 1));
        self.next = Some(seq + 1);
        Line { seq, text: text(seq).into() }
    }

    /// Lines that are not on the disk.
    pub(super) fn waiting(&self) -> Vec<Line> {
        self.waiting.iter().cloned().collect()
    }

    /// Whether [`Store::look`] has something to do, now or later.
    pub(super) fn is_busy(&self) -> bool {
        self.unsynced || !self.waiting.is_empty()
    }

    /// Does what was put off.
    pub(super) fn look(&mut self, now: Duration) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.write(now);
        }
        self.sync();
    }

    /// Has the disk keep what was written.
    pub(super) fn sync(&mut self) {
        if std::mem::take(&mut self.unsynced)
            && let Some((file, _)) = &self.file
            && let Err(why) = file.sync_data()
        {
            log::warn!("the audit log may not outlive a power cut: {why}");
        }
    }

    fn write(&mut self, now: Duration) {
        if self.lost > 0 && self.waiting.len() < WAITING {
            let count = std::mem::take(&mut self.lost);
            let line = self.number(|seq| Record::lost(count).text(seq));
            self.waiting.push_back(line);
        }
        while let Some(line) = self.waiting.front() {
            let text = format!("{}\n", line.text);
            if let Err(why) = self.put(text.as_bytes()) {
                if self.retry_at.replace(now + RETRY).is_none() {
                    log::error!("{}: the audit log takes nothing: {why}", self.dir.display());
                }
                // What is wrong with it may be mended by opening it anew.
                self.file = None;
                return;
            }
            self.waiting.pop_front();
            self.unsynced = true;
        }
        if self.retry_at.take().is_some() {
            log::info!("the audit log is written again");
        }
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        let full = self.full;
        if self.file.as_ref().is_some_and(|(_, len)| len + text.len() as u64 > full) {
            self.sync();
            self.file = None;
            self.rotate()?;
        }
        if self.file.is_none() {
            self.file = Some(open(&self.dir)?);
        }
        let Some((file, len)) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(why) = file.write_all(text) {
            // Half a line is none.
            let _ = file.set_len(*len);
            return Err(why);
        }
        *len += text.len() as u64;
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (0..KEPT).rev() {
            match fs::rename(place(&self.dir, number), place(&self.dir, number + 1)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The file that lines are appended to, and its length.
fn open(dir: &Path) -> io::Result<(File, u64)> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(place(dir, 0))?;
    let mut len = file.metadata()?.len();
    if len > 0 {
        let mut end = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut end)?;
        if end != *b"\n" {
            file.write_all(b"\n")?;
            len += 1;
        }
    }
    Ok((file, len))
}

/// Every whole line with a number above `after`, the oldest first. What cannot be read is not there.
pub(super) fn read(dir: &Path, after: u64) -> Vec<Line> {
    (0..=KEPT).rev().flat_map(|number| lines(&place(dir, number))).filter(|line| line.seq > after).collect()
}

/// The number of the last line. A file that was begun and has none is not the last word.
fn last(dir: &Path) -> Option<u64> {
    (0..=KEPT).find_map(|number| lines(&place(dir, number)).last().map(|line| line.seq))
}

fn lines(path: &Path) -> Vec<Line> {
    let mut bytes = Vec::new();
    // A file is a little longer than full when its last line is long.
    let read = File::open(path).and_then(|file| file.take(2 * FULL).read_to_end(&mut bytes));
    if read.is_err() {
        return Vec::new();
    }
    let whole = |line: &[u8]| {
        let text = std::str::from_utf8(line).ok()?;
        let seq = serde_json::from_str::<serde_json::Value>(text).ok()?.get("seq")?.as_u64()?;
        Some(Line { seq, text: text.into() })
    };
    bytes.split(|byte| *byte == b'\n').filter_map(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn text(seq: u64) -> String {
        format!("{{\"seq\":{seq}}}")
    }

    fn seqs(dir: &Path) -> Vec<u64> {
        read(dir, 0).into_iter().map(|line| line.seq).collect()
    }

    #[test]
    fn the_oldest_lines_go_and_the_files_stay_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store { full: 100, ..Store::new(dir.path().to_owned()) };
        for _ in 0..1000 {
            store.append(text, NOW);
        }
        let found = seqs(dir.path());
        assert_eq!(found.last(), Some(&1000));
        assert!(found.is_sorted() && found.len() >= 4 * 8 && found.len() < 60, "{}", found.len());
        let sizes: Vec<u64> = (0..=KEPT).map(|n| place(dir.path(), n).metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
        assert!(!place(dir.path(), KEPT + 1).exists());
    }

    #[test]
    fn half_a_line_left_by_a_power_cut_is_closed_off() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(place(dir.path(), 0), "{\"seq\":7}\n{\"seq\":8,\"us").unwrap();
        Store::new(dir.path().to_owned()).append(text, NOW);
        assert_eq!(seqs(dir.path()), [7, 8]);
        fs::write(place(dir.path(), 0), b"\xff\xfe{}\n\n[1]\n{\"seq\":\"x\"}").unwrap();
        Store::new(dir.path().to_owned()).append(text, NOW);
        assert_eq!(seqs(dir.path()), [1]);
    }

    #[test]
    fn numbers_go_on_behind_a_file_that_has_just_been_begun() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(place(dir.path(), 1), "{\"seq\":41}\n").unwrap();
        fs::write(place(dir.path(), 0), "").unwrap();
        assert_eq!(Store::new(dir.path().to_owned()).append(text, NOW).seq, 42);
    }

    #[test]
    fn lines_that_the_disk_does_not_take_wait_and_those_beyond_are_told_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        fs::write(&path, "in the way").unwrap();
        let mut store = Store::new(path.clone());
        for _ in 0..WAITING + 10 {
            store.append(text, NOW);
        }
        assert_eq!(store.waiting().len(), WAITING);
        assert!(store.is_busy());
        fs::remove_file(&path).unwrap();
        store.look(RETRY - Duration::from_secs(1));
        assert!(!path.exists(), "it is not tried all the time");
        store.look(RETRY);
        store.append(text, RETRY);
        assert!(store.waiting().is_empty());
        let all = read(&path, 0);
        assert!(all.iter().any(|line| line.text.contains("\"count\":10")), "{}", all.len());
        assert_eq!(all.len(), WAITING + 2);
    }

    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        Store::new(path.clone()).append(text, NOW);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&place(&path, 0))), (0o700, 0o600));
    }
}
