//! `/media`: frames over a WebSocket (section 9). JPEG; what is not made is not offered.
//!
//! A client gets the newest frame whenever it has room for one: the answer's body is asked for its next piece only then,
//! as the MJPEG stream's is. So a slow client skips frames and never holds more than the one it is being sent, where the
//! contract's server queues 32 and then throws them away.
//!
//! Reading and writing are apart, so that a client that does not read is still heard, and dropped when it is silent.

mod outgoing;

use crate::{
    answer::{self, Answer},
    failure::Failure,
    query::Query,
    routes::Entry,
    streamer::{Stop, owner::Streamer},
    ws::session::Heartbeat,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BodyStream, BoxBody},
    http::{StatusCode, header},
    rt,
    web::{self, Data},
};
use actix_ws::{AggregatedMessage, MessageStream};
use auth::{Access, Auth};
use futures_util::StreamExt;
use model::media::{self, Format, Wish};
use outgoing::{Order, Outgoing};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] =
    &[Entry::get("/media", || web::to(show)), Entry::get("/media/ws", || web::to(open))];

/// The longest message a client may send, in bytes.
const LONGEST: usize = 64 << 10;
/// Answers that may wait for a client that does not read.
const ORDERS: usize = 16;

async fn show() -> Answer {
    Ok(answer::ok(&media::wrapped()))
}

async fn open(
    request: HttpRequest,
    payload: web::Payload,
    query: Query,
    streamer: Data<Streamer>,
    auth: Data<Auth>,
    stop: Data<Stop>,
) -> Result<HttpResponse, actix_web::Error> {
    let raw = query.get("video").map(format).transpose()?;
    if !request.headers().contains_key(header::UPGRADE) {
        let text = "This is a WebSocket: the request must ask for an upgrade";
        return Ok(HttpResponse::BadRequest().insert_header(answer::text_plain()).body(text));
    }
    // Only its answer's head and its reader are of use: the body is ours.
    let Ok((response, _, messages)) = actix_ws::handle(&request, payload) else {
        return Ok(answer::plain(StatusCode::BAD_REQUEST));
    };
    let access = request.extensions().get::<Access>().cloned();
    let hold = match &access {
        Some(Access::Session(session)) => Some(auth.hold(session)),
        _ => None,
    };
    let (orders, inbox) = mpsc::channel(ORDERS);
    let outgoing = Outgoing::new(streamer.frames.clone(), raw, inbox, (access, hold), stop.0.clone());
    let heartbeat = request.app_data::<Data<Heartbeat>>().map_or(Heartbeat::default().0, |beat| beat.0);
    rt::spawn(read(messages, raw, orders, heartbeat));
    Ok(response.set_body(BoxBody::new(BodyStream::new(outgoing.body()))))
}

/// H.264 is a format, so asking for it is not wrong; who does gets what the contract's server sends while nothing encodes
/// it: nothing.
fn format(raw: &str) -> Result<Format, Failure> {
    match raw.trim().to_ascii_lowercase().as_str() {
        "jpeg" => Ok(Format::Jpeg),
        "h264" => Ok(Format::H264),
        _ => Err(Failure::invalid("video: not jpeg or h264")),
    }
}

/// Takes messages until there are no more, the client is silent for too long, or nobody writes to it any more.
async fn read(
    messages: MessageStream,
    raw: Option<Format>,
    orders: mpsc::Sender<Order>,
    heartbeat: Duration,
) {
    let mut messages =
        messages.max_frame_size(LONGEST).aggregate_continuations().max_continuation_size(LONGEST);
    let mut asked = false;
    loop {
        let patience = if asked { heartbeat / 2 } else { heartbeat };
        let message = tokio::select! {
            () = orders.closed() => return,
            message = timeout(patience, messages.next()) => message,
        };
        let order = match message {
            Ok(Some(Ok(message))) => {
                asked = false;
                match message {
                    AggregatedMessage::Close(_) => return,
                    AggregatedMessage::Ping(payload) => Some(Order::Echo(payload)),
                    AggregatedMessage::Text(text) if raw.is_none() => Wish::from_text(&text).and_then(order),
                    AggregatedMessage::Binary(bytes) if raw.is_none() => {
                        Wish::from_binary(&bytes).and_then(order)
                    }
                    _ => None,
                }
            }
            // The client broke the rules or the connection, or is silent although it was asked.
            Ok(Some(Err(_)) | None) => return,
            Err(_) if asked => return,
            Err(_) => {
                asked = true;
                Some(Order::Ask)
            }
        };
        // One that does not read misses answers before it costs memory.
        if let Some(order) = order {
            let _ = orders.try_send(order);
        }
    }
}

fn order(wish: Wish) -> Option<Order> {
    match wish {
        Wish::Start(Format::Jpeg) => Some(Order::Start),
        Wish::Ping => Some(Order::Pong),
        // What is not offered is not started, and every JPEG is whole.
        Wish::Start(Format::H264) | Wish::KeyFrame => None,
    }
}
