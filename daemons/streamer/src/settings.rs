//! From the settings file's words to plain settings, and to an open source.

use std::path::Path;

use capture::{Machine, Reopening, Signal, Source, V4l2, pattern, replay, v4l2};
use config::{Chroma, DvTimings, Format, SourceType};
use frames::SourceState;
use tokio_util::sync::CancellationToken;

use crate::{Keeper, Settings, Wanted};

/// What the work begins with.
#[must_use]
pub fn settings(config: &config::Streamer) -> Settings {
    let size = config
        .resolution
        .default
        .map_or((config.source.width, config.source.height), |size| (size.width, size.height));
    // A quality of 0 means that clients cannot choose one, not that there is none.
    let quality = u8::try_from(config.quality).ok().filter(|quality| *quality > 0);
    let default = Settings::default();
    let chroma = match config.chroma {
        Chroma::Quarter => encode::Chroma::Quarter,
        Chroma::Half => encode::Chroma::Half,
        Chroma::Full => encode::Chroma::Full,
    };
    Settings {
        quality: quality.unwrap_or(default.quality),
        chroma,
        desired_fps: config.desired_fps.default,
        size,
    }
}

/// What the target is to see as its monitor; `dir` is the streamer's own directory.
#[must_use]
pub fn monitor(config: &config::Streamer, dir: &Path) -> Keeper {
    Keeper::open(dir, config.source.edid.as_deref())
}

/// The source that the settings name; it need not be there yet. `sockets` is the directory of the virtual machine's
/// sockets, `monitor` what a capture device shows the target. Must be called inside a tokio runtime; connections end
/// with `stop`.
#[must_use]
pub fn source(
    config: &config::Streamer,
    sockets: &Path,
    monitor: Wanted,
    stop: &CancellationToken,
) -> Box<dyn Source> {
    if config.source.r#type == SourceType::Vm {
        let (screen, monitor) = (sockets.join("vnc.sock"), sockets.join("qmp-streamer.sock"));
        return Box::new(Machine::connect(&screen, &monitor, stop));
    }
    let config = config.clone();
    Box::new(Reopening::new(move || open(&config, &monitor)))
}

fn open(config: &config::Streamer, monitor: &Wanted) -> Result<Box<dyn Source>, Signal> {
    let source = &config.source;
    match source.r#type {
        SourceType::Pattern => {
            let (width, height) = settings(config).size;
            let settings = pattern::Settings { width, height, fps: source.fps, still: false };
            Ok(Box::new(capture::Pattern::new(&settings)))
        }
        SourceType::Replay => {
            let settings = replay::Settings {
                file: source.file.clone().unwrap_or_default(),
                format: format(source.format).unwrap_or(encode::Format::Yuyv),
                width: source.width,
                height: source.height,
                fps: source.fps,
            };
            Ok(Box::new(capture::Replay::open(&settings)?))
        }
        SourceType::V4l2 => {
            Ok(Box::new(V4l2::open(&v4l2::Settings { edid: monitor.get(), ..device(config) })?))
        }
        SourceType::Vm => {
            let why = "a virtual machine is no source to be opened".to_owned();
            Err(Signal::Lost { state: SourceState::NoCable, why })
        }
    }
}

/// The capture device as the settings want it.
fn device(config: &config::Streamer) -> v4l2::Settings {
    let source = &config.source;
    v4l2::Settings {
        device: source.device.clone(),
        input: match source.input.trim() {
            "" => v4l2::Input::AsItIs,
            text => text.parse().map_or_else(|_| v4l2::Input::Name(text.to_owned()), v4l2::Input::Number),
        },
        format: format(source.format),
        buffers: source.buffers,
        follow_timings: source.dv_timings == DvTimings::Auto,
        size: config.resolution.default.map(|size| (size.width, size.height)),
        // The most that a client may ask for: what is not wanted at the moment costs no encoding.
        fps: config.desired_fps.max,
        ..v4l2::Settings::default()
    }
}

/// The form of pixels that is asked for; `None` leaves it to the source.
fn format(format: Format) -> Option<encode::Format> {
    Some(match format {
        Format::Auto => return None,
        Format::Yuyv => encode::Format::Yuyv,
        Format::Uyvy => encode::Format::Uyvy,
        Format::Yuv420 => encode::Format::Yuv420,
        Format::Yuv422 => encode::Format::Yuv422,
        Format::Bgrx => encode::Format::Bgrx,
        Format::Nv12 => encode::Format::Nv12,
        Format::Rgb24 => encode::Format::Rgb24,
        Format::Bgr24 => encode::Format::Bgr24,
        Format::Mjpeg => encode::Format::Jpeg,
    })
}
