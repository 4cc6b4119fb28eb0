//! The media WebSocket.

use crate::appliance::{ADMIN, Appliance};
use crate::right::token;
use std::{net::TcpStream, time::Duration};
use tungstenite::{Message, WebSocket, client::IntoClientRequest};

fn connect(appliance: &Appliance, query: &str) -> Result<WebSocket<TcpStream>, u16> {
    connect_as(appliance, query, ADMIN)
}

fn connect_as(appliance: &Appliance, query: &str, who: &str) -> Result<WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://kvm.local/api/media/ws{query}").into_client_request().unwrap();
    for line in who.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        let name: tungstenite::http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(appliance.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            Err(answer.status().as_u16())
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_is_offered_is_told_by_http_and_first_by_the_socket() {
    let appliance = Appliance::start_silent();
    let told = appliance.admin("GET", "/api/media").json();
    assert_eq!(told["result"], serde_json::json!({"media": {"video": {"jpeg": {}}}}));
    let mut socket = connect(&appliance, "").unwrap();
    let hello = r#"{"event_type":"media","event":{"video":{"jpeg":{}}}}"#;
    assert_eq!(socket.read().unwrap(), Message::text(hello));
    for ignored in ["{}", "nonsense", r#"{"event_type":"start","event":{"type":"video","format":"gif"}}"#] {
        socket.send(Message::text(ignored)).unwrap();
    }
    socket.send(Message::binary(&b"\x01"[..])).unwrap();
    socket.send(Message::binary(&b"\0payload"[..])).unwrap();
    assert_eq!(socket.read().unwrap(), Message::binary(&[0xFF_u8][..]));
    socket.send(Message::Ping("hi".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("hi".into()));
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Close(_)) | Err(_)));
}

#[test]
fn who_asks_wrongly_or_is_nobody_is_refused() {
    let appliance = Appliance::start_silent();
    assert_eq!(connect(&appliance, "?video=gif").unwrap_err(), 400);
    assert_eq!(appliance.admin("GET", "/api/media/ws?video=gif").error(), "ValidatorError");
    assert_eq!(appliance.admin("GET", "/api/media/ws").status, 400);
    assert_eq!(appliance.ask("GET", "/api/media/ws", "", b"").status, 401);
    assert_eq!(appliance.ask("GET", "/api/media", "", b"").status, 401);
    for format in ["jpeg", "h264"] {
        assert!(connect(&appliance, &format!("?video={format}")).is_ok());
    }
}

#[test]
fn the_picture_ends_with_the_token_it_was_asked_for_by() {
    let appliance = Appliance::start_silent();
    let viewer = token(&appliance, "viewer", "");
    let mut socket = connect_as(&appliance, "", &viewer).unwrap();
    assert!(socket.read().unwrap().is_text(), "what is offered");
    let tokens = appliance.admin("GET", "/api/tokens").json();
    let id = tokens["result"]["tokens"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(appliance.ask("DELETE", &format!("/api/tokens?id={id}"), ADMIN, b"").status, 200);
    let Message::Close(Some(reason)) = socket.read().unwrap() else { panic!("not a goodbye") };
    assert_eq!(u16::from(reason.code), 1008);
}
