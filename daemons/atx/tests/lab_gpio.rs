//! The front panel on the laboratory's GPIO chip.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::time::{Duration, Instant};

use atx::{Atx, Click, Error, Gpio, GpioSettings, Leds, Settings};
use testkit::lab::{GpioSim, inside, wait_for};
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(30);
const DEBOUNCE: Duration = Duration::from_millis(100);
const POWER: u32 = 23;
const RESET: u32 = 27;
const POWER_LED: u32 = 24;
const HDD_LED: u32 = 22;

struct Panel {
    sim: GpioSim,
    atx: Atx,
    owner: tokio::task::JoinHandle<()>,
    _stop: DropGuard,
}

fn panel(change: impl FnOnce(&mut GpioSettings)) -> Panel {
    let sim = GpioSim::open().unwrap();
    let mut lines = GpioSettings { device: sim.node().to_owned(), ..GpioSettings::default() };
    change(&mut lines);
    let stop = CancellationToken::new();
    let (atx, owner) = atx::spawn(Settings::default(), Gpio::open(lines, None), stop.clone());
    Panel { sim, atx, owner, _stop: stop.drop_guard() }
}

impl Panel {
    async fn until(&self, leds: Leds) {
        let mut state = self.atx.subscribe();
        let seen = tokio::time::timeout(LIMIT, state.wait_for(|state| state.leds == leds)).await;
        assert!(seen.is_ok(), "{leds:?}: {:?}", self.atx.subscribe().borrow());
    }
}

#[tokio::test]
async fn buttons_rest_low_and_presses_have_their_lengths() {
    if !inside() {
        return;
    }
    let panel = panel(|_| ());
    assert!(!panel.sim.level(POWER).unwrap() && !panel.sim.level(RESET).unwrap());
    for (click, line, milliseconds) in
        [(Click::Power, POWER, 100), (Click::Reset, RESET, 100), (Click::PowerLong, POWER, 5500)]
    {
        // From before the press to after its end: never less than it was, however late we look.
        let began = Instant::now();
        panel.atx.click(click, false).await.unwrap();
        let sim = panel.sim.clone();
        tokio::task::spawn_blocking(move || wait_for("its end", LIMIT, || !sim.level(line).unwrap()))
            .await
            .unwrap();
        let lasted = began.elapsed();
        println!("{click:?}: {lasted:?}");
        assert!(lasted >= Duration::from_millis(milliseconds), "{click:?}: {lasted:?}");
        tokio::time::timeout(LIMIT, panel.atx.subscribe().wait_for(|state| !state.busy))
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn lights_follow_their_lines_after_the_debounce() {
    if !inside() {
        return;
    }
    let panel = panel(|lines| lines.hdd_led.inverted = true);
    panel.until(Leds { power: false, hdd: true }).await;
    for (power, hdd) in [(true, true), (true, false), (false, false)] {
        let pulled = Instant::now();
        panel.sim.pull(POWER_LED, power).unwrap();
        panel.sim.pull(HDD_LED, !hdd).unwrap();
        panel.until(Leds { power, hdd }).await;
        println!("after {:?}", pulled.elapsed());
        assert!(pulled.elapsed() >= DEBOUNCE);
    }
}

#[tokio::test]
async fn a_bounce_is_no_light() {
    if !inside() {
        return;
    }
    let panel = panel(|_| ());
    let mut state = panel.atx.subscribe();
    state.mark_unchanged();
    for _ in 0..50 {
        panel.sim.pull(POWER_LED, true).unwrap();
        panel.sim.pull(POWER_LED, false).unwrap();
    }
    panel.sim.pull(HDD_LED, true).unwrap();
    tokio::time::timeout(LIMIT, state.changed()).await.unwrap().unwrap();
    assert_eq!(
        state.borrow().leds,
        Leds { power: false, hdd: true },
        "the first thing seen is the disk light"
    );
}

#[tokio::test]
async fn stopping_in_the_middle_of_a_press_lets_the_line_go() {
    if !inside() {
        return;
    }
    let Panel { sim, atx, owner, _stop } = panel(|_| ());
    atx.click(Click::PowerLong, false).await.unwrap();
    assert!(sim.level(POWER).unwrap());
    drop(_stop);
    tokio::time::timeout(LIMIT, owner).await.unwrap().unwrap();
    assert!(!sim.level(POWER).unwrap());
}

#[tokio::test]
async fn lines_that_somebody_else_has_are_an_error_of_the_press() {
    if !inside() {
        return;
    }
    let first = panel(|_| ());
    let second = panel(|_| ());
    let refused = second.atx.click(Click::Power, true).await.unwrap_err();
    assert!(matches!(&refused, Error::Line { why, .. } if why.contains("busy")), "{refused}");
    first.atx.click(Click::Power, true).await.unwrap();
}
