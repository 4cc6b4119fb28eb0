//! Video: how the streamer is used, when pictures are taken by the clock, and who reads text from them.

use super::Start;
use crate::{
    streamer::{
        owner::{self, Streamer},
        timed,
    },
    ws::hub::Hub,
};
use anyhow::Context;
use config::Config;
use hid::Hid;
use hid_wire::Key;
use model::streamer::{Features, Limits, Params, Range};
use ocr::Ocr;

/// Where Debian keeps the languages; PiKVM's place is the default of the setting.
const DEBIAN: [&str; 2] = ["/usr/share/tesseract-ocr/5/tessdata", "/usr/share/tesseract-ocr/4.00/tessdata"];

pub(super) fn settings(config: &Config) -> owner::Settings {
    let settings = &config.kvmd.streamer;
    // What is wished of H.264 is kept and told, as with the reference while nothing encodes; that it is there is not said
    // before it is.
    let h264 = settings.h264_bitrate.default > 0;
    let quality = settings.quality > 0;
    let sizes = &settings.resolution;
    let resolution = sizes.default.is_some();
    owner::Settings {
        features: Features { quality, resolution, h264: h264 && client::streamer::can("H264") },
        limits: Limits {
            desired_fps: Range { min: settings.desired_fps.min, max: settings.desired_fps.max },
            available_resolutions: resolution
                .then(|| sizes.available.iter().map(ToString::to_string).collect()),
            h264_bitrate: h264
                .then_some(Range { min: settings.h264_bitrate.min, max: settings.h264_bitrate.max }),
            h264_gop: h264.then_some(Range { min: settings.h264_gop.min, max: settings.h264_gop.max }),
        },
        params: Params {
            desired_fps: settings.desired_fps.default,
            quality: quality.then_some(settings.quality),
            resolution: sizes.default.map(|size| size.to_string()),
            h264_bitrate: h264.then_some(settings.h264_bitrate.default),
            h264_gop: h264.then_some(settings.h264_gop.default),
        },
        forever: settings.forever,
        shutdown_delay: settings.shutdown_delay,
        reset_delay: settings.reset_delay,
        snapshot_timeout: settings.snapshot_timeout,
        socket: settings.unix.clone(),
    }
}

/// Takes pictures by the clock, if the settings want any.
pub(super) fn start_timed(
    config: &Config,
    streamer: &Streamer,
    hid: &Hid,
    hub: &Hub,
    start: &mut Start<'_>,
) -> anyhow::Result<()> {
    let settings = &config.kvmd.snapshot;
    let key = Some(settings.wakeup_key.trim()).filter(|name| !name.is_empty());
    let unknown = |name: &str| format!("kvmd.snapshot.wakeup_key: there is no key {name:?}");
    let timed = timed::Settings {
        idle: settings.idle_interval,
        live: settings.live_interval,
        wakeup_key: key.map(|name| Key::from_name(name).with_context(|| unknown(name))).transpose()?,
        wakeup_move: settings.wakeup_move,
        online_delay: settings.online_delay,
        retries: settings.retries,
        retries_delay: settings.retries_delay,
    };
    if timed.wanted() {
        let run = timed::run(timed, streamer.clone(), hid.clone(), hub.viewers(), start.stop.child_token());
        start.keep(tokio::spawn(run));
    }
    Ok(())
}

/// Nothing is started for it: whether it is installed is looked up when somebody asks.
pub(super) fn open_ocr(config: &Config) -> Ocr {
    let settings = &config.kvmd.ocr;
    let data = std::iter::once(settings.tessdata.clone()).chain(DEBIAN.map(Into::into)).collect();
    let program = settings.cmd.clone().into();
    Ocr::new(ocr::Settings { program, data, langs: settings.langs.clone(), ..ocr::Settings::default() })
}
