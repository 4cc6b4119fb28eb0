//! Nothing lost, doubled or stuck: what the host read equals what a reference model says, for 10,000 random events
//! with clears, switches of the mouse and a cable that is cut now and then.
//!
//! The model is written from the rules of the contract and shares no code with the machines it checks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use hid::link::Recorder;
use hid::{Button, Event, Key, Settings, State};
use hid_wire::{Device, Report};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio_util::sync::CancellationToken;

/// What a client may do.
#[derive(Clone, Debug)]
enum Act {
    Do(Event),
    Clear,
    Output(&'static str),
}

/// The rules, as plainly as they can be said: lists of names, reports built at the end.
#[derive(Default)]
struct Model {
    modifiers: Vec<Key>,
    slots: [Option<Key>; 6],
    is_relative: bool,
    buttons: [Vec<Button>; 2],
    /// In report units; twice zero until the first move.
    pointer: (u16, u16),
    out: Vec<Report>,
}

impl Model {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Clear => self.clear(),
            Act::Output(name) => {
                let is_relative = *name == "usb_rel";
                if is_relative != self.is_relative {
                    self.buttons[usize::from(self.is_relative)].clear();
                    self.mouse([0; 4]);
                    self.is_relative = is_relative;
                }
            }
            Act::Do(Event::Key { key, pressed: true, finish }) => {
                if self.modifiers.contains(key) || self.slots.contains(&Some(*key)) {
                    self.up(*key);
                }
                if key.name().ends_with("Left") && key.usage() >= 0xe0
                    || key.name().ends_with("Right") && key.usage() >= 0xe0
                {
                    self.modifiers.push(*key);
                } else {
                    if self.slots.iter().all(Option::is_some) {
                        self.slots = [None; 6];
                        self.modifiers.clear();
                        self.keys();
                    }
                    *self.slots.iter_mut().find(|slot| slot.is_none()).unwrap() = Some(*key);
                }
                self.keys();
                if *finish && key.usage() < 0xe0 && key.name() != "PrintScreen" {
                    self.up(*key);
                }
            }
            Act::Do(Event::Key { key, .. }) => {
                if self.modifiers.contains(key) || self.slots.contains(&Some(*key)) {
                    self.up(*key);
                }
            }
            Act::Do(Event::Button { button, pressed }) => {
                let mouse = usize::from(self.is_relative);
                if self.buttons[mouse].contains(button) {
                    self.buttons[mouse].retain(|down| down != button);
                    self.mouse([0; 4]);
                }
                if *pressed {
                    self.buttons[mouse].push(*button);
                    self.mouse([0; 4]);
                }
            }
            Act::Do(Event::Move { x, y }) => {
                if !self.is_relative {
                    let unit = |v: i16| u16::try_from((i64::from(v) + 32768) * 32767 / 65535).unwrap();
                    self.pointer = (unit(*x), unit(*y));
                    self.mouse([0; 4]);
                }
            }
            Act::Do(Event::Relative { deltas, squash }) => {
                if self.is_relative {
                    for (x, y) in sums(deltas, *squash) {
                        self.mouse([x, y, 0, 0]);
                    }
                }
            }
            Act::Do(Event::Wheel { deltas, squash }) => {
                for (x, y) in sums(deltas, *squash) {
                    self.mouse([0, 0, y, x]);
                }
            }
        }
    }

    fn up(&mut self, key: Key) {
        self.modifiers.retain(|down| *down != key);
        self.slots.iter_mut().filter(|slot| **slot == Some(key)).for_each(|slot| *slot = None);
        self.keys();
    }

    fn clear(&mut self) {
        self.modifiers.clear();
        self.slots = [None; 6];
        self.buttons = Default::default();
        self.keys();
        let is_relative = self.is_relative;
        for mouse in [false, true] {
            self.is_relative = mouse;
            self.mouse([0; 4]);
        }
        self.is_relative = is_relative;
    }

    fn keys(&mut self) {
        let mut bytes = [0; 8];
        for key in &self.modifiers {
            bytes[0] |= 1 << (key.usage() - 0xe0);
        }
        for (byte, slot) in bytes[2..].iter_mut().zip(self.slots) {
            *byte = slot.map_or(0, Key::usage);
        }
        self.out.push(Report::Keyboard(bytes));
    }

    fn mouse(&mut self, [dx, dy, wheel, pan]: [i8; 4]) {
        let order = [Button::Left, Button::Right, Button::Middle, Button::Up, Button::Down];
        let down = &self.buttons[usize::from(self.is_relative)];
        let buttons = (0..5).filter(|bit| down.contains(&order[*bit])).map(|bit| 1 << bit).sum();
        let [dx, dy, wheel, pan] = [dx, dy, wheel, pan].map(i8::cast_unsigned);
        let (x, y) = (self.pointer.0.to_le_bytes(), self.pointer.1.to_le_bytes());
        self.out.push(if self.is_relative {
            Report::Relative([buttons, dx, dy, wheel, pan])
        } else {
            Report::Absolute([buttons, x[0], x[1], y[0], y[1], wheel, pan])
        });
    }
}

fn sums(list: &[(i8, i8)], squash: bool) -> Vec<(i8, i8)> {
    let wide = list.iter().map(|(x, y)| (i32::from(*x).max(-127), i32::from(*y).max(-127)));
    let narrow = |(x, y): (i32, i32)| (i8::try_from(x).unwrap(), i8::try_from(y).unwrap());
    if !squash {
        return wide.map(narrow).collect();
    }
    let (mut out, mut sum) = (Vec::new(), (0, 0));
    for (x, y) in wide {
        if (sum.0 + x).abs() > 127 || (sum.1 + y).abs() > 127 {
            out.push(narrow(sum));
            sum = (0, 0);
        }
        sum = (sum.0 + x, sum.1 + y);
    }
    if sum != (0, 0) {
        out.push(narrow(sum));
    }
    out
}

fn any_act() -> impl Strategy<Value = Act> {
    // Few enough keys for presses to meet their releases, and more than there are slots.
    let some =
        |key: &Key| key.modifier().is_some() || (4..16).contains(&key.usage()) || *key == Key::PRINT_SCREEN;
    let keys: Vec<Key> = Key::all().filter(some).collect();
    let deltas = || prop::collection::vec(any::<(i8, i8)>(), 0..6);
    prop_oneof![
        20 => (prop::sample::select(keys), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(key, pressed, finish)| Act::Do(Event::Key { key, pressed, finish })),
        5 => (prop::sample::select(Button::ALL.to_vec()), any::<bool>())
            .prop_map(|(button, pressed)| Act::Do(Event::Button { button, pressed })),
        5 => any::<(i16, i16)>().prop_map(|(x, y)| Act::Do(Event::Move { x, y })),
        3 => (deltas(), any::<bool>()).prop_map(|(deltas, squash)| Act::Do(Event::Relative { deltas, squash })),
        3 => (deltas(), any::<bool>()).prop_map(|(deltas, squash)| Act::Do(Event::Wheel { deltas, squash })),
        1 => Just(Act::Clear),
        1 => prop::sample::select(vec!["usb", "usb_rel"])
            .prop_map(Act::Output),
    ]
}

fn ten_thousand_acts() -> Vec<Act> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = prop::collection::vec(any_act(), 10_000);
    strategy.new_tree(&mut runner).unwrap().current()
}

#[tokio::test]
async fn ten_thousand_random_events_arrive_as_a_reference_model_says() {
    let (link, host) = Recorder::new();
    let stop = CancellationToken::new();
    let (hid, task) = hid::spawn(Settings::default(), link, stop.clone()).unwrap();
    let mut model = Model::default();
    for (number, act) in ten_thousand_acts().iter().enumerate() {
        match act {
            Act::Do(event) => hid.inject(event.clone()),
            Act::Output(name) => hid.set_mouse_output(name),
            Act::Clear => {
                // What is queued would rightly be dropped; which part that is depends on the scheduler.
                hid.flush().await;
                hid.clear();
            }
        }
        if number % 500 == 0 {
            hid.flush().await;
        }
        model.act(act);
    }
    hid.flush().await;
    let seen = host.take();
    assert!(seen.len() > 8_000, "{}", seen.len());
    let differs = seen.iter().zip(&model.out).position(|(seen, said)| seen != said);
    assert_eq!((differs, seen.len()), (None, model.out.len()));

    stop.cancel();
    task.await.unwrap();
    model.clear();
    assert!(model.out.ends_with(&host.take()));
}

/// Disconnects at any moment, a queue that overflows, a cable that is cut: reports may be missing then, but the last
/// one of each device is always "nothing is down".
#[tokio::test]
async fn whatever_is_lost_nothing_stays_down() {
    let (link, host) = Recorder::new();
    let stop = CancellationToken::new();
    let settings = Settings { queue_len: 8, ..Settings::default() };
    let (hid, task) = hid::spawn(settings, link, stop.clone()).unwrap();
    for (number, act) in ten_thousand_acts().iter().enumerate() {
        match act {
            Act::Do(event) => hid.inject(event.clone()),
            Act::Output(name) => hid.set_mouse_output(name),
            Act::Clear => hid.clear(),
        }
        host.set_cut(number % 1000 > 900);
    }
    host.set_cut(false);
    // The client lets go of what it still holds: no clear, only releases through a queue that may be full.
    for key in Key::all() {
        hid.inject(Event::Key { key, pressed: false, finish: false });
    }
    for output in ["usb_rel", "usb"] {
        for button in Button::ALL {
            hid.inject(Event::Button { button, pressed: false });
        }
        hid.set_mouse_output(output);
        hid.flush().await;
        // What failed while the cable was cut is still owed, and comes with the next retry.
        let delivered = |state: &State| state.keyboard.online && state.mouse.online;
        hid.subscribe().wait_for(delivered).await.unwrap();
    }
    for (device, down) in
        [(Device::Keyboard, 0..8), (Device::AbsoluteMouse, 0..1), (Device::RelativeMouse, 0..1)]
    {
        let reports = host.reports();
        let last = reports.iter().rfind(|report| report.device() == device).unwrap();
        assert!(last.bytes()[down].iter().all(|byte| *byte == 0), "{last:?}");
    }
    stop.cancel();
    task.await.unwrap();
}
