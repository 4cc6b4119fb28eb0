//! Sequences with pauses: text, and shortcuts.

use std::time::{Duration, Instant};

use hid_wire::{Key, Keymap, Stroke, Strokes};
use tokio::time::sleep;

use crate::queue::{Fate, Queue};
use crate::{Event, Hid};

/// Before each event of a shortcut, so that no host misses one.
const SHORTCUT_PAUSE: Duration = Duration::from_millis(50);

/// How a text went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// Characters the layout cannot type, each once, in order of appearance. The rest was typed without them.
    pub untypable: Vec<char>,
    /// A reset (or the end of the owner) came before the end of the text.
    pub interrupted: bool,
}

impl Hid {
    /// Types a text, with `delay` before each press and each release; one text at a time. Returns after the last
    /// stroke was handed to the link. Ignored keys are typed.
    ///
    /// Each stroke waits for the one before, so that other people's keys are not held up. When something clears the
    /// keyboard meanwhile (a session opening or closing), the modifiers are pressed again and nothing is left out. A
    /// future dropped half-way releases what it holds.
    pub async fn print(&self, text: &str, keymap: &Keymap, delay: Duration) -> Printed {
        let mut hands = Hands::new(&self.shared.queue);
        let _turn = self.shared.printing.lock().await;
        let untypable = keymap.untypable(text);
        let mut interrupted = false;
        for stroke in Strokes::new(text, keymap) {
            if hands.strike(stroke, delay).await.is_err() {
                interrupted = true;
                break;
            }
        }
        Printed { untypable, interrupted }
    }

    /// Presses keys in order and releases them in reverse, with 50 ms before each; one shortcut at a time. Ignored
    /// keys are pressed.
    ///
    /// A clear meanwhile does not stop it either; a reset does. A future dropped half-way releases what it holds.
    pub async fn shortcut(&self, keys: &[Key]) {
        let mut hands = Hands::new(&self.shared.queue);
        let _turn = self.shared.shortcut.lock().await;
        let presses = keys.iter().map(|key| Stroke { key: *key, pressed: true });
        let releases = keys.iter().rev().map(|key| Stroke { key: *key, pressed: false });
        for stroke in presses.chain(releases) {
            if hands.strike(stroke, SHORTCUT_PAUSE).await.is_err() {
                break;
            }
        }
    }
}

/// Somebody asked for a reset, or nobody takes strokes any more.
struct Interrupted;

/// What a sequence holds down, and lets go of when it ends early.
struct Hands<'a> {
    queue: &'a Queue,
    held: Vec<Key>,
    clears: u64,
    resets: u64,
}

impl<'a> Hands<'a> {
    /// From here on clears and resets count, also while the turn has not come.
    fn new(queue: &'a Queue) -> Self {
        Self { queue, held: Vec::new(), clears: queue.clears(), resets: queue.resets() }
    }

    async fn strike(&mut self, stroke: Stroke, delay: Duration) -> Result<(), Interrupted> {
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let Stroke { key, pressed } = stroke;
        if pressed {
            // Before it is queued: a future dropped while it waits has to release the key.
            self.held.push(key);
        }
        self.queue_stroke(stroke).await?;
        if !pressed {
            self.held.retain(|held| *held != key);
        }
        Ok(())
    }

    async fn queue_stroke(&mut self, stroke: Stroke) -> Result<(), Interrupted> {
        loop {
            match self.send(stroke.key, stroke.pressed).await {
                Fate::Done => return Ok(()),
                Fate::Closed => return Err(Interrupted),
                Fate::Cleared(clears) => {
                    // A reset is a clear, too. One that comes after this look is noticed as the next clear.
                    if self.queue.resets() != self.resets {
                        return Err(Interrupted);
                    }
                    self.clears = clears;
                    self.hold_again(stroke.key).await;
                    if !stroke.pressed {
                        // The clear released it.
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Presses what was held before the clear, but for the key that is being struck.
    async fn hold_again(&mut self, but: Key) {
        for key in self.held.clone() {
            // Another clear meanwhile is noticed with the next stroke, which starts over.
            if key != but && self.send(key, true).await != Fate::Done {
                return;
            }
        }
    }

    async fn send(&self, key: Key, pressed: bool) -> Fate {
        let event = Event::Key { key, pressed, finish: false };
        self.queue.push_and_wait(event, self.clears, Instant::now()).await
    }
}

impl Drop for Hands<'_> {
    fn drop(&mut self) {
        for key in self.held.drain(..).rev() {
            self.queue.push(Event::Key { key, pressed: false, finish: false }, Instant::now());
        }
    }
}
