//! The files: lines are appended to `audit.jsonl`; what is full becomes `audit.1.jsonl` and so on, the oldest goes.
//!
//! A line is written whole or taken back, and half a line that a power cut left is closed off at the next start. Lines that
//! the disk does not take wait in memory, a bounded number of them. The disk is told to keep what was written a few seconds
//! after it was, once for all of it: a power cut may cost these seconds.

use super::{Line, record::Record};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
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

    /// Moves files up to the first place that is free, the oldest out of the last: one that failed half-way is gone on with,
    /// and costs nothing.
    fn rotate(&self) -> io::Result<()> {
        let there = |number: u32| place(&self.dir, number).symlink_metadata().is_ok();
        let free = (1..KEPT).find(|number| !there(*number)).unwrap_or(KEPT);
        for number in (0..free).rev() {
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

/// Which lines are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Only those with a higher number: the first of them. None: the last there are.
    pub(super) after: Option<u64>,
    /// Only those that are not older, in seconds since 1970.
    pub(super) since: Option<f64>,
    /// So many.
    pub(super) limit: usize,
}

/// What is looked at of a line that is not shown.
#[derive(Deserialize)]
struct Head {
    seq: u64,
    #[serde(default)]
    time: f64,
}

/// Lines on their way to who asked, found from the newest to the oldest.
pub(super) struct Page {
    wanted: Wanted,
    /// The oldest first.
    lines: VecDeque<Line>,
    /// The number from which on all is known.
    below: u64,
}

impl Page {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, lines: VecDeque::new(), below: u64::MAX }
    }

    /// Begins with lines that are in memory, the oldest first: some of them may be on the disk by now, and newer ones.
    /// False when no older one is wanted.
    pub(super) fn begin(&mut self, waiting: &[Line]) -> bool {
        let more = waiting.iter().rev().all(|line| self.older(&line.text));
        self.below = waiting.first().map_or(u64::MAX, |line| line.seq);
        more
    }

    /// The next older line; false when no older one is wanted.
    fn older(&mut self, text: &str) -> bool {
        let head = text.starts_with('{').then(|| serde_json::from_str(text));
        let Some(Ok(Head { seq, time })) = head else { return true };
        if seq >= self.below {
            return true;
        }
        let Wanted { after, since, limit } = self.wanted;
        if after.is_some_and(|after| seq <= after) {
            return false;
        }
        if since.is_none_or(|since| time >= since) {
            self.lines.push_front(Line { seq, text: text.into() });
        }
        if self.lines.len() > limit {
            self.lines.pop_back();
        }
        // Of those after a number the first ones are wanted: the end is not known before it is reached.
        after.is_some() || self.lines.len() < limit
    }

    pub(super) fn lines(self) -> VecDeque<Line> {
        self.lines
    }
}

/// Adds what lies on the disk to what is newer. The newest file comes first: the one that is written may become the next
/// older one meanwhile, and is then met twice, never missed. What cannot be read is not there.
pub(super) fn read(dir: &Path, page: &mut Page) {
    let mut met = Vec::new();
    for number in 0..=KEPT {
        let Ok(file) = File::open(place(dir, number)) else { continue };
        let Ok(id) = file.metadata().map(|found| (found.dev(), found.ino())) else { continue };
        if met.contains(&id) {
            continue;
        }
        met.push(id);
        let bytes = bytes(file);
        let mut lines = bytes.rsplit(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        if !lines.all(|line| page.older(line)) {
            return;
        }
    }
}

/// The number of the last line. A file that was begun and has none is not the last word.
fn last(dir: &Path) -> Option<u64> {
    let mut page = Page::new(Wanted { after: None, since: None, limit: 1 });
    read(dir, &mut page);
    page.lines().back().map(|line| line.seq)
}

fn bytes(file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A file is a little longer than full when its last line is long.
    match file.take(2 * FULL).read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Everything there is, for tests.
#[cfg(test)]
pub(super) fn all(dir: &Path) -> VecDeque<Line> {
    let mut page = Page::new(Wanted { after: Some(0), since: None, limit: usize::MAX });
    read(dir, &mut page);
    page.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn text(seq: u64) -> String {
        format!("{{\"seq\":{seq}}}")
    }

    fn seqs(dir: &Path) -> Vec<u64> {
        all(dir).into_iter().map(|line| line.seq).collect()
    }

    fn page(dir: &Path, wanted: Wanted) -> Vec<u64> {
        let mut page = Page::new(wanted);
        read(dir, &mut page);
        page.lines().into_iter().map(|line| line.seq).collect()
    }

    fn timed(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"time\":{seq}.5}}")
    }

    #[test]
    fn a_page_is_the_last_lines_or_the_first_after_the_page_before_over_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store { full: 100, ..Store::new(dir.path().to_owned()) };
        for _ in 0..15 {
            store.append(timed, NOW);
        }
        assert!(place(dir.path(), 3).exists() && !place(dir.path(), 4).exists());
        let of = |after, since, limit| page(dir.path(), Wanted { after, since, limit });
        assert_eq!(of(None, None, 2), [14, 15]);
        assert_eq!(of(Some(0), None, 2), [1, 2]);
        assert_eq!(of(Some(3), None, 4), [4, 5, 6, 7]);
        assert_eq!(of(Some(13), None, 4), [14, 15]);
        assert_eq!(of(Some(15), None, 4), [0; 0]);
        assert_eq!(of(None, Some(12.5), 100), [12, 13, 14, 15]);
        assert_eq!(of(Some(2), Some(12.5), 2), [12, 13]);
    }

    #[test]
    fn a_file_that_becomes_the_older_one_while_it_is_read_is_met_twice_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(place(dir.path(), 0), "{\"seq\":1}\n{\"seq\":2}\n").unwrap();
        fs::hard_link(place(dir.path(), 0), place(dir.path(), 1)).unwrap();
        assert_eq!(seqs(dir.path()), [1, 2]);
    }

    #[test]
    fn a_rotation_that_failed_half_way_is_gone_on_with_and_costs_no_file() {
        let dir = tempfile::tempdir().unwrap();
        // The older ones were moved on, the newest was not.
        for (number, seq) in [(0, 9), (2, 8), (3, 7), (4, 6)] {
            fs::write(place(dir.path(), number), text(seq)).unwrap();
        }
        Store::new(dir.path().to_owned()).rotate().unwrap();
        assert_eq!(seqs(dir.path()), [6, 7, 8, 9]);
        assert!(!place(dir.path(), 0).exists());
        fs::write(place(dir.path(), 0), text(10)).unwrap();
        Store::new(dir.path().to_owned()).rotate().unwrap();
        assert_eq!(seqs(dir.path()), [7, 8, 9, 10], "there is no room for more");
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
        let all = all(&path);
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
