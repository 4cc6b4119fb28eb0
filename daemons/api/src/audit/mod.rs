//! `/audit`: who changed what, as long as the disk allows. Our own, not PiKVM's.
//!
//! Every call that changes something, and every try to, is one line of JSON in an append-only file of the state
//! directory: who, from where, what, with which parameters, what came of it. Secrets are not in it, nor what is typed:
//! input is told by its begin, its end and counts ([`input`]). `docs/decisions/` argues the rest.
//!
//! ```text
//! gate, WebSocket ──▶ Book ──queue──▶ thread: Tally (repeats become counts) ──▶ Store (files, rotated)
//!                                        └──▶ followers
//! ```
//!
//! The thread is the only one that writes. A queue that is full, or a disk that takes nothing, loses lines and says later
//! how many; it never makes a request wait or fail. Nothing is written while nothing happens.

mod face;
pub mod input;
mod record;
mod store;
mod tally;

use self::{
    store::{Page, Store, Wanted},
    tally::Tally,
};
use crate::failure::Failure;
use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, broadcast, oneshot};

pub use face::ROUTES;
pub use record::{Record, Who, note, of_call, types_something, without_secrets};

/// Lines on their way to the thread.
const QUEUE: usize = 1024;
/// Lines that a follower may be behind.
const BEHIND: usize = 256;
/// How long repeats are counted before they are told.
const LOOK: Duration = Duration::from_secs(5);

/// How long a reader waits: for those before them, for the thread that writes, and for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// A line as it is written, with its number.
#[derive(Debug, Clone)]
pub struct Line {
    /// Counts up from 1, over restarts too.
    pub seq: u64,
    /// One line of JSON without its end.
    pub text: Arc<str>,
}

enum Order {
    Take(Box<Record>),
    /// Writes what is waiting, and tells lines that the disk has not taken yet.
    Settle(oneshot::Sender<Vec<Line>>),
    /// Writes everything, and ends.
    End(oneshot::Sender<()>),
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Book {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
    lines: broadcast::Sender<Line>,
    dir: PathBuf,
    /// Readers, one at a time: each may have to look at all there is.
    turn: Arc<Semaphore>,
}

impl Book {
    /// Starts the thread that writes into this directory, which it makes when it is first needed.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(dir: PathBuf) -> std::io::Result<Self> {
        let (orders, taken) = sync_channel(QUEUE);
        let (lines, lost) = (broadcast::channel(BEHIND).0, Arc::<AtomicU64>::default());
        let writer = Writer {
            store: Store::new(dir.clone()),
            tally: Tally::default(),
            lines: lines.clone(),
            lost: Arc::clone(&lost),
            start: Instant::now(),
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&taken))?;
        Ok(Self { orders, lost, lines, dir, turn: Arc::new(Semaphore::new(1)) })
    }

    /// Writes this down, soon. Never waits.
    pub fn take(&self, record: Record) {
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Take(Box::new(record))) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The lines that are wanted, on the disk and not yet, the oldest first. One that is on its way between both may be told
    /// by neither: the next page has it.
    ///
    /// # Errors
    /// A disk that hangs: 503.
    async fn page(&self, wanted: Wanted) -> Result<VecDeque<Line>, Failure> {
        let read = tokio::time::timeout(PATIENCE, self.read(wanted)).await;
        read.unwrap_or_else(|_| Err(Failure::unavailable()))
    }

    async fn read(&self, wanted: Wanted) -> Result<VecDeque<Line>, Failure> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(Failure::internal)?;
        let waiting = self.settle().await;
        let dir = self.dir.clone();
        // Kept until the work is done, even for a client that has left: on a disk that hangs there is one who reads.
        let work = move || {
            let _turn = turn;
            let mut page = Page::new(wanted);
            if page.begin(&waiting) {
                store::read(&dir, &mut page);
            }
            page.lines()
        };
        tokio::task::spawn_blocking(work).await.map_err(Failure::internal)
    }

    /// Waits until all that was taken is where [`store::read`] finds it; answers what is only in memory.
    async fn settle(&self) -> Vec<Line> {
        let (tell, told) = oneshot::channel();
        match self.orders.try_send(Order::Settle(tell)) {
            Ok(()) => told.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Writes the last lines, counts that nobody has been told yet among them. After this nothing is taken any more.
    pub async fn end(&self) {
        let (tell, told) = oneshot::channel();
        let orders = self.orders.clone();
        // A queue that is full is being emptied.
        let sent = tokio::task::spawn_blocking(move || orders.send(Order::End(tell))).await;
        if matches!(sent, Ok(Ok(()))) {
            let _ = told.await;
        }
    }
}

struct Writer {
    store: Store,
    tally: Tally,
    lines: broadcast::Sender<Line>,
    lost: Arc<AtomicU64>,
    start: Instant,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let busy = self.tally.is_counting() || self.store.is_busy();
            let order = match busy {
                true => orders.recv_timeout(LOOK),
                false => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let now = self.start.elapsed();
            match order {
                Ok(Order::Take(record)) => {
                    self.tally.take(*record, now).into_iter().for_each(|record| self.write(&record));
                }
                Ok(Order::Settle(tell)) => {
                    let _ = tell.send(self.store.waiting());
                }
                Ok(Order::End(tell)) => {
                    self.finish();
                    let _ = tell.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.store.look(now),
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
            self.tally.due(now).into_iter().for_each(|record| self.write(&record));
        }
    }

    fn write(&mut self, record: &Record) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.put(&Record::lost(lost));
        }
        self.put(record);
    }

    fn put(&mut self, record: &Record) {
        let line = self.store.append(|seq| record.text(seq), self.start.elapsed());
        // Nobody following is fine.
        let _ = self.lines.send(line);
    }

    fn finish(&mut self) {
        self.tally.all().into_iter().for_each(|record| self.write(&record));
        self.store.sync();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(dir: &std::path::Path) -> Vec<String> {
        store::all(dir).into_iter().map(|line| line.text.to_string()).collect()
    }

    #[tokio::test]
    async fn what_was_taken_is_on_the_disk_at_the_end_and_numbers_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        for round in 0..2 {
            let book = Book::start(path.clone()).unwrap();
            for number in 0..3 {
                book.take(Record::call("POST", &format!("/atx/{round}{number}"), 200));
            }
            book.end().await;
        }
        let seqs: Vec<u64> = store::all(&path).into_iter().map(|line| line.seq).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
        assert!(texts(&path)[5].contains("/atx/12"));
    }

    #[tokio::test(start_paused = true)]
    async fn readers_do_not_wait_for_ever_for_a_disk_that_hangs() {
        // The thread that writes, which never comes to the order.
        let (orders, hangs) = sync_channel(QUEUE);
        let book = Book {
            orders,
            lost: Arc::default(),
            lines: broadcast::channel(BEHIND).0,
            dir: PathBuf::from("/nonexistent"),
            turn: Arc::new(Semaphore::new(1)),
        };
        let wanted = || Wanted { after: None, since: None, limit: 1 };
        let (one, two) = tokio::join!(book.page(wanted()), book.page(wanted()));
        assert_eq!(
            [one, two].map(|page| page.map_err(|why| why.class.name()).err()),
            [Some("UnavailableError"); 2]
        );
        drop(hangs);
        assert!(book.page(wanted()).await.is_ok(), "the turn is free again");
    }

    #[tokio::test]
    async fn nothing_is_made_while_nothing_happens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        let book = Book::start(path.clone()).unwrap();
        assert!(book.settle().await.is_empty());
        book.end().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn repeats_are_one_line_and_a_count() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::start(dir.path().to_owned()).unwrap();
        for number in 0..1000 {
            book.take(Record::call("POST", "/hid/events/send_mouse_move", 200));
            // The queue is shorter than this.
            if number % 100 == 0 {
                book.settle().await;
            }
        }
        book.end().await;
        let texts = texts(dir.path());
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[1].contains("\"repeated\":999"), "{}", texts[1]);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        std::fs::write(&path, "in the way").unwrap();
        let book = Book::start(path.clone()).unwrap();
        book.take(Record::call("POST", "/atx/power", 200));
        let waiting = book.settle().await;
        assert_eq!(waiting.len(), 1, "it is told all the same");
        std::fs::remove_file(&path).unwrap();
        book.take(Record::call("POST", "/atx/click", 200));
        book.end().await;
        let texts = texts(&path);
        assert!(texts[0].contains("/atx/power") && texts[1].contains("/atx/click"), "{texts:?}");
    }
}
