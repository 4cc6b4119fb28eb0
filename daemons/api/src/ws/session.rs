//! One WebSocket client: its messages in, the hub's messages out.
//!
//! Reading and writing are two tasks, so that a client that does not read cannot keep its own pings or anybody else
//! waiting. The connection ends with the client, with its session, with silence, or with the daemon.

use crate::{
    answer,
    audit::{Book, Who, input::Input},
    failure::Failure,
    holder::{Holder, Place},
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
use auth::{Access, Auth, Hold, Role};
use futures_util::StreamExt;
use hid::{Event as HidEvent, Hid};
use hid_wire::{Button, Key};
use model::{
    Event, check,
    client_event::{ClientEvent, Named},
    event,
};
use serde_json::json;
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};

/// The longest message a client may send, in bytes.
const LONGEST: usize = 4 << 20;
/// How long a client that is thrown out may take to hear so.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often a client is told that it may not do what it tries.
const NOTICE: Duration = Duration::from_secs(1);

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
    // Without a gate before this, nobody may do anything.
    let access = request.extensions().get::<Access>().cloned().ok_or_else(Failure::unauthorized)?;
    let hold = match &access {
        Access::Session(session) => Some(auth.hold(session)),
        _ => None,
    };
    let book = request.app_data::<Data<Book>>().map(|book| book.get_ref().clone());
    let input = Input::new(book, Who::asks(&request));
    let seat = hub.join(stream).await.ok_or_else(Failure::unavailable)?;
    let holder = request.app_data::<Data<Holder>>().map(|holder| holder.get_ref().clone());
    let place = holder.unwrap_or_default().join(seat.number, &access);
    let client = Client {
        hid: hid.get_ref().clone(),
        place,
        right: Right { auth: auth.get_ref().clone(), access, _hold: hold },
        heartbeat,
        own: seat.own.clone(),
        noticed: None,
    };
    rt::spawn(client.serve(seat, session, messages, input));
    Ok(response)
}

/// What each operation needs: its role, and the subsystem that an API token must be for. No operation is without.
fn needs(event: &ClientEvent) -> (Role, &'static str) {
    match event {
        ClientEvent::Ping | ClientEvent::BinaryPing => (Role::Viewer, "ws"),
        ClientEvent::Key { .. }
        | ClientEvent::Button { .. }
        | ClientEvent::Move { .. }
        | ClientEvent::Relative { .. }
        | ClientEvent::Wheel { .. } => (Role::Operator, "hid"),
    }
}

/// By what right a client is here. Asked anew for each message: roles change while sockets are open.
struct Right {
    auth: Auth,
    access: Access,
    _hold: Option<Hold>,
}

impl Right {
    /// Why this may not be done, if so.
    fn refuses(&self, event: &ClientEvent) -> Option<String> {
        let (role, subsystem) = needs(event);
        match (self.access.reaches(subsystem), self.auth.role(&self.access) >= role) {
            (true, true) => None,
            (true, false) => Some(format!("this needs the role {role}")),
            (false, _) => Some(format!("this needs a token for {subsystem}")),
        }
    }
}

struct Client {
    hid: Hid,
    place: Place,
    right: Right,
    heartbeat: Duration,
    own: mpsc::Sender<Outgoing>,
    /// When this client was last told that it may not.
    noticed: Option<Instant>,
}

impl Client {
    async fn serve(mut self, mut seat: Seat, session: Session, messages: MessageStream, mut input: Input) {
        let (_, nothing) = mpsc::channel(1);
        let queue = std::mem::replace(&mut seat.queue, nothing);
        let writer = rt::spawn(write(session.clone(), queue));
        if let Some(hello) = self.place.hello() {
            self.reply((&hello).into());
        }
        let access = self.right.access.clone();
        let reason = tokio::select! {
            reason = self.read(messages, &mut input) => reason,
            () = seat.gone.cancelled() => CloseCode::Away.into(),
            () = access.ended() => CloseReason { code: CloseCode::Policy, description: None },
        };
        drop(input);
        writer.abort();
        // A client that does not read does not hear it either; then the connection is just dropped.
        let _ = tokio::time::timeout(GOODBYE, session.close(Some(reason))).await;
    }

    /// Takes messages until there are no more, or the client is silent for too long.
    async fn read(&mut self, messages: MessageStream, input: &mut Input) -> CloseReason {
        let mut messages =
            messages.max_frame_size(LONGEST).aggregate_continuations().max_continuation_size(LONGEST);
        let mut asked = false;
        let mut deadline = Instant::now() + self.heartbeat;
        loop {
            input.look();
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
                AggregatedMessage::Text(text) => self.take(ClientEvent::from_text(&text), input),
                AggregatedMessage::Binary(bytes) => self.take(ClientEvent::from_binary(&bytes), input),
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

    /// Why this client may not do this now, if so.
    fn refuses(&self, event: &ClientEvent) -> Option<String> {
        let types = !matches!(event, ClientEvent::Ping | ClientEvent::BinaryPing);
        self.right.refuses(event).or_else(|| types.then(|| self.place.refuses()).flatten())
    }

    fn take(&mut self, event: Result<ClientEvent, model::client_event::Ignored>, input: &mut Input) {
        if let Ok(event) = &event
            && let Some(why) = self.refuses(event)
        {
            input.saw(event, true);
            return self.notice(&why);
        }
        match event {
            Ok(ClientEvent::Ping) => self.reply((&event::pong()).into()),
            Ok(ClientEvent::BinaryPing) => self.reply(Outgoing::Binary(event::BINARY_PONG.into())),
            Ok(event) => {
                input.saw(&event, false);
                if let Some(event) = to_hid(event) {
                    self.hid.inject(event);
                }
            }
            Err(why) => log::debug!("ignored a WebSocket message: {why}"),
        }
    }

    /// Tells the client why its keys do nothing, once a second: a mouse sends a hundred messages in that time.
    fn notice(&mut self, why: &str) {
        if self.noticed.is_none_or(|at| at.elapsed() >= NOTICE) {
            self.noticed = Some(Instant::now());
            self.reply((&Event::new("input_refused", json!({ "why": why }))).into());
        }
    }
}

/// What the keyboard or mouse should do; none for keys and buttons nobody knows.
fn to_hid(event: ClientEvent) -> Option<HidEvent> {
    Some(match event {
        ClientEvent::Key { key, pressed, finish } => {
            let key = match key {
                Named::Name(name) => Key::from_name(&name)?,
                Named::Code(code) => Key::from_evdev(code)?,
            };
            HidEvent::Key { key, pressed, finish }
        }
        ClientEvent::Button { button, pressed } => {
            let button = match button {
                Named::Name(name) => Button::from_name(&name.to_ascii_lowercase())?,
                Named::Code(code) => Button::from_evdev(code)?,
            };
            HidEvent::Button { button, pressed }
        }
        ClientEvent::Move { x, y } => HidEvent::Move { x, y },
        ClientEvent::Relative { deltas, squash } => HidEvent::Relative { deltas, squash },
        ClientEvent::Wheel { deltas, squash } => HidEvent::Wheel { deltas, squash },
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
