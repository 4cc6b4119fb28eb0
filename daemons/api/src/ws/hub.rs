//! All WebSocket clients, and what they are told.
//!
//! One task owns the list. Every event is made into text once and shared by all queues. A queue is bounded; a client
//! that does not read falls behind, misses events, and gets the full state once it has caught up, or is thrown out.
//!
//! ```text
//! reads ──queue full──▶ lagging ──queue empty──▶ gets the full state, reads
//!                          └──PATIENCE──▶ thrown out
//! ```

use crate::ws::topics::Full;
use bytes::Bytes;
use bytestring::ByteString;
use hid::Hid;
use model::{Event, event};
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Messages waiting for one client: several times a full state.
const QUEUE: usize = 256;
/// How long a client may fall behind before it is thrown out.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often lagging clients are looked at. Nobody looks while there are none.
const LOOK: Duration = Duration::from_millis(500);
/// Clients at once; one more is turned away.
pub const CLIENTS_LIMIT: usize = 128;

/// A message to a client, shared by all who get it.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A ping frame.
    Ping,
    /// The answer to a ping frame.
    Pong(Bytes),
}

impl From<&Event> for Outgoing {
    fn from(event: &Event) -> Self {
        Self::Text(event.text().into())
    }
}

enum Command {
    Join { client: Client, seat: u64 },
    Leave { seat: u64 },
    Tell(Vec<Event>),
}

struct Client {
    queue: mpsc::Sender<Outgoing>,
    stream: bool,
    gone: CancellationToken,
    lagging_since: Option<Instant>,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    commands: mpsc::Sender<Command>,
    population: watch::Receiver<usize>,
    viewers: watch::Receiver<usize>,
    stop: CancellationToken,
}

/// A client's place in the hub. Dropping it leaves.
pub struct Seat {
    /// Its own; never used twice while the daemon runs.
    pub number: u64,
    commands: mpsc::Sender<Command>,
    /// Messages to send.
    pub queue: mpsc::Receiver<Outgoing>,
    /// For answers to this client alone.
    pub own: mpsc::Sender<Outgoing>,
    /// Cancelled when the client is thrown out or the daemon stops.
    pub gone: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let command = Command::Leave { seat: self.number };
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            tokio::spawn(async move { commands.send(command).await });
        }
    }
}

impl Hub {
    /// How many clients there are.
    pub fn population(&self) -> watch::Receiver<usize> {
        self.population.clone()
    }

    /// How many clients want pictures.
    pub fn viewers(&self) -> watch::Receiver<usize> {
        self.viewers.clone()
    }

    /// Takes a client in; none when there are too many or the daemon stops.
    pub async fn join(&self, stream: bool) -> Option<Seat> {
        static NUMBERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        if *self.population.borrow() >= CLIENTS_LIMIT || self.stop.is_cancelled() {
            return None;
        }
        let number = NUMBERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (own, queue) = mpsc::channel(QUEUE);
        let gone = self.stop.child_token();
        let client = Client { queue: own.clone(), stream, gone: gone.clone(), lagging_since: None };
        self.commands.send(Command::Join { client, seat: number }).await.ok()?;
        Some(Seat { number, commands: self.commands.clone(), queue, own, gone })
    }

    /// Sends these events to everybody.
    pub async fn tell(&self, events: Vec<Event>) {
        // The hub only ends with the daemon.
        let _ = self.commands.send(Command::Tell(events)).await;
    }
}

struct Owner {
    clients: HashMap<u64, Client>,
    full: Vec<Full>,
    hid: Hid,
    population: watch::Sender<usize>,
    viewers: watch::Sender<usize>,
}

/// A hub that does not run yet: its handle exists so that what feeds it can be built first.
pub struct Empty {
    hub: Hub,
    orders: mpsc::Receiver<Command>,
    population: watch::Sender<usize>,
    viewers: watch::Sender<usize>,
}

impl Empty {
    /// A hub without topics. Stops with `stop`, throwing everybody out.
    pub fn new(stop: CancellationToken) -> Self {
        const COMMANDS: usize = 256;
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (population_to, population) = watch::channel(0);
        let (viewers_to, viewers) = watch::channel(0);
        let hub = Hub { commands, population, viewers, stop };
        Self { hub, orders, population: population_to, viewers: viewers_to }
    }

    /// Its handle.
    pub fn hub(&self) -> Hub {
        self.hub.clone()
    }

    /// Starts it. `full` gives everything a new client must know; `hid` is cleared when clients come and go.
    pub fn start(self, full: Vec<Full>, hid: Hid) -> JoinHandle<()> {
        let Self { hub, orders, population, viewers } = self;
        let owner = Owner { clients: HashMap::new(), full, hid, population, viewers };
        tokio::spawn(owner.run(orders, hub.stop))
    }
}

impl Owner {
    async fn run(mut self, mut orders: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let lagging = self.clients.values().any(|client| client.lagging_since.is_some());
            tokio::select! {
                () = stop.cancelled() => break,
                Some(order) = orders.recv() => self.obey(order),
                _ = look.tick(), if lagging => self.catch_up(Instant::now()),
            }
        }
        self.hid.clear();
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::Join { client, seat } => {
                self.hid.clear();
                client.send((&event::hello()).into());
                self.clients.insert(seat, client);
                self.counted();
                let everything = self.everything();
                self.tell(&everything);
            }
            Command::Leave { seat } => {
                if self.clients.remove(&seat).is_some() {
                    self.hid.clear();
                    self.counted();
                }
            }
            Command::Tell(events) => self.tell(&events),
        }
    }

    fn everything(&self) -> Vec<Event> {
        self.full.iter().flat_map(|topic| topic()).collect()
    }

    fn counted(&mut self) {
        let viewers = self.clients.values().filter(|client| client.stream).count();
        self.population.send_replace(self.clients.len());
        self.viewers.send_replace(viewers);
        self.tell(&[event::clients(viewers)]);
    }

    fn tell(&mut self, events: &[Event]) {
        if self.clients.is_empty() {
            return;
        }
        for message in events.iter().map(Outgoing::from) {
            for client in self.clients.values_mut() {
                client.offer(message.clone());
            }
        }
    }

    /// Brings those who have read everything up to date, and throws out those who never do.
    fn catch_up(&mut self, now: Instant) {
        let everything: Vec<Outgoing> = self.everything().iter().map(Outgoing::from).collect();
        for client in self.clients.values_mut() {
            let Some(since) = client.lagging_since else { continue };
            if client.queue.capacity() == client.queue.max_capacity() {
                client.lagging_since = None;
                everything.iter().for_each(|message| client.offer(message.clone()));
            } else if now.duration_since(since) > PATIENCE {
                log::warn!("a WebSocket client does not read: throwing it out");
                client.gone.cancel();
            }
        }
    }
}

impl Client {
    /// Queues a message unless the client lags: then it will get the full state instead.
    fn offer(&mut self, message: Outgoing) {
        if self.lagging_since.is_none() && !self.send(message) {
            self.lagging_since = Some(Instant::now());
        }
    }

    /// False when the queue is full. A client that is gone takes everything.
    fn send(&self, message: Outgoing) -> bool {
        !matches!(self.queue.try_send(message), Err(mpsc::error::TrySendError::Full(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hid::link::{Recorder, Recording};
    use model::atx;

    struct Bench {
        hub: Hub,
        recording: Recording,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    fn bench() -> Bench {
        let stop = CancellationToken::new();
        let (link, recording) = Recorder::new();
        let (hid, _) = hid::spawn(hid::Settings::default(), link, CancellationToken::new()).unwrap();
        let empty = Empty::new(stop.clone());
        let hub = empty.hub();
        let full: Full = Box::new(|| vec![atx::full(&atx::State::default())]);
        let task = empty.start(vec![full], hid);
        Bench { hub, recording, stop, task }
    }

    async fn text(seat: &mut Seat) -> String {
        loop {
            if let Outgoing::Text(text) = seat.queue.recv().await.unwrap() {
                return text.to_string();
            }
        }
    }

    async fn until(seat: &mut Seat, part: &str) {
        while !text(seat).await.contains(part) {}
    }

    fn news(number: usize) -> Vec<Event> {
        vec![Event::new("news", serde_json::json!({ "number": number }))]
    }

    #[tokio::test]
    async fn a_newcomer_hears_the_hello_first_and_everybody_gets_the_full_state_again() {
        let bench = bench();
        let mut first = bench.hub.join(true).await.unwrap();
        assert!(text(&mut first).await.contains("\"loop\""));
        until(&mut first, "\"atx\"").await;
        let mut second = bench.hub.join(false).await.unwrap();
        assert!(text(&mut second).await.contains("\"loop\""));
        until(&mut second, "\"atx\"").await;
        until(&mut first, "\"atx\"").await;
    }

    #[tokio::test]
    async fn only_clients_that_want_pictures_are_viewers() {
        let bench = bench();
        let (mut viewers, mut population) = (bench.hub.viewers(), bench.hub.population());
        let first = bench.hub.join(true).await.unwrap();
        let _second = bench.hub.join(false).await.unwrap();
        population.wait_for(|clients| *clients == 2).await.unwrap();
        assert_eq!(*viewers.borrow_and_update(), 1);
        drop(first);
        viewers.wait_for(|viewers| *viewers == 0).await.unwrap();
        assert_eq!(*bench.hub.population().borrow(), 1);
    }

    #[tokio::test]
    async fn keys_are_released_when_clients_come_and_go() {
        let bench = bench();
        let mut population = bench.hub.population();
        let seat = bench.hub.join(false).await.unwrap();
        population.wait_for(|clients| *clients == 1).await.unwrap();
        while bench.recording.take().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(seat);
        population.wait_for(|clients| *clients == 0).await.unwrap();
        while bench.recording.take().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_fell_behind_gets_the_full_state_once_it_has_caught_up() {
        let bench = bench();
        let mut seat = bench.hub.join(false).await.unwrap();
        until(&mut seat, "\"atx\"").await;
        for number in 0..2 * QUEUE {
            bench.hub.tell(news(number)).await;
        }
        // What fitted comes in order, then the state as it is now, and nothing of what was missed.
        until(&mut seat, &format!("\"number\":{}", QUEUE - 1)).await;
        assert!(text(&mut seat).await.contains("\"atx\""));
        bench.hub.tell(news(9999)).await;
        assert!(text(&mut seat).await.contains("9999"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_thrown_out_and_others_are_not() {
        let bench = bench();
        let deaf = bench.hub.join(false).await.unwrap();
        let mut other = bench.hub.join(false).await.unwrap();
        for number in 0..2 * QUEUE {
            bench.hub.tell(news(number)).await;
            until(&mut other, &format!("\"number\":{number}}}")).await;
        }
        deaf.gone.cancelled().await;
        assert!(!other.gone.is_cancelled());
    }

    #[tokio::test]
    async fn there_is_a_last_seat_and_none_after_the_end() {
        let bench = bench();
        let mut seats = Vec::new();
        let mut population = bench.hub.population();
        for number in 1..=CLIENTS_LIMIT {
            seats.push(bench.hub.join(false).await.unwrap());
            population.wait_for(|clients| *clients == number).await.unwrap();
        }
        assert!(bench.hub.join(false).await.is_none());
        bench.stop.cancel();
        bench.task.await.unwrap();
        seats[0].gone.cancelled().await;
        assert!(bench.hub.join(false).await.is_none());
    }
}
