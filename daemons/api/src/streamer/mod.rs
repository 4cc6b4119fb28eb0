//! `/streamer`: the picture's settings, snapshots and the MJPEG stream (sections 8.7 and 10).
//!
//! [`owner`] decides when the streamer runs, `shown` says what clients are told of it, [`frames`] brings its pictures into this process, [`mjpeg`] and
//! [`snapshot`] send them, [`text`] reads them, [`timed`] takes them by the clock, [`audience`] counts who looks, [`edid`] is about
//! the monitor that the target sees.

pub mod audience;
#[cfg(test)]
pub(crate) mod bench;
pub mod edid;
pub mod frames;
pub mod mjpeg;
pub mod owner;
mod shown;
pub mod snapshot;
pub mod text;
pub mod timed;

use crate::{
    answer::{self, Answer},
    failure::Failure,
    query::Query,
    routes::Entry,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    web::{self, Data},
};
use auth::Access;
use model::{ErrorClass, check};
use ocr::Ocr;
use owner::{Change, Streamer};
use tokio_util::sync::CancellationToken;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/streamer", || web::to(state)),
    Entry::post("/streamer/set_params", || web::to(set_params)),
    Entry::post("/streamer/reset", || web::to(reset)),
    Entry::get("/streamer/snapshot", || web::to(take_snapshot)).changes_with("save"),
    Entry::delete("/streamer/snapshot", || web::to(forget_snapshot)),
    Entry::get("/streamer/ocr", || web::to(ocr_state)),
    Entry::get("/streamer/edid", || web::to(edid::show)),
    Entry::post("/streamer/set_edid", || web::to(edid::set)),
    Entry::post("/streamer/confirm_edid", || web::to(edid::confirm)),
    Entry::post("/streamer/undo_edid", || web::to(edid::undo)),
];

/// Rows beside the API, as the streamer itself would serve them.
pub const STREAM_ROUTES: &[Entry] = &[
    Entry::get("/streamer", || web::to(index)),
    Entry::get("/streamer/", || web::to(index)),
    Entry::get("/streamer/stream", || web::to(stream)),
    Entry::get("/streamer/snapshot", || web::to(stream_snapshot)),
    Entry::get("/streamer/state", || web::to(stream_state)),
    Entry::head("/streamer/stream", || web::to(HttpResponse::Ok)),
    Entry::head("/streamer/snapshot", || web::to(HttpResponse::Ok)),
    Entry::head("/streamer/state", || web::to(HttpResponse::Ok)),
    Entry::options("/streamer/stream", || web::to(HttpResponse::Ok)),
    Entry::options("/streamer/snapshot", || web::to(HttpResponse::Ok)),
    Entry::options("/streamer/state", || web::to(HttpResponse::Ok)),
];

/// What the index shows to somebody who came to look.
const INDEX: &str = "<!DOCTYPE html><title>Stream</title><a href=\"/streamer/stream\">stream</a> \
    <a href=\"/streamer/snapshot\">snapshot</a> <a href=\"/streamer/state\">state</a>";

/// Ends streams when the daemon stops.
#[derive(Debug, Clone)]
pub struct Stop(pub CancellationToken);

async fn state(streamer: Data<Streamer>) -> Answer {
    let state = model::event::to_value(&*streamer.subscribe().borrow());
    Ok(answer::ok(&state))
}

async fn set_params(streamer: Data<Streamer>, query: Query) -> Answer {
    let owner::Settings { features, limits, .. } = streamer.settings();
    let h264 = limits.h264_bitrate.is_some();
    let given = |name: &str, fitted: bool, class| match query.get(name) {
        Some(raw) if raw.trim().is_empty() => Ok(None),
        Some(_) if !fitted => Err(Failure::new(class, format!("{name}: cannot be set here"))),
        raw => Ok(raw),
    };
    let change = Change {
        quality: given("quality", features.quality, ErrorClass::StreamerQualityNotSupported)?
            .map(check::stream_quality)
            .transpose()?,
        desired_fps: given("desired_fps", true, ErrorClass::Validator)?.map(check::stream_fps).transpose()?,
        resolution: given("resolution", features.resolution, ErrorClass::StreamerResolutionNotSupported)?
            .map(check::resolution)
            .transpose()?,
        h264_bitrate: given("h264_bitrate", h264, ErrorClass::StreamerH264NotSupported)?
            .map(check::h264_bitrate)
            .transpose()?,
        h264_gop: given("h264_gop", h264, ErrorClass::StreamerH264NotSupported)?
            .map(check::h264_gop)
            .transpose()?,
    };
    streamer.change(change).await;
    Ok(answer::nothing())
}

async fn reset(streamer: Data<Streamer>) -> Answer {
    streamer.reset().await;
    Ok(answer::nothing())
}

async fn take_snapshot(streamer: Data<Streamer>, ocr: Data<Ocr>, query: Query) -> Answer {
    snapshot::take(&streamer, &ocr, &query).await
}

async fn forget_snapshot(streamer: Data<Streamer>) -> Answer {
    streamer.remember(None).await;
    Ok(answer::nothing())
}

async fn ocr_state(ocr: Data<Ocr>) -> Answer {
    let shown = web::block(move || text::show(&ocr)).await.map_err(Failure::internal)?;
    Ok(answer::ok(&model::ocr::wrapped(&shown)))
}

/// Other programs' streams are asked for by `?action=stream` and `?action=snapshot`.
async fn index(request: HttpRequest, streamer: Data<Streamer>, stop: Data<Stop>, query: Query) -> Answer {
    match query.get("action") {
        Some("stream") => Ok(stream(request, streamer, stop, query).await),
        Some("snapshot") => stream_snapshot(streamer).await,
        _ => Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(INDEX)),
    }
}

async fn stream(
    request: HttpRequest,
    streamer: Data<Streamer>,
    stop: Data<Stop>,
    query: Query,
) -> HttpResponse {
    let access = request.extensions().get::<Access>().cloned();
    mjpeg::answer(&streamer, &query, access, stop.0.clone())
}

/// The streamer's own snapshot shows a placeholder where there is no signal.
async fn stream_snapshot(streamer: Data<Streamer>) -> Answer {
    snapshot::now(&streamer).await
}

async fn stream_state(streamer: Data<Streamer>) -> Answer {
    let state = streamer.subscribe().borrow().streamer.as_ref().map(model::event::to_value);
    state.map(|state| answer::ok(&state)).ok_or_else(Failure::unavailable)
}
