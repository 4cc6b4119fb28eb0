//! `kvmd` in this process, and `kvmctl` run against it.

use api::{
    server::{self, Listeners, Settings},
    setup,
    streamer::frames::Frames,
};
use config::{AtxType, Config, HidType, Layout, MsdType};
use ctl::{Console, Exit};
use std::{
    ffi::OsString,
    io::{Seek as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes: reaching it means that something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The user admin, whose password is admin.
const ADMIN: &str = "admin:{SSHA512}PEp5eCFDM3vkSSvgcqvP6XndcDwAVBqMOaDz30urICnAUM9G/dxHCQtbBKxTez54GJ494W5gHoWflcUayfba+3NhbHQ=\n";

/// A running server. Dropping it stops it.
pub(crate) struct Appliance {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) secure: SocketAddr,
    stop: CancellationToken,
    done: Option<oneshot::Receiver<()>>,
    runtime: Option<Runtime>,
}

/// What came of a command line.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What was written, which has to be good.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!(self.exit, Exit::Good, "{}{}", self.out, self.err);
        self.out
    }

    /// The JSON that was written.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.good()).unwrap()
    }

    #[track_caller]
    pub(crate) fn ends(self, exit: Exit, says: &str) {
        assert!(self.exit == exit && self.err.contains(says), "{exit:?}, {says}: {self:?}");
    }
}

/// Runs a command line in this process.
pub(crate) fn kvmctl<S: Into<OsString> + Clone>(line: &[S]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut secret = |_: Option<&str>| Ok("nothing typed".to_owned());
    let words = std::iter::once("kvmctl".into()).chain(line.iter().cloned().map(Into::into));
    let exit = ctl::run(words, &mut Console { out: &mut out, err: &mut err, secret: &mut secret });
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Waits until something is there.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited too long for {what}");
    }
}

impl Appliance {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path());
        for path in [layout.kvmd_state(), layout.var.join("msd"), layout.run.clone()] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(layout.kvmd_state().join("htpasswd"), ADMIN).unwrap();
        std::fs::write(layout.kvmd_state().join("totp.secret"), "").unwrap();
        std::fs::write(dir.path().join("password"), "admin\n").unwrap();
        let mut config = Config::defaults(&layout);
        config.kvmd.hid.r#type = HidType::Noop;
        config.kvmd.atx.r#type = AtxType::Fake;
        config.kvmd.msd.r#type = MsdType::Fake;
        config.kvmd.log_reader.enabled = false;
        config.vm.enabled = false;
        // Whoever runs the tests is who root is on the appliance.
        let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
        config.kvmd.auth.usc.users = vec![me.name];

        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (plain, secure) = (listen(), listen());
        let (address, secure_address) = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        let unix = UnixListener::bind(&config.kvmd.server.unix).unwrap();
        let pair = certificate(dir.path());
        // One server says that all is by HTTPS, the other has none: both have the same devices behind them.
        let one = Listeners { http: vec![plain], ..Listeners::default() };
        let other = Listeners { https: vec![secure], tls: Some(pair), ..Listeners::default() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let (finished, done) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let token = stop.clone();
        runtime.spawn(async move {
            let mut none = life::ListenFds::default();
            let mut devices = setup::start(&config, &layout, Frames::none(), &mut none, &token).unwrap();
            let settings = Settings { workers: 1, drain: Duration::from_secs(1) };
            let mut servers =
                [one, other].map(|some| server::start(&devices.handles, some, settings).unwrap());
            servers[0].serve_local(&devices.handles, unix, settings).unwrap();
            ready.send(()).unwrap();
            token.cancelled().await;
            for server in servers {
                server.stop().await;
            }
            while devices.owners.join_next().await.is_some() {}
            devices.handles.audit.end().await;
            devices.later.cancel();
            let _ = finished.send(());
        });
        started.recv_timeout(PATIENCE).unwrap();
        Self { dir, address, secure: secure_address, stop, done: Some(done), runtime: Some(runtime) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command line as on the appliance itself.
    pub(crate) fn here(&self, line: &str) -> Ran {
        let mut words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        words.extend(["--state".into(), self.dir.path().into()]);
        kvmctl(&words)
    }

    /// The flags with which the administrator comes from elsewhere, by way of this address.
    pub(crate) fn flags(&self, address: SocketAddr) -> Vec<OsString> {
        let password = self.path("password").into_os_string();
        let url = format!("http://{address}");
        let flags = ["--url", &url, "--insecure", "--user", "admin", "--password-file"];
        flags.into_iter().map(OsString::from).chain([password]).collect()
    }

    /// Runs a command line as from elsewhere.
    pub(crate) fn there(&self, line: &str) -> Ran {
        let mut words = self.flags(self.address);
        words.extend(line.split_whitespace().map(OsString::from));
        kvmctl(&words)
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.stop.cancel();
        let (Some(runtime), Some(done)) = (self.runtime.take(), self.done.take()) else { return };
        let _ = runtime.block_on(async { tokio::time::timeout(PATIENCE, done).await });
        runtime.shutdown_background();
    }
}

/// A certificate that vouches for itself, as appliances make it, as files to be handed over; `server.crt` stays.
fn certificate(dir: &Path) -> (OwnedFd, OwnedFd) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(dir.join("server.crt"), &certificate).unwrap();
    let file = |text: &str| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        OwnedFd::from(file)
    };
    (file(&certificate), file(&key.serialize_pem()))
}
