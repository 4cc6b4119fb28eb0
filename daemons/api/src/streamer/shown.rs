//! What clients are told of the streamer, from what it reports and what is wished of it.

use super::{audience::Audience, frames::Shot, owner::Settings};
use client::streamer::{Latency, SourceState, Spread, State as Report};
use model::streamer::{self as wire, Params};

/// The whole of it.
pub(super) fn show(
    settings: &Settings,
    params: &Params,
    report: Option<&Report>,
    audience: &Audience,
    saved: Option<&Shot>,
) -> wire::State {
    let mut applied = params.clone();
    if let Some(report) = report {
        applied.desired_fps = report.source.desired_fps;
        applied.quality = applied.quality.map(|_| u32::from(report.encoder.quality));
        let size = &report.source.resolution;
        let live = report.source.online;
        applied.resolution = match applied.resolution {
            Some(_) if live => Some(format!("{}x{}", size.width, size.height)),
            asked => asked,
        };
    }
    let saved = saved.map(|shot| wire::Saved {
        online: shot.meta.online,
        width: shot.meta.width,
        height: shot.meta.height,
    });
    wire::State {
        features: settings.features.clone(),
        limits: settings.limits.clone(),
        params: params.clone(),
        applied,
        streamer: report.map(|report| show_report(report, params, audience)),
        snapshot: wire::Snapshot { saved },
    }
}

fn show_report(report: &Report, params: &Params, audience: &Audience) -> wire::Streamer {
    let clients_stat = audience.show();
    let h264 = params.h264_bitrate.map(|bitrate| wire::H264 {
        bitrate,
        gop: params.h264_gop.unwrap_or(0),
        online: false,
        fps: 0,
    });
    let sink = |name: &str, has_clients| (name.to_owned(), wire::Sink { has_clients });
    let mut sinks = vec![sink("jpeg", !clients_stat.is_empty())];
    sinks.extend(h264.as_ref().map(|_| sink("h264", false)));
    wire::Streamer {
        instance_id: String::new(),
        encoder: wire::Encoder {
            kind: report.encoder.kind.clone(),
            quality: u32::from(report.encoder.quality),
        },
        h264,
        sinks: Some(sinks.into_iter().collect()),
        source: wire::Source {
            resolution: wire::Resolution {
                width: report.source.resolution.width,
                height: report.source.resolution.height,
            },
            online: report.source.online,
            desired_fps: report.source.desired_fps,
            captured_fps: report.source.captured_fps,
            state: Some(show_source(report.source.state)),
        },
        stream: wire::Stream {
            queued_fps: report.stream.queued_fps,
            clients: clients_stat.len(),
            clients_stat,
        },
        latency: report.latency.as_ref().map(show_latency),
    }
}

fn show_source(state: SourceState) -> wire::SourceState {
    match state {
        SourceState::Live => wire::SourceState::Live,
        SourceState::NoCable => wire::SourceState::NoCable,
        SourceState::NoSync => wire::SourceState::NoSync,
        SourceState::UnsupportedMode => wire::SourceState::UnsupportedMode,
        SourceState::EncoderFault => wire::SourceState::EncoderFault,
    }
}

fn show_latency(latency: &Latency) -> wire::Latency {
    let spread =
        |spread: Spread| wire::Spread { p50_us: spread.p50_us, p99_us: spread.p99_us, max_us: spread.max_us };
    wire::Latency {
        capture: spread(latency.capture),
        encode: spread(latency.encode),
        publish: spread(latency.publish),
        total: spread(latency.total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_why_there_is_no_picture_and_how_long_one_takes() {
        let text = r#"{"source":{"resolution":{"width":640,"height":480},"online":false,"desired_fps":30,
            "captured_fps":0,"state":"unsupported_mode"},"encoder":{"type":"CPU","quality":80},
            "stream":{"queued_fps":1},"latency":{"capture":{"p50_us":1,"p99_us":2,"max_us":9},
            "encode":{"p50_us":3,"p99_us":4,"max_us":9},"publish":{"p50_us":5,"p99_us":6,"max_us":9},
            "total":{"p50_us":7,"p99_us":8,"max_us":9}}}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        let shown = show_report(&report, &Params::default(), &Audience::default());
        let shown = model::event::to_value(&shown);
        assert_eq!(shown["source"]["state"], "unsupported_mode");
        let told: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(shown["latency"], told["latency"]);
    }
}
