//! `kvmctl watch`: the events of the WebSocket as JSON, one a line.
//!
//! HTTP carries the handshake, so that everything about reaching an appliance is said once ([`crate::face`]); what comes
//! then is read by a thread, because the library that knows the frames waits for them.

use anyhow::anyhow;
use reqwest::StatusCode;
use reqwest::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;
use tungstenite::handshake::{client::generate_key, derive_accept_key};
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::desk::{Desk, write_line};
use crate::face::Call;
use crate::shown::tame;
use crate::{Exit, Failure};

/// The longest event, in bytes.
const LONGEST: usize = 16 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Only these events, with commas between: `atx,hid,msd`.
    #[arg(short, long, value_delimiter = ',')]
    only: Vec<String>,
    /// Ends after so many.
    #[arg(short = 'n', long)]
    count: Option<u64>,
    /// Counts as somebody who looks at the screen: the streamer runs as long as we watch.
    #[arg(long)]
    stream: bool,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, watch: &Watch) -> Result<Exit, Failure> {
    let mut events = open(desk, watch.stream)?;
    let mut left = watch.count;
    while left != Some(0) {
        let event = desk.face.runtime.block_on(events.recv());
        let event = event.unwrap_or_else(|| Err(anyhow!("kvmd has hung up")));
        let event = event.map_err(|why| Failure::new(Exit::Unreachable, why))?;
        let kind = event["event_type"].as_str().unwrap_or_default();
        if watch.only.is_empty() || watch.only.iter().any(|wanted| wanted == kind) {
            write_line(true, desk.console, &event, |_| String::new())?;
            left = left.map(|left| left - 1);
        }
    }
    Ok(Exit::Good)
}

/// Shakes hands, and has the events read.
fn open(desk: &Desk<'_, '_>, stream: bool) -> Result<mpsc::Receiver<anyhow::Result<Value>>, Failure> {
    let key = generate_key();
    let header = |name: &'static str| HeaderName::from_static(name);
    let call = Call::get("/ws")
        .with("stream", u8::from(stream))
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header(header("sec-websocket-version"), HeaderValue::from_static("13"))
        .header(header("sec-websocket-key"), HeaderValue::from_str(&key)?)
        .patient();
    let (events, coming) = mpsc::channel(64);
    let improper = || Failure::new(Exit::Unreachable, anyhow!("kvmd gave no proper answer"));
    desk.face.runtime.block_on(async {
        let answer = desk.face.send(call).await?;
        let accepted = answer.headers().get("sec-websocket-accept").map(HeaderValue::as_bytes);
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS
            || accepted != Some(derive_accept_key(key.as_bytes()).as_bytes())
        {
            return Err(improper());
        }
        let connection = answer.upgrade().await.map_err(|error| desk.face.broken(&error))?;
        let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let bridge = SyncIoBridge::new(connection);
        let socket = WebSocket::from_raw_socket(bridge, Role::Client, Some(config));
        std::thread::spawn(move || read(socket, &events));
        Ok(coming)
    })
}

/// Reads until the other side or ours has enough. Pings are answered on the way.
fn read<S: std::io::Read + std::io::Write>(
    mut socket: WebSocket<S>,
    events: &mpsc::Sender<anyhow::Result<Value>>,
) {
    loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => serde_json::from_str(&text).map_err(anyhow::Error::from),
            Ok(Message::Close(Some(why))) => Err(anyhow!("kvmd has hung up: {}", tame(&why.to_string()))),
            Ok(_) => continue,
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => return,
            Err(error) => Err(error.into()),
        };
        let last = event.is_err();
        if events.blocking_send(event).is_err() || last {
            return;
        }
    }
}
