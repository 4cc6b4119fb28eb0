//! Readers: a thread with a journal's cursor at one end, a bounded queue at the other.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{Error, Record};

/// How long a reader waits for new records before it looks whether anybody still listens.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// Records read ahead of a slow client.
const QUEUE: usize = 64;

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Query {
    /// How far back; zero = all of this boot.
    pub since: Duration,
    /// Whether to go on with new records for ever.
    pub follow: bool,
}

impl Query {
    /// The first moment wanted, in microseconds since 1970; `None` = from the beginning.
    #[must_use]
    pub fn first_us(&self, now: SystemTime) -> Option<u64> {
        if self.since.is_zero() {
            return None;
        }
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.checked_sub(self.since)?.as_micros()).ok()
    }
}

/// A journal that can be opened. Called on the reader's own thread.
pub trait Journal: Send + Sync {
    /// A cursor at the first record wanted (`None`: the first of this boot).
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Unavailable`].
    fn open(&self, first_us: Option<u64>) -> Result<Box<dyn Cursor>, Error>;
}

/// A place in a journal. Stays on the thread that opened it.
pub trait Cursor {
    /// The next record, or `None` at the end (of now).
    ///
    /// # Errors
    /// [`Error::Broken`].
    fn next(&mut self) -> Result<Option<Record>, Error>;

    /// Waits until there may be more records, at most so long.
    ///
    /// # Errors
    /// [`Error::Broken`].
    fn wait(&mut self, at_most: Duration) -> Result<(), Error>;
}

/// The journal of an appliance whose log reader is switched off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disabled;

impl Journal for Disabled {
    fn open(&self, _first_us: Option<u64>) -> Result<Box<dyn Cursor>, Error> {
        Err(Error::Disabled)
    }
}

/// Starts readers. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    journal: Arc<dyn Journal>,
    places: Arc<Semaphore>,
}

impl Reader {
    /// Readers of this journal, at most `max_readers` at once.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, max_readers: usize) -> Self {
        Self { journal, places: Arc::new(Semaphore::new(max_readers)) }
    }

    /// Starts reading. Returns once the journal is open, so that an error can still become an HTTP status.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::Unavailable`], [`Error::Busy`].
    pub async fn read(&self, query: Query) -> Result<Records, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Busy)?;
        let journal = Arc::clone(&self.journal);
        let (opened, open) = oneshot::channel();
        let (sender, records) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || run(&*journal, query, opened, &sender, place))
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        open.await.unwrap_or_else(|_| Err(Error::Unavailable("the reader died".to_owned())))?;
        Ok(Records { records })
    }
}

fn run(
    journal: &dyn Journal,
    query: Query,
    opened: oneshot::Sender<Result<(), Error>>,
    records: &mpsc::Sender<Result<Record, Error>>,
    _place: OwnedSemaphorePermit,
) {
    let cursor = journal.open(query.first_us(SystemTime::now()));
    let (mut cursor, result) = match cursor {
        Ok(cursor) => (Some(cursor), Ok(())),
        Err(error) => (None, Err(error)),
    };
    if opened.send(result).is_err() {
        return;
    }
    let Some(cursor) = &mut cursor else { return };
    if let Err(error) = pump(&mut **cursor, query.follow, records) {
        // The client may be gone as well.
        let _ = records.blocking_send(Err(error));
    }
}

fn pump(
    cursor: &mut dyn Cursor,
    follow: bool,
    records: &mpsc::Sender<Result<Record, Error>>,
) -> Result<(), Error> {
    while !records.is_closed() {
        match cursor.next()? {
            Some(record) => {
                if records.blocking_send(Ok(record)).is_err() {
                    break;
                }
            }
            None if follow => cursor.wait(PATIENCE)?,
            None => break,
        }
    }
    Ok(())
}

/// Records as they come, oldest first. Dropping this ends the reader.
#[derive(Debug)]
pub struct Records {
    records: mpsc::Receiver<Result<Record, Error>>,
}

impl Records {
    /// The next record; `None` at the end, which never comes when following. May be dropped at any time without
    /// losing a record.
    ///
    /// # Errors
    /// [`Error::Broken`], after which nothing follows.
    pub async fn next(&mut self) -> Option<Result<Record, Error>> {
        self.records.recv().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex, PoisonError};

    use super::*;

    /// A journal in memory that can be written to while it is read.
    #[derive(Default)]
    struct Memory {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct State {
        records: Vec<Record>,
        broken: bool,
        cursors: usize,
    }

    struct Shared(Arc<Memory>);

    struct At(Arc<Memory>, usize);

    impl Memory {
        fn write(&self, time_us: u64, message: &str) {
            let record = Record { time_us, unit: "kvmd.service".into(), message: message.into() };
            self.state.lock().unwrap().records.push(record);
            self.changed.notify_all();
        }

        /// Waits until no cursor is left.
        fn wait_until_left(&self) {
            let mut state = self.state.lock().unwrap();
            while state.cursors > 0 {
                state = self.changed.wait(state).unwrap();
            }
        }
    }

    impl Journal for Shared {
        fn open(&self, first_us: Option<u64>) -> Result<Box<dyn Cursor>, Error> {
            let mut state = self.0.state.lock().unwrap();
            state.cursors += 1;
            let at = state.records.iter().position(|record| record.time_us >= first_us.unwrap_or(0));
            let at = at.unwrap_or(state.records.len());
            Ok(Box::new(At(Arc::clone(&self.0), at)))
        }
    }

    impl Cursor for At {
        fn next(&mut self) -> Result<Option<Record>, Error> {
            let state = self.0.state.lock().unwrap();
            if state.broken {
                return Err(Error::Broken(std::io::ErrorKind::InvalidData.into()));
            }
            let record = state.records.get(self.1).cloned();
            self.1 += usize::from(record.is_some());
            Ok(record)
        }

        fn wait(&mut self, at_most: Duration) -> Result<(), Error> {
            let state = self.0.state.lock().unwrap();
            if state.records.len() <= self.1 && !state.broken {
                drop(self.0.changed.wait_timeout(state, at_most).unwrap());
            }
            Ok(())
        }
    }

    impl Drop for At {
        fn drop(&mut self) {
            self.0.state.lock().unwrap_or_else(PoisonError::into_inner).cursors -= 1;
            self.0.changed.notify_all();
        }
    }

    fn reader(memory: &Arc<Memory>, max: usize) -> Reader {
        Reader::new(Arc::new(Shared(Arc::clone(memory))), max)
    }

    async fn message(records: &mut Records) -> String {
        records.next().await.unwrap().unwrap().message
    }

    const FOLLOW: Query = Query { since: Duration::ZERO, follow: true };

    #[tokio::test]
    async fn without_follow_reading_ends_at_the_end() {
        let memory = Arc::new(Memory::default());
        memory.write(1, "one");
        memory.write(2, "two");
        let mut records = reader(&memory, 1).read(Query::default()).await.unwrap();
        assert_eq!(message(&mut records).await, "one");
        assert_eq!(message(&mut records).await, "two");
        assert!(records.next().await.is_none());
    }

    #[tokio::test]
    async fn following_delivers_what_is_written_later() {
        let memory = Arc::new(Memory::default());
        memory.write(1, "old");
        let mut records = reader(&memory, 1).read(FOLLOW).await.unwrap();
        assert_eq!(message(&mut records).await, "old");
        memory.write(2, "new");
        assert_eq!(message(&mut records).await, "new");
    }

    #[tokio::test]
    async fn a_reader_nobody_listens_to_goes_away_though_its_queue_is_full() {
        let memory = Arc::new(Memory::default());
        for n in 0..10 * QUEUE as u64 {
            memory.write(n, "x");
        }
        let full = reader(&memory, 2);
        let (one, two) = (full.read(FOLLOW).await.unwrap(), full.read(FOLLOW).await.unwrap());
        drop((one, two));
        let left = Arc::clone(&memory);
        tokio::task::spawn_blocking(move || left.wait_until_left()).await.unwrap();
    }

    #[tokio::test]
    async fn one_reader_too_many_is_refused_until_another_leaves() {
        let memory = Arc::new(Memory::default());
        let reader = reader(&memory, 1);
        let first = reader.read(FOLLOW).await.unwrap();
        assert!(matches!(reader.read(FOLLOW).await, Err(Error::Busy)));
        drop(first);
        // The thread gives its place back after its cursor is gone: until then, busy.
        let second = loop {
            match reader.read(FOLLOW).await {
                Err(Error::Busy) => tokio::task::yield_now().await,
                other => break other,
            }
        };
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn a_journal_that_breaks_off_says_so_and_ends() {
        let memory = Arc::new(Memory::default());
        memory.write(1, "one");
        let mut records = reader(&memory, 1).read(FOLLOW).await.unwrap();
        assert_eq!(message(&mut records).await, "one");
        memory.state.lock().unwrap().broken = true;
        memory.changed.notify_all();
        assert!(matches!(records.next().await, Some(Err(Error::Broken(_)))));
        assert!(records.next().await.is_none());
    }

    #[tokio::test]
    async fn a_disabled_reader_says_so_before_anything_is_sent() {
        let reader = Reader::new(Arc::new(Disabled), 1);
        assert!(matches!(reader.read(Query::default()).await, Err(Error::Disabled)));
    }

    #[test]
    fn seeking_counts_back_from_now_and_a_huge_seek_means_everything() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let since = |seconds| Query { since: Duration::from_secs(seconds), follow: false }.first_us(now);
        assert_eq!(since(0), None);
        assert_eq!(since(30), Some(970_000_000));
        assert_eq!(since(999_999_999), None);
        assert_eq!(since(u64::MAX), None);
    }
}
