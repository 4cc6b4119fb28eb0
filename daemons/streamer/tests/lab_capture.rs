//! The program on a capture device of the laboratory: what it shows, what it says, and whose monitor the target sees.

#![expect(clippy::unwrap_used, clippy::panic, reason = "everything here is a test")]

mod program;

use std::path::{Path, PathBuf};

use client::streamer::{Monitor, Order, Outcome, Refusal, SourceState, State};
use nix::sys::signal::Signal;
use program::{Bench, PATIENCE, Process, state};
use sys::v4l2::Device;
use testkit::lab;

/// The program, and the device it captures from.
struct Lab {
    bench: Bench,
    device: PathBuf,
}

impl std::ops::Deref for Lab {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl Lab {
    fn new() -> Self {
        let device = lab::video_node("vivid").unwrap();
        let source = format!("{{type: v4l2, device: {}, input: HDMI}}", device.display());
        let bench = Bench::new(&format!("kvmd: {{streamer: {{source: {source}}}}}\n"));
        let lab = Self { bench, device };
        lab.set("DV Timings", 9); // 1280x720 at 60 Hz
        lab.set("DV Timings Signal Mode", 4);
        lab
    }

    fn set(&self, control: &str, value: i32) {
        let device = Device::open(&self.device).unwrap();
        device.set_control(device.control(control).unwrap(), value).unwrap();
    }

    /// What the target sees, asked from the device itself.
    fn edid(&self) -> Vec<u8> {
        let device = Device::open(&self.device).unwrap();
        device.edid(device.current_input().unwrap()).unwrap()
    }

    /// The state, once it is what is wanted.
    fn state(&self, wanted: impl Fn(&State) -> bool) -> State {
        state(&mut self.connect(), wanted)
    }

    fn order(&self, order: Order) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = self.path().join("streamer.sock");
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, client::streamer::order(&path, order)).await })
            .unwrap()
            .unwrap()
    }

    fn done(&self, order: Order) -> Monitor {
        match self.order(order) {
            Outcome::Done(monitor) => monitor,
            Outcome::Refused { text, .. } => panic!("{text}"),
        }
    }
}

fn end(mut process: Process, signal: Signal) {
    process.signal(signal);
    process.ended();
}

fn edid(product: u8) -> edid::Edid {
    let mut bytes = vec![0; 128];
    bytes[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
    bytes[10] = product;
    bytes[127] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    edid::Edid::from_bytes(&bytes).unwrap()
}

fn attempt(product: u8) -> Order {
    Order::Try { data: edid(product).to_hex() }
}

#[test]
fn the_picture_is_the_sources_at_its_timings_and_every_state_is_told_and_shown() {
    if !lab::inside() {
        return;
    }
    let lab = Lab::new();
    let _process = lab.start();
    let live = lab.frame_after(0, |frame| frame.meta.online);
    assert_eq!((live.meta.width, live.meta.height), (1280, 720));
    let image = turbojpeg::decompress(&live.data, turbojpeg::PixelFormat::RGB).unwrap();
    let at = image.pitch * (image.height * 7 / 8) + image.width * 3 / 16 * 3;
    let yellow: [u8; 3] = image.pixels[at..at + 3].try_into().unwrap();
    let near = |seen: u8, wanted: u8| seen.abs_diff(wanted) <= 10;
    assert!(near(yellow[0], 191) && near(yellow[1], 191) && near(yellow[2], 0), "{yellow:?}");
    let told = lab.state(|state| state.latency.is_some());
    let latency = told.latency.unwrap();
    assert!(told.source.online && told.source.state == SourceState::Live);
    assert!(latency.total.p50_us <= latency.total.p99_us && latency.total.p99_us <= latency.total.max_us);
    assert!(latency.encode.p50_us > 0 && latency.total.max_us >= latency.encode.max_us);
    let mut seq = live.seq;
    for (mode, state, shown) in [
        (1, SourceState::NoCable, frames::SourceState::NoCable),
        (2, SourceState::NoSync, frames::SourceState::NoSync),
        (3, SourceState::UnsupportedMode, frames::SourceState::UnsupportedMode),
    ] {
        lab.set("DV Timings Signal Mode", mode);
        let frame = lab.frame_after(seq, |frame| frame.meta.state == shown);
        assert!(!frame.meta.online);
        lab.state(|told| told.source.state == state && !told.source.online);
        seq = frame.seq;
    }
    lab.set("DV Timings", 2);
    lab.set("DV Timings Signal Mode", 4);
    lab.frame_after(seq, |frame| frame.meta.online && (frame.meta.width, frame.meta.height) == (720, 480));
}

#[test]
fn a_monitor_on_trial_is_taken_back_at_an_undo_a_stop_and_after_a_kill() {
    if !lab::inside() {
        return;
    }
    let lab = Lab::new();
    let before = lab.edid();
    let process = lab.start();
    lab.frame_after(0, |frame| frame.meta.online);
    let shown = lab.done(attempt(2));
    assert!(shown.trial_ms.is_some_and(|left| left > 0 && left <= 30_000));
    assert_eq!(lab.edid(), edid(2).as_bytes());
    lab.frame_after(lab.reader.latest().unwrap().seq, |frame| frame.meta.online);
    assert_eq!(lab.done(Order::Undo).trial_ms, None);
    assert_eq!(lab.edid(), before);
    assert!(matches!(lab.order(Order::Confirm), Outcome::Refused { reason: Refusal::NoTrial, .. }));
    let bad = Order::Try { data: "00".repeat(128) };
    assert!(matches!(lab.order(bad), Outcome::Refused { reason: Refusal::Invalid, .. }));

    lab.done(attempt(3));
    end(process, Signal::SIGTERM);
    assert_eq!(lab.edid(), before, "an orderly end takes it back");

    let process = lab.start();
    lab.frame_after(lab.reader.latest().unwrap().seq, |frame| frame.meta.online);
    lab.done(attempt(4));
    end(process, Signal::SIGKILL);
    assert_eq!(lab.edid(), edid(4).as_bytes(), "nobody could");
    let _process = lab.start();
    lab.frame_after(lab.reader.latest().unwrap().seq, |frame| frame.meta.online);
    assert_eq!(lab.edid(), before, "the next start does");
}

#[test]
fn a_confirmed_monitor_is_shown_again_after_a_start_even_if_the_device_forgot() {
    if !lab::inside() {
        return;
    }
    let lab = Lab::new();
    let process = lab.start();
    lab.frame_after(0, |frame| frame.meta.online);
    lab.done(attempt(5));
    let shown = lab.done(Order::Confirm);
    assert_eq!((shown.trial_ms, shown.saved), (None, Some(edid(5).to_hex())));
    end(process, Signal::SIGTERM);
    assert_eq!(lab.edid(), edid(5).as_bytes());
    let device = Device::open(&lab.device).unwrap();
    device.set_edid(device.current_input().unwrap(), edid(6).as_bytes()).unwrap();
    let _process = lab.start();
    lab.frame_after(lab.reader.latest().unwrap().seq, |frame| frame.meta.online);
    assert_eq!(lab.edid(), edid(5).as_bytes());
    let kept: &Path = &lab.path().join("var/streamer/edid.hex");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), edid(5).to_string());
}
