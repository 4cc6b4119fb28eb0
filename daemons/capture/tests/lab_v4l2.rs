//! The V4L2 source on the kernel's test driver `vivid`: a capture card with an HDMI input whose cable, signal and faults
//! are controls, and a webcam.

#![expect(clippy::unwrap_used, clippy::panic, reason = "everything here is a test")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capture::{News, Reopening, Signal, Source, SourceState, V4l2, v4l2};
use encode::Format;
use sys::v4l2::Device;
use testkit::lab;

/// In which the picture must be back, whatever ended it: the pass mark itself.
const BACK: Duration = Duration::from_secs(5);
/// For everything else; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Values of "DV Timings Signal Mode".
const NO_SIGNAL: i32 = 1;
const NO_LOCK: i32 = 2;
const OUT_OF_RANGE: i32 = 3;
const SELECTED: i32 = 4;
/// Values of "DV Timings", small enough for one processor: 720x480, 720x576, 1280x720 at 30 and 60 Hz.
const SMALL: [i32; 4] = [2, 4, 7, 9];
/// 720x480 interlaced, whose pixels are too slow for the card: it can measure them, but not take them.
const TOO_SLOW: i32 = 1;

/// The card from the outside: what the world does to it.
struct Card {
    path: PathBuf,
}

impl Card {
    fn new() -> Self {
        let card = Self { path: lab::video_node("vivid").unwrap() };
        card.select(SMALL[3]);
        card
    }

    /// Opened for each touch, as an open node is not taken away.
    fn set(&self, control: &str, value: i32) {
        let device = Device::open(&self.path).unwrap();
        let id = device.control(control).unwrap_or_else(|| panic!("no control {control}"));
        device.set_control(id, value).unwrap_or_else(|error| panic!("{control} = {value}: {error}"));
    }

    fn signal(&self, mode: i32) {
        self.set("DV Timings Signal Mode", mode);
    }

    /// A source with other timings.
    fn select(&self, timings: i32) {
        self.set("DV Timings", timings);
        self.signal(SELECTED);
    }

    /// Size of the picture that comes in.
    fn size(&self) -> (u32, u32) {
        let timings = Device::open(&self.path).unwrap().query_timings().unwrap();
        (timings.width(), timings.height())
    }

    fn settings(&self) -> v4l2::Settings {
        let input = v4l2::Input::Name("hdmi".to_owned());
        v4l2::Settings { device: self.path.clone(), input, ..v4l2::Settings::default() }
    }
}

fn reopening(settings: v4l2::Settings) -> impl Source {
    Reopening::new(move || Ok(Box::new(V4l2::open(&settings)?)))
}

/// Asks until it says what is wanted; gives how long that took.
fn until(
    source: &mut dyn Source,
    what: &str,
    wanted: impl Fn(&dyn Source, &Result<News, Signal>) -> bool,
) -> Duration {
    let began = Instant::now();
    loop {
        let said = source.wait(Instant::now() + Duration::from_millis(100));
        if wanted(source, &said) {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "never {what}, but {said:?}");
    }
}

fn until_live(source: &mut dyn Source, size: (u32, u32)) -> Duration {
    until(source, &format!("a picture of {size:?}"), |source, said| {
        let view = source.picture().map(|picture| (picture.view.width(), picture.view.height()));
        *said == Ok(News::New) && view == Some(size)
    })
}

fn until_absent(source: &mut dyn Source, state: SourceState) {
    until(source, state.name(), |_, said| *said == Err(Signal::Absent(state)));
    assert!(source.picture().is_none());
}

/// The colours of the picture, decoded from a JPEG, in the middle of each eighth of a line near the bottom.
fn bars(source: &dyn Source) -> Vec<[u8; 3]> {
    let picture = source.picture().unwrap();
    let mut encoder = encode::Jpeg::new(95).unwrap();
    let jpeg = encoder.encode(&picture.view).unwrap();
    let image = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap();
    assert_eq!(u32::try_from(image.width).unwrap(), picture.view.width());
    let line = &image.pixels[image.pitch * (image.height * 7 / 8)..];
    (0..8)
        .map(|bar| {
            let at = (image.width * (2 * bar + 1) / 16) * 3;
            [line[at], line[at + 1], line[at + 2]]
        })
        .collect()
}

/// White, yellow, cyan, green, magenta, red, blue, black.
fn assert_bars(seen: &[[u8; 3]], format: Format) {
    let on = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)];
    for (seen, on) in seen.iter().zip(on) {
        let wanted = [on.0, on.1, on.2].map(|on| on * 191_i32);
        let right = seen.iter().zip(wanted).all(|(seen, wanted)| (i32::from(*seen) - wanted).abs() <= 6);
        assert!(right, "{format}: {seen:?} instead of {wanted:?}");
    }
}

#[test]
fn colour_bars_come_through_in_every_format_the_card_has() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let formats = Format::RAW.map(Some);
    for format in formats.into_iter().chain([None]) {
        let mut source = V4l2::open(&v4l2::Settings { format, ..card.settings() }).unwrap();
        until_live(&mut source, card.size());
        let got = source.picture().unwrap().view.format();
        assert!(format.is_none_or(|format| format == got), "{got} instead of {format:?}");
        let seen = bars(&source);
        println!("{}: {got}: {seen:?}", format.map_or("auto", Format::name));
        assert_bars(&seen, got);
    }
}

#[test]
fn the_pictures_time_is_the_drivers() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let mut source = reopening(card.settings());
    until_live(&mut source, card.size());
    let mut last = 0;
    for _ in 0..20 {
        until_live(&mut source, card.size());
        let captured = source.picture().unwrap().captured;
        assert!(captured > last && captured <= frames::now_ns());
        last = captured;
    }
}

#[test]
fn every_state_of_the_signal_has_its_name_and_the_picture_comes_back() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let mut source = reopening(card.settings());
    until_live(&mut source, card.size());
    for (mode, state) in [
        (NO_SIGNAL, SourceState::NoCable),
        (NO_LOCK, SourceState::NoSync),
        (OUT_OF_RANGE, SourceState::UnsupportedMode),
    ] {
        card.signal(mode);
        until_absent(&mut source, state);
        card.signal(SELECTED);
        until_live(&mut source, card.size());
    }
    card.signal(NO_SIGNAL);
    until_absent(&mut source, SourceState::NoCable);
    card.signal(NO_LOCK);
    until_absent(&mut source, SourceState::NoSync);
    card.select(TOO_SLOW);
    until_absent(&mut source, SourceState::UnsupportedMode);
    card.select(SMALL[0]);
    until_live(&mut source, (720, 480));
}

#[test]
fn a_device_that_cannot_be_used_is_a_state_too() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let missing = v4l2::Settings { device: "/dev/video99".into(), ..card.settings() };
    until_absent(&mut reopening(missing), SourceState::NoCable);
    let encoder = lab::video_node("stateful-encoder").unwrap();
    let other = v4l2::Settings { device: encoder, ..card.settings() };
    until_absent(&mut reopening(other), SourceState::UnsupportedMode);
    let input = v4l2::Input::Name("DisplayPort".to_owned());
    until_absent(&mut reopening(v4l2::Settings { input, ..card.settings() }), SourceState::UnsupportedMode);
    let format = Some(Format::Jpeg);
    let mut source = reopening(v4l2::Settings { format, ..card.settings() });
    until_absent(&mut source, SourceState::UnsupportedMode);
    drop(source);
    let mut first = reopening(card.settings());
    until_live(&mut first, card.size());
    let mut second = reopening(card.settings());
    until_absent(&mut second, SourceState::NoSync);
    drop(first);
    until_live(&mut second, card.size());
}

/// What is done to the source, two hundred times.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Mode,
    Cable,
    /// No buffer is filled for a while, though there is a signal.
    Stall,
    /// The driver's queue is broken until the capture is started anew.
    Fatal,
    /// The device goes away and comes back.
    Unplug,
}

#[test]
fn two_hundred_times_the_picture_is_back_within_five_seconds() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let mut source = reopening(card.settings());
    until_live(&mut source, card.size());
    let mut worst = [Duration::ZERO; 5];
    for round in 0..200 {
        let blow = [Blow::Mode, Blow::Cable, Blow::Stall, Blow::Fatal, Blow::Unplug][round % 5];
        let kind = round / 5;
        let took = match blow {
            Blow::Mode => {
                card.select(SMALL[kind % SMALL.len()]);
                until_live(&mut source, card.size())
            }
            Blow::Cable => {
                card.signal([NO_SIGNAL, NO_LOCK, OUT_OF_RANGE][kind % 3]);
                let state = [SourceState::NoCable, SourceState::NoSync, SourceState::UnsupportedMode];
                until_absent(&mut source, state[kind % 3]);
                card.signal(SELECTED);
                until_live(&mut source, card.size())
            }
            Blow::Stall => {
                card.set("Percentage of Dropped Buffers", 100);
                // From a stall too short to be noticed to one during which the device is opened anew.
                let end = Instant::now() + Duration::from_millis(400 * (kind as u64 % 7));
                while Instant::now() < end {
                    let _ = source.wait(end);
                }
                card.set("Percentage of Dropped Buffers", 0);
                until_live(&mut source, card.size())
            }
            Blow::Fatal => {
                card.set("Inject Fatal Streaming Error", 1);
                until_live(&mut source, card.size())
            }
            Blow::Unplug => {
                let size = card.size();
                card.set("Disconnect", 1);
                until_live(&mut source, size)
            }
        };
        worst[round % 5] = worst[round % 5].max(took);
        assert!(took < BACK, "round {round}, {blow:?}: the picture was back after {took:?}");
    }
    println!(
        "longest until the picture was back: mode {:?}, cable {:?}, stall {:?}, fatal {:?}, unplug {:?}",
        worst[0], worst[1], worst[2], worst[3], worst[4]
    );
    assert_eq!(mappings(&card.path), 4, "the buffers of one capture, no more");
    drop(source);
    assert_eq!(mappings(&card.path), 0);
}

/// How many buffers of the device are mapped into this process.
fn mappings(device: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.ends_with(device.to_str().unwrap())).count()
}

#[test]
fn a_node_that_is_not_there_for_a_while_is_no_cable_until_it_is() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("video");
    std::os::unix::fs::symlink(&card.path, &link).unwrap();
    let mut source = reopening(v4l2::Settings { device: link.clone(), ..card.settings() });
    until_live(&mut source, card.size());
    std::fs::remove_file(&link).unwrap();
    card.set("Disconnect", 1); // comes back as soon as nobody has it open
    until_absent(&mut source, SourceState::NoCable);
    std::os::unix::fs::symlink(&card.path, &link).unwrap();
    let took = until_live(&mut source, card.size());
    println!("back {took:?} after the node was");
    assert!(took < BACK);
}

#[test]
fn errors_of_the_driver_at_any_step_are_survived() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let mut source = reopening(card.settings());
    until_live(&mut source, card.size());
    for control in ["Inject V4L2_BUF_FLAG_ERROR", "Inject VIDIOC_QBUF Error"] {
        card.set(control, 1);
        let took = until_live(&mut source, card.size());
        println!("{control}: {took:?}");
        assert!(took < BACK);
    }
    // These strike at the next start.
    for control in ["Inject VIDIOC_REQBUFS Error", "Inject VIDIOC_STREAMON Error"] {
        card.set(control, 1);
        card.set("Inject Fatal Streaming Error", 1);
        let took = until_live(&mut source, card.size());
        println!("{control}: {took:?}");
        assert!(took < BACK);
    }
}

#[test]
fn a_webcam_gives_the_size_that_is_wanted() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let settings = v4l2::Settings {
        input: v4l2::Input::Name("webcam".to_owned()),
        size: Some((640, 360)),
        fps: 30,
        ..card.settings()
    };
    let mut source = reopening(settings.clone());
    until_live(&mut source, (640, 360));
    for (wanted, given) in [((320, 180), (320, 180)), ((1280, 720), (1280, 720)), ((1300, 700), (1280, 720))]
    {
        assert!(source.set_size(wanted.0, wanted.1));
        until_live(&mut source, given);
    }
    drop(source);
    let mut source = reopening(v4l2::Settings { size: None, ..settings });
    until_live(&mut source, (1920, 1080));
}

#[test]
fn a_digital_input_keeps_the_size_of_its_signal() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let mut source = reopening(card.settings());
    until_live(&mut source, card.size());
    assert!(!source.set_size(640, 480));
    until_live(&mut source, card.size());
}

#[test]
fn the_targets_monitor_is_shown_set_and_taken_away() {
    if !lab::inside() {
        return;
    }
    let card = Card::new();
    let mut source = reopening(card.settings());
    until_live(&mut source, card.size());
    let before = source.monitor().unwrap().edid().unwrap();
    assert!(before.starts_with(&[0, 255, 255, 255, 255, 255, 255, 0]) && before.len().is_multiple_of(128));
    let mut other = vec![0; 128];
    other[..8].copy_from_slice(&before[..8]);
    other[127] = other.iter().fold(0_u8, |sum: u8, byte: &u8| sum.wrapping_sub(*byte));
    source.monitor().unwrap().set_edid(&other).unwrap();
    assert_eq!(source.monitor().unwrap().edid().unwrap(), other);
    until_live(&mut source, card.size());
    // The device is held to one block of ours at every opening.
    drop(source);
    let mut source = reopening(v4l2::Settings { edid: Some(before.clone()), ..card.settings() });
    until_live(&mut source, card.size());
    assert_eq!(source.monitor().unwrap().edid().unwrap(), before);
    // Without a monitor the target sends nothing.
    source.monitor().unwrap().set_edid(&[]).unwrap();
    until_absent(&mut source, SourceState::NoCable);
    assert!(source.monitor().unwrap().edid().unwrap().is_empty());
    let too_long = before.repeat(8);
    assert!(source.monitor().unwrap().set_edid(&too_long).is_err());
    source.monitor().unwrap().set_edid(&before).unwrap();
    let took = until_live(&mut source, card.size());
    assert!(took < BACK);
}
