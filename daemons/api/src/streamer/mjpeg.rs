//! `/streamer/stream`: the screen as a series of JPEGs in one endless answer (section 10.3).
//!
//! A client that reads slowly skips frames: the body is asked for its next part only when there is room for it, and
//! takes the newest frame then.

use super::{
    audience::Ticket,
    frames::{Shot, Viewer},
    owner::Streamer,
    snapshot::{no_store, seconds, unix_now},
};
use crate::query::Query;
use actix_web::{HttpResponse, http::header};
use auth::Access;
use bytes::Bytes;
use futures_util::{Stream, stream};
use model::streamer::ClientStat;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::{collections::VecDeque, convert::Infallible, fmt::Write as _, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const BOUNDARY: &str = "--boundarydonotcross\r\n";
/// How long a still picture must last before a client that asked for it gets it again.
const FINAL_AFTER: Duration = Duration::from_millis(100);
/// The longest tag a client may give itself.
const KEY_LIMIT: usize = 64;

/// Answers with the stream. It ends with `stop`, with the session it was opened by, or with the client.
pub fn answer(
    streamer: &Streamer,
    query: &Query,
    access: Option<Access>,
    stop: CancellationToken,
) -> HttpResponse {
    let flags = flags(query);
    let key = utf8_percent_encode(&flags.key, NON_ALPHANUMERIC).to_string();
    let ticket = streamer.audience.enter(flags.clone());
    let cookie = format!("stream_client={key}/{}; path=/; max-age=30", ticket.id());
    let show = Show {
        viewer: streamer.frames.watch(),
        ticket,
        flags,
        access,
        stop,
        pending: VecDeque::from([Bytes::from_static(BOUNDARY.as_bytes())]),
        headers_sent: false,
        last: None,
        last_seq: 0,
        dropped: 0,
    };
    let mut response = HttpResponse::Ok();
    no_store(&mut response);
    response
        .insert_header((header::SET_COOKIE, cookie))
        .insert_header((header::CONTENT_TYPE, "multipart/x-mixed-replace;boundary=boundarydonotcross"))
        .streaming(show.body())
}

fn flags(query: &Query) -> ClientStat {
    let on = |name: &str| {
        let value = query.get(name).unwrap_or("").to_ascii_lowercase();
        value.starts_with('1') || value == "true" || value == "yes"
    };
    let key = query.get("key").filter(|key| !key.is_empty() && key.len() <= KEY_LIMIT).unwrap_or("0");
    ClientStat {
        fps: 0,
        extra_headers: on("extra_headers"),
        advance_headers: on("advance_headers"),
        dual_final_frames: on("dual_final_frames"),
        zero_data: on("zero_data"),
        key: key.to_owned(),
    }
}

/// One client's view of the stream.
struct Show {
    viewer: Viewer,
    ticket: Ticket,
    flags: ClientStat,
    access: Option<Access>,
    stop: CancellationToken,
    pending: VecDeque<Bytes>,
    headers_sent: bool,
    last: Option<Arc<Shot>>,
    last_seq: u64,
    dropped: u64,
}

impl Show {
    fn body(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, async |mut show| {
            if show.pending.is_empty() {
                show.next().await?;
            }
            let piece = show.pending.pop_front()?;
            Some((Ok(piece), show))
        })
    }

    /// Queues the pieces of the next part; none when the stream is over.
    async fn next(&mut self) -> Option<()> {
        if self.flags.advance_headers && !self.headers_sent {
            self.headers_sent = true;
            self.pending.push_back(advance_headers());
            return Some(());
        }
        let ended = async {
            match &self.access {
                Some(access) => access.ended().await,
                None => std::future::pending().await,
            }
        };
        let repeat = self.last.take().filter(|_| self.flags.dual_final_frames);
        let shot = tokio::select! {
            () = self.stop.cancelled() => return None,
            () = ended => return None,
            shot = self.viewer.next() => {
                let shot = shot?;
                self.last = Some(Arc::clone(&shot));
                shot
            }
            shot = final_frame(repeat) => shot,
        };
        self.queue(&shot);
        Some(())
    }

    fn queue(&mut self, shot: &Shot) {
        let fps = self.ticket.sent();
        let skipped = shot.seq.saturating_sub(self.last_seq).saturating_sub(1);
        self.dropped = if self.last_seq == 0 { 0 } else { skipped };
        self.last_seq = shot.seq;
        let data = if self.flags.zero_data { Bytes::new() } else { shot.data.clone() };
        if !self.flags.advance_headers {
            self.pending.push_back(self.headers(shot, data.len(), fps));
        }
        self.headers_sent = false;
        if !data.is_empty() {
            self.pending.push_back(data);
        }
        self.pending.push_back(Bytes::from(format!("\r\n{BOUNDARY}")));
    }

    fn headers(&self, shot: &Shot, len: usize, fps: u32) -> Bytes {
        let mut text =
            format!("Content-Type: image/jpeg\r\nContent-Length: {len}\r\nX-Timestamp: {}\r\n", unix_now());
        if self.flags.extra_headers {
            let (meta, now) = (&shot.meta, frames::now_ns());
            let exposed = seconds(shot.published_ns);
            // Writing into a string has no way to fail.
            let _ = write!(
                text,
                "X-UStreamer-Online: {}\r\nX-UStreamer-Dropped: {}\r\nX-UStreamer-Width: {}\r\n\
                 X-UStreamer-Height: {}\r\nX-UStreamer-Client-FPS: {fps}\r\nX-UStreamer-Grab-Begin-Time: {}\r\n\
                 X-UStreamer-Grab-End-Time: {}\r\nX-UStreamer-Encode-Begin-Time: {}\r\n\
                 X-UStreamer-Encode-End-Time: {}\r\nX-UStreamer-Expose-Begin-Time: {exposed}\r\n\
                 X-UStreamer-Expose-Cmp-Time: {exposed}\r\nX-UStreamer-Expose-End-Time: {exposed}\r\n\
                 X-UStreamer-Send-Time: {}\r\nX-UStreamer-Latency: {}\r\n",
                meta.online,
                self.dropped,
                meta.width,
                meta.height,
                seconds(meta.captured),
                seconds(meta.captured),
                seconds(meta.encode_begin),
                seconds(meta.encode_end),
                seconds(now),
                seconds(now.saturating_sub(meta.captured)),
            );
        }
        text.push_str("\r\n");
        text.into()
    }
}

fn advance_headers() -> Bytes {
    format!("Content-Type: image/jpeg\r\nX-Timestamp: {}\r\n\r\n", unix_now()).into()
}

/// The frame again, once it has lasted; never, without one.
async fn final_frame(repeat: Option<Arc<Shot>>) -> Arc<Shot> {
    match repeat {
        Some(shot) => {
            tokio::time::sleep(FINAL_AFTER).await;
            shot
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streamer::{audience::Audience, bench, frames::Frames};
    use futures_util::StreamExt;

    struct Bench {
        writer: frames::Writer,
        frames: Frames,
        audience: Audience,
        stop: CancellationToken,
        _thread: crate::streamer::frames::FramesThread,
    }

    fn begin() -> Bench {
        let ring = frames::create(2, 64).unwrap();
        let writer = frames::Writer::attach(&ring).unwrap();
        let (frames, thread) = Frames::start(&ring).unwrap();
        Bench {
            writer,
            frames,
            audience: Audience::default(),
            stop: CancellationToken::new(),
            _thread: thread,
        }
    }

    impl Bench {
        fn show(&self, query: &str) -> Show {
            let flags = flags(&Query::parse(query));
            Show {
                viewer: self.frames.watch(),
                ticket: self.audience.enter(flags.clone()),
                flags,
                access: None,
                stop: self.stop.clone(),
                pending: VecDeque::from([Bytes::from_static(BOUNDARY.as_bytes())]),
                headers_sent: false,
                last: None,
                last_seq: 0,
                dropped: 0,
            }
        }

        fn publish(&mut self, data: &[u8]) {
            self.writer.publish(&bench::meta(true), data).unwrap();
        }
    }

    /// What is sent up to the text `until`.
    async fn sent(body: &mut (impl Stream<Item = Result<Bytes, Infallible>> + Unpin), until: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(until) {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
        let timestamp =
            text.split("X-Timestamp: ").nth(1).and_then(|rest| rest.split('\r').next()).unwrap_or("");
        text.replace(timestamp, "T")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_part_is_headers_picture_and_the_next_boundary() {
        let mut bench = begin();
        bench.publish(b"JPEG");
        let mut body = Box::pin(bench.show("").body());
        assert_eq!(
            sent(&mut body, "JPEG\r\n--boundarydonotcross\r\n").await,
            "--boundarydonotcross\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\nX-Timestamp: T\r\n\r\n\
             JPEG\r\n--boundarydonotcross\r\n"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn headers_in_advance_come_before_there_is_a_picture() {
        let mut bench = begin();
        let mut body = Box::pin(bench.show("advance_headers=1").body());
        let head = "--boundarydonotcross\r\nContent-Type: image/jpeg\r\nX-Timestamp: T\r\n\r\n";
        assert_eq!(sent(&mut body, "\r\n\r\n").await, head);
        bench.publish(b"JPEG");
        assert_eq!(
            sent(&mut body, "\r\n\r\n").await,
            format!("JPEG\r\n{head}"),
            "the next part's headers follow at once"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_probe_gets_no_pictures_and_extra_headers_when_asked() {
        let mut bench = begin();
        bench.publish(b"JPEG");
        let mut body = Box::pin(bench.show("zero_data=true&extra_headers=1").body());
        let part = sent(&mut body, "\r\n\r\n\r\n--boundarydonotcross\r\n").await;
        assert!(part.contains("Content-Length: 0\r\n") && part.contains("X-UStreamer-Online: true\r\n"));
        assert!(part.contains("X-UStreamer-Width: 2\r\n") && !part.contains("JPEG"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_still_picture_is_sent_twice_to_who_needs_that() {
        let mut bench = begin();
        bench.publish(b"JPEG");
        let mut body = Box::pin(bench.show("dual_final_frames=1").body());
        sent(&mut body, "JPEG\r\n--boundarydonotcross\r\n").await;
        sent(&mut body, "JPEG\r\n--boundarydonotcross\r\n").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_ends_when_the_daemon_does() {
        let bench = begin();
        let mut body = Box::pin(bench.show("").body());
        sent(&mut body, BOUNDARY).await;
        bench.stop.cancel();
        assert!(body.next().await.is_none());
        drop(body);
        assert!(bench.audience.show().is_empty());
    }

    #[test]
    fn flags_are_read_as_the_contract_says() {
        let flags = flags(&Query::parse("key=abc&extra_headers=1x&advance_headers=TRUE&zero_data=no"));
        assert_eq!(flags.key, "abc");
        assert!(flags.extra_headers && flags.advance_headers && !flags.zero_data && !flags.dual_final_frames);
        assert_eq!(super::flags(&Query::parse(&format!("key={}", "x".repeat(65)))).key, "0");
    }
}
