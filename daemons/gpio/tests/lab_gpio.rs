//! The drivers on the laboratory's kernel: a simulated GPIO chip, and a relay board made of uhid.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

#[path = "lab_gpio/relay.rs"]
mod relay;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gpio::chip::Settings as Chip;
use gpio::line::{Output, Outputs};
use gpio::{Channel, DriverSettings, Drivers, Error, Gpio, Hw, IoState, Marks, Mode, Pulse, Settings};
use testkit::lab::{GpioSim, inside, wait_for};
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(30);
const DEBOUNCE: Duration = Duration::from_millis(100);

fn output(initial: Option<bool>, switch: bool) -> Mode {
    let ms = Duration::from_millis;
    let pulse = Pulse { delay: ms(300), min_delay: ms(100), max_delay: ms(5000) };
    Mode::Output { initial, switch, pulse, busy_delay: ms(20) }
}

fn input() -> Mode {
    Mode::Input { debounce: DEBOUNCE }
}

fn channels(driver: &str, channels: &[(&str, u32, bool, Mode)]) -> Settings {
    let channel = |(name, pin, inverted, mode): &(&str, u32, bool, Mode)| {
        let hw = Hw { driver: driver.to_owned(), pin: pin.to_string() };
        ((*name).to_owned(), Channel { hw, inverted: *inverted, mode: mode.clone() })
    };
    let scheme: BTreeMap<_, _> = channels.iter().map(channel).collect();
    Settings { scheme, ..Settings::default() }
}

struct Board {
    gpio: Gpio,
    _stop: DropGuard,
    owner: tokio::task::JoinHandle<()>,
}

fn start(settings: Settings, driver: DriverSettings, marks: Option<Marks>) -> Board {
    let drivers = Drivers::from([("d".to_owned(), driver.build(None))]);
    let stop = CancellationToken::new();
    let (gpio, owner) = gpio::spawn_marked(settings, drivers, marks, stop.clone()).unwrap();
    Board { gpio, _stop: stop.drop_guard(), owner }
}

impl Board {
    async fn until(&self, what: &str, seen: impl Fn(&IoState) -> bool) {
        let mut state = self.gpio.subscribe();
        let waited = tokio::time::timeout(LIMIT, state.wait_for(|state| seen(state))).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.gpio.subscribe().borrow());
    }

    /// Its lines are free after it.
    async fn end(self) {
        drop(self._stop);
        self.owner.await.unwrap();
    }

    fn input(&self, name: &str) -> gpio::InputState {
        self.gpio.subscribe().borrow().inputs[name]
    }
}

fn chip(sim: &GpioSim) -> DriverSettings {
    DriverSettings::Gpio(Chip { device: sim.node().to_owned() })
}

#[tokio::test]
async fn inputs_follow_their_lines_after_the_debounce_and_an_inverted_one_upside_down() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let board =
        start(channels("d", &[("up", 4, false, input()), ("down", 5, true, input())]), chip(&sim), None);
    assert_eq!((board.input("up").state, board.input("down").state), (false, true));
    for level in [true, false, true] {
        let pulled = Instant::now();
        sim.pull(4, level).unwrap();
        sim.pull(5, level).unwrap();
        board
            .until("the new levels", |state| {
                state.inputs["up"].state == level && state.inputs["down"].state != level
            })
            .await;
        let took = pulled.elapsed();
        println!("{level} after {took:?}");
        assert!(took >= DEBOUNCE, "{took:?}: not debounced");
    }
}

#[tokio::test]
async fn bounces_are_not_seen() {
    if !inside() {
        return;
    }
    // A level that lasts for long is no bounce: under load a round may not tell anything.
    for _ in 0..20 {
        let (longest, seen) = noise().await;
        if longest <= DEBOUNCE / 2 {
            assert_eq!(seen, [(false, true)], "only the clean line has changed");
            return;
        }
    }
    panic!("this machine is never fast enough to bounce");
}

/// Makes noise on one line and then a change on another. Gives how long the longest bounce was, and what was seen.
async fn noise() -> (Duration, Vec<(bool, bool)>) {
    let sim = GpioSim::open().unwrap();
    for line in [4, 5] {
        sim.pull(line, false).unwrap();
    }
    let board =
        start(channels("d", &[("noisy", 4, false, input()), ("clean", 5, false, input())]), chip(&sim), None);
    let mut state = board.gpio.subscribe();
    state.mark_unchanged();
    let watching = tokio::spawn(async move {
        let mut seen = Vec::new();
        while state.changed().await.is_ok() {
            let state = state.borrow_and_update().clone();
            seen.push((state.inputs["noisy"].state, state.inputs["clean"].state));
            if state.inputs["clean"].state {
                break;
            }
        }
        seen
    });
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        sim.pull(4, true).unwrap();
        sim.pull(4, false).unwrap();
        longest = longest.max(start.elapsed());
        // Whoever sees them would see them now.
        tokio::task::yield_now().await;
    }
    sim.pull(5, true).unwrap();
    let seen = tokio::time::timeout(LIMIT, watching).await.unwrap().unwrap();
    board.end().await;
    (longest, seen)
}

#[tokio::test]
async fn outputs_start_as_configured_or_keep_what_they_are() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    sim.pull(12, true).unwrap();
    let outputs = [
        ("on", 10, false, output(Some(true), true)),
        ("off", 11, true, output(Some(false), true)),
        ("kept_on", 12, false, output(None, true)),
        ("kept_off", 13, false, output(None, true)),
    ];
    let board = start(channels("d", &outputs), chip(&sim), None);
    assert_eq!(
        [10, 11, 12, 13].map(|line| sim.level(line).unwrap()),
        [true, true, true, false],
        "off is high when inverted"
    );
    // Driven, not pulled: what the world pulls does not matter.
    sim.pull(12, false).unwrap();
    assert!(sim.level(12).unwrap());
    let shown = board.gpio.subscribe().borrow().outputs.clone();
    assert_eq!(
        ["on", "off", "kept_on", "kept_off"].map(|name| shown[name].state),
        [true, false, true, false]
    );
    board.gpio.switch("off", true, true).await.unwrap();
    board.gpio.switch("kept_off", true, true).await.unwrap();
    assert_eq!([11, 13].map(|line| sim.level(line).unwrap()), [false, true]);
}

#[tokio::test]
async fn a_pulse_is_on_the_line_for_as_long_as_asked_and_lines_are_let_go_at_the_end() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let Board { gpio, _stop, owner } =
        start(channels("d", &[("button", 10, false, output(Some(false), false))]), chip(&sim), None);
    let began = Instant::now();
    gpio.pulse("button", Duration::from_millis(700), false).await.unwrap();
    assert!(sim.level(10).unwrap());
    tokio::task::spawn_blocking({
        let sim = sim.clone();
        move || wait_for("the end of the pulse", LIMIT, || !sim.level(10).unwrap())
    })
    .await
    .unwrap();
    let lasted = began.elapsed();
    println!("a pulse of 0.7 s lasted {lasted:?}");
    assert!(lasted >= Duration::from_millis(700), "{lasted:?}");

    let mut other = Outputs::new(sim.node().to_owned(), "test", vec![Output { offset: 10, initial: None }]);
    assert!(other.take().unwrap_err().to_string().contains("busy"), "the driver has it");
    // In the middle of a pulse.
    gpio.subscribe().wait_for(|state| !state.outputs["button"].busy).await.unwrap();
    gpio.pulse("button", Duration::from_secs(5), false).await.unwrap();
    assert!(sim.level(10).unwrap());
    drop(_stop);
    tokio::time::timeout(LIMIT, owner).await.unwrap().unwrap();
    assert!(!sim.level(10).unwrap());
    other.take().unwrap();
}

#[tokio::test]
async fn a_chip_that_goes_away_is_offline_and_comes_back() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let both = [("light", 4, false, input()), ("relay", 10, false, output(Some(true), true))];
    let board = start(channels("d", &both), chip(&sim), None);
    let live = std::path::Path::new("/sys/kernel/config/gpio-sim/lab/live");
    std::fs::write(live, "0").unwrap();
    board.until("offline", |state| !state.inputs["light"].online).await;
    let refused = board.gpio.switch("relay", true, true).await.unwrap_err();
    assert!(matches!(refused, Error::DriverOffline { .. }), "{refused}");
    std::fs::write(live, "1").unwrap();
    let sim = GpioSim::open().unwrap();
    board.until("online again", |state| state.inputs["light"].online && state.outputs["relay"].online).await;
    assert!(sim.level(10).unwrap(), "the first level again: the hardware has started anew");
    board.gpio.switch("relay", false, true).await.unwrap();
    assert!(!sim.level(10).unwrap());
}

/// Not a test of its own: what the two below kill. It drives line 10 high, as the lines' only owner or by those handed
/// over as standard input.
#[test]
#[ignore = "a process for others to kill"]
fn holder() {
    let sim = GpioSim::open().unwrap();
    let lines =
        Outputs::new(sim.node().to_owned(), "holder", vec![Output { offset: 10, initial: Some(false) }]);
    let mut lines = match std::env::var_os("HELD") {
        Some(_) => lines.shared(std::io::stdin().as_fd().try_clone_to_owned().unwrap()),
        None => lines,
    };
    lines.set(10, true).unwrap();
    loop {
        std::thread::park();
    }
}

fn start_holder(stdin: Stdio, held: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "holder", "--ignored", "--nocapture"]).stdin(stdin);
    if held {
        command.env("HELD", "1");
    }
    command.spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_killed_process_lets_its_lines_go() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let child = start_holder(Stdio::null(), false);
    wait_for("the line to be driven", LIMIT, || sim.level(10).unwrap());
    let mut ours =
        Outputs::new(sim.node().to_owned(), "test", vec![Output { offset: 10, initial: Some(false) }]);
    ours.take().unwrap_err();
    kill(child);
    ours.take().unwrap();
    assert!(!sim.level(10).unwrap());
}

#[test]
fn a_line_that_somebody_else_holds_too_keeps_its_level_when_its_driver_is_killed() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let mut ours =
        Outputs::new(sim.node().to_owned(), "test", vec![Output { offset: 10, initial: Some(false) }]);
    ours.take().unwrap();
    let child = start_holder(ours.share().unwrap().unwrap().into(), true);
    wait_for("the line to be driven", LIMIT, || sim.level(10).unwrap());
    kill(child);
    assert!(sim.level(10).unwrap() && ours.level(10).unwrap());
    ours.set(10, false).unwrap();
    assert!(!sim.level(10).unwrap());
}

#[tokio::test]
async fn a_pulse_that_was_cut_off_is_marked_and_ended_by_the_next_one() {
    if !inside() {
        return;
    }
    let sim = GpioSim::open().unwrap();
    let (marks, file) = Marks::create().unwrap();
    let settings = || {
        channels("d", &[("relay", 10, false, output(None, true)), ("other", 11, false, output(None, true))])
    };
    let first = start(settings(), chip(&sim), Some(Marks::new(file.try_clone().unwrap())));
    first.gpio.switch("other", true, true).await.unwrap();
    first.gpio.pulse("relay", Duration::from_secs(5), false).await.unwrap();
    assert_eq!(marks.get(), ["relay"]);
    let _stop = first._stop.disarm();
    first.owner.abort();
    let _ = first.owner.await;
    // Dropping has ended it in time; what a killed one leaves is the mark and, where the chip keeps levels, the level.
    assert!(marks.get().is_empty());
    sim.pull(10, true).unwrap();
    marks.set(["relay"]).unwrap();
    let second = start(settings(), chip(&sim), Some(Marks::new(file)));
    second.until("both channels", |state| state.outputs["relay"].online).await;
    assert!(!sim.level(10).unwrap());
    assert!(marks.get().is_empty());
}
