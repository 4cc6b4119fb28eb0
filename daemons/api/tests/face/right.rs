//! Who may do what: every row of the route table is asked by those who may not, and every row that only tells is watched
//! for changing something. A new row is covered by being there.

use crate::{
    appliance::{ADMIN, Answer, Appliance},
    socket::Client,
};
use api::routes::{self, Entry, Need};
use auth::Role;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};
use tungstenite::Message;

/// Rows that change only the caller's own session, or are how one begins. Whoever adds one argues it here.
const OWN: &[&str] = &["/auth/logout", "/redfish/v1/SessionService/Sessions/{id}"];

/// A path that a client may ask for: names in place of `{id}`.
fn asked(path: &str) -> String {
    let mut asked = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        asked += before;
        asked.push('1');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    asked + rest
}

fn rows() -> Vec<(String, &'static Entry)> {
    routes::everything().map(|(path, row)| (asked(&path), row)).collect()
}

/// What every row that changes something is, by its method or by its switch.
fn changes() -> Vec<(String, &'static Entry)> {
    let by_switch = |(path, row): (String, &'static Entry)| match row.changes_with {
        Some(switch) => vec![(path.clone(), row), (format!("{path}?{switch}=1"), row)],
        None => vec![(path, row)],
    };
    let all = rows().into_iter().flat_map(by_switch);
    all.filter(|(path, row)| !row.is_safe() || path.contains('?')).collect()
}

/// A token of this role, as a header line.
pub(crate) fn token(appliance: &Appliance, role: &str, more: &str) -> String {
    named_token(appliance, role, role, more)
}

fn named_token(appliance: &Appliance, name: &str, role: &str, more: &str) -> String {
    let path = format!("/api/tokens?name={name}&role={role}{more}");
    let made = appliance.ask("POST", &path, ADMIN, b"");
    assert_eq!(made.status, 200, "{}", String::from_utf8_lossy(&made.body));
    format!("Authorization: Bearer {}\r\n", made.json()["result"]["secret"].as_str().unwrap())
}

/// The head of an answer, whose body may have no end.
fn status(appliance: &Appliance, row: &Entry, path: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(appliance.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let method = row.method;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: kvm.local\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[9..]).parse().unwrap()
}

#[test]
fn without_a_session_every_route_answers_401_or_403() {
    let appliance = Appliance::start();
    let nobody = "Authorization: Bearer kvmt_";
    let unknown = format!("{nobody}{}\r\n", "0".repeat(64));
    let dead = format!("Cookie: auth_token={}\r\n", "0".repeat(64));
    for (path, row) in rows().into_iter().filter(|(_, row)| !open(row)) {
        for headers in ["", &unknown, &dead, "X-KVMD-User: admin\r\nX-KVMD-Passwd: no\r\n", "Cookie: a=b\r\n"]
        {
            let status = status(&appliance, row, &path, headers);
            assert!(matches!(status, 401 | 403), "{row:?} {path} {headers}: {status}");
        }
    }
}

fn open(row: &Entry) -> bool {
    matches!(row.need, Need::Nothing | Need::NoOwner)
}

#[test]
fn with_a_viewer_s_right_nothing_can_be_changed() {
    let appliance = Appliance::start();
    let viewer = token(&appliance, "viewer", "");
    for (path, row) in changes().into_iter().filter(|(_, row)| !open(row) && !OWN.contains(&row.path)) {
        assert_eq!(status(&appliance, row, &path, &viewer), 403, "{row:?} {path}");
    }
    for (path, row) in changes() {
        let status = status(&appliance, row, &path, &viewer);
        assert!(!(200..300).contains(&status), "{row:?} {path}: {status}");
    }
}

#[test]
fn whoever_has_less_than_a_row_s_role_gets_403_and_who_has_it_does_not() {
    let appliance = Appliance::start();
    let headers: BTreeMap<Role, String> =
        Role::ALL.map(|role| (role, token(&appliance, role.name(), ""))).into();
    for (path, row) in rows().into_iter().filter(|(_, row)| row.need == Need::Anyone && row.is_safe()) {
        for (role, headers) in &headers {
            let refused = matches!(status(&appliance, row, &path, headers), 401 | 403);
            assert_eq!(refused, *role < row.role, "{row:?} {path} {role}");
        }
    }
    let operator = &headers[&Role::Operator];
    for (path, row) in changes().into_iter().filter(|(_, row)| row.role == Role::Admin) {
        assert_eq!(status(&appliance, row, &path, operator), 403, "{row:?} {path}");
    }
    for path in ["/api/hid/reset", "/api/atx/power?action=on", "/api/msd/set_params?cdrom=1"] {
        assert_eq!(appliance.ask("POST", path, operator, b"").status, 200, "{path}");
    }
}

#[test]
fn a_refusal_says_what_is_missing() {
    let appliance = Appliance::start();
    let viewer = token(&appliance, "viewer", "");
    let refused = appliance.ask("POST", "/api/atx/power?action=on", &viewer, b"");
    assert_eq!((refused.status, refused.error().as_str()), (403, "ForbiddenError"));
    assert_eq!(refused.json()["result"]["error_msg"], "Forbidden: this needs the role operator");
}

#[test]
fn another_site_s_page_changes_nothing() {
    let appliance = Appliance::start();
    let evil = format!("{ADMIN}Origin: https://evil.example\r\n");
    // A login of another site's form is what `redirect` is for; it gives nothing to that site.
    for (path, row) in changes().into_iter().filter(|(_, row)| row.path != "/auth/login") {
        assert_eq!(status(&appliance, row, &path, &evil), 403, "{row:?} {path}");
    }
    for site in ["cross-site", "same-site"] {
        let image = format!("{ADMIN}Sec-Fetch-Site: {site}\r\n");
        for (path, row) in changes().into_iter().filter(|(_, row)| row.is_safe()) {
            assert_eq!(
                status(&appliance, row, &path, &image),
                403,
                "{row:?} {path} as an image of another page"
            );
        }
        let page = format!("Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: {site}\r\n");
        let refused = appliance.ask("GET", "/redfish/v1/Systems", &page, b"");
        assert_eq!(
            (refused.status, refused.header("WWW-Authenticate")),
            (401, None),
            "a browser would keep it"
        );
    }
    let program = appliance.ask("GET", "/redfish/v1/Systems", "Sec-Fetch-Mode: cors\r\n", b"");
    assert_eq!(program.header("WWW-Authenticate"), Some("Basic realm=\"Redfish\""), "Node's fetch");
    let upgrade =
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, row) in rows().into_iter().filter(|(_, row)| row.method == "GET" && !open(row)) {
        let headers = format!("{evil}{upgrade}");
        assert_eq!(status(&appliance, row, &path, &headers), 403, "{row:?} {path} as a WebSocket");
    }
}

/// Everything that can be asked for and must not change by asking, and every file.
fn state(appliance: &Appliance) -> BTreeMap<String, Value> {
    let paths = ["/atx", "/gpio", "/hid", "/msd", "/streamer", "/gadget", "/tokens", "/audit?limit=1000"];
    let mut state: BTreeMap<String, Value> = paths
        .into_iter()
        .map(|path| (path.to_owned(), appliance.admin("GET", &format!("/api{path}")).json()))
        .collect();
    state.values_mut().for_each(forget_free);
    files(appliance.dir.path(), &mut state);
    state
}

/// Others write on the same disk.
fn forget_free(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.remove("free");
        fields.values_mut().for_each(forget_free);
    }
}

fn files(dir: &Path, state: &mut BTreeMap<String, Value>) {
    // What is written down late is written beside its file and moved over it: it may be gone again, by its first name.
    for entry in std::fs::read_dir(dir).into_iter().flatten().map_while(Result::ok) {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() {
            files(&path, state);
        }
        let content = if kind.is_file() { std::fs::read(&path) } else { Ok(Vec::new()) };
        let Ok(content) = content else { continue };
        state.insert(path.display().to_string(), format!("{kind:?} {content:?}").into());
    }
}

#[test]
fn no_get_changes_anything() {
    let appliance = Appliance::start();
    assert_eq!(appliance.ask("POST", "/api/msd/write?image=x.iso", ADMIN, b"data").status, 200);
    let before = state(&appliance);
    // What the routes that do change something take.
    let tempting = "action=off&button=power&channel=led1&state=1&connected=1&image=x.iso&cdrom=1&rw=1&key=KeyA&name=x\
        &role=admin&id=1&expire=1&jiggler=1&data=00&url=http://127.0.0.1:1/x&quality=1&ocr=0&load=0&reset=1&follow=0\
        &bios_safe=1&user=admin&passwd=admin";
    for (path, row) in rows().into_iter().filter(|(_, row)| row.is_safe()) {
        for query in ["", tempting] {
            status(&appliance, row, &format!("{path}?{query}"), ADMIN);
            // An image that is being read is busy until its reader has left.
            let asked = Instant::now();
            while state(&appliance) != before && asked.elapsed() < Duration::from_secs(30) {}
            assert_eq!(state(&appliance), before, "{row:?} {query}");
        }
    }
}

#[test]
fn a_token_for_some_subsystems_is_for_no_other() {
    let appliance = Appliance::start();
    let figures = "/api/export/prometheus/metrics";
    let atx = token(&appliance, "operator", "&scopes=atx,ws");
    for (path, row) in rows().into_iter().filter(|(_, row)| row.need == Need::Anyone && row.is_safe()) {
        let refused = matches!(status(&appliance, row, &path, &atx), 401 | 403);
        assert_eq!(refused, !matches!(row.subsystem(), "atx" | "auth" | "ws"), "{row:?} {path}");
    }
    // Whether they need a login at all is a setting: the row does not say so.
    assert_eq!(appliance.ask("GET", figures, &atx, b"").status, 403);
    assert_eq!(
        appliance
            .ask("GET", figures, &named_token(&appliance, "figures", "viewer", "&scopes=export"), b"")
            .status,
        200
    );
    assert_eq!(
        appliance.ask("GET", "/api/auth/check", &atx, b"").status,
        200,
        "whether it is good can be asked"
    );
    assert_eq!(appliance.ask("POST", "/api/atx/power?action=on", &atx, b"").status, 200);
    let refused = appliance.ask("POST", "/api/hid/reset", &atx, b"");
    assert_eq!(refused.json()["result"]["error_msg"], "Forbidden: this token is not for hid");
}

#[test]
fn tokens_are_made_listed_and_revoked_and_shown_once() {
    let appliance = Appliance::start();
    let viewer = token(&appliance, "viewer", "&expire=3600");
    let secret = viewer.trim_end().rsplit(' ').next().unwrap();
    let listed = appliance.admin("GET", "/api/tokens");
    assert!(!String::from_utf8_lossy(&listed.body).contains(secret));
    let shown = listed.json()["result"]["tokens"][0].clone();
    assert_eq!(
        (&shown["name"], &shown["role"], &shown["by"]),
        (&json!("viewer"), &json!("viewer"), &json!("admin"))
    );
    assert_eq!(shown["expires"].as_u64().unwrap() - shown["created"].as_u64().unwrap(), 3600);
    assert_eq!(appliance.ask("GET", "/api/info", &viewer, b"").status, 200);
    assert!(appliance.admin("GET", "/api/tokens").json()["result"]["tokens"][0]["last_used"].is_u64());
    let again = appliance.ask("POST", "/api/tokens?name=viewer&role=admin", ADMIN, b"");
    assert_eq!((again.status, again.error().as_str()), (400, "ValidatorError"), "the name is taken");
    let path = format!("/api/tokens?id={}", shown["id"].as_str().unwrap());
    assert_eq!(appliance.ask("DELETE", &path, ADMIN, b"").status, 200);
    assert_eq!(appliance.ask("DELETE", &path, ADMIN, b"").error(), "ValidatorError");
    assert_eq!(appliance.ask("GET", "/api/info", &viewer, b"").error(), "ForbiddenError");
}

fn ping(client: &mut Client) {
    client.0.send(Message::binary(vec![0])).unwrap();
    while !matches!(client.message(), Message::Binary(_)) {}
}

/// Seconds since something was typed.
fn idle(appliance: &Appliance) -> u64 {
    appliance.admin("GET", "/api/hid/inactivity").json()["result"]["inactivity"].as_u64().unwrap()
}

fn press(client: &mut Client) {
    client.0.send(Message::binary(b"\x01\x01KeyA".to_vec())).unwrap();
    client.0.send(Message::text(r#"{"event_type":"key","event":{"key":"KeyA","state":false}}"#)).unwrap();
    ping(client);
}

#[test]
fn on_the_websocket_a_viewer_sees_everything_and_types_nothing() {
    let appliance = Appliance::start();
    let mut watches = [token(&appliance, "viewer", ""), token(&appliance, "operator", "&scopes=ws,streamer")]
        .map(|headers| Client::connect(&appliance, "?stream=0", &headers).unwrap());
    for client in &mut watches {
        client.until("hid");
    }
    while idle(&appliance) == 0 {}
    watches.iter_mut().for_each(press);
    assert!(idle(&appliance) > 0);
    for (client, why) in watches.iter_mut().zip(["the role operator", "a token for hid"]) {
        // The one for the key was read with the pong: the next comes when a second is over.
        let told = loop {
            client
                .0
                .send(Message::text(r#"{"event_type":"mouse_move","event":{"to":{"x":0,"y":0}}}"#))
                .unwrap();
            client.0.send(Message::text(r#"{"event_type":"ping","event":{}}"#)).unwrap();
            let events = client.until("pong");
            if let Some(told) = events.into_iter().find(|event| event["event_type"] == "input_refused") {
                break told;
            }
        };
        assert_eq!(told["event"]["why"], format!("this needs {why}"));
    }
    let works = named_token(&appliance, "works", "operator", "&scopes=ws,hid");
    let mut client = Client::connect(&appliance, "?stream=0", &works).unwrap();
    // A slow machine asks late: it is heard when nobody has been idle for longer than since then.
    let begin = Instant::now();
    press(&mut client);
    while idle(&appliance) > begin.elapsed().as_secs() {
        assert!(begin.elapsed() < Duration::from_secs(30), "nothing was typed");
    }
    let other = token(&appliance, "admin", "&scopes=hid");
    assert_eq!(Client::connect(&appliance, "?stream=0", &other).err(), Some(403));
}

#[test]
fn a_revoked_token_s_socket_closes() {
    let appliance = Appliance::start();
    let operator = token(&appliance, "operator", "");
    let mut client = Client::connect(&appliance, "?stream=0", &operator).unwrap();
    client.until("clients");
    let id = appliance.admin("GET", "/api/tokens").json()["result"]["tokens"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(appliance.ask("DELETE", &format!("/api/tokens?id={id}"), ADMIN, b"").status, 200);
    assert_eq!(client.until_closed(), Some(1008));
}

#[test]
fn a_socket_that_was_opened_by_a_password_closes_with_it() {
    let appliance = Appliance::start();
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    client.until("clients");
    let mut entries = auth::htpasswd::Entries::read(&appliance.users()).unwrap();
    entries.set("admin", "another").unwrap();
    entries.write(&appliance.users()).unwrap();
    assert_eq!(client.until_closed(), Some(1008));
}

#[test]
fn a_user_of_the_file_of_roles_is_what_it_says_at_the_next_look() {
    let appliance = Appliance::start();
    assert_eq!(appliance.admin("POST", "/api/hid/reset").status, 200);
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    let roles = appliance.users().with_file_name("roles");
    auth::file::replace(&roles, b"admin:viewer\n").unwrap();
    while appliance.admin("POST", "/api/hid/reset").status == 200 {}
    assert_eq!(appliance.admin("POST", "/api/hid/reset").error(), "ForbiddenError");
    client.0.send(Message::binary(b"\x01\x01KeyA".to_vec())).unwrap();
    client.until("input_refused");
}

fn records(appliance: &Appliance, query: &str) -> Vec<Value> {
    let answer = appliance.admin("GET", &format!("/api/audit{query}"));
    assert_eq!(answer.status, 200);
    answer.json()["result"]["records"].as_array().unwrap().clone()
}

#[test]
fn what_was_changed_is_written_down_with_who_did_it_and_without_secrets() {
    let appliance = Appliance::start();
    let viewer = token(&appliance, "viewer", "");
    appliance.admin("POST", "/api/atx/power?action=on&passwd=hunter2");
    appliance.admin("GET", "/api/atx");
    appliance.admin("POST", "/api/hid/events/send_key?key=KeyQ");
    appliance.ask("POST", "/api/hid/print?slow=1", ADMIN, b"hunter2");
    appliance.ask("POST", "/api/atx/power?action=off", &viewer, b"");
    appliance.ask(
        "POST",
        "/api/atx/power?action=off",
        "X-KVMD-User: admin\r\nX-KVMD-Passwd: hunter2\r\n",
        b"",
    );
    appliance.ask_unix("POST", "/atx/power?action=on");
    appliance.login();
    let all = records(&appliance, "");
    let of = |path: &str| all.iter().filter(|record| record["path"] == path).collect::<Vec<_>>();
    let powers = of("/atx/power");
    assert_eq!(powers[0]["params"], json!({"action": "on", "passwd": "…"}));
    let who = |record: &Value| {
        [&record["user"], &record["token"], &record["by"], &record["status"]].map(Clone::clone)
    };
    assert_eq!(who(powers[0]), [json!("admin"), json!(null), json!("password"), json!(200)]);
    assert_eq!(powers[0]["address"], "127.0.0.1");
    assert_eq!(who(powers[1]), [json!(null), json!("viewer"), json!("token"), json!(403)]);
    assert_eq!(powers[1]["error"], "ForbiddenError");
    assert_eq!(who(powers[2]), [json!(null), json!(null), json!("unknown"), json!(403)]);
    assert_eq!(of("/hid/events/send_key")[0]["params"], Value::Null);
    assert_eq!(who(of("/auth/login")[0]), [json!("admin"), json!(null), json!("password"), json!(200)]);
    assert!(of("/atx").is_empty());
    assert_eq!(of("/tokens")[0]["params"], json!({"name": "viewer", "role": "viewer"}));
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("KeyQ") && !text.contains("kvmt_"), "{text}");
    let seqs: Vec<u64> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().zip(1..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
}

#[test]
fn the_audit_log_is_read_by_pages_and_as_it_grows() {
    let appliance = Appliance::start();
    for number in 0..5 {
        appliance.admin("POST", &format!("/api/hid/set_params?jiggler={number}"));
    }
    let first = appliance.admin("GET", "/api/audit?after=0&limit=2").json()["result"].clone();
    assert_eq!((first["records"].as_array().unwrap().len(), &first["next"]), (2, &json!(2)));
    assert_eq!(records(&appliance, "?after=2").len(), 3);
    assert_eq!(records(&appliance, "?limit=1")[0]["seq"], 5);
    assert_eq!(records(&appliance, "?seek=600").len(), 5);

    let mut stream = TcpStream::connect(appliance.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
        .write_all(format!("GET /api/audit?follow=1&after=4 HTTP/1.1\r\nHost: x\r\n{ADMIN}\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    let mut until = |part: &str| {
        let mut bytes = [0; 4096];
        while !text.contains(part) {
            let count = stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "{text}");
            text += &String::from_utf8_lossy(&bytes[..count]);
        }
    };
    until("\"seq\":5");
    appliance.admin("POST", "/api/atx/click?button=power");
    until("/atx/click");
}

#[test]
fn input_over_the_websocket_is_told_by_begin_end_and_counts() {
    let appliance = Appliance::start();
    let mut client = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    press(&mut client);
    client.0.send(Message::text(r#"{"event_type":"mouse_move","event":{"to":{"x":7,"y":0}}}"#)).unwrap();
    ping(&mut client);
    drop(client);
    let found = loop {
        let found = records(&appliance, "");
        if found.iter().any(|record| record["kind"] == "input_end") {
            break found;
        }
    };
    assert_eq!((&found[0]["kind"], &found[0]["user"]), (&json!("input_begin"), &json!("admin")));
    assert_eq!(
        (&found[1]["keys"], &found[1]["moves"], &found[1]["refused"]),
        (&json!(2), &json!(1), &json!(0))
    );
}

#[test]
fn a_stranger_can_fill_nothing() {
    let appliance = Appliance::start();
    for _ in 0..50 {
        let _: Answer = appliance.ask("POST", "/api/atx/power?action=on", "", b"");
    }
    assert_eq!(records(&appliance, "").len(), 1);
}

#[test]
fn a_viewer_can_fill_nothing_either() {
    let appliance = Appliance::start();
    let viewer = token(&appliance, "viewer", "");
    appliance.admin("POST", "/api/atx/power?action=on");
    for number in 0..300 {
        let path = format!("/api/atx/power?action={number}{}", "%01".repeat(200));
        assert_eq!(appliance.ask("POST", &path, &viewer, b"").status, 403);
    }
    let all = records(&appliance, "");
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!((&all[2]["path"], &all[2]["params"]), (&json!("/atx/power"), &Value::Null));
}

#[test]
fn a_token_makes_no_token() {
    let appliance = Appliance::start();
    let admin = token(&appliance, "admin", "&scopes=tokens&expire=60");
    assert_eq!(appliance.ask("GET", "/api/tokens", &admin, b"").status, 200);
    for (method, path) in [("POST", "/api/tokens?name=more&role=admin"), ("DELETE", "/api/tokens?id=1")] {
        let refused = appliance.ask(method, path, &admin, b"");
        assert_eq!((refused.status, refused.error().as_str()), (403, "ForbiddenError"), "{method}");
    }
}

#[test]
fn who_logs_in_for_redfish_is_named() {
    let appliance = Appliance::start();
    let login = |passwd: &str| {
        let body = json!({"UserName": "admin", "Password": passwd}).to_string();
        appliance.ask("POST", "/redfish/v1/SessionService/Sessions", "", body.as_bytes()).status
    };
    assert_eq!([login("admin"), login("hunter2")], [201, 401]);
    let all = records(&appliance, "");
    assert_eq!((&all[0]["user"], &all[0]["status"]), (&json!("admin"), &json!(201)));
    assert_eq!((&all[1]["params"], &all[1]["error"]), (&Value::Null, &json!("UnauthorizedError")));
}

#[test]
fn a_tool_that_logs_in_at_each_poll_writes_nothing_and_pushes_nobody_out() {
    let appliance = Appliance::start();
    let cookie = appliance.login();
    let file = appliance.users().with_file_name("sessions.json");
    let before = std::fs::read(&file).unwrap();
    let (sessions, body) = (
        "/redfish/v1/SessionService/Sessions",
        json!({"UserName": "admin", "Password": "admin"}).to_string(),
    );
    for _ in 0..40 {
        assert_eq!(appliance.ask("POST", sessions, "", body.as_bytes()).status, 201);
    }
    assert_eq!(
        appliance.admin("GET", sessions).json()["Members@odata.count"],
        33,
        "32 of programs, one of a person"
    );
    assert_eq!(appliance.ask("GET", "/api/auth/check", &cookie, b"").status, 200);
    let service = appliance.admin("GET", "/redfish/v1/SessionService").json();
    assert_eq!(service["SessionTimeout"], 1800);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn who_is_no_administrator_any_more_reads_the_audit_log_no_further() {
    let appliance = Appliance::start();
    let mut stream = TcpStream::connect(appliance.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!("GET /api/audit?follow=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{ADMIN}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    let roles = appliance.users().with_file_name("roles");
    auth::file::replace(&roles, b"admin:viewer\n").unwrap();
    while appliance.admin("POST", "/api/hid/reset").status == 200 {}
    appliance.admin("POST", "/api/atx/click?button=power");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(!text.contains("/atx/click"), "{text}");
}

#[test]
fn one_client_holds_keyboard_and_mouse_and_hands_them_over() {
    let appliance = Appliance::start_with(|config| config.kvmd.hid.one_holder = true);
    let operator = token(&appliance, "operator", "");
    let number =
        |client: &mut Client| client.until("hid_client").pop().unwrap()["event"]["client"].as_u64().unwrap();
    let mut admin = Client::connect(&appliance, "?stream=0", ADMIN).unwrap();
    let admins = number(&mut admin);
    let mut other = Client::connect(&appliance, "?stream=0", &operator).unwrap();
    let others = number(&mut other);
    let holds = |appliance: &Appliance| {
        appliance.admin("GET", "/api/hid/holder").json()["result"]["holder"]["client"].as_u64()
    };
    assert_eq!(holds(&appliance), None);
    press(&mut admin);
    assert_eq!(holds(&appliance), Some(admins));
    other.0.send(Message::binary(b"\x01\x01KeyA".to_vec())).unwrap();
    let told = other.until("input_refused").pop().unwrap();
    assert_eq!(told["event"]["why"], "keyboard and mouse are held by admin");
    let post = |verb: &str, headers: &str| {
        appliance.ask("POST", &format!("/api/hid/holder/{verb}"), headers, b"").status
    };
    let types = "/api/hid/events/send_mouse_move?to_x=0&to_y=0";
    assert_eq!(appliance.ask("POST", types, &operator, b"").status, 403);
    assert_eq!(appliance.admin("POST", types).status, 200);
    assert_eq!(post(&format!("take?client={others}"), &operator), 403);
    assert_eq!(post(&format!("request?client={admins}"), &operator), 403, "not its own");
    assert_eq!(post(&format!("request?client={others}"), &operator), 200);
    while admin.until("hid_holder").pop().unwrap()["event"]["requests"][0]["client"] != others {}
    assert_eq!(post(&format!("give?to={others}"), ADMIN), 200);
    assert_eq!(holds(&appliance), Some(others));
    assert_eq!(post(&format!("take?client={admins}"), ADMIN), 200);
    assert_eq!(holds(&appliance), Some(admins));
    let viewer = token(&appliance, "viewer", "");
    let mut watches = Client::connect(&appliance, "?stream=0", &viewer).unwrap();
    let watchers = number(&mut watches);
    for call in [
        format!("give?to={watchers}"),
        format!("take?client={watchers}"),
        format!("request?client={watchers}"),
    ] {
        assert_eq!(post(&call, ADMIN), 400, "{call}: a viewer could do nothing with it");
    }
    assert_eq!(holds(&appliance), Some(admins));
    let text = vec![b'x'; 1 << 20];
    while idle(&appliance) == 0 {}
    std::thread::scope(|threads| {
        let types = threads.spawn(|| appliance.ask("POST", "/api/hid/print?limit=0&slow=1", ADMIN, &text));
        while idle(&appliance) > 0 {}
        assert_eq!(post(&format!("give?to={others}"), ADMIN), 200);
        let ended = types.join().unwrap();
        assert_eq!((ended.status, ended.error().as_str()), (403, "ForbiddenError"), "hours of text end");
    });
    assert_eq!(post(&format!("take?client={admins}"), ADMIN), 200);
    drop(admin);
    while holds(&appliance).is_some() {}
    press(&mut other);
    assert_eq!(holds(&appliance), Some(others));
    assert_eq!(post("release", &operator), 200);
    assert_eq!(holds(&appliance), None);
}
