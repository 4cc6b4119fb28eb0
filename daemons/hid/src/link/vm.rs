//! The virtual machine: reports become QEMU's input events.
//!
//! A report says what is down; QEMU wants to hear what changed. So this link remembers what may be down in QEMU, and
//! sends the difference. A press counts from before it is sent, a release from when QEMU confirmed it: a command whose
//! answer is lost may have had its effect, and a key that is released twice harms nobody.
//!
//! ```text
//!            an answer lost or late, another connection, a machine that stood still
//!   Sure ──────────────────────────────────────────────────────────────────────────▶ Unsure
//!    ▲                                                                                 │
//!    └── the next report: all that may be down is released, what the report holds pressed ──┘
//! ```
//!
//! Nothing tells us how full the queue of QEMU's keyboard is: it holds 16 bytes, about eight strokes, and what does not
//! fit is lost. A USB host paces a real keyboard by its polls; here changes of keys keep a distance instead.

use std::time::{Duration, Instant};

use hid_wire::{Key, Leds, Report};
use log::{debug, warn};
use tokio::sync::watch;
use vm::input::{Button, Event, send_blocking};
use vm::{Qmp, RunState};

use super::{Error, Link, Presence, count_arrivals};

/// Between two changes of the keyboard.
const PACE: Duration = Duration::from_millis(10);
/// Changes of keys in one command: three bytes each at most, so that they fit the queue.
const MAX_CHANGES: usize = 4;
/// Bits of a report's buttons, and what QEMU calls them.
const BUTTONS: [(u8, Button); 5] =
    [(1, Button::Left), (2, Button::Right), (4, Button::Middle), (8, Button::Side), (16, Button::Extra)];

/// What may be down in QEMU: at least what is.
#[derive(Debug, Default)]
struct Down {
    keys: Vec<Key>,
    absolute: u8,
    relative: u8,
}

/// What may be down and is not known to be: the next report of the device says it all anew.
#[derive(Debug, Clone, Copy, Default)]
struct Unsure {
    keys: bool,
    absolute: bool,
    relative: bool,
}

impl Unsure {
    const ALL: Self = Self { keys: true, absolute: true, relative: true };
}

/// Keyboard, tablet and mouse of a QEMU machine.
#[derive(Debug)]
pub struct Vm {
    qmp: Qmp,
    leds: watch::Receiver<Leds>,
    running: watch::Receiver<bool>,
    presence: watch::Receiver<Presence>,
    down: Down,
    unsure: Unsure,
    /// The connection that [`Down`] is about.
    connection: u64,
    /// Where QEMU's tablet points, once it heard.
    position: (u16, u16),
    pace: Duration,
    last_change: Option<Instant>,
}

impl Vm {
    /// A link through this monitor; `leds` come from the machine's VNC socket ([`vm::screen::leds`]). Must be called
    /// inside a tokio runtime.
    #[must_use]
    pub fn new(qmp: Qmp, leds: watch::Receiver<Option<vm::screen::Leds>>) -> Self {
        let run_state = qmp.run_state();
        let (running_sender, running) = watch::channel(is_running(&run_state));
        let (leds_sender, leds_seen) = watch::channel(convert(&leds));
        tokio::spawn(follow(run_state, running_sender, is_running));
        tokio::spawn(follow(leds, leds_sender, convert));
        let is_here = *running.borrow();
        let first = if is_here { Presence::Here { arrival: 0 } } else { Presence::Away };
        let (presence_sender, presence) = watch::channel(first);
        tokio::spawn(count_arrivals(running.clone(), presence_sender));
        Self {
            connection: qmp.connections(),
            qmp,
            leds: leds_seen,
            running,
            presence,
            down: Down::default(),
            unsure: Unsure::default(),
            position: (0, 0),
            pace: PACE,
            last_change: None,
        }
    }

    /// The same with another distance between two changes of the keyboard.
    #[must_use]
    pub fn with_pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    fn keyboard(&mut self, modifiers: u8, usages: &[u8]) -> Result<(), Error> {
        let wanted: Vec<Key> = Key::all()
            .filter(|key| match key.modifier() {
                Some(bit) => modifiers & bit != 0,
                None => usages.contains(&key.usage()),
            })
            .collect();
        let changes = if self.unsure.keys {
            [changes(&self.down.keys, &[]), changes(&[], &wanted)].concat()
        } else {
            changes(&self.down.keys, &wanted)
        };
        for batch in changes.chunks(MAX_CHANGES) {
            self.keep_distance();
            let events: Vec<Event> =
                batch.iter().filter_map(|(key, pressed)| Event::key(key.evdev(), *pressed)).collect();
            for (key, _) in batch.iter().filter(|(_, pressed)| *pressed) {
                if !self.down.keys.contains(key) {
                    self.down.keys.push(*key);
                }
            }
            self.send_events(&events)?;
            self.last_change = Some(Instant::now());
            // The last word on each key counts: one may be released and pressed again in the same batch.
            for (key, pressed) in batch {
                self.down.keys.retain(|down| down != key);
                if *pressed {
                    self.down.keys.push(*key);
                }
            }
        }
        self.unsure.keys = false;
        Ok(())
    }

    fn absolute(&mut self, [buttons, x0, x1, y0, y1, wheel, pan]: [u8; 7]) -> Result<(), Error> {
        let position = (u16::from_le_bytes([x0, x1]), u16::from_le_bytes([y0, y1]));
        let mut events = button_events(self.down.absolute, buttons, self.unsure.absolute);
        events.extend(wheel_events(wheel.cast_signed(), pan.cast_signed()));
        // A release of everything that changes nothing must not send a pointer nobody has moved to the corner.
        if position != self.position || !events.is_empty() {
            events.insert(0, Event::Absolute { x: position.0, y: position.1 });
        }
        self.down.absolute |= buttons;
        self.send_events(&events)?;
        self.position = position;
        self.down.absolute = buttons;
        self.unsure.absolute = false;
        Ok(())
    }

    fn relative(&mut self, [buttons, dx, dy, wheel, pan]: [u8; 5]) -> Result<(), Error> {
        let mut events = Vec::new();
        if (dx, dy) != (0, 0) {
            events.push(Event::Relative { dx: dx.cast_signed().into(), dy: dy.cast_signed().into() });
        }
        events.extend(button_events(self.down.relative, buttons, self.unsure.relative));
        events.extend(wheel_events(wheel.cast_signed(), pan.cast_signed()));
        self.down.relative |= buttons;
        self.send_events(&events)?;
        self.down.relative = buttons;
        self.unsure.relative = false;
        Ok(())
    }

    fn send_events(&mut self, events: &[Event]) -> Result<(), Error> {
        match send_blocking(&self.qmp, events) {
            Ok(()) => Ok(()),
            // One event of an older QEMU's ignorance (F13 and up) makes it refuse all; the others must not suffer.
            Err(vm::Error::Refused { .. }) if events.len() > 1 => {
                events.iter().try_for_each(|event| self.send_events(std::slice::from_ref(event)))
            }
            Err(error @ vm::Error::Refused { .. }) => {
                warn!("an input event is lost: {error}");
                Ok(())
            }
            Err(error @ vm::Error::Answer { .. }) => {
                debug!("{error}");
                Ok(())
            }
            Err(error) => {
                self.unsure = Unsure::ALL;
                match error {
                    vm::Error::Unreachable => Err(Error::NoHost(error.to_string())),
                    _ => Err(Error::Broken(error.to_string())),
                }
            }
        }
    }

    /// Waits until the guest has had time for the last change.
    fn keep_distance(&self) {
        let Some(until) = self.last_change.map(|last| last + self.pace) else { return };
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            std::thread::park_timeout(rest);
        }
    }
}

impl Link for Vm {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        // QEMU takes events for a machine that stands still, and drops them without a word.
        if !*self.running.borrow() {
            // A press that came while it stopped was confirmed, and dropped.
            self.unsure = Unsure::ALL;
            return Err(Error::NoHost("the virtual machine is not running".to_owned()));
        }
        let connection = self.qmp.connections();
        if connection != self.connection {
            self.connection = connection;
            self.unsure = Unsure::ALL;
        }
        match *report {
            Report::Keyboard([modifiers, _, usages @ ..]) => self.keyboard(modifiers, &usages),
            Report::Absolute(bytes) => self.absolute(bytes),
            Report::Relative(bytes) => self.relative(bytes),
        }
    }

    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        Some(self.leds.clone())
    }

    fn presence(&self) -> Option<watch::Receiver<Presence>> {
        Some(self.presence.clone())
    }
}

/// What to release and press, in the order a hand would: keys up before modifiers, modifiers down before keys.
fn changes(down: &[Key], wanted: &[Key]) -> Vec<(Key, bool)> {
    let is_modifier = |key: &&Key| key.modifier().is_some();
    let is_plain = |key: &&Key| key.modifier().is_none();
    let released = || down.iter().filter(|key| !wanted.contains(key));
    let pressed = || wanted.iter().filter(|key| !down.contains(key));
    let up = released().filter(is_plain).chain(released().filter(is_modifier)).map(|key| (*key, false));
    let down = pressed().filter(is_modifier).chain(pressed().filter(is_plain)).map(|key| (*key, true));
    up.chain(down).collect()
}

/// What to release and press; all of it where nobody is sure.
fn button_events(down: u8, wanted: u8, unsure: bool) -> Vec<Event> {
    let (released, pressed) = if unsure { (down, wanted) } else { (down & !wanted, wanted & !down) };
    let events = |mask, pressed| {
        let buttons = BUTTONS.iter().filter(move |(bit, _)| mask & bit != 0);
        buttons.map(move |(_, button)| Event::Button { button: *button, pressed })
    };
    events(released, false).chain(events(pressed, true)).collect()
}

/// QEMU's wheels turn by notches, each a button pressed and released.
fn wheel_events(wheel: i8, pan: i8) -> impl Iterator<Item = Event> {
    let notches = |delta: i8, minus, plus| {
        let button = if delta < 0 { minus } else { plus };
        std::iter::repeat_n(button, usize::from(delta.unsigned_abs()))
    };
    notches(wheel, Button::WheelDown, Button::WheelUp)
        .chain(notches(pan, Button::WheelLeft, Button::WheelRight))
        .flat_map(|button| [true, false].map(|pressed| Event::Button { button, pressed }))
}

fn is_running(state: &watch::Receiver<RunState>) -> bool {
    *state.borrow() == RunState::Running
}

fn convert(leds: &watch::Receiver<Option<vm::screen::Leds>>) -> Leds {
    let leds = leds.borrow().unwrap_or_default();
    Leds { caps: leds.caps, num: leds.num, scroll: leds.scroll }
}

/// Keeps `to` what `convert` makes of `from`, until either has nobody at the other end.
async fn follow<A, B: PartialEq>(
    mut from: watch::Receiver<A>,
    to: watch::Sender<B>,
    convert: fn(&watch::Receiver<A>) -> B,
) {
    loop {
        let value = convert(&from);
        to.send_if_modified(|seen| {
            let is_new = *seen != value;
            *seen = value;
            is_new
        });
        tokio::select! {
            () = to.closed() => return,
            changed = from.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
