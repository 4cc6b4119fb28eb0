//! One WebSocket client: its messages in, the hub's messages out.
//!
//! Reading and writing are two tasks, so that a client that does not read cannot keep its own pings or anybody else
//! waiting. The connection ends with the client, with its session, with silence, or with the daemon.

use crate::{
    answer,
    failure::Failure,
    query::Query,
    ws::hub::{Hub, Outgoing, Seat},
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{StatusCode, header},
    rt,
    web::{self, Data},
};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, MessageStream, Session};
use auth::{Access, Auth, Hold};
use futures_util::StreamExt;
use hid::{Event, Hid};
use hid_wire::{Button, Key};
use model::{
    check,
    client_event::{ClientEvent, Named},
    event,
};
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};

/// The longest message a client may send, in bytes.
const LONGEST: usize = 4 << 20;
/// How long a client that is thrown out may take to hear so.
const GOODBYE: Duration = Duration::from_secs(1);

/// Time without a word from a client before it is asked whether it lives.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat(pub Duration);

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Duration::from_secs(15))
    }
}

/// Answers the upgrade and starts the client's tasks.
pub async fn open(
    request: HttpRequest,
    payload: web::Payload,
    query: Query,
    hub: Data<Hub>,
    hid: Data<Hid>,
    auth: Data<Auth>,
) -> Result<HttpResponse, actix_web::Error> {
    let stream = query.optional("stream", check::boolean)?.unwrap_or(true);
    if !request.headers().contains_key(header::UPGRADE) {
        let text = "This is a WebSocket: the request must ask for an upgrade";
        return Ok(HttpResponse::BadRequest().insert_header(answer::text_plain()).body(text));
    }
    let Ok((response, session, messages)) = actix_ws::handle(&request, payload) else {
        return Ok(answer::plain(StatusCode::BAD_REQUEST));
    };
    let heartbeat =
        request.app_data::<Data<Heartbeat>>().map_or(Heartbeat::default().0, |heartbeat| heartbeat.0);
    let hold = match request.extensions().get::<Access>() {
        Some(Access::Session(session)) => Some(auth.hold(session)),
        _ => None,
    };
    let seat = hub.join(stream).await.ok_or_else(Failure::unavailable)?;
    let client = Client { hid: hid.get_ref().clone(), hold, heartbeat, own: seat.own.clone() };
    rt::spawn(client.serve(seat, session, messages));
    Ok(response)
}

struct Client {
    hid: Hid,
    hold: Option<Hold>,
    heartbeat: Duration,
    own: mpsc::Sender<Outgoing>,
}

impl Client {
    async fn serve(self, mut seat: Seat, session: Session, messages: MessageStream) {
        let (_, nothing) = mpsc::channel(1);
        let queue = std::mem::replace(&mut seat.queue, nothing);
        let writer = rt::spawn(write(session.clone(), queue));
        let reason = tokio::select! {
            reason = self.read(messages) => reason,
            () = seat.gone.cancelled() => CloseCode::Away.into(),
            () = self.session_ended() => CloseReason { code: CloseCode::Policy, description: None },
        };
        writer.abort();
        // A client that does not read does not hear it either; then the connection is just dropped.
        let _ = tokio::time::timeout(GOODBYE, session.close(Some(reason))).await;
    }

    async fn session_ended(&self) {
        match &self.hold {
            Some(hold) => hold.session().ended().await,
            None => std::future::pending().await,
        }
    }

    /// Takes messages until there are no more, or the client is silent for too long.
    async fn read(&self, messages: MessageStream) -> CloseReason {
        let mut messages =
            messages.max_frame_size(LONGEST).aggregate_continuations().max_continuation_size(LONGEST);
        let mut asked = false;
        let mut deadline = Instant::now() + self.heartbeat;
        loop {
            let message = match tokio::time::timeout_at(deadline, messages.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(why))) => return refusal(&why),
                Ok(None) => return CloseCode::Normal.into(),
                Err(_) if asked => return CloseCode::Abnormal.into(),
                Err(_) => {
                    asked = true;
                    deadline = Instant::now() + self.heartbeat / 2;
                    self.reply(Outgoing::Ping);
                    continue;
                }
            };
            asked = false;
            deadline = Instant::now() + self.heartbeat;
            match message {
                AggregatedMessage::Text(text) => self.take(ClientEvent::from_text(&text)),
                AggregatedMessage::Binary(bytes) => self.take(ClientEvent::from_binary(&bytes)),
                AggregatedMessage::Ping(payload) => self.reply(Outgoing::Pong(payload)),
                AggregatedMessage::Pong(_) => {}
                AggregatedMessage::Close(reason) => return reason.unwrap_or(CloseCode::Normal.into()),
            }
        }
    }

    /// Answers this client alone. One whose queue is full misses it, and is about to be thrown out.
    fn reply(&self, message: Outgoing) {
        let _ = self.own.try_send(message);
    }

    fn take(&self, event: Result<ClientEvent, model::client_event::Ignored>) {
        match event {
            Ok(ClientEvent::Ping) => self.reply((&event::pong()).into()),
            Ok(ClientEvent::BinaryPing) => self.reply(Outgoing::Binary(event::BINARY_PONG.into())),
            Ok(event) => {
                if let Some(event) = to_hid(event) {
                    self.hid.inject(event);
                }
            }
            Err(why) => log::debug!("ignored a WebSocket message: {why}"),
        }
    }
}

/// What the keyboard or mouse should do; none for keys and buttons nobody knows.
fn to_hid(event: ClientEvent) -> Option<Event> {
    Some(match event {
        ClientEvent::Key { key, pressed, finish } => {
            let key = match key {
                Named::Name(name) => Key::from_name(&name)?,
                Named::Code(code) => Key::from_evdev(code)?,
            };
            Event::Key { key, pressed, finish }
        }
        ClientEvent::Button { button, pressed } => {
            let button = match button {
                Named::Name(name) => Button::from_name(&name.to_ascii_lowercase())?,
                Named::Code(code) => Button::from_evdev(code)?,
            };
            Event::Button { button, pressed }
        }
        ClientEvent::Move { x, y } => Event::Move { x, y },
        ClientEvent::Relative { deltas, squash } => Event::Relative { deltas, squash },
        ClientEvent::Wheel { deltas, squash } => Event::Wheel { deltas, squash },
        ClientEvent::Ping | ClientEvent::BinaryPing => return None,
    })
}

fn refusal(why: &actix_ws::ProtocolError) -> CloseReason {
    match why {
        actix_ws::ProtocolError::Overflow => CloseCode::Size.into(),
        _ => CloseCode::Protocol.into(),
    }
}

/// Sends what is queued, in order, as fast as the client reads.
async fn write(mut session: Session, mut queue: mpsc::Receiver<Outgoing>) {
    while let Some(message) = queue.recv().await {
        let sent = match message {
            Outgoing::Text(text) => session.text(text).await,
            Outgoing::Binary(bytes) => session.binary(bytes).await,
            Outgoing::Ping => session.ping(b"").await,
            Outgoing::Pong(payload) => session.pong(&payload).await,
        };
        if sent.is_err() {
            return;
        }
    }
}
