//! A server in this process: everything but the supervisor, the streamer and real devices.

use api::{
    server::{self, Listeners, Settings},
    setup,
    streamer::frames::{Frames, FramesThread},
};
use config::{AtxType, Config, HidType, Layout, MsdType};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes: reaching it means that something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The user every request of [`Appliance::admin`] shows.
pub(crate) const ADMIN: &str = "X-KVMD-User: admin\r\nX-KVMD-Passwd: admin\r\n";

/// A running server. Dropping it stops it.
pub(crate) struct Appliance {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) unix: PathBuf,
    stop: CancellationToken,
    frames: Option<FramesThread>,
    done: Option<oneshot::Receiver<()>>,
    runtime: Option<Runtime>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn error(&self) -> String {
        self.json()["result"]["error"].as_str().unwrap().to_owned()
    }
}

impl Appliance {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The administrator in the file of users.
    pub(crate) const ADMIN_LINE: &str = "admin:{SSHA512}PEp5eCFDM3vkSSvgcqvP6XndcDwAVBqMOaDz30urICnAUM9G/dxHCQtbBKxTez54GJ494W5gHoWflcUayfba+3NhbHQ=\n";

    /// The file of users.
    pub(crate) fn users(&self) -> PathBuf {
        Layout::under(self.dir.path()).kvmd_state().join("htpasswd")
    }

    /// Starts with changed settings.
    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(change, Frames::none())
    }

    /// Starts with a ring in which no frame ever comes: streams stay open and say nothing.
    pub(crate) fn start_silent() -> Self {
        let ring = frames::create(2, 1 << 16).unwrap();
        let (frames, thread) = Frames::start(&ring).unwrap();
        let mut appliance = Self::start_on(|_| {}, frames);
        appliance.frames = Some(thread);
        appliance
    }

    fn start_on(change: impl FnOnce(&mut Config), frames: Frames) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path());
        for path in [layout.kvmd_state(), layout.var.join("msd"), layout.run.clone()] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(layout.kvmd_state().join("htpasswd"), Self::ADMIN_LINE).unwrap();
        std::fs::write(layout.kvmd_state().join("totp.secret"), "").unwrap();
        let mut config = Config::defaults(&layout);
        config.kvmd.hid.r#type = HidType::Noop;
        config.kvmd.atx.r#type = AtxType::Fake;
        config.kvmd.msd.r#type = MsdType::Fake;
        config.kvmd.log_reader.enabled = false;
        config.kvmd.auth.usc.kvmd_users.clear();
        config.vm.enabled = false;
        change(&mut config);

        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = dir.path().join("kvmd.sock");
        let address = tcp.local_addr().unwrap();
        let listeners = Listeners { http: vec![tcp], ..Listeners::default() };
        let local = UnixListener::bind(&unix).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let (finished, done) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let token = stop.clone();
        runtime.spawn(async move {
            let mut none = life::ListenFds::default();
            let mut devices = setup::start(&config, &layout, frames, &mut none, &token).unwrap();
            let settings = Settings { workers: 1, drain: Duration::from_secs(1) };
            let mut servers = server::start(&devices.handles, listeners, settings).unwrap();
            servers.serve_local(&devices.handles, local, settings).unwrap();
            ready.send(()).unwrap();
            token.cancelled().await;
            servers.stop().await;
            while devices.owners.join_next().await.is_some() {}
            devices.handles.audit.end().await;
            devices.later.cancel();
            let _ = finished.send(());
        });
        started.recv_timeout(PATIENCE).unwrap();
        Self { dir, address, unix, stop, frames: None, done: Some(done), runtime: Some(runtime) }
    }

    /// Sends these bytes and reads the answer to its end.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request).unwrap();
        parse(&whole_answer(&mut stream, !request.starts_with(b"HEAD ")))
    }

    /// A request without credentials; `headers` are whole lines.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.raw(&request(method, path, headers, body))
    }

    /// A request of the administrator.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Answer {
        self.ask(method, path, ADMIN, b"")
    }

    /// A request over the unix socket, without credentials.
    pub(crate) fn ask_unix(&self, method: &str, path: &str) -> Answer {
        let mut stream = UnixStream::connect(&self.unix).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&request(method, path, "", b"")).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        parse(&bytes)
    }

    /// Asks for an endless answer, says that nothing more will be asked, and reads on until the server hangs up.
    pub(crate) fn leave(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&request("GET", path, ADMIN, b"")).unwrap();
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        bytes.truncate(count);
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Logs in and gives the cookie's line.
    pub(crate) fn login(&self) -> String {
        let form = b"user=admin&passwd=admin";
        let answer =
            self.ask("POST", "/api/auth/login", "Content-Type: application/x-www-form-urlencoded\r\n", form);
        assert_eq!(answer.status, 200);
        let cookie = answer.header("Set-Cookie").unwrap().split(';').next().unwrap().to_owned();
        format!("Cookie: {cookie}\r\n")
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.stop.cancel();
        let (Some(runtime), Some(done)) = (self.runtime.take(), self.done.take()) else { return };
        let _ = runtime.block_on(async { tokio::time::timeout(PATIENCE, done).await });
        self.frames.take();
        runtime.shutdown_background();
    }
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: kvm.local\r\nConnection: close\r\n{headers}{length}\r\n");
    [head.as_bytes(), body].concat()
}

/// Reads as far as the answer says that it goes, or until the server hangs up: that may be later.
fn whole_answer(stream: &mut impl std::io::Read, has_body: bool) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        let count = stream.read(&mut piece).unwrap();
        bytes.extend_from_slice(&piece[..count]);
        let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if count == 0 {
                return bytes;
            }
            continue;
        };
        let length = match has_body {
            true => parse(&bytes).header("Content-Length").and_then(|length| length.parse::<usize>().ok()),
            false => Some(0),
        };
        if count == 0 || length.is_some_and(|length| bytes.len() >= head + 4 + length) {
            return bytes;
        }
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
}
