//! The handle everybody has, and the thread behind it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hid_wire::{Button, Key};
use log::{error, info};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::link::Presence;
use crate::owner::Owner;
use crate::queue::{Entry, Queue, Task};
use crate::{Event, Link, MouseOutput, Settings, State};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    ignore_keys: Vec<Key>,
    pub(crate) light_patience: Duration,
    state: watch::Receiver<State>,
    /// One text at a time, and one shortcut.
    pub(crate) printing: Mutex<()>,
    pub(crate) shortcut: Mutex<()>,
}

/// A handle on the keyboard and mouse. Clones are handles on the same.
#[derive(Clone, Debug)]
pub struct Hid {
    pub(crate) shared: Arc<Shared>,
}

/// Starts the owner on a thread of its own, named `hid`. Must be called inside a tokio runtime.
///
/// The task that is returned ends after the thread, which ends with `stop` once everything is released. Give the link
/// a stop of its own that comes later: a link that is gone cannot carry the releases. A task that ends before `stop`
/// says that the thread ended by itself; if it panicked, the task's result is that panic, and the [`State`] stays at
/// offline.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(
    settings: Settings,
    link: impl Link + 'static,
    stop: CancellationToken,
) -> io::Result<(Hid, JoinHandle<()>)> {
    let leds = link.leds();
    let presence = link.presence();
    let (ignore_keys, light_patience) = (settings.ignore_keys.clone(), settings.light_patience);
    let queue = Queue::new(settings.queue_len, link.is_slow(), Instant::now());
    let owner = Owner::new(settings, link, RandomState::new().hash_one(0));
    let (publish, state) = watch::channel(owner.state().clone());
    let shared = Arc::new(Shared {
        queue,
        ignore_keys,
        light_patience,
        state,
        printing: Mutex::default(),
        shortcut: Mutex::default(),
    });

    let (ended, end) = oneshot::channel::<()>();
    let thread = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("hid".to_owned()).spawn(move || {
        // Dropped last, also by a panic.
        let _ended = ended;
        run(owner, &thread.queue, &publish);
    })?;
    let supervised = supervise(Arc::clone(&shared), leds, presence, end, stop);
    let task = tokio::spawn(async move {
        supervised.await;
        // It has ended, or is about to: nothing to wait for.
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
    Ok((Hid { shared }, task))
}

/// The thread.
fn run<L: Link>(mut owner: Owner<L>, queue: &Queue, publish: &watch::Sender<State>) {
    struct Close<'a>(&'a Queue, &'a watch::Sender<State>);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            let Self(queue, publish) = self;
            let by_itself = std::thread::panicking();
            queue.close(by_itself);
            if by_itself {
                publish.send_modify(State::set_offline);
            }
        }
    }
    let _close = Close(queue, publish);
    loop {
        let task = queue.take(owner.wake_at(queue.last_event()));
        let counts = matches!(task, Task::Clear { .. } | Task::Entry(_));
        if matches!(task, Task::Stop) {
            break;
        }
        owner.handle(task, Instant::now());
        owner.tick(Instant::now(), queue.last_event());
        publish.send_if_modified(|state| {
            let is_new = state != owner.state();
            if is_new {
                state.clone_from(owner.state());
            }
            is_new
        });
        if counts {
            queue.done();
        }
    }
    drop(owner);
}

/// Passes on what the link learns of the host, and the stop.
async fn supervise(
    shared: Arc<Shared>,
    mut leds: Option<watch::Receiver<hid_wire::Leds>>,
    mut presence: Option<watch::Receiver<Presence>>,
    mut end: oneshot::Receiver<()>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            value = next(&mut leds) => shared.queue.set_leds(value),
            value = next(&mut presence) => shared.queue.set_present(value),
            _ = &mut end => {
                error!("the keyboard and mouse are gone: their thread ended by itself");
                return;
            }
        }
    }
    shared.queue.stop();
    // The sender is only ever dropped, with the thread.
    let _ = end.await;
    info!("keyboard and mouse are released");
}

/// The next value; never, where there is nothing to watch (any more).
async fn next<T: Copy>(watched: &mut Option<watch::Receiver<T>>) -> T {
    if let Some(receiver) = watched {
        if receiver.changed().await.is_ok() {
            return *receiver.borrow_and_update();
        }
        *watched = None;
    }
    std::future::pending().await
}

impl Hid {
    /// Queues an event; never waits. Presses and releases of ignored keys are dropped here.
    pub fn inject(&self, event: Event) {
        if !self.ignores(&event) {
            self.shared.queue.push(event, Instant::now());
        }
    }

    /// Presses and releases a key, also a modifier. Waits while the queue is full.
    pub async fn click_key(&self, key: Key) {
        let events = [true, false].map(|pressed| Event::Key { key, pressed, finish: false });
        if !events.iter().any(|event| self.ignores(event)) {
            self.shared.queue.push_waiting(events, Instant::now()).await;
        }
    }

    /// Presses and releases a mouse button. Waits while the queue is full.
    pub async fn click_button(&self, button: Button) {
        let events = [true, false].map(|pressed| Event::Button { button, pressed });
        self.shared.queue.push_waiting(events, Instant::now()).await;
    }

    /// Drops what is queued and releases everything. Text being typed goes on, and holds its modifiers again.
    pub fn clear(&self) {
        self.shared.queue.clear(false);
    }

    /// As [`Self::clear`], ends text being typed, and starts the far end of the link anew where it is a device of its own.
    pub fn reset(&self) {
        self.shared.queue.clear(true);
    }

    /// Chooses the mouse by its name on the wire. One that is not among the available outputs is ignored.
    pub fn set_mouse_output(&self, output: &str) {
        if let Some(output) = MouseOutput::from_name(output) {
            self.shared.queue.push_setting(Entry::Output(output));
        }
    }

    /// Chooses the keyboard by its name on the wire. No link of today offers a choice: ignored.
    pub fn set_keyboard_output(&self, output: &str) {
        let _ = output;
    }

    /// Switches the jiggler on or off, where it may be.
    pub fn set_jiggler(&self, active: bool) {
        self.shared.queue.push_setting(Entry::Jiggler(active));
    }

    /// Plugs the cable in or pulls it, where the link can.
    pub fn set_connected(&self, connected: bool) {
        self.shared.queue.push_setting(Entry::Connected(connected));
    }

    /// How long ago the last event was. The jiggler's own moves do not count.
    #[must_use]
    pub fn inactivity(&self) -> Duration {
        self.shared.queue.last_event().elapsed()
    }

    /// What clients see, now and on each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.shared.state.clone()
    }

    /// Waits until everything asked for so far is done or dropped, and the state shows it.
    pub async fn flush(&self) {
        self.shared.queue.flush().await;
    }

    fn ignores(&self, event: &Event) -> bool {
        matches!(event, Event::Key { key, .. } if self.shared.ignore_keys.contains(key))
    }
}
