//! Switches as their users see them, on a paused clock and a driver without hardware.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gpio::{
    Channel, Drivers, Error, Gpio, Hw, InputState, Marks, Mode, Noop, NoopPins, OutputState, Pulse, Settings,
    SetupError,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

struct Board {
    gpio: Gpio,
    pins: NoopPins,
    stop: CancellationToken,
    owner: JoinHandle<()>,
}

fn output(initial: Option<bool>, switch: bool, pulse: Pulse) -> Mode {
    Mode::Output { initial, switch, pulse, busy_delay: Duration::from_millis(200) }
}

fn pulse(delay: u64, min: u64, max: u64) -> Pulse {
    let ms = Duration::from_millis;
    Pulse { delay: ms(delay), min_delay: ms(min), max_delay: ms(max) }
}

/// `led` and `dark` (inverted) are inputs; `relay` does everything, `button` is only pulsed, `breaker` only switched and
/// inverted and on at the start, `kept` keeps its level, `const` is on and invisible.
fn settings() -> Settings {
    let none = Pulse::default();
    let channels = [
        ("led", "1", false, Mode::input()),
        ("dark", "2", true, Mode::input()),
        ("relay", "3", false, output(Some(false), true, pulse(500, 100, 2000))),
        ("button", "4", false, output(Some(false), false, pulse(100, 100, 100))),
        ("breaker", "5", true, output(Some(true), true, none)),
        ("kept", "6", false, output(None, true, none)),
        ("const", "7", false, output(Some(true), false, none)),
    ];
    let channel = |(name, pin, inverted, mode): (&str, &str, bool, Mode)| {
        let hw = Hw { driver: "n".to_owned(), pin: pin.to_owned() };
        (name.to_owned(), Channel { hw, inverted, mode })
    };
    Settings { scheme: channels.into_iter().map(channel).collect(), ..Settings::default() }
}

fn board() -> Board {
    let noop = Noop::new();
    let pins = noop.pins();
    pins.set("6", true);
    let drivers = Drivers::from([("n".to_owned(), Box::new(noop) as Box<dyn gpio::Driver>)]);
    let stop = CancellationToken::new();
    let (gpio, owner) = gpio::spawn(settings(), drivers, stop.clone()).unwrap();
    Board { gpio, pins, stop, owner }
}

impl Board {
    fn output(&self, name: &str) -> OutputState {
        self.gpio.subscribe().borrow().outputs[name]
    }

    fn written(&self, pin: &str) -> Vec<bool> {
        self.pins.writes().into_iter().filter(|(written, _)| written == pin).map(|(_, level)| level).collect()
    }
}

const IDLE_ON: OutputState = OutputState { online: true, state: true, busy: false };
const BUSY: OutputState = OutputState { online: true, state: false, busy: true };

#[tokio::test(start_paused = true)]
async fn outputs_start_as_configured_and_const_ones_are_driven_but_invisible() {
    let board = board();
    let written = board.pins.writes();
    let levels =
        ["3", "4", "5", "7"].map(|pin| written.iter().find(|(written, _)| written == pin).unwrap().1);
    assert_eq!(levels, [false, false, false, true], "the breaker is on, and inverted");
    assert!(board.written("6").is_empty(), "an output without a first state is left alone");
    assert_eq!((board.output("breaker"), board.output("kept")), (IDLE_ON, IDLE_ON));
    assert!(!board.gpio.model().scheme.outputs.contains_key("const"));
    assert!(!board.gpio.subscribe().borrow().outputs.contains_key("const"));
}

#[tokio::test(start_paused = true)]
async fn the_model_tells_what_each_output_can_do() {
    let board = board();
    let outputs = &board.gpio.model().scheme.outputs;
    assert_eq!((outputs["relay"].switch, outputs["relay"].pulse), (true, pulse(500, 100, 2000)));
    assert_eq!((outputs["button"].switch, outputs["breaker"].pulse), (false, Pulse::default()));
    assert_eq!(board.gpio.model().scheme.inputs["led"], Hw { driver: "n".to_owned(), pin: "1".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_busy_for_a_moment_and_then_shows_its_state() {
    let board = board();
    let mut state = board.gpio.subscribe();
    board.gpio.switch("relay", true, false).await.unwrap();
    state.wait_for(|state| state.outputs["relay"] == BUSY).await.unwrap();
    let start = Instant::now();
    state.wait_for(|state| state.outputs["relay"] == IDLE_ON).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(200));
    assert_eq!(board.written("3"), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn an_inverted_output_is_written_upside_down_and_shown_upright() {
    let board = board();
    board.gpio.switch("breaker", false, true).await.unwrap();
    assert_eq!(board.written("5"), [false, true]);
    let off = |state: &gpio::IoState| {
        state.outputs["breaker"] == OutputState { online: true, state: false, busy: false }
    };
    board.gpio.subscribe().wait_for(off).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pulse_lasts_as_configured_or_as_asked_inside_the_limits() {
    let board = board();
    for (asked, lasts) in [(0, 500), (1000, 1000), (60_000, 2000), (10, 100)] {
        let start = Instant::now();
        board.gpio.pulse("relay", Duration::from_millis(asked), true).await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_millis(lasts + 200), "{asked}");
    }
    assert_eq!(board.written("3")[1..], [true, false].repeat(4));
}

#[tokio::test(start_paused = true)]
async fn a_second_request_is_refused_not_queued_and_other_channels_are_free() {
    let board = board();
    board.gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    let busy = Err(Error::ChannelIsBusy("relay".to_owned()));
    assert_eq!(board.gpio.switch("relay", true, false).await, busy);
    assert_eq!(board.gpio.pulse("relay", Duration::ZERO, true).await, busy);
    board.gpio.switch("kept", false, true).await.unwrap();
    board.gpio.subscribe().wait_for(|state| !state.outputs["relay"].busy).await.unwrap();
    board.gpio.switch("relay", true, true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_a_channel_cannot_do_are_refused() {
    let board = board();
    let not_found = |name: &str| Err(Error::ChannelNotFound(name.to_owned()));
    for name in ["nope", "led", "const"] {
        assert_eq!(board.gpio.switch(name, true, true).await, not_found(name));
        assert_eq!(board.gpio.pulse(name, Duration::ZERO, true).await, not_found(name));
    }
    assert_eq!(
        board.gpio.switch("button", true, false).await,
        Err(Error::SwitchNotSupported("button".to_owned()))
    );
    assert_eq!(
        board.gpio.pulse("breaker", Duration::ZERO, false).await,
        Err(Error::PulseNotSupported("breaker".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn inputs_follow_their_pins_and_an_inverted_one_is_shown_upright() {
    let board = board();
    let mut state = board.gpio.subscribe();
    let inputs = |state: &gpio::IoState| (state.inputs["led"].state, state.inputs["dark"].state);
    assert_eq!(inputs(&state.borrow()), (false, true));
    board.pins.set("1", true);
    board.pins.set("2", true);
    state.wait_for(|state| inputs(state) == (true, false)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_offline_driver_is_shown_and_told_to_those_who_wait() {
    let board = board();
    let mut state = board.gpio.subscribe();
    board.pins.set_offline(Some("unplugged"));
    state.wait_for(|state| state.inputs["dark"] == InputState::default()).await.unwrap();
    assert_eq!(board.output("kept"), OutputState::default());
    board.gpio.switch("relay", true, false).await.unwrap();
    advance(Duration::from_millis(300)).await;
    let offline = Error::DriverOffline { driver: "n".to_owned(), why: "unplugged".to_owned() };
    assert_eq!(board.gpio.switch("relay", true, true).await, Err(offline.clone()));
    assert_eq!(board.gpio.pulse("relay", Duration::ZERO, true).await, Err(offline));
    board.pins.set_offline(None);
    state.wait_for(|state| state.inputs["dark"].online).await.unwrap();
    board.gpio.switch("relay", true, true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_a_pulse_and_keeps_a_switch() {
    let board = board();
    board.gpio.switch("kept", true, true).await.unwrap();
    board.gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    board.stop.cancel();
    board.owner.await.unwrap();
    assert_eq!((board.pins.level("3"), board.pins.level("6")), (false, true));
    assert_eq!(board.gpio.switch("relay", true, false).await, Err(Error::Stopped));
}

#[tokio::test(start_paused = true)]
async fn killing_the_owner_ends_a_pulse() {
    let board = board();
    board.gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    assert!(board.pins.level("3"));
    board.owner.abort();
    assert!(board.owner.await.unwrap_err().is_cancelled());
    assert!(!board.pins.level("3"));
}

#[tokio::test(start_paused = true)]
async fn a_pulse_outlives_the_last_handle() {
    let Board { gpio, pins, owner, .. } = board();
    let start = Instant::now();
    gpio.pulse("relay", Duration::from_secs(2), false).await.unwrap();
    drop(gpio);
    owner.await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(!pins.level("3"));
}

#[tokio::test]
async fn a_channel_of_a_missing_driver_is_a_mistake() {
    let mistake = gpio::spawn(settings(), Drivers::new(), CancellationToken::new()).map(|_| ()).unwrap_err();
    assert!(matches!(mistake, SetupError::UnknownDriver { driver, .. } if driver == "n"));
}

#[test]
fn limits_that_contradict_each_other_do_no_harm() {
    assert_eq!(pulse(500, 2000, 100).clamp(Duration::from_millis(700)), Duration::from_millis(100));
}

/// A `kvmd` before this one, killed in the middle of two pulses, of which one channel is gone from the settings.
#[tokio::test(start_paused = true)]
async fn what_a_killed_predecessor_had_in_a_pulse_is_ended_as_soon_as_its_driver_answers() {
    let (theirs, file) = Marks::create().unwrap();
    theirs.set(["relay", "gone", "led"]).unwrap();
    let noop = Noop::new();
    let pins = noop.pins();
    pins.set("3", true);
    pins.set_offline(Some("not plugged in"));
    let drivers = Drivers::from([("n".to_owned(), Box::new(noop) as Box<dyn gpio::Driver>)]);
    let stop = CancellationToken::new();
    let (gpio, _owner) = gpio::spawn_marked(settings(), drivers, Some(Marks::new(file)), stop).unwrap();
    assert_eq!(theirs.get(), ["relay"], "what nobody knows any more is forgotten");
    pins.set_offline(None);
    gpio.subscribe().wait_for(|state| state.outputs["relay"].online).await.unwrap();
    assert_eq!((pins.level("3"), theirs.get().is_empty()), (false, true));
}

#[tokio::test(start_paused = true)]
async fn a_pulse_is_marked_before_it_begins_and_until_it_has_ended_and_a_switch_never() {
    let (theirs, file) = Marks::create().unwrap();
    let drivers = Drivers::from([("n".to_owned(), Box::new(Noop::new()) as Box<dyn gpio::Driver>)]);
    let stop = CancellationToken::new();
    let (gpio, owner) =
        gpio::spawn_marked(settings(), drivers, Some(Marks::new(file)), stop.clone()).unwrap();
    gpio.switch("kept", true, false).await.unwrap();
    assert!(theirs.get().is_empty());
    gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    gpio.pulse("button", Duration::ZERO, false).await.unwrap();
    assert_eq!(theirs.get(), ["button", "relay"]);
    gpio.subscribe().wait_for(|state| !state.outputs["button"].busy).await.unwrap();
    assert_eq!(theirs.get(), ["relay"]);
    stop.cancel();
    owner.await.unwrap();
    assert!(theirs.get().is_empty(), "stopping has ended it");
}

/// Channels of a PWM chip keep their levels without us; a driver without hardware does not.
#[tokio::test(start_paused = true)]
async fn a_restart_moves_nothing_that_keeps_its_level_and_a_new_appliance_sets_first_levels() {
    let dir = tempfile::tempdir().unwrap();
    let chip = gpio::pwm::Settings { class: dir.path().to_owned(), ..gpio::pwm::Settings::default() };
    std::fs::create_dir_all(chip.channel("3")).unwrap();
    for file in ["period", "duty_cycle", "enable"] {
        std::fs::write(chip.channel("3").join(file), "0\n").unwrap();
    }
    let run = |marks: Option<Marks>| {
        let (chip, noop) = (gpio::pwm::Pwm::new(chip.clone()), Noop::new());
        let pins = noop.pins();
        let drivers = Drivers::from([
            ("n".to_owned(), Box::new(noop) as Box<dyn gpio::Driver>),
            ("p".to_owned(), Box::new(chip) as Box<dyn gpio::Driver>),
        ]);
        let mut settings = settings();
        settings.scheme.get_mut("relay").unwrap().hw.driver = "p".to_owned();
        let stop = CancellationToken::new();
        let (gpio, owner) = gpio::spawn_marked(settings, drivers, marks, stop.clone()).unwrap();
        Board { gpio, pins, stop, owner }
    };
    let (_marks, file) = Marks::create().unwrap();
    for on_at_start in [false, true, true] {
        let board = run(Some(Marks::new(file.try_clone().unwrap())));
        assert_eq!(board.output("relay").state, on_at_start);
        assert_eq!(board.written("7"), [true], "this one has forgotten it");
        board.gpio.switch("relay", true, true).await.unwrap();
        board.stop.cancel();
        board.owner.await.unwrap();
    }
    for marks in [Some(Marks::create().unwrap().0), None] {
        let board = run(marks);
        assert!(!board.output("relay").state);
        board.gpio.switch("relay", true, true).await.unwrap();
        board.stop.cancel();
        board.owner.await.unwrap();
    }
}

async fn wait_until(cond: impl Fn() -> bool) {
    let look = async {
        while !cond() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pulse_whose_end_failed_stays_marked_and_is_ended_as_soon_as_that_is_possible() {
    let (theirs, file) = Marks::create().unwrap();
    let noop = Noop::new();
    let pins = noop.pins();
    let drivers = Drivers::from([("n".to_owned(), Box::new(noop) as Box<dyn gpio::Driver>)]);
    let stop = CancellationToken::new();
    let (gpio, owner) =
        gpio::spawn_marked(settings(), drivers, Some(Marks::new(file)), stop.clone()).unwrap();
    gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    pins.set_offline(Some("unplugged"));
    gpio.subscribe().wait_for(|state| !state.outputs["relay"].busy).await.unwrap();
    assert_eq!((pins.level("3"), theirs.get()), (true, vec!["relay".to_owned()]));
    // A request that fails as well changes nothing about it.
    gpio.switch("relay", false, true).await.unwrap_err();
    assert_eq!(theirs.get(), ["relay"]);
    pins.set_offline(None);
    wait_until(|| theirs.get().is_empty()).await;
    assert!(!pins.level("3"));

    gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    pins.set_offline(Some("unplugged"));
    stop.cancel();
    owner.await.unwrap();
    assert_eq!(theirs.get(), ["relay"], "for whoever comes after us");
}

/// A driver that only takes orders: what was written, and what became of the last one.
#[derive(Clone)]
struct Late(Arc<Mutex<Orders>>);

type Orders = (Vec<bool>, Result<bool, gpio::Offline>);

impl gpio::Driver for Late {
    fn attach(&mut self, _: &[gpio::PinUse], _: gpio::Wake) -> Result<(), gpio::Offline> {
        Ok(())
    }

    fn read(&mut self, _: &str) -> Result<bool, gpio::Offline> {
        Ok(false)
    }

    fn write(&mut self, _: &str, level: bool) -> Result<(), gpio::Offline> {
        self.0.lock().unwrap().0.push(level);
        Ok(())
    }

    fn is_done(&mut self, _: &str) -> Result<bool, gpio::Offline> {
        self.0.lock().unwrap().1.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pulse_stays_marked_until_its_end_was_carried_out_and_what_failed_is_ordered_again() {
    let (theirs, file) = Marks::create().unwrap();
    let late = Late(Arc::new(Mutex::new((Vec::new(), Ok(false)))));
    let drivers = Drivers::from([("n".to_owned(), Box::new(late.clone()) as Box<dyn gpio::Driver>)]);
    let stop = CancellationToken::new();
    let (gpio, _owner) = gpio::spawn_marked(settings(), drivers, Some(Marks::new(file)), stop).unwrap();
    gpio.pulse("relay", Duration::ZERO, false).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let written = || late.0.lock().unwrap().0.clone();
    let result = |result| late.0.lock().unwrap().1 = result;
    assert_eq!((written(), theirs.get()), (vec![true, false], vec!["relay".to_owned()]), "it waits");
    result(Err(gpio::Offline("unplugged".to_owned())));
    wait_until(|| written().len() > 3).await;
    assert_eq!(theirs.get(), ["relay"]);
    result(Ok(true));
    wait_until(|| theirs.get().is_empty()).await;
    let orders = written();
    assert!(orders[1..].iter().all(|level| !level), "{orders:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(written(), orders, "and no more");
}
