//! `GET /streamer/snapshot`: one picture (sections 8.7 and 10.4).

use super::{frames::Shot, owner::Streamer, text::Reading};
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

/// What becomes of the picture.
enum Wanted {
    Text(Reading),
    Preview(Preview),
    Picture,
}

impl Wanted {
    async fn of(ocr: &Ocr, query: &Query) -> Result<Self, Failure> {
        Ok(if query.flag("ocr")? {
            Self::Text(Reading::begin(ocr, query).await?)
        } else if query.flag("preview")? {
            Self::Preview(Preview::parse(query)?)
        } else {
            Self::Picture
        })
    }
}

/// Answers with a picture: the remembered one, as it is, or one from now. That there is none is said before what else was
/// asked for wrongly, as the contract's server does; what was changes nothing.
pub async fn take(streamer: &Streamer, ocr: &Ocr, query: &Query) -> Result<HttpResponse, Failure> {
    let (save, load, allow_offline) =
        (query.flag("save")?, query.flag("load")?, query.flag("allow_offline")?);
    // Before the picture is taken: it takes time, which a reading has only so much of.
    let wanted = Wanted::of(ocr, query).await;
    let shot = match load {
        true => streamer.saved(),
        false => fresh(streamer).await.filter(|shot| allow_offline || shot.meta.online),
    };
    let (shot, wanted) = (shot.ok_or_else(Failure::unavailable)?, wanted?);
    if save {
        streamer.remember(Some(Arc::clone(&shot))).await;
    }
    let data = match wanted {
        Wanted::Text(reading) => {
            let text = reading.of(&shot).await?;
            return Ok(head(&shot).insert_header(answer::text_plain()).body(text));
        }
        Wanted::Preview(preview) => preview.of(&shot).await?,
        Wanted::Picture => shot.data.clone(),
    };
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

/// A smaller picture.
struct Preview {
    /// Pixels at most; 0 = as many as there are.
    width: u32,
    height: u32,
    /// 1 to 100.
    quality: u8,
}

impl Preview {
    fn parse(query: &Query) -> Result<Self, Failure> {
        let side = |name: &str| {
            let side = query.optional(name, |raw| check::int_between(raw, 0, i64::from(u16::MAX)))?;
            Ok::<_, Failure>(side.and_then(|side| u32::try_from(side).ok()).unwrap_or(0))
        };
        let quality = query.optional("preview_quality", check::stream_quality)?.unwrap_or(80);
        let quality = u8::try_from(quality).unwrap_or(80);
        Ok(Self { width: side("preview_max_width")?, height: side("preview_max_height")?, quality })
    }

    async fn of(self, shot: &Shot) -> Result<Bytes, Failure> {
        // Kept until the work is done, even for a client that has left.
        let turn = PREVIEWS.acquire().await.map_err(Failure::internal)?;
        let original = shot.data.clone();
        let work = {
            let original = original.clone();
            move || {
                let _turn = turn;
                encode::preview(&original, self.width, self.height, self.quality)
            }
        };
        let smaller = tokio::task::spawn_blocking(work).await.map_err(Failure::internal)?;
        Ok(smaller.map_err(Failure::internal)?.map_or(original, Bytes::from))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streamer::{
        bench,
        frames::Frames,
        owner::{self, Settings},
    };
    use client::supervisor::Supervisor;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    /// A streamer that does not run, whose last picture showed no signal.
    struct Dark {
        streamer: Streamer,
        /// Nobody watches; without anybody who could, it ends.
        _viewers: watch::Sender<usize>,
        stop: CancellationToken,
    }

    impl Dark {
        async fn start() -> Self {
            let settings = Settings {
                features: model::streamer::Features { quality: true, resolution: false, h264: false },
                limits: model::streamer::Limits::default(),
                params: model::streamer::Params::default(),
                forever: false,
                shutdown_delay: Duration::ZERO,
                reset_delay: Duration::ZERO,
                snapshot_timeout: Duration::from_secs(1),
                socket: "/nonexistent".into(),
            };
            let (stop, supervisor) = (CancellationToken::new(), Supervisor::new("/nonexistent"));
            let (viewers, seen) = watch::channel(0);
            let (streamer, _) = owner::spawn(settings, Frames::none(), seen, supervisor, stop.clone());
            let shot =
                Shot { seq: 1, meta: bench::meta(false), published_ns: 0, data: Bytes::from_static(b"dark") };
            let mut state = streamer.subscribe();
            streamer.remember(Some(Arc::new(shot))).await;
            state.wait_for(|state| state.snapshot.saved.is_some()).await.unwrap();
            Self { streamer, _viewers: viewers, stop }
        }

        async fn asks(&self, ocr: &Ocr, query: &str) -> Result<u16, Failure> {
            let answer = take(&self.streamer, ocr, &Query::parse(query)).await;
            answer.map(|response| response.status().as_u16())
        }
    }

    impl Drop for Dark {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    #[tokio::test]
    async fn the_remembered_picture_is_shown_as_it_is() {
        let (dark, ocr) = (Dark::start().await, Ocr::new(ocr::Settings::default()));
        assert_eq!(dark.asks(&ocr, "load=1").await, Ok(200), "without a signal, too");
        assert_eq!(dark.asks(&ocr, "").await, Err(Failure::unavailable()));
    }

    #[tokio::test]
    async fn what_is_asked_for_wrongly_is_refused_once_there_is_a_picture() {
        let dark = Dark::start().await;
        let ocr = Ocr::new(ocr::Settings { program: "/nonexistent".into(), ..ocr::Settings::default() });
        for (query, class) in [
            ("preview=1&preview_max_width=-1", "ValidatorError"),
            ("preview=1&preview_quality=0", "ValidatorError"),
            ("ocr=1&ocr_left=x", "ValidatorError"),
            ("ocr=1", "OcrError"),
        ] {
            let refused = dark.asks(&ocr, &format!("save=1&load=1&{query}")).await.unwrap_err();
            assert_eq!(refused.class.name(), class, "{query}");
            assert_eq!(dark.asks(&ocr, query).await, Err(Failure::unavailable()), "{query}");
        }
    }
}
