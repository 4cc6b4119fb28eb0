//! The lent drive: uploads that break off and go on, and images fetched from elsewhere.

use crate::appliance::{ADMIN, Appliance};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap()).collect()
}

fn drive(appliance: &Appliance) -> Value {
    appliance.admin("GET", "/api/msd").json()["result"].clone()
}

/// Waits until the drive is free again.
fn free(appliance: &Appliance) -> Value {
    let begin = Instant::now();
    loop {
        let state = drive(appliance);
        if state["busy"] == false {
            return state;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "busy for ever: {state}");
    }
}

/// Sends the head of an upload and some of its body, and hangs up once that has arrived.
fn send_and_leave(appliance: &Appliance, query: &str, headers: &str, body: &[u8], whole: usize) {
    let mut stream = TcpStream::connect(appliance.address).unwrap();
    let head = format!(
        "POST /api/msd/write?{query} HTTP/1.1\r\nHost: kvm.local\r\n{ADMIN}{headers}Content-Length: {whole}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let begin = Instant::now();
    while drive(appliance)["busy"] == false {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never began");
    }
}

#[test]
fn an_upload_that_broke_off_goes_on_by_content_range_and_is_checked() {
    let appliance = Appliance::start();
    let image = data(300_000);
    send_and_leave(&appliance, "image=x.img", "", &image[..100_000], image.len());
    let state = free(&appliance);
    let written = state["storage"]["images"]["x.img"]["written"].as_u64().unwrap();
    assert!(written <= 100_000 && state["storage"]["images"]["x.img"]["complete"] == false, "{state}");

    let rest = |from: u64, digest: &[u8]| {
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", image.len() - 1, image.len());
        let digest = format!("Repr-Digest: sha-256=:{}:\r\n", STANDARD.encode(digest));
        let body = &image[usize::try_from(from).unwrap()..];
        appliance.ask("POST", "/api/msd/write?image=x.img", &format!("{ADMIN}{range}{digest}"), body)
    };
    let right = Sha256::digest(&image);
    assert_eq!(rest(100_001, &right).error(), "MsdOffsetError");
    let answer = rest(written, &right);
    let hex = hex::encode(right);
    let wanted = json!({"name": "x.img", "size": 300_000, "written": 300_000, "sha256": hex});
    assert_eq!(answer.json()["result"]["image"], wanted);
    let read = appliance.admin("GET", "/api/msd/read?image=x.img");
    assert!(read.body == image, "what is read is what was written");
    assert!(free(&appliance)["storage"]["images"]["x.img"].get("written").is_none());
}

#[test]
fn an_image_with_another_digest_is_refused_and_stays_incomplete() {
    let appliance = Appliance::start();
    let zeros = "0".repeat(64);
    let refused = appliance.ask("POST", &format!("/api/msd/write?image=x&sha256={zeros}"), ADMIN, b"abc");
    assert_eq!((refused.status, refused.error().as_str()), (400, "ValidatorError"));
    assert_eq!(free(&appliance)["storage"]["images"]["x"]["complete"], false);
    for bad in ["sha256=1", "image=", "remove_incomplete=perhaps"] {
        assert_eq!(
            appliance.ask("POST", &format!("/api/msd/write?{bad}&image=x"), ADMIN, b"abc").status,
            400
        );
    }
}

/// A server that answers every request in its own way, by its path.
fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap(), address));
        }
    });
    address
}

const SOURCE: usize = 100_000;
/// How long the slow one pauses: longer than it takes until progress is told.
const SLOW: Duration = Duration::from_secs(3);

fn answer(mut stream: TcpStream, address: SocketAddr) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let referred = head.iter().any(|line| line.to_ascii_lowercase().starts_with("referer:"));
    let ranged = head.iter().any(|line| line.to_ascii_lowercase().starts_with("range:"));
    let body = data(SOURCE);
    let (status, more, body) = match path.as_str() {
        "/moved" => ("302 Found", format!("Location: http://{address}/end.iso\r\n"), &[][..]),
        "/circle" => ("302 Found", format!("Location: http://{address}/circle\r\n"), &[][..]),
        "/end.iso" if referred => ("400 Bad Request", String::new(), &b"told where from"[..]),
        "/none" => ("404 Not Found", String::new(), &b"none"[..]),
        "/part.iso" if ranged => {
            ("206 Partial Content", format!("Content-Range: bytes 0-0/{SOURCE}\r\n"), &body[..1])
        }
        "/named" => {
            ("200 OK", "Content-Disposition: attachment; filename=\"given name.iso\"\r\n".into(), &body[..])
        }
        "/silent" => return drop(stream.read(&mut [0])),
        _ => ("200 OK", String::new(), &body[..]),
    };
    let length = match path.as_str() {
        "/endless" => String::new(),
        "/cut.iso" => format!("Content-Length: {}\r\n", SOURCE * 2),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    // Who hung up meanwhile is who was asked to.
    let _ =
        stream.write_all(format!("HTTP/1.1 {status}\r\n{more}{length}Connection: close\r\n\r\n").as_bytes());
    let (now, later) = body.split_at(if path == "/slow.iso" { body.len() / 2 } else { 0 });
    let _ = stream.write_all(now);
    if path == "/slow.iso" {
        // Nobody says anything meanwhile.
        let _ = stream.set_read_timeout(Some(SLOW));
        let _ = stream.read(&mut [0]);
    }
    let _ = stream.write_all(later);
}

fn fetch(appliance: &Appliance, query: &str) -> (u16, Vec<Value>, String) {
    let answer = appliance.admin("POST", &format!("/api/msd/write_remote?{query}"));
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    // The body is chunked: what is JSON is a line of ours.
    let lines = text.split("\r\n").filter_map(|line| serde_json::from_str::<Value>(line).ok());
    (answer.status, lines.filter(Value::is_object).collect(), text)
}

#[test]
fn an_image_is_fetched_and_told_of() {
    let appliance = Appliance::start();
    let source = source();
    for (path, more, name) in [
        ("a%2520b.iso", "", "a b.iso"),
        ("named", "&prefix=dir", "dir/given name.iso"),
        ("moved", "", "end.iso"),
        ("x", "&image=mine.iso&timeout=3&insecure=1", "mine.iso"),
    ] {
        let (status, lines, text) = fetch(&appliance, &format!("url=http://{source}/{path}{more}"));
        assert_eq!(status, 200, "{text}");
        let (first, last) = (&lines[0]["result"], &lines[lines.len() - 1]["result"]["image"]);
        assert_eq!((&first["remote"]["status"], &first["remote"]["size"]), (&json!(200), &json!(SOURCE)));
        assert_eq!((&last["name"], &last["written"]), (&json!(name), &json!(SOURCE)));
        assert_eq!(last["sha256"], hex::encode(Sha256::digest(data(SOURCE))));
        assert!(text.ends_with("0\r\n\r\n"), "the answer ends properly");
        assert_eq!(free(&appliance)["storage"]["images"][name]["complete"], true);
    }
}

#[test]
fn an_image_from_elsewhere_is_what_was_said_or_is_not_taken() {
    let appliance = Appliance::start();
    let source = source();
    let right = hex::encode_upper(Sha256::digest(data(SOURCE)));
    let (_, lines, text) = fetch(&appliance, &format!("url=http://{source}/x&image=right&sha256={right}"));
    assert_eq!(lines[lines.len() - 1]["result"]["image"]["written"], json!(SOURCE), "{text}");
    let zeros = "0".repeat(64);
    for (image, more) in [("kept", ""), ("gone", "&remove_incomplete=1")] {
        let query = format!("url=http://{source}/x&image={image}&sha256={zeros}{more}");
        let (status, lines, text) = fetch(&appliance, &query);
        assert_eq!(
            (status, &lines[lines.len() - 1]["result"]["error"]),
            (200, &json!("ValidatorError")),
            "{text}"
        );
        assert!(!text.ends_with("0\r\n\r\n"), "the answer is broken off");
    }
    let storage = free(&appliance)["storage"]["images"].clone();
    assert_eq!((&storage["right"]["complete"], &storage["kept"]["complete"]), (&json!(true), &json!(false)));
    assert_eq!(storage["gone"], Value::Null);
}

#[test]
fn nothing_is_fetched_from_the_appliance_itself() {
    let appliance = Appliance::start_with(|config| config.kvmd.msd.fetch_near = false);
    let source = source();
    let port = source.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        for call in ["write_remote", "probe_remote"] {
            let path = format!("/api/msd/{call}?url=http://{host}:{port}/x.iso");
            let answer = appliance.admin("POST", &path);
            assert_eq!((answer.status, answer.error().as_str()), (400, "ClientConnectorError"), "{path}");
        }
    }
    assert_eq!(free(&appliance)["storage"]["images"], json!({}));
}

#[test]
fn what_cannot_be_fetched_is_told_before_the_first_byte() {
    let appliance = Appliance::start();
    let source = source();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (query, class) in [
        (String::new(), "ValidatorError"),
        ("url=ftp://x/y".into(), "ValidatorError"),
        (format!("url=http://{source}/x&timeout=abc"), "ValidatorError"),
        (format!("url=http://{source}/x&prefix=.."), "ValidatorError"),
        (format!("url=http://{source}/x&sha256=12"), "ValidatorError"),
        (format!("url=http://{source}/"), "ValidatorError"),
        (format!("url=http://{closed}/x.iso"), "ClientConnectorError"),
        (format!("url=http://{source}/none"), "ClientResponseError"),
        (format!("url=http://{source}/endless"), "ClientError"),
        (format!("url=http://{source}/circle"), "ClientError"),
    ] {
        let answer = appliance.admin("POST", &format!("/api/msd/write_remote?{query}"));
        assert_eq!((answer.status, answer.error().as_str()), (400, class), "{query}");
    }
    assert_eq!(free(&appliance)["storage"]["images"], json!({}));
}

#[test]
fn what_takes_long_is_told_of_line_by_line_and_what_does_not_in_one() {
    let appliance = Appliance::start();
    let source = source();
    let (status, lines, text) = fetch(&appliance, &format!("url=http://{source}/slow.iso"));
    let written: Vec<_> = lines.iter().map(|line| line["result"]["image"]["written"].as_u64()).collect();
    assert_eq!(status, 200, "{text}");
    assert!(written.len() > 1 && written.is_sorted(), "{text}");
    assert!(written.first() < Some(&Some(100_000)) && written.last() == Some(&Some(100_000)), "{text}");
    assert!(lines.iter().skip(1).all(|line| line["result"].get("remote").is_none()), "{text}");
    free(&appliance);
    let begin = Instant::now();
    let (_, lines, text) = fetch(&appliance, &format!("url=http://{source}/quick.iso"));
    // A machine that has other things to do is no reason to fail.
    assert!(lines.len() == 1 || begin.elapsed() > Duration::from_secs(1), "{text}");
}

#[test]
fn a_source_that_breaks_off_breaks_the_answer_off() {
    let appliance = Appliance::start();
    let source = source();
    let (status, lines, text) = fetch(&appliance, &format!("url=http://{source}/cut.iso"));
    assert_eq!(status, 200);
    let [.., progress, end] = &lines[..] else { panic!("{text}") };
    assert_eq!(progress["ok"], true, "a last line of progress: {text}");
    assert_eq!((&end["ok"], &end["result"]["error"]), (&json!(false), &json!("ClientPayloadError")));
    assert!(!text.ends_with("0\r\n\r\n"), "the answer does not end properly");
    assert_eq!(free(&appliance)["storage"]["images"]["cut.iso"]["complete"], false);
    fetch(&appliance, &format!("url=http://{source}/cut.iso&remove_incomplete=1"));
    assert_eq!(free(&appliance)["storage"]["images"], json!({}));
}

#[test]
fn a_probe_says_what_a_source_is_like() {
    let appliance = Appliance::start();
    let source = source();
    let probe = |path: &str| {
        let answer = appliance.admin("POST", &format!("/api/msd/probe_remote?url=http://{source}/{path}"));
        answer.json()["result"]["remote"].clone()
    };
    let part = probe("part.iso");
    assert_eq!(part["url"], format!("http://{source}/part.iso"));
    assert_eq!((&part["status"], &part["size"]), (&json!(200), &json!(SOURCE)));
    assert_eq!((&part["ranges"], &part["name"]), (&json!(true), &json!("part.iso")));
    let whole = probe("x.iso");
    assert_eq!((&whole["size"], &whole["ranges"]), (&json!(SOURCE), &json!(false)));
    assert_eq!(probe("none")["status"], 404);
    assert_eq!(probe("endless")["size"], Value::Null);
    let silent = appliance.admin("POST", &format!("/api/msd/probe_remote?url=http://{source}/silent"));
    assert_eq!(silent.error(), "ClientConnectorError", "after five seconds, not after a minute");
}
