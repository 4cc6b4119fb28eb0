//! The link against a model of the chip behind a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use hid_wire::ch9329::{Frame, MAX_FRAME};
use hid_wire::{Device, Key};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use proptest::prelude::*;
use std::os::fd::AsFd;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Event, Hid, State};

/// How the chip misbehaves, and what it did.
#[derive(Debug, Default)]
struct Manners {
    configured: bool,
    leds: u8,
    /// Orders obeyed whose answers are not sent.
    lose: usize,
    /// Orders refused.
    refuse: usize,
    /// Sent before each answer.
    noise: Vec<u8>,
    unplug: bool,
    /// Frames obeyed, but for questions.
    obeyed: Vec<Frame>,
    asked: usize,
}

/// A chip behind a pseudo-terminal.
struct Chip {
    manners: Arc<(Mutex<Manners>, Condvar)>,
    dir: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Chip {
    fn new() -> Self {
        let manners = Manners { configured: true, ..Manners::default() };
        let manners = Arc::new((Mutex::new(manners), Condvar::new()));
        let mut chip = Self { manners, dir: tempfile::tempdir().unwrap(), thread: None };
        chip.plug();
        chip
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("serial")
    }

    fn settings(&self) -> Settings {
        Settings { device: self.path(), read_timeout: Duration::from_millis(100), ..Settings::default() }
    }

    /// A new terminal under the old name, as an adapter that is plugged in again.
    fn plug(&mut self) {
        let pty = openpty(None, None).unwrap();
        let mut modes = tcgetattr(&pty.slave).unwrap();
        cfmakeraw(&mut modes);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).unwrap();
        let name = nix::unistd::ttyname(&pty.slave).unwrap();
        let _ = std::fs::remove_file(self.path());
        symlink(name, self.path()).unwrap();
        let manners = Arc::clone(&self.manners);
        // The other end stays open here: without it the terminal would have hung up before anybody came.
        self.thread = Some(std::thread::spawn(move || run(pty.master.into(), pty.slave.into(), &manners)));
    }

    fn unplug(&mut self) {
        self.with(|manners| manners.unplug = true);
        self.thread.take().unwrap().join().unwrap();
        self.with(|manners| manners.unplug = false);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Manners) -> T) -> T {
        let result = change(&mut self.manners.0.lock().unwrap());
        self.manners.1.notify_all();
        result
    }

    fn obeyed(&self) -> Vec<Frame> {
        self.with(|manners| std::mem::take(&mut manners.obeyed))
    }

    /// Waits for the chip to have seen something.
    fn until(&self, so: impl Fn(&Manners) -> bool) {
        let manners = self.manners.0.lock().unwrap();
        let waited = self.manners.1.wait_timeout_while(manners, PATIENCE, |manners| !so(manners));
        assert!(!waited.unwrap().1.timed_out());
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.with(|manners| manners.unplug = true);
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn run(mut line: File, _other_end: File, manners: &(Mutex<Manners>, Condvar)) {
    let (mut waiting, mut bytes) = (Vec::new(), [0; MAX_FRAME]);
    while !manners.0.lock().unwrap().unplug {
        // It looks now and then whether it was pulled out.
        let mut fds = [PollFd::new(line.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(5_u8)).unwrap() == 0 {
            continue;
        }
        let len = line.read(&mut bytes).unwrap();
        waiting.extend_from_slice(&bytes[..len]);
        // An order's frame is a frame like any other.
        for frame in hid_wire::ch9329::Parser::new().push(&waiting) {
            waiting.clear();
            let mut manners_now = manners.0.lock().unwrap();
            let answer = answer(&frame, &mut manners_now);
            let noise = manners_now.noise.clone();
            drop(manners_now);
            manners.1.notify_all();
            if let Some(answer) = answer {
                line.write_all(&[noise, answer.bytes()].concat()).unwrap();
            }
        }
    }
}

fn answer(order: &Frame, manners: &mut Manners) -> Option<Frame> {
    let code = order.code | 0x80;
    let answer = |code, data: &[u8]| Some(Frame { address: 0, code, data: data.to_vec() });
    if order.code == 1 {
        manners.asked += 1;
        let [usb, leds] = [u8::from(manners.configured), manners.leds];
        return answer(code, &[0x31, usb, leds, 0, 0, 0, 0, 0]);
    }
    if manners.refuse > 0 {
        manners.refuse -= 1;
        return answer(order.code | 0xc0, &[0xe4]);
    }
    manners.obeyed.push(order.clone());
    if manners.lose > 0 {
        manners.lose -= 1;
        return None;
    }
    answer(code, &[0])
}

struct Rig {
    chip: Chip,
    hid: Hid,
    _stop: tokio_util::sync::DropGuard,
}

impl Rig {
    async fn start() -> Self {
        let chip = Chip::new();
        let link = Ch9329::new(chip.settings()).unwrap();
        let stop = CancellationToken::new();
        let (hid, _) = crate::spawn(crate::Settings::default(), link, stop.clone()).unwrap();
        let rig = Self { chip, hid, _stop: stop.drop_guard() };
        rig.until(|state| state.online && state.keyboard.online && state.mouse.online).await;
        rig.hid.flush().await;
        let _ = rig.chip.obeyed();
        rig
    }

    async fn until(&self, so: impl FnMut(&State) -> bool) {
        let mut state = self.hid.subscribe();
        tokio::time::timeout(PATIENCE, state.wait_for(so)).await.unwrap().unwrap();
    }

    fn key(&self, pressed: bool) {
        self.hid.inject(Event::Key { key: Key::KEY_A, pressed, finish: false });
    }

    fn notch(&self) {
        self.hid.inject(Event::Wheel { deltas: vec![(0, 1)], squash: false });
    }

    /// What is down at the target, by what the chip obeyed.
    fn keyboard(&self) -> Option<Vec<u8>> {
        self.chip.with(|manners| Some(manners.obeyed.iter().rfind(|frame| frame.code == 2)?.data.clone()))
    }
}

fn notches(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.code == 4 && frame.data[6] != 0).count()
}

#[tokio::test]
async fn reports_reach_the_chip_and_its_lights_come_back() {
    let rig = Rig::start().await;
    rig.key(true);
    rig.hid.inject(Event::Move { x: 0, y: i16::MAX });
    rig.hid.set_mouse_output("usb_rel");
    rig.hid.inject(Event::Relative { deltas: vec![(-1, 2)], squash: false });
    rig.hid.flush().await;
    let frames: Vec<_> = rig.chip.obeyed().iter().map(|frame| hex::encode(&frame.data)).collect();
    assert_eq!(
        frames,
        ["0000040000000000", "0200ff07ff0f00", "0200ff07ff0f00", "0100ff0200"],
        "the third lets go of the mouse that was left"
    );
    rig.chip.with(|manners| manners.leds = 0b011);
    rig.until(|state| state.keyboard.leds == Leds { num: true, caps: true, scroll: false }).await;
}

const RELEASES: [&str; 3] = ["0000000000000000", "02000000000000", "0100000000"];

fn data(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| hex::encode(&frame.data)).collect()
}

#[tokio::test]
async fn what_a_predecessor_left_down_is_released_once_when_the_chip_is_first_there() {
    let chip = Chip::new();
    chip.with(|manners| manners.refuse = 2);
    let link = Ch9329::new(chip.settings()).unwrap();
    let stop = CancellationToken::new();
    let (hid, _) = crate::spawn(crate::Settings::default(), link, stop.clone()).unwrap();
    let mut state = hid.subscribe();
    let all = state.wait_for(|state| state.keyboard.online && state.mouse.online);
    tokio::time::timeout(PATIENCE, all).await.unwrap().unwrap();
    chip.until(|manners| manners.obeyed.len() >= 3);
    hid.inject(Event::Key { key: Key::KEY_A, pressed: true, finish: false });
    hid.flush().await;
    let mut said = data(&chip.obeyed());
    assert_eq!(said.pop().unwrap(), "0000040000000000");
    said.sort();
    let mut releases = RELEASES.map(str::to_owned);
    releases.sort();
    assert_eq!(said, releases, "each until it is taken, and once");
    stop.cancel();
}

#[test]
fn letting_go_releases_everything_and_waits_for_no_chip() {
    let mut chip = Chip::new();
    let_go(chip.settings()).unwrap();
    assert_eq!(data(&chip.obeyed()), RELEASES);
    // One lost answer keeps nothing from being sent.
    chip.with(|manners| manners.lose = 1);
    let_go(chip.settings()).unwrap_err();
    assert_eq!(data(&chip.obeyed()), RELEASES);
    chip.unplug();
    let_go(chip.settings()).unwrap_err();
}

#[tokio::test]
async fn noise_on_the_line_and_refusals_lose_nothing() {
    let rig = Rig::start().await;
    rig.chip.with(|manners| manners.noise = vec![0x57, 0xab, 0, 0x82, 40, 1, 2, 3]);
    rig.key(true);
    rig.key(false);
    rig.hid.flush().await;
    assert_eq!(rig.chip.obeyed().len(), 2);
    // A mangled order was not obeyed: it is simply given again.
    rig.chip.with(|manners| manners.refuse = 1);
    rig.notch();
    rig.hid.flush().await;
    assert!(!rig.hid.subscribe().borrow().mouse.online);
    rig.until(|state| state.mouse.online).await;
    assert_eq!(notches(&rig.chip.obeyed()), 1);
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_moves_nothing_twice() {
    let rig = Rig::start().await;
    rig.chip.with(|manners| manners.lose = 1);
    rig.notch();
    rig.hid.flush().await;
    rig.until(|state| state.mouse.online).await;
    rig.key(true);
    rig.hid.flush().await;
    let obeyed = rig.chip.obeyed();
    assert_eq!(notches(&obeyed), 1, "{obeyed:?}");
    assert!(obeyed.len() >= 3, "what is down was said again: {obeyed:?}");
}

#[tokio::test]
async fn a_chip_that_is_unplugged_is_found_again_and_hears_what_is_down() {
    let mut rig = Rig::start().await;
    for round in 0..3 {
        rig.key(true);
        rig.hid.flush().await;
        rig.chip.unplug();
        rig.until(|state| !state.online && !state.keyboard.online).await;
        rig.key(false);
        // Nobody waits for a chip that is not there.
        let before = Instant::now();
        for _ in 0..100 {
            rig.notch();
        }
        rig.hid.flush().await;
        assert!(before.elapsed() < PATIENCE / 2);
        rig.chip.plug();
        rig.until(|state| state.online && state.keyboard.online && state.mouse.online).await;
        rig.hid.flush().await;
        assert_eq!(rig.keyboard(), Some(vec![0; 8]), "round {round}");
    }
}

#[tokio::test]
async fn a_target_that_is_off_shows_and_hears_what_is_down_when_it_is_on() {
    let rig = Rig::start().await;
    rig.key(true);
    rig.hid.flush().await;
    rig.chip.with(|manners| (manners.configured, manners.leds) = (false, 7));
    rig.until(|state| state.online && !state.keyboard.online).await;
    assert_eq!(rig.hid.subscribe().borrow().keyboard.leds, Leds::default());
    let _ = rig.chip.obeyed();
    rig.chip.with(|manners| manners.configured = true);
    rig.until(|state| state.keyboard.online).await;
    let heard = |manners: &Manners| manners.obeyed.iter().any(|frame| frame.data.get(2) == Some(&4));
    rig.chip.until(heard);
}

#[tokio::test]
async fn a_reset_starts_the_chip_anew_and_releases_everything() {
    let rig = Rig::start().await;
    rig.key(true);
    rig.hid.reset();
    rig.hid.flush().await;
    rig.until(|state| state.keyboard.online).await;
    let codes: Vec<_> = rig.chip.obeyed().iter().map(|frame| frame.code).collect();
    let reset = codes.iter().position(|code| *code == 0x0f).unwrap();
    assert!(codes[reset..].starts_with(&[0x0f, 2, 4, 5]), "{codes:?}");
}

#[test]
fn a_speed_no_port_has_is_refused_and_a_missing_port_is_not() {
    let settings = Settings { device: "/nonexistent/serial".into(), ..Settings::default() };
    let error = Ch9329::new(Settings { speed: 12_345, ..settings.clone() }).unwrap_err();
    assert_eq!(error.to_string(), "no serial port has a speed of 12345");
    let mut link = Ch9329::new(settings).unwrap();
    assert!(matches!(link.send(&Report::Keyboard([0; 8])), Err(Error::Broken(_))));
    assert_eq!(link.taken(Device::Keyboard), Ok(()));
}

/// What may happen between two events.
#[derive(Clone, Debug)]
enum Mishap {
    Nothing,
    Lose,
    Refuse,
    Noise(Vec<u8>),
}

fn any_mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        4 => Just(Mishap::Nothing),
        1 => Just(Mishap::Lose),
        1 => Just(Mishap::Refuse),
        2 => prop::collection::vec(prop_oneof![any::<u8>(), Just(0x57), Just(0xab)], 0..30).prop_map(Mishap::Noise),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_line_does_the_target_ends_with_our_state_and_no_notch_twice(
        acts in prop::collection::vec((any_mishap(), any::<bool>(), any::<bool>()), 1..20)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::start().await;
            let (mut turned, mut down) = (0, false);
            for (mishap, turns, pressed) in acts {
                rig.chip.with(|manners| match mishap {
                    Mishap::Nothing => {}
                    Mishap::Lose => manners.lose = 1,
                    Mishap::Refuse => manners.refuse = 1,
                    Mishap::Noise(noise) => manners.noise = noise,
                });
                if turns {
                    turned += 1;
                    rig.notch();
                } else {
                    down = pressed;
                    rig.key(pressed);
                }
            }
            rig.chip.with(|manners| (manners.lose, manners.refuse) = (0, 0));
            rig.hid.flush().await;
            rig.until(|state| state.keyboard.online && state.mouse.online).await;
            rig.hid.flush().await;
            let down_there = rig.keyboard().is_some_and(|data| data[2] == 4);
            assert_eq!(down_there, down);
            assert!(notches(&rig.chip.obeyed()) <= turned);
        });
    }
}
