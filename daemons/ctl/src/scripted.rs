//! A `kvmd` for tests that says what it is told to, one answer after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::face::Face;

/// The server, and the face that asks it. It ends with its answers.
pub(crate) struct Scripted {
    pub(crate) face: Face,
    asked: Arc<Mutex<Vec<String>>>,
    _dir: tempfile::TempDir,
}

/// An answer with this body.
pub(crate) fn answer(status: &str, body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

impl Scripted {
    /// An empty answer hangs up without a word.
    pub(crate) fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvmd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let answers: Vec<String> = answers.into_iter().collect();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap() > 2 {}
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
                });
                let mut body = String::new();
                reader.take(length.unwrap_or(0)).read_to_string(&mut body).unwrap();
                seen.lock().unwrap().push(head + &body);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { face: Face::of(&path), asked, _dir: dir }
    }

    /// Heads and bodies of what was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
