//! Hardware whose calls may take long, on a thread of its own.
//!
//! The owner never waits: a read is answered from what was seen last, a write is an order. An order that fails shows as
//! a driver that is offline, until a look succeeds again.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{Offline, Wake};

/// Orders that may wait. Each channel is busy while its order is fresh: more than this is a device that hangs.
const ORDERS: usize = 64;
/// How long the end waits for orders under way: a relay that was pulsed has its "off" among them.
const LAST_ORDERS: Duration = Duration::from_secs(1);

/// Levels by pin, or why they are not known.
pub(crate) type Seen = Result<BTreeMap<String, bool>, String>;

/// A piece of hardware. Its calls block.
pub(crate) trait Slow: Send + 'static {
    /// The levels of all pins in use.
    fn look(&mut self) -> Seen;

    /// Sets one.
    fn set(&mut self, pin: &str, level: bool) -> Result<(), String>;
}

struct Order {
    pin: String,
    level: bool,
    number: u64,
}

/// The last order of each pin that came to its end, and to which.
type Done = BTreeMap<String, (u64, Result<(), String>)>;

/// The thread's handle.
#[derive(Debug)]
pub(crate) struct Worker {
    orders: Option<SyncSender<Order>>,
    seen: Arc<Mutex<Seen>>,
    /// The last order that was given to each pin.
    given: BTreeMap<String, u64>,
    done: Arc<Mutex<Done>>,
    ended: Receiver<()>,
}

impl Worker {
    /// Starts the thread: it looks at once, and then `every` so often.
    pub(crate) fn start(mut slow: impl Slow, every: Duration, wake: Wake) -> Result<Self, Offline> {
        let (orders, inbox) = sync_channel(ORDERS);
        let (end, ended) = sync_channel(1);
        let seen = Arc::new(Mutex::new(Err("not looked at yet".to_owned())));
        let shown = Arc::clone(&seen);
        let done = Arc::new(Mutex::new(Done::new()));
        let note = Arc::clone(&done);
        let again = wake.clone();
        let work = move || {
            let mut told = false;
            let mut show = |now: Seen| {
                if let Err(why) = &now
                    && !told
                {
                    log::warn!("a gpio driver is offline: {why}");
                }
                told = now.is_err();
                let changed = {
                    let mut shown = locked(&shown);
                    let changed = *shown != now;
                    *shown = now;
                    changed
                };
                if changed {
                    wake.up();
                }
            };
            show(slow.look());
            loop {
                match inbox.recv_timeout(every) {
                    Ok(Order { pin, level, number }) => {
                        let result = slow.set(&pin, level);
                        locked(&note).insert(pin, (number, result.clone()));
                        match result {
                            Ok(()) => {
                                show(slow.look());
                                // Also when it looks the same: somebody waits for it. But what fails is not tried again
                                // as fast as it fails.
                                again.up();
                            }
                            Err(why) => show(Err(why)),
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => show(slow.look()),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let _ = end.send(());
        };
        thread::Builder::new()
            .name("gpio-slow".to_owned())
            .spawn(work)
            .map_err(|error| Offline(format!("no thread: {error}")))?;
        Ok(Self { orders: Some(orders), seen, given: BTreeMap::new(), done, ended })
    }

    /// What was seen last.
    pub(crate) fn read(&self, pin: &str) -> Result<bool, Offline> {
        let seen = locked(&self.seen);
        let levels = seen.as_ref().map_err(|why| Offline(why.clone()))?;
        Ok(levels.get(pin).copied().unwrap_or(false))
    }

    /// Orders a level.
    pub(crate) fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        let number = self.given.get(pin).map_or(1, |number| number + 1);
        let order = Order { pin: pin.to_owned(), level, number };
        let sent = self.orders.as_ref().map(|orders| orders.try_send(order));
        match sent {
            Some(Ok(())) => {
                self.given.insert(pin.to_owned(), number);
                Ok(())
            }
            Some(Err(TrySendError::Full(_))) => Err(Offline("it does not keep up".to_owned())),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(Offline("it has stopped".to_owned())),
        }
    }
}

impl Worker {
    /// Whether a pin's last order was carried out; false while it waits.
    pub(crate) fn is_done(&self, pin: &str) -> Result<bool, Offline> {
        let Some(given) = self.given.get(pin) else { return Ok(true) };
        match locked(&self.done).get(pin) {
            Some((number, result)) if number == given => result.clone().map(|()| true).map_err(Offline),
            _ => Ok(false),
        }
    }
}

/// Where a driver keeps its worker: nothing is there before it is attached.
#[derive(Debug, Default)]
pub(crate) struct Post(Option<Worker>);

impl Post {
    /// See [`Worker::start`]; one that was there before ends.
    pub(crate) fn start(&mut self, slow: impl Slow, every: Duration, wake: Wake) -> Result<(), Offline> {
        self.0 = Some(Worker::start(slow, every, wake)?);
        Ok(())
    }

    /// See [`Worker::read`].
    pub(crate) fn read(&self, pin: &str) -> Result<bool, Offline> {
        self.0.as_ref().ok_or_else(not_started)?.read(pin)
    }

    /// See [`Worker::write`].
    pub(crate) fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        self.0.as_mut().ok_or_else(not_started)?.write(pin, level)
    }

    /// See [`Worker::is_done`].
    pub(crate) fn is_done(&self, pin: &str) -> Result<bool, Offline> {
        self.0.as_ref().ok_or_else(not_started)?.is_done(pin)
    }
}

fn not_started() -> Offline {
    Offline("not started".to_owned())
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.ended.recv_timeout(LAST_ORDERS);
    }
}

/// A panic of whoever held it has left nothing half done.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    type Levels = BTreeMap<String, bool>;

    /// The levels, and why it cannot be reached.
    #[derive(Default, Clone)]
    struct Bench(Arc<Mutex<(Levels, Option<String>)>>);

    impl Slow for Bench {
        fn look(&mut self) -> Seen {
            let bench = self.0.lock().unwrap();
            bench.1.clone().map_or_else(|| Ok(bench.0.clone()), Err)
        }

        fn set(&mut self, pin: &str, level: bool) -> Result<(), String> {
            let mut bench = self.0.lock().unwrap();
            bench.0.insert(pin.to_owned(), level);
            bench.1.clone().map_or(Ok(()), Err)
        }
    }

    /// Real time: there is a thread in between.
    fn until(worker: &Worker, wanted: &Result<bool, Offline>) {
        let limit = Instant::now() + Duration::from_secs(20);
        while worker.read("1") != *wanted {
            assert!(Instant::now() < limit, "{:?}", worker.read("1"));
            thread::yield_now();
        }
    }

    #[test]
    fn orders_are_carried_out_and_seen() {
        let mut worker = Worker::start(Bench::default(), Duration::from_secs(60), Wake::default()).unwrap();
        until(&worker, &Ok(false));
        worker.write("1", true).unwrap();
        until(&worker, &Ok(true));
    }

    #[test]
    fn a_failure_is_offline_until_a_look_succeeds() {
        let bench = Bench::default();
        let worker = Worker::start(bench.clone(), Duration::from_millis(1), Wake::default()).unwrap();
        bench.0.lock().unwrap().1 = Some("unplugged".to_owned());
        until(&worker, &Err(Offline("unplugged".to_owned())));
        bench.0.lock().unwrap().1 = None;
        until(&worker, &Ok(false));
    }

    #[test]
    fn an_order_is_done_when_it_was_carried_out_and_not_when_it_was_taken() {
        let bench = Bench::default();
        let mut worker = Worker::start(bench.clone(), Duration::from_secs(60), Wake::default()).unwrap();
        assert_eq!(worker.is_done("1"), Ok(true), "there is nothing to do");
        let limit = Instant::now() + Duration::from_secs(20);
        let settled = |worker: &Worker| {
            while worker.is_done("1") == Ok(false) {
                assert!(Instant::now() < limit);
                thread::yield_now();
            }
            worker.is_done("1")
        };
        {
            let mut hanging = bench.0.lock().unwrap();
            worker.write("1", true).unwrap();
            assert_eq!(worker.is_done("1"), Ok(false));
            hanging.1 = Some("unplugged".to_owned());
        }
        assert_eq!(settled(&worker), Err(Offline("unplugged".to_owned())));
        bench.0.lock().unwrap().1 = None;
        worker.write("1", false).unwrap();
        assert_eq!(settled(&worker), Ok(true));
    }

    #[test]
    fn the_end_waits_for_the_last_orders() {
        let bench = Bench::default();
        let mut worker = Worker::start(bench.clone(), Duration::from_secs(60), Wake::default()).unwrap();
        for level in [true, false, true] {
            worker.write("7", level).unwrap();
        }
        drop(worker);
        assert!(bench.0.lock().unwrap().0["7"]);
    }
}
