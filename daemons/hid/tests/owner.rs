//! The owner as its users see it: events in, reports at the link, state out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use hid::link::{Recorder, Recording};
use hid::{Button, Event, Hid, Key, Keymap, Leds, Link, Mice, Settings, State};
use hid_wire::{Device, Report};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Rig {
    hid: Hid,
    host: Recording,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(settings: Settings) -> Self {
        let (link, host) = Recorder::new();
        let stop = CancellationToken::new();
        let (hid, task) = hid::spawn(settings, link, stop.clone()).unwrap();
        Self { hid, host, stop, task }
    }

    /// What the host got since the last call, once all is done.
    async fn reports(&self) -> Vec<Report> {
        self.hid.flush().await;
        self.host.take()
    }

    /// Waits for the state to become so.
    async fn until(&self, so: impl FnMut(&State) -> bool) -> State {
        let mut state: watch::Receiver<State> = self.hid.subscribe();
        tokio::time::timeout(Duration::from_secs(600), state.wait_for(so)).await.unwrap().unwrap().clone()
    }
}

fn press(key: Key) -> Event {
    Event::Key { key, pressed: true, finish: false }
}

fn release(key: Key) -> Event {
    Event::Key { key, pressed: false, finish: false }
}

fn keyboard(modifiers: u8, usage: u8) -> Report {
    Report::Keyboard([modifiers, 0, usage, 0, 0, 0, 0, 0])
}

const UP: [Report; 3] = [Report::Keyboard([0; 8]), Report::Absolute([0; 7]), Report::Relative([0; 5])];

#[tokio::test]
async fn a_clear_releases_keyboard_and_all_mice_even_when_nothing_is_down() {
    let rig = Rig::start(Settings::default());
    rig.hid.clear();
    assert_eq!(rig.reports().await, UP);
    rig.hid.inject(press(Key::KEY_A));
    rig.hid.inject(Event::Button { button: Button::Left, pressed: true });
    assert_eq!(rig.reports().await, [keyboard(0, 4), Report::Absolute([1, 0, 0, 0, 0, 0, 0])]);
    rig.hid.reset();
    assert_eq!(rig.reports().await, UP);
}

#[tokio::test]
async fn a_clear_spares_a_mouse_that_does_not_exist() {
    let rig = Rig::start(Settings { mice: Mice::Relative, ..Settings::default() });
    rig.hid.clear();
    assert_eq!(rig.reports().await, [UP[0], UP[2]]);
    let state = rig.hid.subscribe().borrow().clone();
    assert_eq!((state.mouse.absolute, state.mouse.outputs.active), (false, ""));
    assert!(state.mouse.outputs.available.is_empty());
}

#[tokio::test]
async fn the_end_releases_everything() {
    let rig = Rig::start(Settings::default());
    rig.hid.inject(press(Key::CONTROL_LEFT));
    rig.hid.inject(Event::Button { button: Button::Right, pressed: true });
    rig.hid.flush().await;
    rig.stop.cancel();
    rig.task.await.unwrap();
    assert!(rig.host.reports().ends_with(&UP));
    // Afterwards nothing happens, and nobody waits for it.
    rig.hid.inject(press(Key::KEY_A));
    rig.hid.click_key(Key::KEY_A).await;
    rig.hid.flush().await;
    assert!(rig.hid.print("a", Keymap::builtin(), Duration::ZERO).await.interrupted);
    assert!(rig.host.reports().ends_with(&UP));
}

/// A cable that breaks its thread at the first key, and again at every release if it is `stubborn`.
struct Faulty {
    cable: Recorder,
    stubborn: bool,
}

impl Link for Faulty {
    fn send(&mut self, report: &Report) -> Result<(), hid::Error> {
        let first = matches!(report, Report::Keyboard(bytes) if *bytes != [0; 8]);
        assert!(!first && !self.stubborn, "a fault of the driver");
        self.cable.send(report)
    }
}

#[tokio::test]
async fn an_owner_that_panics_ends_the_task_with_the_panic_and_says_offline() {
    for stubborn in [false, true] {
        let (cable, host) = Recorder::new();
        let stop = CancellationToken::new();
        let (hid, task) = hid::spawn(Settings::default(), Faulty { cable, stubborn }, stop.clone()).unwrap();
        let mut state = hid.subscribe();
        hid.inject(press(Key::KEY_A));
        let ended = tokio::time::timeout(Duration::from_secs(60), task).await.unwrap();
        assert!(ended.unwrap_err().is_panic());
        assert_eq!(host.take(), if stubborn { vec![] } else { UP.to_vec() }, "what can be released is");
        let last = state.borrow_and_update().clone();
        assert!(!last.online && !last.keyboard.online && !last.mouse.online);
        // Nobody waits for it any more.
        hid.inject(press(Key::KEY_A));
        hid.clear();
        hid.flush().await;
        assert!(hid.print("a", Keymap::builtin(), Duration::ZERO).await.interrupted);
        assert!(!stop.is_cancelled());
    }
}

#[tokio::test]
async fn switching_the_mouse_releases_the_old_one_and_moves_only_the_new_one() {
    let rig = Rig::start(Settings::default());
    rig.hid.inject(Event::Button { button: Button::Left, pressed: true });
    rig.hid.inject(Event::Relative { deltas: vec![(1, 1)], squash: false });
    rig.hid.set_mouse_output("usb_rel");
    rig.hid.inject(Event::Move { x: 0, y: 0 });
    rig.hid.inject(Event::Relative { deltas: vec![(1, 1), (2, 2)], squash: true });
    assert_eq!(
        rig.reports().await,
        [Report::Absolute([1, 0, 0, 0, 0, 0, 0]), UP[1], Report::Relative([0, 3, 3, 0, 0])]
    );
    let state = rig.hid.subscribe().borrow().clone();
    assert_eq!((state.mouse.absolute, state.mouse.outputs.active), (false, "usb_rel"));
    assert_eq!(state.mouse.outputs.available, ["usb", "usb_rel"]);
}

#[tokio::test]
async fn the_relative_mouse_may_be_the_first() {
    let mice = Mice::Both { win98: false, relative_first: true };
    let rig = Rig::start(Settings { mice, ..Settings::default() });
    rig.hid.inject(Event::Relative { deltas: vec![(1, 1)], squash: false });
    assert_eq!(rig.reports().await, [Report::Relative([0, 1, 1, 0, 0])]);
    assert_eq!(rig.hid.subscribe().borrow().mouse.outputs.active, "usb_rel");
}

#[tokio::test]
async fn outputs_that_are_not_there_are_ignored_without_a_report() {
    let rig = Rig::start(Settings::default());
    for output in ["usb", "usb_win98", "ps2", "disabled", "nonsense"] {
        rig.hid.set_mouse_output(output);
    }
    rig.hid.set_keyboard_output("ps2");
    assert_eq!(rig.reports().await, []);
    assert_eq!(rig.hid.subscribe().borrow().mouse.outputs.active, "usb");
}

#[tokio::test]
async fn windows_98_sees_doubled_coordinates() {
    let rig = Rig::start(Settings {
        mice: Mice::Both { win98: true, relative_first: false },
        ..Settings::default()
    });
    rig.hid.set_mouse_output("usb_win98");
    rig.hid.inject(Event::Move { x: i16::MAX, y: i16::MIN });
    rig.hid.set_mouse_output("usb");
    rig.hid.inject(Event::Move { x: i16::MAX, y: i16::MIN });
    let xs: Vec<_> = rig.reports().await.iter().map(|report| report.bytes()[1..3].to_vec()).collect();
    assert_eq!(xs, [[0, 0], [0xfe, 0xff], [0xfe, 0xff], [0xff, 0x7f]]);
}

#[tokio::test]
async fn ignored_keys_are_dropped_from_single_events_only() {
    let rig = Rig::start(Settings { ignore_keys: vec![Key::KEY_A], ..Settings::default() });
    rig.hid.inject(press(Key::KEY_A));
    rig.hid.click_key(Key::KEY_A).await;
    assert_eq!(rig.reports().await, []);
    rig.hid.print("a", Keymap::builtin(), Duration::ZERO).await;
    assert_eq!(rig.reports().await, [keyboard(0, 4), UP[0]]);
}

#[tokio::test]
async fn a_click_releases_modifiers_and_print_screen_too() {
    let rig = Rig::start(Settings::default());
    rig.hid.click_key(Key::SHIFT_LEFT).await;
    rig.hid.click_key(Key::PRINT_SCREEN).await;
    rig.hid.click_button(Button::Middle).await;
    assert_eq!(
        rig.reports().await,
        [keyboard(2, 0), UP[0], keyboard(0, 0x46), UP[0], Report::Absolute([4, 0, 0, 0, 0, 0, 0]), UP[1]]
    );
}

#[tokio::test]
async fn lights_and_presence_of_the_host_show_in_the_state() {
    let rig = Rig::start(Settings::default());
    rig.host.set_leds(Leds { caps: true, ..Leds::default() });
    rig.host.set_present(false);
    let state = rig.until(|state| state.keyboard.leds.caps && !state.keyboard.online).await;
    assert!(!state.mouse.online && state.online && !state.busy && state.connected.is_none());
    rig.host.set_present(true);
    rig.until(|state| state.keyboard.online && state.mouse.online).await;
}

#[tokio::test]
async fn a_host_that_comes_back_hears_what_is_down() {
    let settings = Settings { retries: 0, ..Settings::default() };
    let rig = Rig::start(settings);
    rig.host.set_cut(true);
    rig.hid.inject(press(Key::KEY_A));
    rig.hid.inject(press(Key::KEY_B));
    rig.hid.inject(release(Key::KEY_A));
    rig.hid.flush().await;
    assert!(!rig.hid.subscribe().borrow().keyboard.online);
    assert!(rig.hid.subscribe().borrow().mouse.online, "the mouse was not used");
    rig.host.set_present(false);
    rig.until(|state| !state.mouse.online).await;
    rig.host.set_cut(false);
    rig.host.set_present(true);
    rig.until(|state| state.keyboard.online).await;
    assert_eq!(rig.host.take(), [Report::Keyboard([0, 0, 0, 5, 0, 0, 0, 0])]);
}

#[tokio::test(start_paused = true)]
async fn a_shortcut_presses_in_order_and_releases_in_reverse() {
    let rig = Rig::start(Settings::default());
    let start = tokio::time::Instant::now();
    rig.hid.shortcut(&[Key::CONTROL_LEFT, Key::ALT_LEFT, Key::DELETE]).await;
    assert_eq!(start.elapsed().as_millis() / 10, 30, "50 ms before each of six events");
    assert_eq!(
        rig.reports().await,
        [keyboard(1, 0), keyboard(5, 0), keyboard(5, 0x4c), keyboard(5, 0), keyboard(1, 0), UP[0]]
    );
    rig.hid.shortcut(&[]).await;
    assert_eq!(rig.reports().await, []);
}

#[tokio::test(start_paused = true)]
async fn text_waits_before_each_press_and_each_release() {
    let rig = Rig::start(Settings::default());
    let start = tokio::time::Instant::now();
    let printed = rig.hid.print("aBß", Keymap::builtin(), Duration::from_secs(1)).await;
    assert_eq!(start.elapsed().as_secs(), 6);
    assert!(!printed.interrupted);
    let expected = [keyboard(0, 4), UP[0], keyboard(2, 0), keyboard(2, 5), keyboard(2, 0), UP[0]];
    assert_eq!(rig.reports().await, expected);
}

#[tokio::test(start_paused = true)]
async fn two_texts_do_not_mix() {
    let rig = Rig::start(Settings::default());
    let (us, pause) = (Keymap::builtin(), Duration::from_millis(10));
    tokio::join!(rig.hid.print("aaa", us, pause), rig.hid.print("bbb", us, pause));
    let keys: Vec<u8> =
        rig.reports().await.iter().map(|report| report.bytes()[2]).filter(|key| *key != 0).collect();
    assert_eq!(keys, [4, 4, 4, 5, 5, 5]);
}

#[tokio::test]
async fn text_dropped_half_way_releases_what_it_holds() {
    let rig = Rig::start(Settings::default());
    let text = "A".repeat(100_000);
    tokio::select! {
        _ = rig.hid.print(&text, Keymap::builtin(), Duration::ZERO) => unreachable!("it is long"),
        () = rig.host.wait(10) => {}
    }
    let reports = rig.reports().await;
    assert_eq!(reports.last(), Some(&UP[0]), "{reports:?}");
    assert!(reports.contains(&keyboard(2, 4)));
}

/// A rig whose host shows that Caps Lock is on, and may take so long to show that it is off.
async fn locked(light_patience: Duration) -> Rig {
    let rig = Rig::start(Settings { light_patience, ..Settings::default() });
    rig.host.set_leds(Leds { caps: true, ..Leds::default() });
    rig.until(|state| state.keyboard.leds.caps).await;
    rig
}

const CAPS_LOCK: u8 = 0x39;

#[tokio::test]
async fn caps_lock_is_off_for_the_text_and_on_again_behind_it() {
    let tap = [keyboard(0, CAPS_LOCK), UP[0]];
    let text = [keyboard(0, 4), UP[0], keyboard(2, 0), keyboard(2, 5), keyboard(2, 0), UP[0]];
    let rig = locked(Duration::from_secs(60)).await;
    let switches = async {
        rig.host.wait(1).await;
        rig.host.set_leds(Leds::default());
        rig.host.wait(2 + text.len() + 1).await;
        rig.host.set_leds(Leds { caps: true, ..Leds::default() });
    };
    tokio::join!(rig.hid.print("aB", Keymap::builtin(), Duration::ZERO), switches);
    assert_eq!(rig.reports().await, [&tap[..], &text, &tap].concat());
    rig.hid.print("", Keymap::builtin(), Duration::ZERO).await;
    assert_eq!(rig.reports().await, [], "nothing to type, nothing to switch");
}

#[tokio::test]
async fn where_the_light_stays_on_shift_is_pressed() {
    let rig = locked(Duration::from_millis(300)).await;
    let (text, shift) = ([keyboard(0, 4), UP[0]], [keyboard(2, 0), UP[0]]);
    rig.hid.print("a", Keymap::builtin(), Duration::ZERO).await;
    let tap = [keyboard(0, CAPS_LOCK), UP[0]];
    assert_eq!(rig.reports().await, [&tap[..], &shift, &text, &tap].concat());
    // On a Japanese keyboard the key alone does something else.
    rig.hid.print("a", &Keymap::parse("Caps_Lock 0x3a shift\n"), Duration::ZERO).await;
    let tap = [keyboard(2, 0), keyboard(2, CAPS_LOCK), keyboard(2, 0), UP[0]];
    assert_eq!(rig.reports().await, [&tap[..], &shift, &text, &tap].concat());
}

#[tokio::test]
async fn caps_lock_stays_as_it_is_when_the_text_is_dropped_at_any_moment() {
    // Each drop is at another step of the first tap, or of the wait behind it.
    for steps in 0..40 {
        let rig = locked(Duration::from_millis(300)).await;
        let print = rig.hid.print("aa", Keymap::builtin(), Duration::ZERO);
        {
            let mut print = std::pin::pin!(print);
            for _ in 0..steps {
                if std::future::poll_fn(|cx| std::task::Poll::Ready(print.as_mut().poll(cx))).await.is_ready()
                {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let taps = rig.reports().await.iter().filter(|report| **report == keyboard(0, CAPS_LOCK)).count();
        assert!(taps.is_multiple_of(2), "after {steps} steps it was pressed {taps} times");
    }
}

#[tokio::test]
async fn caps_lock_is_on_again_when_the_text_is_dropped_but_not_after_a_reset() {
    let taps = async |rig: &Rig| {
        rig.reports().await.iter().filter(|report| **report == keyboard(0, CAPS_LOCK)).count()
    };
    let text = "A".repeat(100_000);
    let rig = locked(Duration::from_millis(300)).await;
    tokio::select! {
        _ = rig.hid.print(&text, Keymap::builtin(), Duration::ZERO) => unreachable!("it is long"),
        () = rig.host.wait(10) => {}
    }
    assert_eq!(taps(&rig).await, 2);
    let reset = async {
        rig.host.wait(10).await;
        rig.hid.reset();
    };
    tokio::join!(rig.hid.print(&text, Keymap::builtin(), Duration::ZERO), reset);
    assert_eq!(taps(&rig).await, 1);
}

#[tokio::test]
async fn clears_in_the_middle_of_a_text_lose_no_character_and_no_shift() {
    let rig = Rig::start(Settings::default());
    let text = "abcDEFghiJKLMNOPQrstUVWXYZ".repeat(20);
    let clears = async {
        for number in 1..50 {
            rig.host.wait(number * 20).await;
            rig.hid.clear();
        }
    };
    let (printed, ()) = tokio::join!(rig.hid.print(&text, Keymap::builtin(), Duration::ZERO), clears);
    assert!(!printed.interrupted);
    assert_eq!(typed(&rig.reports().await), text);
}

/// Reads reports as a US keyboard's host would.
fn typed(reports: &[Report]) -> String {
    let mut text = String::new();
    let mut down = Vec::new();
    for report in reports.iter().filter(|report| report.device() == Device::Keyboard) {
        let [modifiers, _, usages @ ..] = report.bytes() else { unreachable!() };
        for usage in usages.iter().filter(|usage| **usage != 0 && !down.contains(*usage)) {
            let letter = char::from(b'a' + usage - 4);
            text.push(if modifiers & 0x22 != 0 { letter.to_ascii_uppercase() } else { letter });
        }
        down = usages.to_vec();
    }
    text
}

#[tokio::test]
async fn a_reset_ends_a_text_and_leaves_nothing_down() {
    let rig = Rig::start(Settings::default());
    let text = "ABCDEFGH".repeat(10_000);
    let reset = async {
        rig.host.wait(10).await;
        rig.hid.reset();
    };
    let (printed, ()) = tokio::join!(rig.hid.print(&text, Keymap::builtin(), Duration::ZERO), reset);
    assert!(printed.interrupted);
    let reports = rig.reports().await;
    assert_eq!(reports.iter().rfind(|report| report.device() == Device::Keyboard), Some(&UP[0]));
    let typed = typed(&reports);
    assert!(!typed.is_empty() && typed.len() < text.len() && text.starts_with(&typed));
}

#[tokio::test]
async fn inactivity_counts_from_the_last_event() {
    let rig = Rig::start(Settings::default());
    let before = rig.hid.inactivity();
    rig.hid.inject(Event::Wheel { deltas: vec![(0, 1)], squash: false });
    rig.hid.flush().await;
    assert!(rig.hid.inactivity() <= before + Duration::from_secs(5));
}
