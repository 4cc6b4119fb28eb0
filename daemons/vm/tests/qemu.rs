//! Everything once against a real QEMU, with an empty machine: its firmware's screen is picture enough. Where no
//! QEMU is installed the test says so and ends.

#![expect(clippy::unwrap_used, reason = "test steps outside of test functions")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vm::input::{Button, Event};
use vm::{Error, Machine, Qmp, RunState, Screen, input, media, power, screen};

/// Generous: what is waited for comes in a fraction of it, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A QEMU that does not outlive the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(dir: &Path) -> Option<(Machine, Running)> {
    let machine = Machine { run_dir: dir.to_owned(), memory_mb: 64, ..Machine::default() };
    let child = Command::new(&machine.qemu).args(vm::command(&machine)).stdin(Stdio::null()).spawn();
    match child {
        Ok(child) => Some((machine, Running(child))),
        Err(error) => {
            testkit::skip(&format!("{} cannot be started: {error}", machine.qemu.display()));
            None
        }
    }
}

async fn reach<T: std::fmt::Debug>(receiver: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) {
    let reached = tokio::time::timeout(PATIENCE, receiver.wait_for(wanted)).await.is_ok();
    assert!(reached, "still {:?}", *receiver.borrow());
}

fn image(dir: &Path, name: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, vec![0; 1 << 20]).unwrap_or_else(|error| unreachable!("{error}"));
    path
}

#[tokio::test]
async fn a_real_machine_is_switched_fed_typed_at_and_seen() {
    let dir = tempfile::tempdir().unwrap();
    let Some((machine, running)) = start(dir.path()) else { return };
    let stop = CancellationToken::new();
    let qmp = Qmp::connect(machine.socket("kvmd"), stop.clone());
    // A second monitor at the same time, as the supervisor has one.
    let other = Qmp::connect(machine.socket("supervisor"), stop.clone());
    let mut state = qmp.run_state();
    reach(&mut state, |now| *now == RunState::Running).await;
    reach(&mut other.run_state(), |now| *now == RunState::Running).await;

    picture(&machine, &stop).await;
    power_button(&qmp, &mut state).await;
    typing(&qmp).await;
    cd(&qmp, &image(dir.path(), "a,b c.iso")).await;
    flash(&qmp, &image(dir.path(), "flash.img")).await;

    drop(running);
    reach(&mut state, |now| *now == RunState::Unreachable).await;
    assert_eq!(power::on(&qmp).await, Err(Error::Unreachable));
}

async fn picture(machine: &Machine, stop: &CancellationToken) {
    let screen = Screen::connect(machine.screen_socket(), screen::Settings::default(), stop);
    let mut pixels = Vec::new();
    let seen = tokio::time::timeout(PATIENCE, async {
        let mut status = screen.subscribe();
        loop {
            if let Some(now) = screen.copy(&mut pixels) {
                let (width, height) = now.size.unwrap_or_default();
                assert_eq!(pixels.len(), usize::from(width) * usize::from(height) * screen::PIXEL_BYTES);
                if pixels.chunks(4).any(|pixel| pixel[..3] != [0, 0, 0]) {
                    return;
                }
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    });
    assert!(seen.await.is_ok(), "the screen stays black");
    let mut lights = screen::leds(machine.screen_socket(), screen::Settings::default(), stop.clone());
    reach(&mut lights, Option::is_some).await;
}

async fn power_button(qmp: &Qmp, state: &mut watch::Receiver<RunState>) {
    power::off_hard(qmp).await.unwrap();
    reach(state, |now| *now == RunState::Paused).await;
    power::reset(qmp).await.unwrap();
    assert_eq!(*state.borrow(), RunState::Paused, "a reset does not switch on");
    let mut events = qmp.events();
    power::on(qmp).await.unwrap();
    reach(state, |now| *now == RunState::Running).await;
    power::reset(qmp).await.unwrap();
    let mut resets = 0;
    while resets < 2 {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        let event = event.unwrap_or_else(|_| unreachable!("{resets} resets instead of two")).unwrap();
        resets += usize::from(event.name == "RESET");
    }
    // The firmware ignores the button; that QEMU takes it is what can be seen here.
    power::off_acpi(qmp).await.unwrap();
}

async fn typing(qmp: &Qmp) {
    let key = |evdev, pressed| Event::key(evdev, pressed).unwrap();
    let events = [
        key(42, true),
        key(30, true),
        key(30, false),
        key(42, false),
        Event::Absolute { x: 0, y: 32767 },
        Event::Relative { dx: -5, dy: 5 },
        Event::Button { button: Button::Left, pressed: true },
        Event::Button { button: Button::Left, pressed: false },
        Event::Button { button: Button::WheelDown, pressed: true },
        Event::Button { button: Button::WheelDown, pressed: false },
    ];
    input::send(qmp, &events).await.unwrap();
    // Every name of the table must be one of QEMU's, or the batch is refused.
    for evdev in 0..512 {
        if let Some(event) = Event::key(evdev, false) {
            assert_eq!(input::send(qmp, &[event]).await, Ok(()), "code {evdev}");
        }
    }
    input::release_all(qmp).await.unwrap();
}

async fn cd(qmp: &Qmp, disc: &Path) {
    assert!(!media::seen(qmp).await.unwrap());
    media::mark_seen(qmp).await.unwrap();
    assert!(media::seen(qmp).await.unwrap());
    assert!(matches!(media::mark_seen(qmp).await, Err(Error::Refused { .. })));
    assert_eq!(media::state(qmp).await.unwrap(), media::Media::default());
    for _ in 0..2 {
        media::insert_cd(qmp, disc).await.unwrap();
        let held = media::state(qmp).await.unwrap();
        assert_eq!((held.cd.as_deref(), held.let_go), (disc.to_str(), false));
    }
    let tray = serde_json::json!({ "id": media::CD, "force": true });
    qmp.execute::<serde_json::Value>("blockdev-open-tray", tray).await.unwrap();
    assert!(media::state(qmp).await.unwrap().let_go);
    let missing = media::insert_cd(qmp, Path::new("/nonexistent.iso")).await;
    assert!(matches!(missing, Err(Error::Refused { .. })), "{missing:?}");
    for _ in 0..2 {
        media::eject_cd(qmp).await.unwrap();
        assert_eq!(media::state(qmp).await.unwrap().cd, None);
    }
}

async fn flash(qmp: &Qmp, image: &Path) {
    media::unplug_flash(qmp).await.unwrap();
    for writable in [true, false, true] {
        media::plug_flash(qmp, image, writable).await.unwrap();
        let expected = image.to_str().map(|path| (path.to_owned(), writable));
        let held = media::state(qmp).await.unwrap();
        assert_eq!((held.flash, held.let_go), (expected, false));
        let twice = media::plug_flash(qmp, image, writable).await;
        assert!(matches!(twice, Err(Error::Refused { .. })), "{twice:?}");
        media::unplug_flash(qmp).await.unwrap();
        assert_eq!(media::state(qmp).await.unwrap().flash, None);
    }
}
