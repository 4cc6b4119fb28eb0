//! Sequences with pauses: text, and shortcuts.

use std::time::{Duration, Instant};

use hid_wire::{Binding, Key, Keymap, Stroke, Strokes};
use tokio::time::{sleep, timeout};

use crate::queue::{Fate, Queue};
use crate::{Event, Hid};

/// Before each event of a shortcut, so that no host misses one.
const SHORTCUT_PAUSE: Duration = Duration::from_millis(50);

/// How a text went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// A reset (or the end of the owner) came before the end of the text.
    pub interrupted: bool,
}

impl Hid {
    /// Types a text, with `delay` before each press and each release; one text at a time. Returns after the last
    /// stroke was handed to the link. Ignored keys are typed. Characters the layout cannot type are left out:
    /// [`Keymap::untypable`] tells them beforehand.
    ///
    /// Each stroke waits for the one before, so that other people's keys are not held up. When something clears the
    /// keyboard meanwhile (a session opening or closing), the modifiers are pressed again and nothing is left out. A
    /// future dropped half-way releases what it holds.
    ///
    /// Where the host's light says that Caps Lock is on, it is switched off for the text and on again behind it; not after a
    /// reset. Where the light stays on, Shift is pressed: some hosts are set to that.
    pub async fn print(&self, text: &str, keymap: &Keymap, delay: Duration) -> Printed {
        let begun = Counts::of(&self.shared.queue);
        // Given on when the hands have let go: the next text looks at the light first.
        let _turn = self.shared.printing.lock().await;
        let mut hands = Hands::new(&self.shared.queue, begun);
        let caps = self.caps_lock(keymap).filter(|_| !text.is_empty());
        let result = async {
            if let Some(caps) = caps {
                hands.toggle(caps, delay).await?;
                if !self.wait_for_caps_lock(false).await {
                    // A host on which Shift switches it off, and the key itself does not. On any other a Shift is nothing.
                    hands.tap(Key::SHIFT_LEFT, delay).await?;
                }
            }
            for stroke in Strokes::new(text, keymap) {
                hands.strike(stroke, delay).await?;
            }
            if let Some(caps) = hands.toggled {
                hands.toggle(caps, delay).await?;
                // So that the next text does not find the light still off.
                self.wait_for_caps_lock(true).await;
            }
            Ok(())
        };
        let interrupted = result.await.is_err_and(|Interrupted| true);
        Printed { interrupted }
    }

    /// What switches Caps Lock off, where it is on.
    fn caps_lock(&self, keymap: &Keymap) -> Option<Binding> {
        let is_on = self.subscribe().borrow().keyboard.leds.caps;
        keymap.caps_lock().filter(|_| is_on)
    }

    /// Waits until the host shows that Caps Lock is on, or off; false when it does not. One that is gone, or shows no lights
    /// any more, is not waited for.
    async fn wait_for_caps_lock(&self, on: bool) -> bool {
        let mut state = self.subscribe();
        let shown = state.wait_for(|state| state.keyboard.leds.caps == on);
        timeout(self.shared.light_patience, shown).await.is_ok()
    }

    /// Presses keys in order and releases them in reverse, with 50 ms before each; one shortcut at a time. Ignored
    /// keys are pressed.
    ///
    /// A clear meanwhile does not stop it either; a reset does. A future dropped half-way releases what it holds.
    pub async fn shortcut(&self, keys: &[Key]) {
        let begun = Counts::of(&self.shared.queue);
        let _turn = self.shared.shortcut.lock().await;
        let mut hands = Hands::new(&self.shared.queue, begun);
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

/// Which clears and resets there have been.
#[derive(Clone, Copy)]
struct Counts {
    clears: u64,
    resets: u64,
}

impl Counts {
    fn of(queue: &Queue) -> Self {
        Self { clears: queue.clears(), resets: queue.resets() }
    }
}

/// What a sequence holds down, and lets go of when it ends early.
struct Hands<'a> {
    queue: &'a Queue,
    held: Vec<Key>,
    /// The strokes that switch Caps Lock on again, while it is off for the text.
    toggled: Option<Binding>,
    /// What `toggled` becomes with the stroke that is under way.
    toggling: Option<Option<Binding>>,
    /// That stroke can not be taken back.
    queued: bool,
    clears: u64,
    resets: u64,
}

impl<'a> Hands<'a> {
    /// Clears and resets count from the beginning, also those while the turn had not come.
    fn new(queue: &'a Queue, begun: Counts) -> Self {
        let Counts { clears, resets } = begun;
        Self { queue, held: Vec::new(), toggled: None, toggling: None, queued: false, clears, resets }
    }

    /// Switches Caps Lock, and remembers whether it is to be switched back.
    async fn toggle(&mut self, caps: Binding, delay: Duration) -> Result<(), Interrupted> {
        for (stroke, switches) in toggling(caps) {
            if switches {
                // Before it is queued: a future dropped while it waits has to know whether it was.
                self.queued = false;
                self.toggling = Some(if self.toggled.is_none() { Some(caps) } else { None });
            }
            self.strike(stroke, delay).await?;
            self.settle();
        }
        Ok(())
    }

    /// Caps Lock is as the stroke under way makes it, if that was queued.
    fn settle(&mut self) {
        if let Some(toggled) = self.toggling.take().filter(|_| self.queued) {
            self.toggled = toggled;
        }
    }

    async fn tap(&mut self, key: Key, delay: Duration) -> Result<(), Interrupted> {
        for pressed in [true, false] {
            self.strike(Stroke { key, pressed }, delay).await?;
        }
        Ok(())
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
        let Stroke { key, pressed } = stroke;
        loop {
            let event = Event::Key { key, pressed, finish: false };
            let waits = self.queue.push_and_wait(event, self.clears, Instant::now(), &mut self.queued);
            match waits.await {
                Fate::Done => return Ok(()),
                Fate::Closed => return Err(Interrupted),
                Fate::Cleared(clears) => {
                    self.queued = false;
                    // A reset is a clear, too. One that comes after this look is noticed as the next clear.
                    if self.queue.resets() != self.resets {
                        return Err(Interrupted);
                    }
                    self.clears = clears;
                    self.hold_again(key).await;
                    if !pressed {
                        // The clear released it.
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Presses what was held before the clear, but for the key that is being struck.
    async fn hold_again(&mut self, but: Key) {
        for key in self.held.clone().into_iter().filter(|key| *key != but) {
            let event = Event::Key { key, pressed: true, finish: false };
            let fate = self.queue.push_and_wait(event, self.clears, Instant::now(), &mut false).await;
            // Another clear meanwhile is noticed with the next stroke, which starts over.
            if fate != Fate::Done {
                return;
            }
        }
    }
}

impl Drop for Hands<'_> {
    fn drop(&mut self) {
        self.settle();
        let push = |key, pressed| self.queue.push(Event::Key { key, pressed, finish: false }, Instant::now());
        for key in self.held.drain(..).rev() {
            push(key, false);
        }
        if let Some(caps) = self.toggled.filter(|_| self.queue.resets() == self.resets) {
            toggling(caps).for_each(|(Stroke { key, pressed }, _)| push(key, pressed));
        }
    }
}

/// The strokes that switch Caps Lock, each with whether it is the one that does.
fn toggling(caps: Binding) -> impl Iterator<Item = (Stroke, bool)> {
    let shift = |pressed| caps.shift.then_some((Stroke { key: Key::SHIFT_LEFT, pressed }, false));
    let key = |pressed| (Stroke { key: caps.key, pressed }, pressed);
    shift(true).into_iter().chain([key(true), key(false)]).chain(shift(false))
}
