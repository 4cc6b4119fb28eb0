//! The WebSocket.

use crate::appliance::{ADMIN, Appliance};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::TcpStream, time::Duration};
use tungstenite::{Message, WebSocket, client::IntoClientRequest, http::HeaderValue};

pub(crate) struct Client(pub(crate) WebSocket<TcpStream>);

impl Client {
    pub(crate) fn connect(appliance: &Appliance, query: &str, headers: &str) -> Result<Self, u16> {
        let mut request = format!("ws://kvm.local/api/ws{query}").into_client_request().unwrap();
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name: tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let stream = TcpStream::connect(appliance.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) fn message(&mut self) -> Message {
        self.0.read().unwrap()
    }

    pub(crate) fn event(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.message() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Events up to and including the first of that name.
    pub(crate) fn until(&mut self, name: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.event();
            let found = event["event_type"] == name;
            events.push(event);
            if found {
                return events;
            }
        }
    }

    pub(crate) fn until_closed(&mut self) -> Option<u16> {
        loop {
            match self.0.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

#[test]
fn a_new_client_hears_the_contract_first_and_then_everything_in_both_generations() {
    let appliance = Appliance::start();
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    let first = client.event();
    assert_eq!(first, json!({"event_type": "loop", "event": {"version": {"major": 4, "minor": 197}}}));
    let mut missing: BTreeSet<&str> = [
        "clients",
        "gpio",
        "hid",
        "atx",
        "msd",
        "streamer",
        "ocr",
        "hid_keymaps",
        "info",
        "gpio_model_state",
        "gpio_state",
        "hid_state",
        "atx_state",
        "msd_state",
        "streamer_state",
        "streamer_ocr_state",
        "hid_keymaps_state",
        "wol_state",
        "info_auth_state",
        "info_extras_state",
        "info_fan_state",
        "info_hw_state",
        "info_meta_state",
        "info_system_state",
    ]
    .into();
    let mut fields = BTreeSet::new();
    while !missing.is_empty() || fields.len() < 8 {
        let event = client.event();
        let name = event["event_type"].as_str().unwrap();
        missing.remove(name);
        if name == "info" {
            fields.extend(event["event"].as_object().unwrap().keys().cloned());
        }
        if name == "streamer" {
            assert!(event["event"]["features"].is_object() && event["event"]["limits"].is_object());
        }
    }
    let expected = ["auth", "extras", "fan", "health", "meta", "node", "system", "uptime"];
    assert_eq!(fields, expected.map(str::to_owned).into());
}

#[test]
fn the_old_generation_can_be_switched_off() {
    let appliance = Appliance::start_with(|config| config.kvmd.events.legacy = false);
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    client.0.send(Message::text(r#"{"event_type":"ping","event":{}}"#)).unwrap();
    for event in client.until("pong") {
        assert!(!event["event_type"].as_str().unwrap().ends_with("_state"), "{event}");
    }
}

#[test]
fn a_change_is_told_to_everybody_and_only_as_a_change() {
    let appliance = Appliance::start_with(|config| config.kvmd.events.legacy = false);
    let mut clients = [(); 2].map(|()| Client::connect(&appliance, "?stream=0", ADMIN).unwrap());
    let ping = r#"{"event_type":"ping","event":{}}"#;
    for client in &mut clients {
        client.0.send(Message::text(ping)).unwrap();
        client.until("pong");
    }
    assert_eq!(appliance.admin("POST", "/api/msd/set_params?cdrom=0&rw=1").status, 200);
    for client in &mut clients {
        loop {
            let event = client.until("msd").pop().unwrap();
            if event["event"].get("enabled").is_none() && event["event"].get("drive").is_some() {
                assert_eq!(
                    event["event"],
                    json!({"drive": {"image": null, "connected": false, "cdrom": false, "rw": true}})
                );
                break;
            }
        }
    }
}

#[test]
fn watchers_are_counted() {
    let appliance = Appliance::start();
    let count = |client: &mut Client| client.until("clients").pop().unwrap()["event"]["count"].clone();
    let mut first = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    assert_eq!(count(&mut first), 0);
    let second = Client::connect(&appliance, "", ADMIN).unwrap();
    assert_eq!(count(&mut first), 1);
    drop(second);
    assert_eq!(count(&mut first), 0);
}

#[test]
fn pings_are_answered_and_nonsense_is_ignored() {
    let appliance = Appliance::start();
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    for nonsense in ["{", "[]", r#"{"event_type":"nope","event":{}}"#, r#"{"event_type":"ping"}"#] {
        client.0.send(Message::text(nonsense)).unwrap();
    }
    for nonsense in [&b""[..], b"\x63", b"\x01\x81\xff\xff", b"\x04\x00\x01"] {
        client.0.send(Message::binary(nonsense.to_vec())).unwrap();
    }
    client.0.send(Message::binary(vec![0, 1, 2])).unwrap();
    loop {
        if let Message::Binary(bytes) = client.message() {
            assert_eq!(bytes.as_ref(), [0xFF]);
            break;
        }
    }
}

#[test]
fn keys_reach_the_keyboard() {
    let appliance = Appliance::start();
    let idle = |appliance: &Appliance| appliance.admin("GET", "/api/hid/inactivity").json();
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    client.0.send(Message::binary(b"\x01\x01KeyA".to_vec())).unwrap();
    client.0.send(Message::binary(vec![0])).unwrap();
    while !matches!(client.message(), Message::Binary(_)) {}
    assert_eq!(idle(&appliance)["result"]["inactivity"], 0);
}

#[test]
fn a_socket_needs_a_right_and_ends_with_it() {
    let appliance = Appliance::start();
    assert_eq!(Client::connect(&appliance, "", "").err(), Some(401));
    assert_eq!(Client::connect(&appliance, "", "X-KVMD-User: admin\nX-KVMD-Passwd: x").err(), Some(403));
    assert_eq!(Client::connect(&appliance, "?stream=bad", ADMIN).err(), Some(400));
    let evil = format!("{ADMIN}Origin: https://evil.example\r\n");
    assert_eq!(Client::connect(&appliance, "", &evil).err(), Some(403));
    assert_eq!(appliance.admin("GET", "/api/ws").status, 400, "a plain request");

    let cookie = appliance.login();
    let mut client = Client::connect(&appliance, "", &cookie).unwrap();
    client.until("clients");
    assert_eq!(appliance.ask("POST", "/api/auth/logout", &cookie, b"").status, 200);
    assert_eq!(client.until_closed(), Some(1008));
}

#[test]
fn a_message_that_is_too_long_ends_the_socket() {
    let appliance = Appliance::start();
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    // The server may close before it has taken all of it.
    let _ = client.0.send(Message::binary(vec![1; (4 << 20) + 1]));
    assert!(matches!(client.until_closed(), Some(1009) | None));
    assert_eq!(appliance.admin("GET", "/api/auth/check").status, 200);
}

#[test]
fn a_silent_client_is_dropped() {
    let appliance = Appliance::start_with(|config| {
        config.kvmd.server.heartbeat = Duration::from_millis(200);
    });
    let client = Client::connect(&appliance, "", ADMIN).unwrap();
    let mut watcher = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    // Reading answers pings; the first client does not read.
    while watcher.until("clients").pop().unwrap()["event"]["count"] != 0 {}
    drop(client);
}
