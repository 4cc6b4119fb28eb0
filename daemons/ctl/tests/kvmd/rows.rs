//! Every row of the route table has a verb, and every verb asks for a row.
//!
//! A server that says yes to everything writes down what it is asked by the lines below.

use crate::appliance::kvmctl;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

/// Command lines whose calls are all rows but those of [`ONLY_API`]. `FILE` is a file, `DIR/` a directory for what is made.
const LINES: &[&str] = &[
    "info node",
    "hid state",
    "hid type x",
    "hid type x --check",
    "hid key Enter",
    "hid shortcut ControlLeft KeyC",
    "hid mouse move 1 2",
    "hid mouse relative 1 2",
    "hid mouse click",
    "hid mouse wheel 1",
    "hid reset",
    "hid keymaps",
    "hid inactivity",
    "hid params --jiggler on",
    "hid connect",
    "holder show",
    "holder request 1",
    "holder give 1",
    "holder take 1",
    "holder release",
    "atx state",
    "atx on",
    "atx click power",
    "msd state",
    "msd upload FILE",
    "msd download x DIR/x",
    "msd fetch http://host/x",
    "msd fetch http://host/x --probe",
    "msd remove x",
    "msd params --image x",
    "msd connect",
    "msd reset",
    "streamer state",
    "streamer params --quality 80",
    "streamer reset",
    "streamer snapshot DIR/x.jpg",
    "streamer forget",
    "streamer ocr",
    "streamer languages",
    "streamer media",
    "edid show",
    "edid set EDID",
    "edid confirm",
    "edid undo",
    "gpio state",
    "gpio switch x on",
    "gpio pulse x",
    "switch state",
    "switch prev",
    "switch next",
    "switch port 1",
    "switch beacon on --port 1",
    "switch port-params 1 --name x",
    "switch colors active=default",
    "switch reset 0",
    "switch edids list",
    "switch edids create x EDID",
    "switch edids change x --name y",
    "switch edids remove x",
    "switch power 1 on",
    "switch click 1 reset",
    "watch",
    "logs",
    "audit",
    "metrics",
    "session list",
    "session end 1",
    "session check",
    "session who",
    "role list",
    "session login",
    "session logout",
    "token create x viewer",
    "token list",
    "token revoke x",
    "gadget status",
    "gadget bios-safe on",
    "system show",
    "system hostname x",
    "system timezone UTC",
    "system ssh-keys FILE",
    "system ssh-password on",
    "system network set FILE",
    "system network confirm",
    "system network undo",
    "system reboot",
    "system factory-reset --yes",
    "update status",
    "update install FILE",
    "update reboot",
    "update rollback",
    "claim --code x",
];

/// Rows that only `kvmctl api` asks for, or nothing, and why. A path may be the beginning of many.
const ONLY_API: &[(&str, &str)] = &[
    ("/api/redfish", "Redfish has programs of its own; its sessions have verbs"),
    ("/redfish", "the same again, outside of /api"),
    ("/api/media/ws", "pictures for a player: kvmctl plays none"),
    ("/streamer", "a page and its stream, for browsers; single pictures have a verb"),
    ("/api/openapi.json", "the description of all calls is for programs that read such"),
    ("/api/system/language", "what the page speaks is chosen on the page"),
];

/// What it says to all. What is not asked for does not harm.
const YES: &str = r#"{"ok": true, "result": {"state": "ready", "version": "1", "claimed": false, "secret": "s", "kinds": 0,
    "hostname": "x", "tokens": [{"id": "x", "name": "x"}], "image": {"name": "x", "size": 0, "written": 0},
    "Members": [{"@odata.id": "/redfish/v1/SessionService/Sessions/1"}]}}"#;

/// The calls that were made: method, and path without its query.
type Calls = Arc<Mutex<BTreeSet<(String, String)>>>;

fn start() -> (SocketAddr, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || answer(stream, &seen));
        }
    });
    (address, calls)
}

fn answer(mut stream: TcpStream, calls: &Mutex<BTreeSet<(String, String)>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
    let mut words = head.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let path = path.split('?').next().unwrap_or_default();
    calls.lock().unwrap().insert((method.to_owned(), path.to_owned()));
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok()).flatten()
    });
    let _ = std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink());
    // Lines of JSON are one line.
    let body = YES.replace('\n', " ") + "\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nSet-Cookie: auth_token=x; Path=/\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

fn run(address: SocketAddr, dir: &Path, line: &str) -> String {
    let place = |name: &str| dir.join(name).into_os_string();
    let url = format!("http://{address}");
    let mut words: Vec<OsString> =
        ["--url", &url, "--insecure", "--user", "admin", "--password-file"].map(OsString::from).into();
    words.push(place("file"));
    words.extend(line.split(' ').map(|word| match word {
        "FILE" => place("file"),
        "EDID" => place("edid"),
        _ => word.strip_prefix("DIR/").map_or_else(|| word.into(), place),
    }));
    let ran = kvmctl(&words);
    // A server of which we know nothing may be answered with surprise, but nothing may be wrong with the line.
    assert_ne!(ran.exit, ctl::Exit::Usage, "{line}: {}", ran.err);
    ran.err
}

/// Whether a call is this row: `{id}` is anything.
fn is(row: &str, path: &str) -> bool {
    let (row, path): (Vec<&str>, Vec<&str>) = (row.split('/').collect(), path.split('/').collect());
    row.len() == path.len() && row.iter().zip(&path).all(|(row, part)| row.starts_with('{') || row == part)
}

#[test]
fn every_row_has_a_verb_and_every_verb_asks_for_a_row() {
    let (address, calls) = start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "{}").unwrap();
    std::fs::write(dir.path().join("edid"), sound_edid()).unwrap();
    let rows: Vec<(&str, String)> = api::routes::everything().map(|(path, row)| (row.method, path)).collect();
    let mut seen = BTreeSet::new();
    for line in LINES {
        let err = run(address, dir.path(), line);
        let asked = std::mem::take(&mut *calls.lock().unwrap());
        assert!(!asked.is_empty(), "{line} asks for nothing: {err}");
        for (method, path) in &asked {
            assert!(
                rows.iter().any(|(by, row)| by == method && is(row, path)),
                "{line}: no row is {method} {path}"
            );
        }
        seen.extend(asked);
    }
    let excused =
        |row: &str| ONLY_API.iter().any(|(path, _)| row == *path || row.starts_with(&format!("{path}/")));
    for (method, row) in &rows {
        let asked = seen.iter().any(|(by, path)| by == method && is(row, path));
        assert!(asked || excused(row), "no verb asks for {method} {row}, and nobody says why not");
    }
    for (path, why) in ONLY_API {
        let left = rows.iter().any(|(method, row)| {
            excused(row)
                && row.starts_with(path)
                && !seen.iter().any(|(by, path)| by == method && is(row, path))
        });
        assert!(left, "{path} has verbs, there is nothing to excuse: {why}");
    }
}

/// A block of 128 bytes with a right sum, in digits.
fn sound_edid() -> String {
    let mut bytes = vec![0_u8; 128];
    bytes[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
    bytes[127] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
    hex::encode(bytes)
}
