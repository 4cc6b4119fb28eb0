//! The program as the supervisor runs it: with a ring and a socket by descriptor, killed and started again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "everything here is a test")]

mod program;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use client::streamer::SourceState;
use program::{Bench, state};

fn pattern() -> Bench {
    Bench::new("kvmd: {streamer: {source: {type: pattern, width: 640, height: 360, fps: 30}}}\n")
}

/// The number the test pattern carries, read from the picture.
fn number(jpeg: &[u8]) -> u32 {
    let image = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::GRAY).unwrap();
    let dot = capture::pattern::COUNTER_DOT as usize;
    (0..capture::pattern::COUNTER_BITS)
        .filter(|bit| image.pixels[image.pitch * dot / 2 + *bit as usize * dot + dot / 2] > 128)
        .map(|bit| 1 << bit)
        .sum()
}

#[test]
fn pictures_of_the_pattern_come_one_after_the_other_with_their_times() {
    let lab = pattern();
    let _process = lab.start();
    let (mut seq, mut last) = (0, None);
    for _ in 0..20 {
        let frame = lab.frame_after(seq, |frame| frame.meta.online);
        assert_eq!((frame.meta.width, frame.meta.height), (640, 360));
        assert!(frame.meta.captured > 0 && frame.meta.captured <= frame.meta.encode_begin);
        assert!(
            frame.meta.encode_begin < frame.meta.encode_end && frame.meta.encode_end <= frame.published_ns
        );
        let number = number(&frame.data);
        assert!(last.is_none_or(|last| number > last), "{number} after {last:?}");
        (seq, last) = (frame.seq, Some(number));
    }
    let told = state(&mut lab.connect(), |state| state.source.captured_fps > 0);
    assert!(told.source.online && told.source.state == SourceState::Live);
    assert!(told.latency.unwrap().encode.p50_us > 0);
}

#[test]
fn jpegs_keep_as_much_colour_as_the_settings_ask_for_and_the_source_has() {
    use turbojpeg::Subsamp;
    for (chroma, format, bytes, expected) in [
        ("4:2:0", "yuyv", 2, Subsamp::Sub2x2),
        ("4:2:2", "yuyv", 2, Subsamp::Sub2x1),
        ("4:4:4", "yuyv", 2, Subsamp::Sub2x1),
        ("4:4:4", "rgb24", 3, Subsamp::None),
    ] {
        let frames = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(frames.path(), vec![99; 64 * 48 * bytes]).unwrap();
        let source =
            format!("type: replay, width: 64, height: 48, format: {format}, file: {:?}", frames.path());
        let lab =
            Bench::new(&format!("kvmd: {{streamer: {{chroma: \"{chroma}\", source: {{{source}}}}}}}\n"));
        let _process = lab.start();
        let frame = lab.frame_after(0, |frame| frame.meta.online);
        let header = turbojpeg::read_header(&frame.data).unwrap();
        assert_eq!(header.subsamp, expected, "{chroma} of {format}");
    }
}

#[test]
fn killed_at_any_moment_it_goes_on_in_the_same_ring_and_socket() {
    let lab = pattern();
    let mut seq = 0;
    for _ in 0..5 {
        let mut process = lab.start();
        for _ in 0..3 {
            let frame = lab.frame_after(seq, |frame| frame.meta.online);
            assert!(frame.seq > seq);
            assert_eq!(encode::dimensions(&frame.data).unwrap(), (640, 360));
            seq = frame.seq;
        }
        process.signal(nix::sys::signal::Signal::SIGKILL);
        assert!(!process.ended().success());
        assert!(lab.reader.latest().unwrap().seq >= seq, "the last picture stays");
    }
}

#[test]
fn settings_by_the_socket_apply_while_it_runs() {
    let lab = pattern();
    let _process = lab.start();
    let mut socket = lab.connect();
    let told = state(&mut socket, |_| true);
    assert_eq!((told.encoder.quality, told.source.desired_fps), (80, 30));
    let best = lab.frame_after(0, |frame| frame.meta.online).data.len();
    socket.get_mut().write_all(b"{\"set\":{\"quality\":1,\"resolution\":\"320x240\"}}\n").unwrap();
    let told = state(&mut socket, |state| state.source.resolution.width == 320);
    assert_eq!(told.encoder.quality, 1);
    let frame = lab.frame_after(lab.reader.latest().unwrap().seq, |frame| frame.meta.width == 320);
    assert!(frame.data.len() < best);
    socket.get_mut().write_all(b"{\"set\":{\"desired_fps\":2}}\n").unwrap();
    state(&mut socket, |state| state.source.desired_fps == 2 && (1..=3).contains(&state.source.captured_fps));
}

#[test]
fn a_source_that_is_not_there_is_a_named_state_and_a_picture_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("frames.yuyv");
    let settings = format!(
        "kvmd: {{streamer: {{source: {{type: replay, width: 64, height: 48, file: {}, format: yuyv}}}}}}\n",
        file.display()
    );
    let lab = Bench::new(&settings);
    let _process = lab.start();
    let mut socket = lab.connect();
    let frame = lab.frame_after(0, |_| true);
    assert_eq!((frame.meta.online, frame.meta.state), (false, frames::SourceState::NoCable));
    assert!(encode::dimensions(&frame.data).is_ok());
    state(&mut socket, |state| state.source.state == SourceState::NoCable && !state.source.online);

    std::fs::write(&file, vec![128; 64 * 48 * 2]).unwrap();
    let live = lab.frame_after(frame.seq, |frame| frame.meta.online);
    assert_eq!((live.meta.width, live.meta.height), (64, 48));
    state(&mut socket, |state| state.source.state == SourceState::Live);
    let again = lab.frame_after(live.seq, |_| true);
    assert_eq!(again.data, live.data, "unchanged, so repeated as it was");
    assert!(again.meta.captured > live.meta.captured);
}

#[test]
fn asked_to_stop_it_ends_well() {
    let lab = pattern();
    let mut process = lab.start();
    lab.frame_after(0, |_| true);
    process.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(process.ended().success());
}

#[test]
fn without_its_descriptors_it_says_so_and_with_bad_settings_it_ends_with_64() {
    let lab = Bench::new("kvmd: {streamer: {source: {type: teapot}}}\n");
    let run = |config: &Path| {
        Command::new(env!("CARGO_BIN_EXE_kvmd-streamer"))
            .arg("--state")
            .arg(lab.path())
            .arg("--config")
            .arg(config)
            .env("KVMD_LOG_STDERR", "1")
            .output()
            .unwrap()
    };
    assert_eq!(run(&lab.path().join("settings.yaml")).status.code(), Some(64));
    std::fs::write(lab.path().join("good.yaml"), "kvmd: {}\n").unwrap();
    let output = run(&lab.path().join("good.yaml"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"ring\""));
}
