//! `GET /streamer/snapshot`: one picture (sections 8.7 and 10.4).

use super::{frames::Shot, owner::Streamer, text};
use crate::{answer, failure::Failure, query::Query};
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{self, HeaderName},
};
use bytes::Bytes;
use model::check;
use ocr::Ocr;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;

/// How long to wait for a picture newer than the one at hand; the streamer repeats a still one every second.
const FRESH: Duration = Duration::from_millis(1500);

/// Previews that are made at once: each takes a picture's worth of memory and a core.
static PREVIEWS: Semaphore = Semaphore::const_new(2);

/// Answers with a picture: the remembered one, or one from now.
pub async fn take(streamer: &Streamer, ocr: &Ocr, query: &Query) -> Result<HttpResponse, Failure> {
    let save = query.flag("save")?;
    let load = query.flag("load")?;
    let allow_offline = query.flag("allow_offline")?;
    let shot = if load { streamer.saved() } else { fresh(streamer).await };
    let shot = shot.filter(|shot| allow_offline || shot.meta.online).ok_or_else(Failure::unavailable)?;
    if save {
        streamer.remember(Some(Arc::clone(&shot))).await;
    }
    if query.flag("ocr")? {
        let text = text::read(ocr, &shot, query).await?;
        return Ok(head(&shot).insert_header(answer::text_plain()).body(text));
    }
    let data = if query.flag("preview")? { preview(&shot, query).await? } else { shot.data.clone() };
    Ok(head(&shot).content_type("image/jpeg").body(data))
}

/// Answers with the picture of now, a placeholder where there is no signal: the streamer's own snapshot.
pub async fn now(streamer: &Streamer) -> Result<HttpResponse, Failure> {
    let shot = fresh(streamer).await.ok_or_else(Failure::unavailable)?;
    Ok(head(&shot).content_type("image/jpeg").body(shot.data.clone()))
}

/// A picture of now; none while the streamer does not run.
pub async fn fresh(streamer: &Streamer) -> Option<Arc<Shot>> {
    streamer.subscribe().borrow().streamer.as_ref()?;
    let mut viewer = streamer.frames.watch();
    let mut shot = tokio::time::timeout(streamer.settings().snapshot_timeout, viewer.next()).await.ok()??;
    // The first may be up to a second old; a newer one costs little when the picture moves.
    let age = Duration::from_nanos(frames::now_ns().saturating_sub(shot.published_ns));
    if age > Duration::from_millis(100)
        && let Ok(Some(newer)) = tokio::time::timeout(FRESH, viewer.next()).await
    {
        shot = newer;
    }
    Some(shot)
}

async fn preview(shot: &Shot, query: &Query) -> Result<Bytes, Failure> {
    let side = |name: &str| query.optional(name, |raw| check::int_between(raw, 0, i64::from(u16::MAX)));
    let to_side = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    let (width, height) = (to_side(side("preview_max_width")?), to_side(side("preview_max_height")?));
    let quality = query.optional("preview_quality", check::stream_quality)?.unwrap_or(80);
    let quality = u8::try_from(quality).unwrap_or(80);
    // Kept until the work is done, even for a client that has left.
    let turn = PREVIEWS.acquire().await.map_err(Failure::internal)?;
    let original = shot.data.clone();
    let work = {
        let original = original.clone();
        move || {
            let _turn = turn;
            encode::preview(&original, width, height, quality)
        }
    };
    let smaller = tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?;
    Ok(smaller.map_err(Failure::internal)?.map_or(original, Bytes::from))
}

/// The head of a picture's answer, without its body.
fn head(shot: &Shot) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    no_store(&mut response);
    let meta = &shot.meta;
    for (name, value) in [
        ("x-timestamp", unix_now()),
        ("x-ustreamer-online", meta.online.to_string()),
        ("x-ustreamer-width", meta.width.to_string()),
        ("x-ustreamer-height", meta.height.to_string()),
        ("x-ustreamer-grab-begin-timestamp", seconds(meta.captured)),
        ("x-ustreamer-grab-end-timestamp", seconds(meta.captured)),
        ("x-ustreamer-encode-begin-timestamp", seconds(meta.encode_begin)),
        ("x-ustreamer-encode-end-timestamp", seconds(meta.encode_end)),
        ("x-ustreamer-send-timestamp", seconds(frames::now_ns())),
    ] {
        response.insert_header((HeaderName::from_static(name), value));
    }
    response
}

/// Headers of everything that must never be kept.
pub fn no_store(response: &mut HttpResponseBuilder) {
    response
        .insert_header((
            header::CACHE_CONTROL,
            "no-store, no-cache, must-revalidate, proxy-revalidate, pre-check=0, post-check=0, max-age=0",
        ))
        .insert_header((header::PRAGMA, "no-cache"))
        .insert_header((header::EXPIRES, "Mon, 3 Jan 2000 12:34:56 GMT"));
}

/// Nanoseconds as seconds with six decimals.
pub fn seconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

/// The time of day in Unix seconds with six decimals.
pub fn unix_now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", now.as_secs(), now.subsec_micros())
}
