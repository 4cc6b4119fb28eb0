//! What waits for the owner: events in order, and beside them a few facts of which only the latest counts.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hid_wire::Leds;
use log::warn;
use tokio::sync::{Notify, oneshot};

use crate::link::Presence;
use crate::{Event, MouseOutput};

/// Something in the order it was asked for.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The sender, where there is one, is told when the event was done. Dropping it says that it never will be.
    Event(Event, Option<oneshot::Sender<()>>),
    Output(MouseOutput),
    Jiggler(bool),
    Connected(bool),
}

/// What the owner does next.
#[derive(Debug)]
pub(crate) enum Task {
    Stop,
    /// Release everything.
    Clear {
        /// And start the far end of the link anew.
        reset: bool,
    },
    Leds(Leds),
    Present(Presence),
    Entry(Entry),
    /// The time asked for has come.
    Wake,
}

#[derive(Debug)]
struct Inner {
    entries: VecDeque<Entry>,
    stop: bool,
    closed: bool,
    clear: bool,
    reset: bool,
    leds: Option<Leds>,
    present: Option<Presence>,
    last_event: Instant,
    /// Counts every [`Queue::clear`]: whoever holds keys down learns that they are up.
    clears: u64,
    /// Counts resets alone: they also end what is being typed.
    resets: u64,
    /// Everything ever accepted, and everything done with: what is between them waits or is at work.
    accepted: u64,
    done: u64,
    overflowing: bool,
    /// Whether the next who is turned away, as the owner is gone, is to be told of in the log.
    complain: bool,
}

/// The queue itself: shared by all handles and the owner.
#[derive(Debug)]
pub(crate) struct Queue {
    capacity: usize,
    /// Movements that wait become one, so that no key waits behind many of them.
    merges: bool,
    inner: Mutex<Inner>,
    ready: Condvar,
    /// Something was taken or dropped.
    progress: Notify,
}

/// How an event that somebody waits for fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    /// A clear came first; the number of clears seen now.
    Cleared(u64),
    Closed,
}

impl Queue {
    /// `merges`: movements that wait become one.
    pub(crate) fn new(capacity: usize, merges: bool, now: Instant) -> Self {
        let inner = Inner {
            entries: VecDeque::new(),
            stop: false,
            closed: false,
            clear: false,
            reset: false,
            leds: None,
            present: None,
            last_event: now,
            clears: 0,
            resets: 0,
            accepted: 0,
            done: 0,
            overflowing: false,
            complain: false,
        };
        Self { capacity, merges, inner: Mutex::new(inner), ready: Condvar::new(), progress: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing here leaves the counters half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event without ever waiting. A full queue takes releases only, of each key and button once, and
    /// the newest of consecutive moves.
    pub(crate) fn push(&self, event: Event, now: Instant) {
        let mut inner = self.lock();
        if inner.refuses() {
            return;
        }
        inner.last_event = now;
        if self.merges
            && let Some(Entry::Event(last, None)) = inner.entries.back_mut()
            && last.absorb(&event)
        {
            return;
        }
        if inner.entries.len() < self.capacity || is_release_not_yet_queued(&inner.entries, &event) {
            inner.accept(Entry::Event(event.bounded(), None));
        } else if let (Event::Move { .. }, Some(Entry::Event(last @ Event::Move { .. }, None))) =
            (&event, inner.entries.back_mut())
        {
            *last = event;
        } else if !inner.overflowing {
            inner.overflowing = true;
            warn!("the target does not keep up: presses and movements are lost until it does");
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Queues events together once there is room for them.
    pub(crate) async fn push_waiting(&self, events: impl IntoIterator<Item = Event>, now: Instant) {
        let mut events = Some(events);
        self.until(|inner| {
            if inner.refuses() {
                return Some(());
            }
            if inner.entries.len() >= self.capacity {
                return None;
            }
            inner.last_event = now;
            for event in events.take().into_iter().flatten() {
                inner.accept(Entry::Event(event.bounded(), None));
            }
            Some(())
        })
        .await;
        self.ready.notify_one();
    }

    /// Queues an event once there is room, and waits until it is done. If there were more clears than `clears` when
    /// its turn to be queued comes, it is not queued at all. `queued` becomes true when it is, for who does not wait to the end.
    pub(crate) async fn push_and_wait(
        &self,
        event: Event,
        clears: u64,
        now: Instant,
        queued: &mut bool,
    ) -> Fate {
        let (sender, done) = oneshot::channel();
        let mut entry = Some(Entry::Event(event.bounded(), Some(sender)));
        let refused = self
            .until(|inner| {
                if inner.refuses() {
                    return Some(Some(Fate::Closed));
                }
                if inner.clears != clears {
                    return Some(Some(Fate::Cleared(inner.clears)));
                }
                if inner.entries.len() >= self.capacity {
                    return None;
                }
                inner.last_event = now;
                entry.take().into_iter().for_each(|entry| inner.accept(entry));
                *queued = true;
                Some(None)
            })
            .await;
        if let Some(fate) = refused {
            return fate;
        }
        self.ready.notify_one();
        match done.await {
            Ok(()) => Fate::Done,
            Err(_) => {
                let inner = self.lock();
                if inner.closed { Fate::Closed } else { Fate::Cleared(inner.clears) }
            }
        }
    }

    /// Queues something that is not an event. In a full queue it replaces what there is of its kind.
    pub(crate) fn push_setting(&self, entry: Entry) {
        let mut inner = self.lock();
        if inner.refuses() {
            return;
        }
        let kind = std::mem::discriminant(&entry);
        let full = inner.entries.len() >= self.capacity;
        let same = inner.entries.iter_mut().find(|other| full && std::mem::discriminant(*other) == kind);
        match same {
            Some(same) => *same = entry,
            None => inner.accept(entry),
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Drops all queued events and has everything released.
    pub(crate) fn clear(&self, is_reset: bool) {
        let mut inner = self.lock();
        if inner.refuses() {
            return;
        }
        let before = inner.entries.len();
        inner.entries.retain(|entry| !matches!(entry, Entry::Event(..)));
        inner.done += (before - inner.entries.len()) as u64;
        if !inner.clear {
            inner.clear = true;
            inner.accepted += 1;
        }
        inner.clears += 1;
        inner.reset |= is_reset;
        inner.resets += u64::from(is_reset);
        drop(inner);
        self.ready.notify_one();
        self.progress.notify_waiters();
    }

    pub(crate) fn set_leds(&self, leds: Leds) {
        self.lock().leds = Some(leds);
        self.ready.notify_one();
    }

    pub(crate) fn set_present(&self, present: Presence) {
        self.lock().present = Some(present);
        self.ready.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.ready.notify_one();
    }

    /// Nobody will take anything any more; `by_itself` if nobody wanted that.
    pub(crate) fn close(&self, by_itself: bool) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.complain = by_itself;
        inner.entries.clear();
        drop(inner);
        self.progress.notify_waiters();
    }

    pub(crate) fn clears(&self) -> u64 {
        self.lock().clears
    }

    pub(crate) fn resets(&self) -> u64 {
        self.lock().resets
    }

    pub(crate) fn last_event(&self) -> Instant {
        self.lock().last_event
    }

    /// Waits until everything accepted before is done or dropped.
    pub(crate) async fn flush(&self) {
        let until = self.lock().accepted;
        self.until(|inner| (inner.closed || inner.done >= until).then_some(())).await;
    }

    /// Tries after each step the owner makes, until there is a result.
    async fn until<T>(&self, mut attempt: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            // Made before looking, so that a step between looking and waiting counts.
            let progress = self.progress.notified();
            let result = attempt(&mut self.lock());
            if let Some(result) = result {
                return result;
            }
            progress.await;
        }
    }

    /// The owner's side: waits for something to do, until `wake` at most.
    pub(crate) fn take(&self, wake: Option<Instant>) -> Task {
        let mut inner = self.lock();
        loop {
            if inner.stop {
                return Task::Stop;
            }
            if std::mem::take(&mut inner.clear) {
                return Task::Clear { reset: std::mem::take(&mut inner.reset) };
            }
            if let Some(leds) = inner.leds.take() {
                return Task::Leds(leds);
            }
            if let Some(present) = inner.present.take() {
                return Task::Present(present);
            }
            if let Some(entry) = inner.entries.pop_front() {
                if inner.overflowing && inner.entries.len() < self.capacity / 2 {
                    inner.overflowing = false;
                }
                return Task::Entry(entry);
            }
            inner = match wake.map(|wake| wake.saturating_duration_since(Instant::now())) {
                None => self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(rest) if rest.is_zero() => return Task::Wake,
                Some(rest) => self.ready.wait_timeout(inner, rest).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// The owner's side: an entry or a clear is done.
    pub(crate) fn done(&self) {
        self.lock().done += 1;
        self.progress.notify_waiters();
    }
}

impl Inner {
    /// Whether nobody will take anything any more: what is asked for is dropped.
    fn refuses(&mut self) -> bool {
        if std::mem::take(&mut self.complain) {
            warn!("keyboard and mouse events are dropped from now on: nobody takes them any more");
        }
        self.closed
    }

    fn accept(&mut self, entry: Entry) {
        self.accepted += 1;
        self.entries.push_back(entry);
    }
}

/// So that at most one release of each key and button is queued beyond the capacity.
fn is_release_not_yet_queued(entries: &VecDeque<Entry>, event: &Event) -> bool {
    let mut events = entries.iter().rev().filter_map(|entry| match entry {
        Entry::Event(event, _) => Some(event),
        _ => None,
    });
    let last = match event {
        Event::Key { key, pressed: false, .. } => {
            events.find(|other| matches!(other, Event::Key { key: other, .. } if other == key))
        }
        Event::Button { button, pressed: false } => {
            events.find(|other| matches!(other, Event::Button { button: other, .. } if other == button))
        }
        _ => return false,
    };
    !matches!(last, Some(Event::Key { pressed: false, .. } | Event::Button { pressed: false, .. }))
}

#[cfg(test)]
mod tests {
    use hid_wire::{Button, Key};

    use super::*;

    fn key(key: Key, pressed: bool) -> Event {
        Event::Key { key, pressed, finish: false }
    }

    /// What the owner would get, without waiting.
    fn drain(queue: &Queue) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match queue.take(Some(Instant::now())) {
                Task::Entry(Entry::Event(event, _)) => events.push(event),
                Task::Wake => return events,
                _ => {}
            }
        }
    }

    #[test]
    fn a_full_queue_takes_each_release_once_and_no_press() {
        let now = Instant::now();
        let queue = Queue::new(2, false, now);
        queue.push(key(Key::KEY_A, true), now);
        queue.push(key(Key::KEY_B, true), now);
        queue.push(key(Key::KEY_C, true), now);
        for _ in 0..10_000 {
            queue.push(key(Key::KEY_A, false), now);
            queue.push(Event::Button { button: Button::Left, pressed: false }, now);
            queue.push(key(Key::KEY_A, true), now);
        }
        let events = drain(&queue);
        assert_eq!(
            events,
            [
                key(Key::KEY_A, true),
                key(Key::KEY_B, true),
                key(Key::KEY_A, false),
                Event::Button { button: Button::Left, pressed: false }
            ]
        );
        queue.push(key(Key::KEY_C, true), now);
        assert_eq!(drain(&queue).len(), 1, "there is room again");
    }

    #[test]
    fn a_full_queue_keeps_the_newest_of_consecutive_moves() {
        let now = Instant::now();
        let queue = Queue::new(2, false, now);
        queue.push(key(Key::KEY_A, true), now);
        for x in 0..100 {
            queue.push(Event::Move { x, y: 0 }, now);
        }
        assert_eq!(drain(&queue)[1..], [Event::Move { x: 99, y: 0 }]);
    }

    #[test]
    fn on_a_slow_link_no_key_waits_behind_many_movements() {
        let now = Instant::now();
        let queue = Queue::new(1024, true, now);
        for step in 0..500 {
            queue.push(Event::Move { x: step, y: -step }, now);
        }
        queue.push(key(Key::KEY_A, true), now);
        for _ in 0..10_000 {
            queue.push(Event::Relative { deltas: vec![(2, -1)], squash: false }, now);
        }
        queue.push(key(Key::KEY_A, false), now);
        queue.push(Event::Move { x: 1, y: 1 }, now);
        let events = drain(&queue);
        assert_eq!(events[..2], [Event::Move { x: 499, y: -499 }, key(Key::KEY_A, true)]);
        let Event::Relative { deltas, squash } = &events[2] else { panic!("{events:?}") };
        assert!(deltas.len() <= 8 && !squash, "{deltas:?}");
        assert_eq!(events[3..], [key(Key::KEY_A, false), Event::Move { x: 1, y: 1 }]);
    }

    #[test]
    fn merged_movements_go_as_far_as_they_would_alone() {
        let now = Instant::now();
        let queue = Queue::new(1024, true, now);
        for _ in 0..100 {
            queue.push(Event::Relative { deltas: vec![(2, -1), (1, 0)], squash: false }, now);
        }
        assert_eq!(
            drain(&queue),
            [Event::Relative { deltas: vec![(126, -42), (126, -42), (48, -16)], squash: false }]
        );
        // What somebody asked for at once stays whole.
        let deltas = vec![(100, 0); 20];
        queue.push(Event::Relative { deltas: deltas.clone(), squash: false }, now);
        queue.push(Event::Relative { deltas: vec![(100, 0)], squash: false }, now);
        assert_eq!(drain(&queue), [Event::Relative { deltas, squash: false }]);
    }

    #[test]
    fn a_clear_drops_events_and_keeps_settings() {
        let now = Instant::now();
        let queue = Queue::new(8, false, now);
        queue.push(key(Key::KEY_A, true), now);
        queue.push_setting(Entry::Jiggler(true));
        queue.clear(false);
        queue.push(key(Key::KEY_B, true), now);
        assert!(matches!(queue.take(None), Task::Clear { reset: false }));
        assert!(matches!(queue.take(None), Task::Entry(Entry::Jiggler(true))));
        assert_eq!(drain(&queue), [key(Key::KEY_B, true)]);
    }

    #[test]
    fn settings_do_not_grow_a_full_queue() {
        let now = Instant::now();
        let queue = Queue::new(1, false, now);
        queue.push(key(Key::KEY_A, true), now);
        for number in 0..1000 {
            queue.push_setting(Entry::Jiggler(number % 2 == 0));
            queue.push_setting(Entry::Output(MouseOutput::Usb));
        }
        assert_eq!(queue.lock().entries.len(), 3);
    }

    #[test]
    fn a_stop_comes_before_everything_else() {
        let queue = Queue::new(8, false, Instant::now());
        queue.push(key(Key::KEY_A, true), Instant::now());
        queue.clear(true);
        queue.stop();
        assert!(matches!(queue.take(None), Task::Stop));
    }

    #[test]
    fn a_client_cannot_queue_a_million_deltas() {
        let queue = Queue::new(8, false, Instant::now());
        queue.push(Event::Wheel { deltas: vec![(1, 1); 1 << 20], squash: false }, Instant::now());
        assert!(
            matches!(&drain(&queue)[..], [Event::Wheel { deltas, .. }] if deltas.len() == Event::MAX_DELTAS)
        );
    }
}
