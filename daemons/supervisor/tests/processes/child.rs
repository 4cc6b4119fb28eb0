//! The children that pretend.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

/// Behaves as `role` says until it is ended.
#[expect(clippy::disallowed_methods, reason = "a stand-in for a daemon exits and sleeps as it pleases")]
pub(crate) fn run(role: &str) {
    let name = std::env::var("PRETEND_NAME").unwrap();
    if role == "crash" && name == "kvmd" {
        std::process::exit(7);
    }
    if role == "deaf" {
        // A family; the script before us has closed our ears for SIGTERM.
        Command::new("sh").args(["-c", "sleep 1000 &"]).status().unwrap();
    }
    if role == "orphans" {
        for _ in 0..5 {
            // Its parent, the shell, ends first.
            Command::new("sh").args(["-c", "sleep 0.2 &"]).status().unwrap();
        }
    }
    let mut fds = life::listen_fds().unwrap();
    let notifier = life::Notifier::from_env();
    let https = fds.take("https").map(TcpListener::from);
    notifier.status("pretending");
    notifier.ready();
    if let Some(listener) = https {
        let name = name.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(mut connection) = connection else { return };
                let mut buffer = [0; 4];
                if connection.read_exact(&mut buffer).is_ok() {
                    let _ = connection.write_all(name.as_bytes());
                }
            }
        });
    }
    if role == "flood" {
        let path = std::env::var("NOTIFY_SOCKET").unwrap();
        // Not the notifier: that one asks for no more than is due, in small pieces.
        let words = "WATCHDOG=1\n".repeat(370);
        for _ in 0..4 {
            let (path, words) = (path.clone(), words.clone());
            std::thread::spawn(move || {
                let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
                socket.connect(&path).unwrap();
                while socket.send(words.as_bytes()).is_ok() {}
            });
        }
    }
    loop {
        if role != "silent" {
            notifier.alive();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
