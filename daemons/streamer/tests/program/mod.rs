//! The program as the supervisor runs it: with a ring and a socket by descriptor, for the tests of this directory.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use client::streamer::State;
use frames::{Frame, Reader};

/// Longer than anything here takes on a busy machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What outlives the program: its directory, the ring, its socket.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) ring: OwnedFd,
    listener: UnixListener,
    notify: UnixDatagram,
    pub(crate) reader: Reader,
}

impl Bench {
    pub(crate) fn new(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["etc", "var/streamer"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        std::fs::write(dir.path().join("settings.yaml"), settings).unwrap();
        let ring = frames::create(frames::SLOTS, frames::SLOT_BYTES).unwrap();
        let reader = Reader::attach(frames::read_only(&ring).unwrap()).unwrap();
        let listener = UnixListener::bind(dir.path().join("streamer.sock")).unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { dir, ring, listener, notify, reader }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the program and waits until it says that it is ready.
    pub(crate) fn start(&self) -> Process {
        // A shell moves what it gets as standard input and output to where LISTEN_FDS says, and puts its own number,
        // which exec keeps, into LISTEN_PID.
        let script = concat!(
            "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=ring:streamer; ",
            r#"exec 3<&0 4<&1 </dev/null >&2 "$@""#,
        );
        let child = Command::new("/bin/sh")
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_kvmd-streamer")])
            .arg("--state")
            .arg(self.path())
            .arg("--config")
            .arg(self.path().join("settings.yaml"))
            .env("NOTIFY_SOCKET", self.path().join("notify"))
            .env("KVMD_LOG_STDERR", "1")
            .stdin(self.ring.try_clone().unwrap())
            .stdout(OwnedFd::from(self.listener.try_clone().unwrap()))
            .spawn()
            .unwrap();
        let process = Process(child);
        let mut message = [0; 512];
        loop {
            let len = self.notify.recv(&mut message).unwrap();
            if message[..len].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return process;
            }
        }
    }

    /// The next frame that is wanted, from the frame after `seq` on.
    pub(crate) fn frame_after(&self, mut seq: u64, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(frame) = self.reader.wait_newer(seq, PATIENCE) {
                if wanted(&frame) {
                    return frame;
                }
                seq = frame.seq;
            }
        }
        panic!("no such frame after {seq}");
    }

    /// A connection to the program's socket.
    pub(crate) fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.path().join("streamer.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }
}

/// The next state that is wanted.
pub(crate) fn state(from: &mut BufReader<UnixStream>, wanted: impl Fn(&State) -> bool) -> State {
    loop {
        let mut line = String::new();
        assert!(from.read_line(&mut line).unwrap() > 0, "the connection ended");
        let state: State = serde_json::from_str(&line).unwrap();
        if wanted(&state) {
            return state;
        }
    }
}

/// The running program; killed when the test is over, whatever happens.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
