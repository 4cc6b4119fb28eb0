//! The link against a fake monitor that records, obeys, and goes silent.

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
        (prop::sample::select(keys.to_vec()), any::<bool>()).prop_map(|(name, pressed)| key(name, pressed)),
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
