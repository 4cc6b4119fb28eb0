//! The video stream (sections 7.6 and 10.2).

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The stream as clients see it.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::State))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What can be set.
    pub features: Features,
    /// Between which values.
    pub limits: Limits,
    /// What was asked for.
    pub params: Params,
    /// What the streamer reports to be using.
    pub applied: Params,
    /// The streamer's own state; none while it is stopped or unreachable.
    pub streamer: Option<Streamer>,
    /// The remembered picture.
    pub snapshot: Snapshot,
}

/// What can be set.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Features))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// JPEG quality.
    pub quality: bool,
    /// Resolution.
    pub resolution: bool,
    /// H.264 bit rate and key frame distance.
    pub h264: bool,
}

/// Between which values; absent keys belong to absent features.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Limits))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Frames a second.
    pub desired_fps: Range,
    /// `WxH` each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_resolutions: Option<Vec<String>>,
    /// kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h264_bitrate: Option<Range>,
    /// Frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h264_gop: Option<Range>,
}

/// A closed range.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Range))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The lowest allowed value.
    pub min: u32,
    /// The highest allowed value.
    pub max: u32,
}

impl Range {
    /// Whether `value` may be set.
    #[must_use]
    pub const fn contains(self, value: u32) -> bool {
        self.min <= value && value <= self.max
    }
}

/// Settings of the stream; absent keys belong to absent features.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Params))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// Frames a second, 0 for as many as there are.
    pub desired_fps: u32,
    /// JPEG quality, 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<u32>,
    /// `WxH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h264_bitrate: Option<u32>,
    /// Frames between key frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h264_gop: Option<u32>,
}

/// The streamer's own state, also served as `/streamer/state`.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Streamer))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Streamer {
    /// Appended to the name of the stream cookie; empty with us.
    pub instance_id: String,
    /// What makes the pictures.
    pub encoder: Encoder,
    /// H.264 output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub h264: Option<H264>,
    /// Who else reads frames, by format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sinks: Option<BTreeMap<String, Sink>>,
    /// Where pictures come from.
    pub source: Source,
    /// Who looks.
    pub stream: Stream,
    /// Our own addition: time by stage over the last second; absent when no new picture came in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// What makes the pictures.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Encoder))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoder {
    /// `CPU`, `HW`, `M2M-IMAGE`...
    #[serde(rename = "type")]
    pub kind: String,
    /// JPEG quality in use.
    pub quality: u32,
}

/// H.264 output.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::H264))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct H264 {
    /// kbit/s.
    pub bitrate: u32,
    /// Frames between key frames.
    pub gop: u32,
    /// Frames come out.
    pub online: bool,
    /// How many a second.
    pub fps: u32,
}

/// A reader of encoded frames.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Sink))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sink {
    /// Somebody reads.
    pub has_clients: bool,
}

/// Where pictures come from.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Source))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Size of the picture.
    pub resolution: Resolution,
    /// There is a signal.
    pub online: bool,
    /// Frames a second wished.
    pub desired_fps: u32,
    /// Frames a second captured.
    pub captured_fps: u32,
    /// Our own addition: why there is, or is not, a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SourceState>,
}

/// The named states of a source.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::SourceState))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Pictures come, or the picture is known to be unchanged.
    Live,
    /// Nothing is connected.
    NoCable,
    /// Connected, but no signal.
    NoSync,
    /// A signal that the hardware cannot take.
    UnsupportedMode,
    /// Pictures come but cannot be encoded.
    EncoderFault,
}

/// Time by stage, of new pictures only.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Latency))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From capture to the beginning of encoding.
    pub capture: Spread,
    /// Encoding.
    pub encode: Spread,
    /// From the end of encoding until readers could see it.
    pub publish: Spread,
    /// From capture until readers could see it.
    pub total: Spread,
}

/// The middle, the bad end and the worst of a second's figures.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Spread))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Half were faster, microseconds.
    pub p50_us: u64,
    /// 99 of 100 were faster, microseconds.
    pub p99_us: u64,
    /// The slowest, microseconds.
    pub max_us: u64,
}

/// Our own addition: the monitor that a capture device shows the target.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Edid))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edid {
    /// In hexadecimal; empty when none is shown.
    pub data: String,
    /// What is in it; none when none is shown, or what is shown is unsound.
    pub parsed: Option<ParsedEdid>,
    /// Seconds until what is on trial is taken back; null when nothing is on trial.
    pub trial: Option<f64>,
    /// What was confirmed last, in hexadecimal; null when nothing was.
    pub saved: Option<String>,
}

/// What is in an EDID, spelled as for the ports of a switch (section 7.8).
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::ParsedEdid))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParsedEdid {
    /// Three letters of the maker.
    pub mfc_id: String,
    /// The maker's number of the product.
    pub product_id: u16,
    /// Serial number.
    pub serial: u32,
    /// Name, where it has one.
    pub monitor_name: Option<String>,
    /// Serial number as text, where it has one.
    pub monitor_serial: Option<String>,
    /// It takes sound.
    pub audio: bool,
}

/// Size of a picture in pixels.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Resolution))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Who looks at the MJPEG stream.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Stream))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Frames a second offered to clients.
    pub queued_fps: u32,
    /// Connections.
    pub clients: usize,
    /// Each of them, by the identifier in its cookie.
    pub clients_stat: BTreeMap<String, ClientStat>,
}

/// One MJPEG client.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::ClientStat))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStat {
    /// Frames a second it takes.
    pub fps: u32,
    /// Its flag of that name.
    pub extra_headers: bool,
    /// Its flag of that name.
    pub advance_headers: bool,
    /// Its flag of that name.
    pub dual_final_frames: bool,
    /// Its flag of that name.
    pub zero_data: bool,
    /// Its own tag, `0` if it gave none.
    pub key: String,
}

/// The remembered picture.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Snapshot))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// None until one is saved.
    pub saved: Option<Saved>,
}

/// What is known of the remembered picture.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = streamer::Saved))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// It shows the target, not a placeholder.
    pub online: bool,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Only the keys that changed; `params` and `applied` bring `limits` along. None when nothing changed.
#[must_use]
pub fn diff(old: &State, new: &State) -> Option<Event> {
    if old.features != new.features {
        return Some(full(new));
    }
    let mut payload = Map::new();
    let mut put = |key: &str, value: Value| drop(payload.insert(key.to_owned(), value));
    if old.params != new.params || old.limits != new.limits {
        put("params", event::to_value(&new.params));
        put("limits", event::to_value(&new.limits));
    }
    if old.applied != new.applied {
        put("applied", event::to_value(&new.applied));
        put("limits", event::to_value(&new.limits));
    }
    if old.streamer != new.streamer {
        put("streamer", event::to_value(&new.streamer));
    }
    if old.snapshot != new.snapshot {
        put("snapshot", event::to_value(&new.snapshot));
    }
    (!payload.is_empty()).then(|| Event::new(event::STREAMER, payload.into()))
}

/// The event for a new client.
#[must_use]
pub fn full(state: &State) -> Event {
    Event::of(event::STREAMER, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            features: Features { quality: true, resolution: false, h264: false },
            limits: Limits { desired_fps: Range { min: 0, max: 90 }, ..Limits::default() },
            params: Params { desired_fps: 30, quality: Some(80), ..Params::default() },
            applied: Params { desired_fps: 30, quality: Some(80), ..Params::default() },
            streamer: None,
            snapshot: Snapshot::default(),
        }
    }

    #[test]
    fn params_bring_their_limits() {
        let mut new = state();
        new.params.quality = Some(55);
        let event = diff(&state(), &new).unwrap();
        assert_eq!(event.payload["params"]["quality"], 55);
        assert_eq!(event.payload["limits"]["desired_fps"]["max"], 90);
        assert!(event.payload.get("applied").is_none() && event.payload.get("streamer").is_none());
    }

    #[test]
    fn a_stopped_streamer_is_null() {
        let running = State { streamer: Some(Streamer::default()), ..state() };
        assert_eq!(
            diff(&running, &state()).map(|event| event.payload),
            Some(serde_json::json!({"streamer": null}))
        );
        assert_eq!(diff(&state(), &state()), None);
    }

    #[test]
    fn what_we_add_is_there_only_when_it_is_known() {
        let mut streamer = Streamer::default();
        let value = event::to_value(&streamer);
        assert!(value["source"].get("state").is_none() && value.get("latency").is_none());
        for (state, name) in [
            (SourceState::Live, "live"),
            (SourceState::NoCable, "no_cable"),
            (SourceState::NoSync, "no_sync"),
            (SourceState::UnsupportedMode, "unsupported_mode"),
            (SourceState::EncoderFault, "encoder_fault"),
        ] {
            streamer.source.state = Some(state);
            assert_eq!(event::to_value(&streamer)["source"]["state"], name);
        }
        streamer.latency = Some(Latency::default());
        let spread = serde_json::json!({"p50_us": 0, "p99_us": 0, "max_us": 0});
        let stages =
            serde_json::json!({"capture": spread, "encode": spread, "publish": spread, "total": spread});
        assert_eq!(event::to_value(&streamer)["latency"], stages);
    }

    #[test]
    fn an_absent_feature_has_no_keys() {
        let value = event::to_value(&state());
        assert!(value["params"].get("h264_bitrate").is_none());
        assert!(value["limits"].get("available_resolutions").is_none());
    }
}
