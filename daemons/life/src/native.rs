//! The journal's native protocol, the sending side: one datagram a record, `NAME=value` lines, values with line
//! ends in them with their length in front.
//!
//! The socket's path is an argument, because a journald of our own has its sockets elsewhere. Nothing longer than a
//! datagram is sent: lines are cut before they come here, so that the protocol's other way (a sealed memfd) is not
//! needed.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use log::Level;

/// A way to one journal.
#[derive(Debug)]
pub(crate) struct Native {
    socket: UnixDatagram,
    path: PathBuf,
    identifier: String,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) level: Level,
    pub(crate) message: &'a str,
    pub(crate) target: &'a str,
    pub(crate) file: Option<&'a str>,
    pub(crate) line: Option<u32>,
}

impl Native {
    pub(crate) fn new(path: &Path, identifier: &str) -> io::Result<Self> {
        Ok(Self {
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
            identifier: identifier.to_owned(),
        })
    }

    /// By the path each time: a journald that was started again has made its socket anew.
    pub(crate) fn send(&self, entry: &Entry<'_>) -> io::Result<()> {
        self.socket.send_to(&datagram(&self.identifier, entry), &self.path).map(drop)
    }
}

fn datagram(identifier: &str, entry: &Entry<'_>) -> Vec<u8> {
    let priority = match entry.level {
        Level::Error => "3",
        Level::Warn => "4",
        Level::Info => "5",
        Level::Debug => "6",
        Level::Trace => "7",
    };
    let mut bytes = Vec::with_capacity(512);
    put(&mut bytes, "PRIORITY", priority);
    put(&mut bytes, "MESSAGE", entry.message);
    put(&mut bytes, "SYSLOG_IDENTIFIER", identifier);
    put(&mut bytes, "SYSLOG_PID", &std::process::id().to_string());
    put(&mut bytes, "TARGET", entry.target);
    if let Some(file) = entry.file {
        put(&mut bytes, "CODE_FILE", file);
    }
    if let Some(line) = entry.line {
        put(&mut bytes, "CODE_LINE", &line.to_string());
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What journald makes of a datagram.
    fn fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = (std::str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 1..]);
            let (name, value, rest) = if let Some((name, value)) = line.split_once('=') {
                (name, value.to_owned(), rest)
            } else {
                let len = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
                assert_eq!(rest[8 + len], b'\n');
                (line, String::from_utf8(rest[8..8 + len].to_vec()).unwrap(), &rest[9 + len..])
            };
            assert!(found.insert(name.to_owned(), value).is_none(), "{name} twice");
            bytes = rest;
        }
        found
    }

    fn entry(message: &str) -> Entry<'_> {
        Entry { level: Level::Warn, message, target: "t", file: Some("a.rs"), line: Some(7) }
    }

    #[test]
    fn a_record_reaches_the_socket_it_is_meant_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = Native::new(&path, "kvmd").unwrap();
        journal.send(&entry("nobody there")).unwrap_err();
        for _ in 0..2 {
            let _ = std::fs::remove_file(&path);
            let socket = UnixDatagram::bind(&path).unwrap();
            journal.send(&entry("hello")).unwrap();
            let mut buffer = [0; 512];
            let len = socket.recv(&mut buffer).unwrap();
            let found = fields(&buffer[..len]);
            for (name, value) in [
                ("PRIORITY", "4"),
                ("MESSAGE", "hello"),
                ("SYSLOG_IDENTIFIER", "kvmd"),
                ("TARGET", "t"),
                ("CODE_FILE", "a.rs"),
                ("CODE_LINE", "7"),
            ] {
                assert_eq!(found[name], value);
            }
        }
    }

    proptest! {
        #[test]
        fn no_message_becomes_a_field(message in "(?s).{0,60}") {
            let found = fields(&datagram("i", &entry(&message)));
            prop_assert_eq!(&found["MESSAGE"], &message);
            prop_assert_eq!(found.len(), 7);
        }
    }
}
