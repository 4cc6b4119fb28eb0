//! The buttons as their users see them, on a paused clock.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::time::Duration;

use atx::{Acts, Atx, Click, Error, Fake, FakeLines, Leds, Line, PowerAction, Settings, State};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

struct Panel {
    atx: Atx,
    fake: Fake,
    stop: CancellationToken,
    owner: JoinHandle<()>,
}

fn panel() -> Panel {
    let (lines, fake) = FakeLines::new();
    let stop = CancellationToken::new();
    let (atx, owner) = atx::spawn(Settings::default(), lines, stop.clone());
    Panel { atx, fake, stop, owner }
}

impl Panel {
    async fn light(&self, power: bool) {
        self.fake.set_leds(Leds { power, hdd: false });
        self.atx.subscribe().wait_for(|state| state.leds.power == power).await.unwrap();
    }

    fn state(&self) -> State {
        *self.atx.subscribe().borrow()
    }
}

const PRESS: (Line, bool) = (Line::Power, true);
const RELEASE: (Line, bool) = (Line::Power, false);

#[tokio::test(start_paused = true)]
async fn a_click_holds_a_tenth_of_a_second_and_settles_for_one() {
    let panel = panel();
    let start = Instant::now();
    panel.atx.click(Click::Power, true).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(1100));
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE]);
    assert!(!panel.state().busy, "who waited finds the button free");
}

#[tokio::test(start_paused = true)]
async fn a_long_click_holds_five_and_a_half_seconds() {
    let panel = panel();
    panel.atx.click(Click::PowerLong, false).await.unwrap();
    assert_eq!(panel.fake.moves(), [PRESS]);
    advance(Duration::from_millis(5499)).await;
    tokio::task::yield_now().await;
    assert_eq!(panel.fake.moves(), [PRESS]);
    panel.atx.subscribe().wait_for(|state| !state.busy).await.unwrap();
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE]);
}

#[tokio::test(start_paused = true)]
async fn a_second_press_is_refused_not_queued() {
    let panel = panel();
    panel.atx.click(Click::PowerLong, false).await.unwrap();
    for wait in [false, true] {
        assert_eq!(panel.atx.click(Click::Power, wait).await, Err(Error::Busy));
    }
    panel.atx.subscribe().wait_for(|state| !state.busy).await.unwrap();
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE]);
}

#[tokio::test(start_paused = true)]
async fn a_button_is_busy_while_it_settles() {
    let panel = panel();
    panel.atx.click(Click::Power, false).await.unwrap();
    advance(Duration::from_millis(600)).await;
    assert_eq!(panel.atx.click(Click::Power, false).await, Err(Error::Busy));
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE]);
}

#[tokio::test(start_paused = true)]
async fn reset_works_while_power_is_held() {
    let panel = panel();
    panel.atx.click(Click::PowerLong, false).await.unwrap();
    panel.atx.click(Click::Reset, false).await.unwrap();
    let mut state = panel.atx.subscribe();
    state.wait_for(|state| state.acts == Acts { power: true, reset: true }).await.unwrap();
    state.wait_for(|state| state.busy && state.acts == Acts { power: true, reset: false }).await.unwrap();
    state.wait_for(|state| !state.busy).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pointless_action_does_nothing_and_is_never_busy() {
    let panel = panel();
    for action in [PowerAction::Off, PowerAction::OffHard, PowerAction::ResetHard] {
        panel.atx.power(action, true).await.unwrap();
    }
    panel.light(true).await;
    panel.atx.power(PowerAction::On, true).await.unwrap();
    assert_eq!(panel.fake.moves(), []);
    assert!(!panel.state().busy);
}

#[tokio::test(start_paused = true)]
async fn the_lights_choose_the_click() {
    let panel = panel();
    panel.atx.power(PowerAction::On, true).await.unwrap();
    panel.light(true).await;
    panel.atx.power(PowerAction::ResetHard, true).await.unwrap();
    let reset = [(Line::Reset, true), (Line::Reset, false)];
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE, reset[0], reset[1]]);
}

#[tokio::test(start_paused = true)]
async fn lights_are_published() {
    let panel = panel();
    assert_eq!(panel.state(), State { enabled: true, ..State::default() });
    panel.fake.set_leds(Leds { power: true, hdd: true });
    let mut state = panel.atx.subscribe();
    let seen = *state.wait_for(|state| state.leds.hdd).await.unwrap();
    assert_eq!(seen.leds, Leds { power: true, hdd: true });
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_go_of_a_held_line() {
    let panel = panel();
    panel.atx.click(Click::PowerLong, false).await.unwrap();
    panel.stop.cancel();
    panel.owner.await.unwrap();
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE]);
    assert_eq!(panel.atx.click(Click::Power, false).await, Err(Error::Stopped));
}

#[tokio::test(start_paused = true)]
async fn killing_the_owner_lets_go_of_a_held_line() {
    let panel = panel();
    panel.atx.click(Click::Reset, false).await.unwrap();
    panel.owner.abort();
    assert!(panel.owner.await.unwrap_err().is_cancelled());
    assert_eq!(panel.fake.moves(), [(Line::Reset, true), (Line::Reset, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_press_outlives_the_last_handle() {
    let Panel { atx, fake, owner, .. } = panel();
    let start = Instant::now();
    atx.click(Click::PowerLong, false).await.unwrap();
    drop(atx);
    owner.await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(5500));
    assert_eq!(fake.moves(), [PRESS, RELEASE]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_cannot_be_pressed_is_told_and_the_button_is_free() {
    let panel = panel();
    panel.fake.set_broken(Some("no power supply"));
    let failed = Error::Line { line: Line::Power, why: "no power supply".to_owned() };
    assert_eq!(panel.atx.click(Click::Power, true).await, Err(failed));
    assert!(!panel.state().busy);
    panel.fake.set_broken(None);
    panel.atx.click(Click::Power, true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_line_that_cannot_be_let_go_is_tried_again_until_it_is() {
    let panel = panel();
    panel.atx.click(Click::Power, false).await.unwrap();
    panel.fake.set_broken(Some("no power supply"));
    panel.atx.subscribe().wait_for(|state| !state.busy).await.unwrap();
    assert_eq!(panel.fake.moves(), [PRESS]);
    panel.fake.set_broken(None);
    let freed = async {
        while panel.fake.moves() != [PRESS, RELEASE] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), freed).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(panel.fake.moves(), [PRESS, RELEASE], "and then no more");
}

#[tokio::test(start_paused = true)]
async fn a_new_press_of_a_line_that_was_not_let_go_is_not_cut_short() {
    let panel = panel();
    panel.atx.click(Click::Power, false).await.unwrap();
    panel.fake.set_broken(Some("no power supply"));
    panel.atx.subscribe().wait_for(|state| !state.busy).await.unwrap();
    panel.fake.set_broken(None);
    let start = Instant::now();
    panel.atx.click(Click::PowerLong, true).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(6500));
    assert_eq!(panel.fake.moves(), [PRESS, PRESS, RELEASE]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_of_a_line_that_is_still_held_and_the_end_lets_go_of_it() {
    let Panel { atx, fake, stop, owner } = panel();
    let waiting = tokio::spawn({
        let atx = atx.clone();
        async move { atx.click(Click::Power, true).await }
    });
    atx.subscribe().wait_for(|state| state.busy).await.unwrap();
    fake.set_broken(Some("no power supply"));
    assert!(matches!(waiting.await.unwrap(), Err(Error::Line { line: Line::Power, .. })));
    fake.set_broken(None);
    stop.cancel();
    owner.await.unwrap();
    assert_eq!(fake.moves(), [PRESS, RELEASE]);
}

#[tokio::test]
async fn without_a_front_panel_everything_is_refused() {
    let atx = Atx::disabled();
    assert_eq!(*atx.subscribe().borrow(), State::default());
    assert_eq!(atx.click(Click::Power, false).await, Err(Error::Disabled));
    assert_eq!(atx.power(PowerAction::On, false).await, Err(Error::Disabled));
}

#[tokio::test(start_paused = true)]
async fn a_driver_may_change_its_lights_while_it_is_driven() {
    let (atx, _owner) =
        atx::spawn(Settings::default(), atx::PretendLines::default(), CancellationToken::new());
    atx.click(Click::Power, true).await.unwrap();
    assert!(!atx.subscribe().borrow().leds.power);
    atx.power(PowerAction::On, true).await.unwrap();
    assert!(atx.subscribe().borrow().leds.power);
}
