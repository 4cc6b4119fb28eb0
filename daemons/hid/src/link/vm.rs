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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
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
            Self::start_with(vm::qmp::Settings::default()).await
        }

        async fn start_with(settings: vm::qmp::Settings) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("qmp.sock");
            let machine = Monitor::listen(&path).unwrap();
            let stop = CancellationToken::new();
            let qmp = Qmp::connect_with(path, settings, stop.clone());
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

    impl Rig {
        /// QEMU does what this event makes of it, and the connection ends before it can say so.
        async fn lose_the_answer_to(&mut self, event: crate::Event) {
            self.hid.flush().await;
            self.machine.set_silent(true);
            let count = self.machine.commands().len();
            self.hid.inject(event);
            self.machine.wait_commands(count + 1).await;
            self.machine.set_silent(false);
            self.machine.hang_up();
            self.hid.flush().await;
        }

        /// Waits until what is owed has arrived.
        async fn settle(&self) {
            // What is done and did not arrive shows in the state from here on.
            self.hid.flush().await;
            let mut state = self.hid.subscribe();
            let settled = state.wait_for(|state| state.keyboard.online && state.mouse.online);
            tokio::time::timeout(Duration::from_secs(60), settled).await.unwrap().unwrap();
            self.hid.flush().await;
        }

        /// What is down in the machine now.
        fn down(&self) -> BTreeSet<String> {
            let mut down = BTreeSet::new();
            for (_, arguments) in self.machine.commands() {
                for word in short(&arguments).split(' ') {
                    if let Some(name) = word.strip_prefix('+') {
                        down.insert(name.to_owned());
                    } else if let Some(name) = word.strip_prefix('-') {
                        down.remove(name);
                    }
                }
            }
            down
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
    async fn a_press_whose_answer_is_lost_is_released_all_the_same() {
        let mut rig = Rig::start().await;
        rig.lose_the_answer_to(key(Key::KEY_A, true)).await;
        rig.hid.inject(key(Key::KEY_A, false));
        rig.settle().await;
        assert_eq!(rig.down(), BTreeSet::new());
    }

    #[tokio::test]
    async fn a_clear_releases_what_may_be_down() {
        let mut rig = Rig::start().await;
        rig.lose_the_answer_to(key(Key::CONTROL_LEFT, true)).await;
        rig.hid.clear();
        rig.settle().await;
        rig.lose_the_answer_to(crate::Event::Button { button: crate::Button::Left, pressed: true }).await;
        rig.hid.reset();
        rig.settle().await;
        assert_eq!(rig.down(), BTreeSet::new());
    }

    #[tokio::test]
    async fn a_button_whose_answer_is_lost_is_released_all_the_same() {
        for output in ["usb", "usb_rel"] {
            let mut rig = Rig::start().await;
            rig.hid.set_mouse_output(output);
            rig.lose_the_answer_to(crate::Event::Button { button: crate::Button::Left, pressed: true }).await;
            rig.hid.inject(crate::Event::Button { button: crate::Button::Left, pressed: false });
            rig.settle().await;
            assert_eq!(rig.down(), BTreeSet::new(), "{output}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_counts_as_lost() {
        let settings =
            vm::qmp::Settings { command_timeout: Duration::from_millis(200), ..vm::qmp::Settings::default() };
        let mut rig = Rig::start_with(settings).await;
        rig.machine.set_silent(true);
        rig.hid.inject(key(Key::KEY_A, true));
        rig.machine.wait_commands(1).await;
        rig.hid.inject(key(Key::KEY_A, false));
        rig.hid.flush().await;
        rig.machine.set_silent(false);
        rig.settle().await;
        assert_eq!(rig.down(), BTreeSet::new());
        assert_eq!(rig.told().await.first().map(String::as_str), Some("+a"));
    }

    #[tokio::test]
    async fn what_is_held_over_a_reconnect_is_released_and_pressed_again() {
        // Long enough away for the absence to be seen.
        let retry_min = Duration::from_millis(500);
        let mut rig = Rig::start_with(vm::qmp::Settings { retry_min, ..vm::qmp::Settings::default() }).await;
        rig.hid.inject(key(Key::SHIFT_LEFT, true));
        assert_eq!(rig.told().await, ["+shift"]);
        let count = rig.machine.commands().len();
        rig.machine.hang_up();
        // Nobody does anything: the host that comes back hears of it by itself.
        let heard = rig.machine.wait_commands(count + 1);
        tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap();
        assert_eq!(rig.told().await, ["-shift +shift"]);
        rig.hid.inject(key(Key::SHIFT_LEFT, false));
        assert_eq!(rig.told().await, ["-shift"]);
    }

    fn any_event() -> impl Strategy<Value = crate::Event> {
        let keys = [Key::SHIFT_LEFT, Key::KEY_A, Key::KEY_B, Key::F13, Key::HOME, Key::DELETE];
        let buttons = [crate::Button::Left, crate::Button::Right];
        prop_oneof![
            (prop::sample::select(keys.to_vec()), any::<bool>())
                .prop_map(|(name, pressed)| key(name, pressed)),
            (prop::sample::select(buttons.to_vec()), any::<bool>())
                .prop_map(|(button, pressed)| crate::Event::Button { button, pressed }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_answers_are_lost_nothing_stays_down(
            events in prop::collection::vec((any_event(), prop::bool::weighted(0.2)), 1..24),
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(async {
                let retry_min = Duration::from_millis(1);
                let settings = vm::qmp::Settings { retry_min, ..vm::qmp::Settings::default() };
                let rig = Rig::start_with(settings).await;
                for (event, is_lost) in events {
                    let count = rig.machine.commands().len();
                    rig.machine.set_silent(is_lost);
                    rig.hid.inject(event);
                    if is_lost {
                        tokio::select! {
                            _ = rig.machine.wait_commands(count + 1) => {}
                            () = rig.hid.flush() => {}
                        }
                        rig.machine.set_silent(false);
                        rig.machine.hang_up();
                    }
                }
                rig.hid.clear();
                rig.settle().await;
                assert_eq!(rig.down(), BTreeSet::new());
            });
        }
    }

    #[tokio::test]
    async fn lights_of_the_screen_are_lights_of_the_keyboard() {
        let rig = Rig::start().await;
        let mut state = rig.hid.subscribe();
        let leds = state.wait_for(|state| state.keyboard.leds.num).await.unwrap().keyboard.leds;
        assert_eq!(leds, Leds { num: true, ..Leds::default() });
    }
}
