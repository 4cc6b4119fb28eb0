//! The virtual machine: reports become QEMU's input events.
//!
//! A report says what is down; QEMU wants to hear what changed. So this link remembers what it told QEMU, and sends
//! the difference.
//!
//! Nothing tells us how full the queue of QEMU's keyboard is: it holds 16 bytes, about eight strokes, and what does not
//! fit is lost. A USB host paces a real keyboard by its polls; here changes of keys keep a distance instead.

use std::time::{Duration, Instant};

use hid_wire::{Key, Leds, Report};
use log::{debug, warn};
use tokio::sync::watch;
use vm::input::{Button, Event, send_blocking};
use vm::{Qmp, RunState};

use super::{Error, Link};

/// Between two changes of the keyboard.
const PACE: Duration = Duration::from_millis(10);
/// Changes of keys in one command: three bytes each at most, so that they fit the queue.
const MAX_CHANGES: usize = 4;
/// Bits of a report's buttons, and what QEMU calls them.
const BUTTONS: [(u8, Button); 5] =
    [(1, Button::Left), (2, Button::Right), (4, Button::Middle), (8, Button::Side), (16, Button::Extra)];

/// What QEMU was told.
#[derive(Debug, Default)]
struct Told {
    down: Vec<Key>,
    position: (u16, u16),
    absolute_buttons: u8,
    relative_buttons: u8,
}

/// Keyboard, tablet and mouse of a QEMU machine.
#[derive(Debug)]
pub struct Vm {
    qmp: Qmp,
    leds: watch::Receiver<Leds>,
    running: watch::Receiver<bool>,
    told: Told,
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
        Self { qmp, leds: leds_seen, running, told: Told::default(), pace: PACE, last_change: None }
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
        let changes = changes(&self.told.down, &wanted);
        for batch in changes.chunks(MAX_CHANGES) {
            self.keep_distance();
            let events: Vec<Event> =
                batch.iter().filter_map(|(key, pressed)| Event::key(key.evdev(), *pressed)).collect();
            self.send_events(&events)?;
            self.last_change = Some(Instant::now());
            for (key, pressed) in batch {
                self.told.down.retain(|down| down != key);
                if *pressed {
                    self.told.down.push(*key);
                }
            }
        }
        Ok(())
    }

    fn absolute(&mut self, [buttons, x0, x1, y0, y1, wheel, pan]: [u8; 7]) -> Result<(), Error> {
        let position = (u16::from_le_bytes([x0, x1]), u16::from_le_bytes([y0, y1]));
        let mut rest = button_events(self.told.absolute_buttons, buttons);
        rest.extend(wheel_events(wheel.cast_signed(), pan.cast_signed()));
        // A release of everything that changes nothing must not send a pointer nobody has moved to the corner.
        if position != self.told.position || !rest.is_empty() {
            rest.insert(0, Event::Absolute { x: position.0, y: position.1 });
        }
        self.send_events(&rest)?;
        self.told.position = position;
        self.told.absolute_buttons = buttons;
        Ok(())
    }

    fn relative(&mut self, [buttons, dx, dy, wheel, pan]: [u8; 5]) -> Result<(), Error> {
        let mut events = Vec::new();
        if (dx, dy) != (0, 0) {
            events.push(Event::Relative { dx: dx.cast_signed().into(), dy: dy.cast_signed().into() });
        }
        events.extend(button_events(self.told.relative_buttons, buttons));
        events.extend(wheel_events(wheel.cast_signed(), pan.cast_signed()));
        self.send_events(&events)?;
        self.told.relative_buttons = buttons;
        Ok(())
    }

    fn send_events(&self, events: &[Event]) -> Result<(), Error> {
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
            Err(error @ vm::Error::Unreachable) => Err(Error::NoHost(error.to_string())),
            Err(error) => Err(Error::Broken(error.to_string())),
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
            return Err(Error::NoHost("the virtual machine is not running".to_owned()));
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

    fn presence(&self) -> Option<watch::Receiver<bool>> {
        Some(self.running.clone())
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

fn button_events(told: u8, wanted: u8) -> Vec<Event> {
    let changed = BUTTONS.iter().filter(|(mask, _)| (told ^ wanted) & mask != 0);
    changed.map(|(mask, button)| Event::Button { button: *button, pressed: wanted & mask != 0 }).collect()
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
mod tests {
    use serde_json::Value;
    use tempfile::TempDir;
    use tokio_util::sync::{CancellationToken, DropGuard};
    use vm::fake::Monitor;

    use super::*;
    use crate::{Hid, Settings};

    /// A machine, and a keyboard and mouse that lead to it.
    struct Rig {
        hid: Hid,
        machine: Monitor,
        seen: usize,
        _stop: DropGuard,
        _dir: TempDir,
    }

    impl Rig {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("qmp.sock");
            let machine = Monitor::listen(&path).unwrap();
            let stop = CancellationToken::new();
            let qmp = Qmp::connect(path, stop.clone());
            qmp.run_state().wait_for(|state| *state == RunState::Running).await.unwrap();
            let (_, leds) = watch::channel(Some(vm::screen::Leds { num: true, ..Default::default() }));
            let link = Vm::new(qmp, leds).with_pace(Duration::ZERO);
            let (hid, _) = crate::spawn(Settings::default(), link, stop.clone()).unwrap();
            Self { hid, machine, seen: 0, _stop: stop.drop_guard(), _dir: dir }
        }

        /// What QEMU was told since the last call, as one line a command.
        async fn told(&mut self) -> Vec<String> {
            self.hid.flush().await;
            let commands = self.machine.commands();
            let new = commands[self.seen..].iter().map(|(_, arguments)| short(arguments)).collect();
            self.seen = commands.len();
            new
        }
    }

    /// The events of a command, short: `+a -shift abs.x=5`.
    fn short(arguments: &Value) -> String {
        let events = arguments["events"].as_array().unwrap().iter();
        let words: Vec<String> = events
            .map(|event| {
                let data = &event["data"];
                let sign = if data["down"] == true { '+' } else { '-' };
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                match text(&event["type"]).as_str() {
                    "key" => format!("{sign}{}", text(&data["key"]["data"])),
                    "btn" => format!("{sign}{}", text(&data["button"])),
                    kind => format!("{kind}.{}={}", text(&data["axis"]), data["value"]),
                }
            })
            .collect();
        words.join(" ")
    }

    fn key(key: Key, pressed: bool) -> crate::Event {
        crate::Event::Key { key, pressed, finish: false }
    }

    #[test]
    fn keys_go_up_before_modifiers_and_down_after_them() {
        let order =
            changes(&[Key::SHIFT_LEFT, Key::KEY_A, Key::KEY_B], &[Key::KEY_B, Key::KEY_C, Key::CONTROL_LEFT]);
        let expected =
            [(Key::KEY_A, false), (Key::SHIFT_LEFT, false), (Key::CONTROL_LEFT, true), (Key::KEY_C, true)];
        assert_eq!(order, expected);
        assert_eq!(changes(&[Key::KEY_A], &[Key::KEY_A]), []);
    }

    #[test]
    fn every_key_has_a_name_in_qemu() {
        for key in Key::all() {
            assert!(Event::key(key.evdev(), true).is_some(), "{key}");
        }
    }

    #[tokio::test]
    async fn qemu_hears_what_changed() {
        let mut rig = Rig::start().await;
        rig.hid.inject(key(Key::SHIFT_LEFT, true));
        rig.hid.inject(key(Key::KEY_A, true));
        assert_eq!(rig.told().await, ["+shift", "+a"]);
        rig.hid.clear();
        assert_eq!(rig.told().await, ["-a -shift"]);
        rig.hid.clear();
        assert_eq!(rig.told().await, Vec::<String>::new(), "and nothing that it knows");
    }

    #[tokio::test]
    async fn many_keys_are_released_in_pieces_that_fit_the_queue() {
        let mut rig = Rig::start().await;
        for pressed in [Key::ALT_RIGHT, Key::HOME, Key::END, Key::INSERT, Key::DELETE, Key::ARROW_UP] {
            rig.hid.inject(key(pressed, true));
        }
        assert_eq!(rig.told().await.len(), 6);
        rig.hid.clear();
        let told = rig.told().await;
        assert_eq!(told.iter().map(|batch| batch.split(' ').count()).collect::<Vec<_>>(), [4, 2]);
        assert!(told[1].ends_with("-alt_r"));
    }

    #[tokio::test]
    async fn pointers_and_wheels_become_axes_and_notches() {
        let mut rig = Rig::start().await;
        rig.hid.inject(crate::Event::Move { x: i16::MAX, y: 0 });
        rig.hid.inject(crate::Event::Button { button: crate::Button::Up, pressed: true });
        rig.hid.inject(crate::Event::Wheel { deltas: vec![(1, -2)], squash: false });
        rig.hid.set_mouse_output("usb_rel");
        rig.hid.inject(crate::Event::Relative { deltas: vec![(-128, 3)], squash: false });
        assert_eq!(
            rig.told().await,
            [
                "abs.x=32767 abs.y=16383",
                "abs.x=32767 abs.y=16383 +side",
                "abs.x=32767 abs.y=16383 +wheel-down -wheel-down +wheel-down -wheel-down +wheel-right -wheel-right",
                "abs.x=32767 abs.y=16383 -side",
                "rel.x=-127 rel.y=3",
            ]
        );
    }

    #[tokio::test]
    async fn a_machine_that_is_off_is_a_host_that_is_gone() {
        let mut rig = Rig::start().await;
        rig.machine.power_off();
        let mut state = rig.hid.subscribe();
        state.wait_for(|state| !state.keyboard.online && !state.mouse.online).await.unwrap();
        rig.hid.inject(key(Key::KEY_A, true));
        assert_eq!(rig.told().await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_qemu_refuses_takes_nothing_else_with_it() {
        let mut rig = Rig::start().await;
        rig.hid.inject(key(Key::F13, true));
        rig.hid.inject(key(Key::KEY_A, true));
        rig.told().await;
        rig.machine.refuse("input-send-event", "Invalid parameter 'f13'");
        rig.hid.clear();
        let told = rig.told().await;
        assert_eq!(told, ["-f13 -a", "-f13", "-a"]);
        assert!(rig.hid.subscribe().borrow().keyboard.online);
    }

    #[tokio::test]
    async fn lights_of_the_screen_are_lights_of_the_keyboard() {
        let rig = Rig::start().await;
        let mut state = rig.hid.subscribe();
        let leds = state.wait_for(|state| state.keyboard.leds.num).await.unwrap().keyboard.leds;
        assert_eq!(leds, Leds { num: true, ..Leds::default() });
    }
}
