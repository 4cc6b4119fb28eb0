//! Keyboard and mice through a real gadget, seen from its host: the laboratory's controller is its own host.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may end that way")]

mod recorded;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gadget::settings::Mouse;
use gadget::{Controller, Gadget, Paths, plan};
use hid::link::{Otg, otg};
use hid::{Button, Event, Hid, Key, Leds, Settings, State};
use nix::libc::O_NONBLOCK;
use testkit::lab::{self, Node, usb_node, wait_for};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A host that does not answer until then never does.
const PATIENCE: Duration = Duration::from_secs(20);

/// The appliance's side.
struct Appliance {
    gadget: Option<Gadget>,
    controller: String,
    runtime: Runtime,
    hid: Hid,
    state: watch::Receiver<State>,
    stop: CancellationToken,
}

/// Without the drive: its host would keep the device awake.
fn settings() -> gadget::Settings {
    gadget::Settings { drive: None, ..gadget::Settings::default() }
}

fn hold(settings: &gadget::Settings) -> Gadget {
    let controller = Controller::find("").unwrap().unwrap();
    Gadget::hold(Paths::default(), plan(settings, &controller)).unwrap().0
}

impl Appliance {
    /// Keyboard and mice before there is a gadget.
    fn without_gadget(settings: Settings, wheel: bool) -> Self {
        let function = |node: &str| otg::Function {
            horizontal_wheel: wheel,
            ..otg::Function::new(format!("/dev/{node}"))
        };
        let runtime = Runtime::new().unwrap();
        let stop = CancellationToken::new();
        let _inside = runtime.enter();
        let link = otg::Settings {
            keyboard: function("hidg0"),
            absolute: Some(function("hidg1")),
            relative: Some(function("hidg2")),
            udc: Some(Paths::default().udc_file()),
            ..otg::Settings::default()
        };
        let states = gadget::state::watch(Paths::default(), CancellationToken::new());
        let (hid, _) = hid::spawn(settings, Otg::new(link, states), stop.clone()).unwrap();
        let state = hid.subscribe();
        drop(_inside);
        Self { gadget: None, controller: lab::udc().unwrap(), runtime, hid, state, stop }
    }

    fn new(gadget: &gadget::Settings) -> Self {
        let wheel = gadget.mouse.is_none_or(|mouse| mouse.horizontal_wheel);
        let mut appliance = Self::without_gadget(Settings::default(), wheel);
        appliance.gadget = Some(hold(gadget));
        appliance.bind();
        appliance.until("the host", |state| state.keyboard.online && state.mouse.online);
        appliance
    }

    fn bind(&self) {
        self.gadget.as_ref().unwrap().bind(&self.controller).unwrap();
    }

    fn unbind(&self) {
        self.gadget.as_ref().unwrap().unbind().unwrap();
    }

    fn until(&self, what: &str, so: impl Fn(&State) -> bool) {
        wait_for(what, PATIENCE, || so(&self.state.borrow()));
    }

    fn key(&self, key: Key, pressed: bool) {
        self.hid.inject(Event::Key { key, pressed, finish: false });
    }

    fn flush(&self) {
        self.runtime.block_on(self.hid.flush());
    }
}

fn node(kind: Node, interface: u8) -> PathBuf {
    let mut node = None;
    wait_for("the host's node", PATIENCE, || {
        node = usb_node(kind, interface, 0).filter(|node| node.exists());
        node.is_some()
    });
    node.unwrap()
}

/// The host's side of a function.
struct Reader(File);

impl Reader {
    fn open(kind: Node, interface: u8) -> Self {
        let path = node(kind, interface);
        Self(OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path).unwrap())
    }

    /// What is there: a report, or nothing.
    fn take(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 64];
        match self.0.read(&mut buffer) {
            Ok(len) => Some(buffer[..len].to_vec()),
            Err(_) => None,
        }
    }

    fn take_all(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.take()).collect()
    }

    fn next(&mut self, what: &str) -> Vec<u8> {
        let mut report = None;
        wait_for(what, PATIENCE, || {
            report = self.take();
            report.is_some()
        });
        report.unwrap()
    }

    /// Key and button events: code and value. Without the host's own repeats of a key that a busy machine is late to let go.
    fn next_event(&mut self) -> (u16, i32) {
        // Time (16 bytes), type, code, value; several may come at once.
        let mut event = [0; 24];
        loop {
            wait_for("an event", PATIENCE, || self.0.read(&mut event).is_ok());
            let word = |at| u16::from_ne_bytes([event[at], event[at + 1]]);
            let value = i32::from_ne_bytes(event[20..24].try_into().unwrap());
            if word(16) == 1 && value != 2 {
                return (word(18), value);
            }
        }
    }
}

#[test]
fn every_recorded_message_gives_the_recorded_reports_at_hidraw() {
    if !lab::inside() {
        return;
    }
    let appliance = Appliance::new(&settings());
    let mut readers = [0, 1, 2].map(|interface| Reader::open(Node::Hidraw, interface));
    let mut compared = 0;
    for row in recorded::rows() {
        appliance.runtime.block_on(recorded::replay(&row, &appliance.hid));
        for (reader, name) in readers.iter_mut().zip(["hidraw0", "hidraw1", "hidraw2"]) {
            let recorded = row["hid_reports"].as_array().unwrap().iter();
            let expected: Vec<_> = recorded
                .filter(|report| report[0] == name)
                .map(|report| report[1].as_str().unwrap().to_owned())
                .collect();
            if row["row"] == recorded::UNUSABLE {
                continue;
            }
            let seen: Vec<_> = expected.iter().map(|_| hex::encode(reader.next("a report"))).collect();
            assert_eq!(seen, expected, "row {} {}: {name}", row["row"], row["name"]);
        }
        if row["row"] == recorded::UNUSABLE {
            wait_for("its reports", PATIENCE, || {
                readers.iter_mut().any(|reader| !reader.take_all().is_empty())
            });
            readers.iter_mut().for_each(|reader| drop(reader.take_all()));
            continue;
        }
        compared += 1;
    }
    assert_eq!(compared, 84);
    // What was too much would have been found in a later row; after the last one it is only here.
    appliance.hid.inject(Event::Wheel { deltas: vec![(0, 1)], squash: false });
    appliance.key(Key::KEY_Z, true);
    assert_eq!(readers[0].next("the key")[2], 0x1d);
    println!("{compared} rows agree at hidraw");
}

#[test]
fn keys_buttons_and_wheels_are_events_at_the_host() {
    if !lab::inside() {
        return;
    }
    let appliance = Appliance::new(&settings());
    let mut keyboard = Reader::open(Node::Event, 0);
    let mut mouse = Reader::open(Node::Event, 1);
    for (key, code) in [(Key::KEY_A, 30), (Key::SHIFT_LEFT, 42), (Key::F12, 88)] {
        appliance.key(key, true);
        assert_eq!(keyboard.next_event(), (code, 1));
        appliance.key(key, false);
        assert_eq!(keyboard.next_event(), (code, 0));
    }
    // A press and its release never share a poll: each click is seen, however fast they come. The host's reader keeps
    // 64 events, of which a click makes six.
    for round in 0..25 {
        for _ in 0..8 {
            appliance.hid.inject(Event::Key { key: Key::KEY_A, pressed: true, finish: true });
        }
        for number in 0..8 {
            let click = (keyboard.next_event(), keyboard.next_event());
            assert_eq!(click, ((30, 1), (30, 0)), "click {number} of round {round}");
        }
    }
    for pressed in [true, false] {
        appliance.hid.inject(Event::Button { button: Button::Right, pressed });
        assert_eq!(mouse.next_event(), (0x111, i32::from(pressed)));
    }
}

#[test]
fn lights_come_back() {
    if !lab::inside() {
        return;
    }
    let appliance = Appliance::new(&settings());
    let mut keyboard = Reader::open(Node::Event, 0);
    // Type 0x11 is a light; 0 Num, 1 Caps, 2 Scroll.
    let mut light = |code: u16, on: bool| {
        let event = |kind: u16, code: u16, value: i32| {
            [&[0; 16][..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
        };
        keyboard.0.write_all(&event(0x11, code, i32::from(on))).unwrap();
    };
    let leds = |caps, num, scroll| Leds { caps, num, scroll };
    light(1, true);
    appliance.until("Caps", |state| state.keyboard.leds == leds(true, false, false));
    light(0, true);
    appliance.until("Num, too", |state| state.keyboard.leds == leds(true, true, false));
    light(1, false);
    light(2, true);
    appliance.until("Scroll", |state| state.keyboard.leds == leds(false, true, true));
    // A keyboard that is plugged in anew has none.
    appliance.unbind();
    appliance.until("no lights", |state| state.keyboard.leds == Leds::default());
}

/// The keys that are down by a report, in order.
fn down_in(report: &[u8]) -> Vec<u8> {
    let mut usages: Vec<u8> = report[2..].iter().copied().filter(|usage| *usage != 0).collect();
    usages.sort_unstable();
    usages
}

// Two hundred together, in two kernels at once where there is room.

#[test]
fn a_hundred_rebinds_lose_nothing_and_leave_nothing_down() {
    rebind(0..100);
}

#[test]
fn another_hundred_rebinds_lose_nothing_and_leave_nothing_down() {
    rebind(100..200);
}

#[expect(clippy::print_stdout, reason = "a figure worth reading")]
fn rebind(rounds: std::ops::Range<i16>) {
    if !lab::inside() {
        return;
    }
    let appliance = Appliance::new(&settings());
    let mut times = Vec::new();
    for round in rounds {
        // Somewhere in the middle of a storm.
        for number in 0..round % 20 {
            appliance.key(Key::KEY_B, number % 2 == 0);
            appliance.hid.inject(Event::Move { x: number, y: 0 });
        }
        appliance.key(Key::KEY_A, true);
        appliance.hid.inject(Event::Button { button: Button::Left, pressed: true });
        if round % 2 == 0 {
            appliance.flush();
        }
        appliance.unbind();
        let gone = |interface| usb_node(Node::Hidraw, interface, 0).is_none();
        wait_for("the host to notice", PATIENCE, || (0..3).all(gone));
        // Released while nobody is there; on every third round the key stays down.
        let holds = round % 3 == 0;
        appliance.key(Key::KEY_A, holds);
        appliance.key(Key::KEY_B, false);
        appliance.hid.inject(Event::Button { button: Button::Left, pressed: false });
        appliance.flush();
        let bound = Instant::now();
        appliance.bind();
        // A host polls what somebody there reads.
        let [mut keyboard, mut mouse] = [0, 1].map(|interface| Reader::open(Node::Hidraw, interface));
        appliance.key(Key::KEY_C, true);
        // What was owed comes first: the key that is held, or that nothing is down any more.
        let held = if holds { vec![4] } else { vec![] };
        let mut down = down_in(&keyboard.next("a report"));
        while !down.contains(&6) {
            assert_eq!(down, held, "round {round}");
            down = down_in(&keyboard.next("the key"));
        }
        times.push(bound.elapsed());
        assert_eq!(down, [&held[..], &[6]].concat(), "round {round}");
        appliance.hid.inject(Event::Wheel { deltas: vec![(0, 1)], squash: false });
        let wheel = std::iter::repeat_with(|| mouse.next("the wheel")).find(|report| report[5] != 0).unwrap();
        assert_eq!((wheel[0], wheel[5]), (0, 1), "round {round}");
        appliance.hid.clear();
        appliance.flush();
        assert_eq!(keyboard.next("the release"), [0; 8]);
        assert_eq!(mouse.next("the release")[0], 0);
    }
    times.sort();
    let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} rebinds: back within {most:?} at most, {half:?} half of them", times.len());
}

#[test]
fn a_gadget_that_comes_late_and_is_made_anew_is_found() {
    if !lab::inside() {
        return;
    }
    let mut appliance = Appliance::without_gadget(Settings::default(), true);
    appliance.key(Key::KEY_A, true);
    appliance.flush();
    assert!(!appliance.state.borrow().keyboard.online && appliance.state.borrow().online);
    for round in 0..5 {
        appliance.gadget = Some(hold(&settings()));
        appliance.bind();
        // A host polls what somebody there reads.
        let mut keyboard = Reader::open(Node::Hidraw, 0);
        appliance.until("the host", |state| state.keyboard.online);
        appliance.key(Key::KEY_B, true);
        let pressed = std::iter::repeat_with(|| keyboard.next("a key")).find(|report| report[3] == 5);
        assert_eq!(pressed.unwrap()[2], 4, "round {round}: the key of before is still down");
        appliance.key(Key::KEY_B, false);
        appliance.flush();
        appliance.gadget.take().unwrap().remove().unwrap();
        appliance.until("no host", |state| !state.keyboard.online);
    }
}

#[test]
fn mice_without_a_second_wheel_have_shorter_reports() {
    if !lab::inside() {
        return;
    }
    let mouse = |absolute| Some(Mouse { start: true, absolute, horizontal_wheel: false });
    let appliance =
        Appliance::new(&gadget::Settings { mouse: mouse(true), mouse_alt: mouse(false), ..settings() });
    let [mut absolute, mut relative] = [1, 2].map(|interface| Reader::open(Node::Hidraw, interface));
    appliance.hid.inject(Event::Wheel { deltas: vec![(3, 4)], squash: false });
    assert_eq!(absolute.next("a report"), [0, 0, 0, 0, 0, 4]);
    appliance.hid.set_mouse_output("usb_rel");
    appliance.hid.inject(Event::Wheel { deltas: vec![(3, 4)], squash: false });
    assert_eq!(relative.next("a report"), [0, 0, 0, 4]);
}

#[test]
fn the_end_releases_everything() {
    if !lab::inside() {
        return;
    }
    let appliance = Appliance::new(&settings());
    let [mut keyboard, mut mouse] = [0, 1].map(|interface| Reader::open(Node::Hidraw, interface));
    appliance.key(Key::KEY_A, true);
    appliance.hid.inject(Event::Button { button: Button::Left, pressed: true });
    assert_eq!((keyboard.next("the key")[2], mouse.next("the button")[0]), (4, 1));
    appliance.stop.cancel();
    assert_eq!((keyboard.next("the release")[2], mouse.next("the release")[0]), (0, 0));
}

/// The host's directory of the gadget.
fn device() -> PathBuf {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let entries = fs::read_dir("/sys/bus/usb/devices").unwrap().flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| !name(path).starts_with("usb") && !name(path).contains(':')).unwrap()
}

#[test]
fn a_sleeping_host_is_woken_by_a_key_and_gets_it() {
    if !lab::inside() {
        return;
    }
    let appliance = Appliance::new(&settings());
    // Whoever reads hidraw keeps the host awake; who reads events does not.
    let mut keyboard = Reader::open(Node::Event, 0);
    let mut mouse = Reader::open(Node::Event, 1);
    let power = device().join("power");
    fs::write(power.join("autosuspend_delay_ms"), "0").unwrap();
    // The controller's state says "configured" all the time.
    let suspended = Path::new("/sys/class/udc").join(&appliance.controller).join("gadget/suspended");
    let asleep = || fs::read_to_string(&suspended).unwrap().trim() == "1";
    for round in 0..10 {
        let slept = Instant::now();
        fs::write(power.join("control"), "auto").unwrap();
        let is_down = || fs::read_to_string(power.join("runtime_status")).unwrap().trim() == "suspended";
        wait_for("the host to sleep", PATIENCE, || asleep() && is_down());
        // What we looked at a moment ago is not looked at again.
        wait_for("another look", PATIENCE, || slept.elapsed() > Duration::from_millis(250));
        // Nobody wakes it to say that nothing is down.
        if round % 2 == 1 {
            appliance.hid.clear();
            appliance.flush();
            assert!(asleep());
        }
        appliance.key(Key::KEY_A, true);
        wait_for("the host to wake up", PATIENCE, || !asleep());
        // Or it may fall asleep again at once: that is what it was told to do.
        fs::write(power.join("control"), "on").unwrap();
        assert_eq!(keyboard.next_event(), (30, 1), "round {round}");
        appliance.until("the host", |state| state.keyboard.online && state.mouse.online);
        appliance.key(Key::KEY_A, false);
        assert_eq!(keyboard.next_event(), (30, 0), "round {round}");
        appliance.hid.inject(Event::Button { button: Button::Left, pressed: true });
        appliance.hid.inject(Event::Button { button: Button::Left, pressed: false });
        assert_eq!((mouse.next_event(), mouse.next_event()), ((0x110, 1), (0x110, 0)), "round {round}");
    }
}
