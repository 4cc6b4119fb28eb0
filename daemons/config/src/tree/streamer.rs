//! `kvmd.streamer.*`: pictures of the target's screen.

use std::path::PathBuf;
use std::time::Duration;

use crate::rule::{
    Resolution, choice, choices, flag, integer, list, optional, path, path_or_empty, resolution, seconds,
    text,
};
use crate::section::section;

section! {
    /// Pictures of the target's screen.
    pub struct Streamer(layout) {
        /// Whether the streamer runs even while nobody watches.
        forever: bool = false => flag(),
        /// Seconds between the end of a streamer and the next start.
        reset_delay: Duration = Duration::from_secs(1) => seconds(0.0, 60.0),
        /// Seconds the streamer runs on after the last one stopped watching.
        shutdown_delay: Duration = Duration::from_secs(10) => seconds(0.0, 86_400.0),
        /// Seconds between two looks at the streamer's state.
        state_poll: Duration = Duration::from_secs(1) => seconds(0.1, 60.0),
        /// JPEG quality; 0 = clients cannot set it.
        quality: u32 = 80 => integer(0, 100),
        /// How much colour the JPEGs keep, where the source has as much. Our own.
        chroma: Chroma = Chroma::Quarter => choice(),
        /// Sizes clients may choose from.
        resolution: Resolutions,
        /// Frames a second.
        desired_fps: DesiredFps,
        /// H.264 bit rate in kbit/s.
        h264_bitrate: H264Bitrate,
        /// Frames between two H.264 key frames.
        h264_gop: H264Gop,
        /// Encoder hint of some boards.
        h264_boost: bool = false => flag(),
        /// Encoder hint of some boards.
        h264_slowdown: bool = false => flag(),
        /// Encoder hint of some boards.
        h264_passthrough: bool = false => flag(),
        /// The streamer's socket.
        unix: PathBuf = layout.run.join("streamer.sock") => path(),
        /// Seconds to wait for the streamer's answer.
        timeout: Duration = Duration::from_secs(2) => seconds(0.1, 60.0),
        /// Seconds to wait for a picture.
        snapshot_timeout: Duration = Duration::from_secs(5) => seconds(0.1, 60.0),
        /// Where pictures come from. Our own.
        source: Source,
        /// Name other processes show for the streamer's process.
        process_name_prefix: String = "kvmd/streamer".to_owned() => text(),
        /// PiKVM's streamer command; kept for old files, not run.
        cmd: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        cmd_remove: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        cmd_append: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        pre_start_cmd: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        pre_start_cmd_remove: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        pre_start_cmd_append: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        post_stop_cmd: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        post_stop_cmd_remove: Vec<String> = Vec::new() => list(text()),
        /// Kept for old files, not run.
        post_stop_cmd_append: Vec<String> = Vec::new() => list(text()),
    }
}

section! {
    /// Sizes clients may choose from.
    pub struct Resolutions(layout) {
        /// The size at start; `""` = whatever the source gives, and clients cannot choose.
        default: Option<Resolution> = None => optional(resolution()),
        /// The sizes to choose from.
        available: Vec<Resolution> = Vec::new() => list(resolution()),
    }
}

section! {
    /// Frames a second.
    pub struct DesiredFps(layout) {
        /// At start; 0 = as many as there are.
        default: u32 = 30 => integer(0, 120),
        /// The least a client may ask for.
        min: u32 = 0 => integer(0, 120),
        /// The most a client may ask for.
        max: u32 = 90 => integer(0, 120),
    }
}

section! {
    /// H.264 bit rate in kbit/s.
    pub struct H264Bitrate(layout) {
        /// At start; 0 = there is no H.264. The default is that of PiKVM's boards.
        default: u32 = 5000 => integer(0, 20_000),
        /// The least a client may ask for.
        min: u32 = 25 => integer(25, 20_000),
        /// The most a client may ask for.
        max: u32 = 20_000 => integer(25, 20_000),
    }
}

section! {
    /// Frames between two H.264 key frames.
    pub struct H264Gop(layout) {
        /// At start.
        default: u32 = 0 => integer(0, 60),
        /// The least a client may ask for.
        min: u32 = 0 => integer(0, 60),
        /// The most a client may ask for.
        max: u32 = 60 => integer(0, 60),
    }
}

choices! {
    /// How much colour a JPEG keeps.
    pub enum Chroma {
        /// One colour for two by two pixels.
        Quarter = "4:2:0",
        /// One for two pixels of a line: small coloured text is clearer, for a third more work.
        Half = "4:2:2",
        /// Each pixel its own; only sources of RGB have that.
        Full = "4:4:4",
    }
}

choices! {
    /// Where pictures come from.
    pub enum SourceType {
        /// The virtual machine's screen.
        Vm = "vm",
        /// A test pattern.
        Pattern = "pattern",
        /// Raw frames of a file, again and again.
        Replay = "replay",
        /// A capture device.
        V4l2 = "v4l2",
    }
}

choices! {
    /// How the pixels of a raw frame lie in memory.
    pub enum Format {
        /// The cheapest of those a capture device offers; `yuyv` for a file.
        Auto = "auto",
        /// Packed 4:2:2, two pixels in four bytes.
        Yuyv = "yuyv",
        /// The same, colours first.
        Uyvy = "uyvy",
        /// Planar 4:2:0.
        Yuv420 = "yuv420",
        /// Planar 4:2:2.
        Yuv422 = "yuv422",
        /// Four bytes a pixel, the last one unused.
        Bgrx = "bgrx",
        /// Planar 4:2:0, the colours together.
        Nv12 = "nv12",
        /// Three bytes a pixel.
        Rgb24 = "rgb24",
        /// Three bytes a pixel, blue first.
        Bgr24 = "bgr24",
        /// No pixels but a JPEG of the capture device, passed on as it is.
        Mjpeg = "mjpeg",
    }
}

choices! {
    /// Whether the timings of a digital input are followed.
    pub enum DvTimings {
        /// Where the input has them.
        Auto = "auto",
        /// Never: the device is left as it is.
        Off = "off",
    }
}

section! {
    /// Where pictures come from. Our own.
    pub struct Source(layout) {
        /// Which source.
        r#type: SourceType = if layout.has_state() { SourceType::Vm } else { SourceType::V4l2 } => choice(),
        /// The capture device, for `v4l2`.
        device: PathBuf = "/dev/kvmd-video".into() => path(),
        /// Width in pixels, for `pattern` and `replay`.
        width: u32 = 1280 => integer(16, 16_384),
        /// Height in pixels, for `pattern` and `replay`.
        height: u32 = 720 => integer(16, 16_384),
        /// Frames a second of the source itself, for `pattern` and `replay`.
        fps: u32 = 30 => integer(1, 240),
        /// The file of raw frames, for `replay`.
        file: Option<PathBuf> = None => path_or_empty(),
        /// How the pixels lie in memory, for `v4l2` and `replay`.
        format: Format = Format::Auto => choice(),
        /// The input of the capture device: its number, or the beginning of its name; `""` = as it is.
        input: String = String::new() => text(),
        /// Whether the timings of a digital input are followed, for `v4l2`.
        dv_timings: DvTimings = DvTimings::Auto => choice(),
        /// Buffers for pictures, for `v4l2`.
        buffers: u32 = 4 => integer(3, 32),
        /// A file with the EDID that the capture device shows the target, in hexadecimal; `""` = the device's own. One
        /// that was set and confirmed while running (`kvmctl edid`) comes before it.
        edid: Option<PathBuf> = None => path_or_empty(),
    }
}
