//! The appliance put together: what is prepared at the start, and what each child is given.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use anyhow::Context;
use config::{Args, Config, Layout};

use crate::account::Accounts;
use crate::identity::{self, Outcome, Pair, Wish};
use crate::journald::Place;
use crate::launch::{Launch, Rights};
use crate::lines::Lines;
use crate::nodes::Nodes;
use crate::runner::{Unit, unix_time};
use crate::service::{Limits, Patience};
use crate::socket::{self, Owner};
use crate::target::Hands;
use crate::{KVMD, STREAMER, VM, file, password};

/// Slots of the frame ring.
const RING_SLOTS: u32 = 8;

/// What the command line says beside [`Args`].
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Instead of the addresses of the settings.
    pub listen: Option<IpAddr>,
    /// Instead of the settings' HTTPS port.
    pub https_port: Option<u16>,
    /// Instead of the settings' HTTP port.
    pub http_port: Option<u16>,
    /// Where our programs are; else beside our own.
    pub programs: Option<PathBuf>,
}

/// Everything that outlives the children.
#[derive(Debug)]
pub struct Appliance {
    args: Args,
    config: Config,
    layout: Layout,
    accounts: Accounts,
    programs: PathBuf,
    https: Vec<TcpListener>,
    http: Vec<TcpListener>,
    kvmd: UnixListener,
    streamer: UnixListener,
    ring: OwnedFd,
    ring_read_only: OwnedFd,
    journal: Option<Place>,
    lines: Option<Lines>,
    nodes: Option<Nodes>,
    /// Whether the certificate may still be made anew for an address it lacks: once in our life.
    may_extend: Cell<bool>,
}

impl Appliance {
    /// Makes directories, first password and certificate, and binds every socket.
    ///
    /// # Errors
    ///
    /// What a person has to put right: a port taken, a directory that cannot be written.
    pub fn prepare(
        args: Args,
        config: Config,
        accounts: Accounts,
        wishes: &Wishes,
        journal: Option<Place>,
    ) -> anyhow::Result<Self> {
        let layout = args.layout();
        directories(&layout, &config, &accounts)?;
        password::first(&layout, &config, &accounts)?;
        let may_extend = renew(&config, true)? != Outcome::Extended;
        let programs = match &wishes.programs {
            Some(dir) => dir.clone(),
            None => own_directory()?,
        };
        let nginx = &config.nginx;
        let addresses = |v4: Option<std::net::Ipv4Addr>, v6: Option<std::net::Ipv6Addr>| match wishes.listen {
            Some(address) => vec![address],
            None => v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6)).collect(),
        };
        let listeners = |enabled: bool, addresses: Vec<IpAddr>, port: u16| match enabled {
            true => socket::tcp(&addresses, port),
            false => Ok(Vec::new()),
        };
        let https = listeners(
            nginx.https.enabled,
            addresses(nginx.https.ipv4, nginx.https.ipv6),
            wishes.https_port.unwrap_or(nginx.https.port),
        )?;
        let http = listeners(
            nginx.http.enabled,
            addresses(nginx.http.ipv4, nginx.http.ipv6),
            wishes.http_port.unwrap_or(nginx.http.port),
        )?;
        let ours = Owner { uid: accounts.kvmd.uid, gid: accounts.socket_gid, mode: 0o660 };
        let api = Owner { mode: config.kvmd.server.unix_mode, ..ours };
        let kvmd = socket::unix(&config.kvmd.server.unix, api, &accounts)?;
        let streamer = socket::unix(&layout.run.join("streamer.sock"), ours, &accounts)?;
        let ring = frames::create(RING_SLOTS, config.supervisor.ring.slot_bytes).context("the frame ring")?;
        let ring_read_only = frames::read_only(&ring).context("the frame ring")?;
        let lines = Lines::new(&config).context("the marks of pulses")?;
        let nodes = Nodes::new(&config, &accounts);
        Ok(Self {
            args,
            config,
            layout,
            accounts,
            programs,
            https,
            http,
            kvmd,
            streamer,
            ring,
            ring_read_only,
            journal,
            lines,
            nodes,
            may_extend: Cell::new(may_extend),
        })
    }

    /// The address for a browser on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        let (scheme, sockets, usual) = match self.https.is_empty() {
            false => ("https", &self.https, 443),
            true => ("http", &self.http, 80),
        };
        let address = sockets.iter().find_map(|socket| socket.local_addr().ok());
        let host = match address.map(|address| address.ip()) {
            Some(ip) if !ip.is_unspecified() => ip,
            _ => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        };
        let port = address.map_or(usual, |address| address.port());
        format!("{scheme}://{}/", SocketAddr::new(host, port))
    }

    /// Where the web is asked on this machine, and whether that is over TLS; `None` when the settings want no web.
    #[must_use]
    pub fn web(&self) -> Option<(SocketAddr, bool)> {
        let (sockets, tls) = if self.https.is_empty() { (&self.http, false) } else { (&self.https, true) };
        let address = sockets.iter().find_map(|socket| socket.local_addr().ok())?;
        let host = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Some((SocketAddr::new(host, address.port()), tls))
    }

    /// The services in starting order, journald (which is started earlier) left out.
    #[must_use]
    pub fn units(self: &Rc<Self>, target: Option<(Vec<OsString>, Hands)>) -> Vec<Unit> {
        let notify = |name: &str| self.layout.run.join("notify").join(name);
        let owner = |uid: u32, gid: u32| Owner { uid, gid, mode: 0o600 };
        let mut units = Vec::new();
        if let Some((command, hands)) = target {
            let this = Rc::clone(self);
            // It says nothing to us, but its monitor answers.
            let limits = Limits { watchdog: None, ..self.limits() };
            let answers = move || -> Pin<Box<dyn Future<Output = ()> + Send>> {
                let hands = hands.clone();
                Box::pin(async move { hands.answers().await })
            };
            let recipe = Box::new(move || Ok(this.target(command.clone())));
            units.push(Unit::new(VM, limits, recipe).seen_ready_by(Box::new(answers)));
        }
        let this = Rc::clone(self);
        units.push(
            Unit::new(KVMD, self.limits(), Box::new(move || this.kvmd()))
                .notifying(notify(KVMD), owner(self.accounts.kvmd.uid, self.accounts.kvmd.gid)),
        );
        let this = Rc::clone(self);
        units.push(
            Unit::new(STREAMER, self.limits(), Box::new(move || this.streamer()))
                .notifying(notify(STREAMER), owner(self.accounts.streamer.uid, self.accounts.streamer.gid))
                .on_demand()
                // A capture device is shown the target's monitor once: without one the target sends nothing, ever.
                .also_at_start(self.has_monitor()),
        );
        units
    }

    /// Whether the target is to be shown a monitor of ours: by the settings, or one that was set, or tried, while running.
    fn has_monitor(&self) -> bool {
        let source = &self.config.kvmd.streamer.source;
        let kept = |name: &str| self.layout.streamer_state().join(name).exists();
        let set = source.edid.is_some() || kept("edid.hex") || kept("edid-before.hex");
        source.r#type == config::SourceType::V4l2 && set
    }

    /// Deadlines by the settings.
    #[must_use]
    pub fn limits(&self) -> Limits {
        limits(&self.config)
    }

    /// The GPIO lines that are held for `kvmd`.
    #[must_use]
    pub fn lines(&self) -> Option<&Lines> {
        self.lines.as_ref()
    }

    /// The device nodes that children need.
    #[must_use]
    pub fn nodes(&self) -> Option<&Nodes> {
        self.nodes.as_ref()
    }

    fn give_nodes(&self) {
        self.nodes.iter().for_each(Nodes::give);
    }

    /// Where the target's sockets are.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn own_child(&self, program: &str, rights: Rights, fds: Vec<(String, OwnedFd)>) -> Launch {
        let mut command = vec![self.programs.join(program).into_os_string()];
        command.extend(self.args.to_flags());
        let watchdog = self.config.supervisor.deadlines.watchdog.as_micros().to_string();
        let mut env = vec![("WATCHDOG_USEC".into(), watchdog.into())];
        if self.layout.has_state() {
            // Somebody sits before this run, and need not look into the journal to see why something does not start.
            env.push(("KVMD_LOG_ECHO".into(), "error".into()));
        }
        if let Some(place) = &self.journal {
            env.push(("KVMD_JOURNAL_DIR".into(), (&place.dir).into()));
            env.push(("KVMD_JOURNAL_SOCKET".into(), place.socket().into()));
        }
        Launch { command, env, rights, umask: 0o027, fds }
    }

    fn kvmd(&self) -> io::Result<Launch> {
        let mut fds = Vec::new();
        let mut add = |name: &str, fd: OwnedFd| fds.push((name.to_owned(), fd));
        for listener in &self.https {
            add("https", socket::copy(listener)?);
        }
        for listener in &self.http {
            add("http", socket::copy(listener)?);
        }
        add("kvmd", socket::copy(&self.kvmd)?);
        add("ring", self.ring_read_only.try_clone()?);
        // Opened anew each time: copies would share the place up to which they are read.
        let tls = &self.config.supervisor.tls;
        if !self.https.is_empty() {
            add("tls-cert", open(&tls.cert)?);
            add("tls-key", open(&tls.key)?);
        }
        self.give_nodes();
        fds.extend(self.lines.iter().flat_map(Lines::hand_over));
        Ok(self.own_child(KVMD, self.accounts.kvmd_rights(), fds))
    }

    fn streamer(&self) -> io::Result<Launch> {
        self.give_nodes();
        let fds = vec![
            ("ring".to_owned(), self.ring.try_clone()?),
            ("streamer".to_owned(), socket::copy(&self.streamer)?),
        ];
        Ok(self.own_child(STREAMER, self.accounts.streamer_rights(), fds))
    }

    fn target(&self, command: Vec<OsString>) -> Launch {
        // Its sockets are for the group: those who use the target are in it.
        Launch { command, env: Vec::new(), rights: self.accounts.vm_rights(), umask: 0o007, fds: Vec::new() }
    }

    /// Sees to the certificate; true when there is a new one.
    #[must_use]
    pub fn renew(&self) -> bool {
        match renew(&self.config, self.may_extend.get()) {
            Ok(outcome) => {
                self.may_extend.set(self.may_extend.get() && outcome != Outcome::Extended);
                matches!(outcome, Outcome::Made | Outcome::Renewed | Outcome::Extended)
            }
            Err(error) => {
                log::error!("{error}");
                false
            }
        }
    }

    /// Puts lines at rest, takes nodes back, and removes what we made under `RUN`. For when no child runs any more.
    pub fn close(&self) {
        self.lines.iter().for_each(Lines::rest);
        self.nodes.iter().for_each(Nodes::close);
        for path in [&self.config.kvmd.server.unix, &self.layout.run.join("streamer.sock")] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Deadlines by the settings.
#[must_use]
pub fn limits(config: &Config) -> Limits {
    let deadlines = &config.supervisor.deadlines;
    let crash_loop = &config.supervisor.crash_loop;
    Limits {
        ready: Some(deadlines.ready),
        stop: deadlines.stop,
        watchdog: Some(deadlines.watchdog),
        patience: Patience {
            first_delay: crash_loop.first_delay,
            max_delay: crash_loop.max_delay,
            deaths: crash_loop.deaths,
            forgiven_after: crash_loop.window,
        },
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let file = File::open(path);
    file.map(OwnedFd::from)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn own_directory() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("our own program")?;
    own.parent().map(Path::to_owned).context("our own program has no directory")
}

/// The directories, each with who may do what there.
fn directories(layout: &Layout, config: &Config, accounts: &Accounts) -> anyhow::Result<()> {
    let make = |path: &Path, mode: u32, uid: u32, gid: u32| -> anyhow::Result<()> {
        let made = file::directory(path, mode)
            .and_then(|()| accounts.give(path, uid, gid))
            // chown clears the set-group-id bit.
            .and_then(|()| file::directory(path, mode));
        made.with_context(|| path.display().to_string())
    };
    make(&layout.run, 0o755, 0, 0)?;
    make(&layout.run.join("notify"), 0o711, 0, 0)?;
    make(&layout.var, 0o755, 0, 0)?;
    make(&layout.kvmd_state(), 0o700, accounts.kvmd.uid, accounts.kvmd.gid)?;
    make(&layout.streamer_state(), 0o700, accounts.streamer.uid, accounts.streamer.gid)?;
    if layout.has_state() {
        make(&layout.etc, 0o755, 0, 0)?;
    }
    for file in [&config.supervisor.tls.cert, &config.supervisor.tls.key] {
        if let Some(dir) = file.parent() {
            file::directory_if_missing(dir, 0o755).with_context(|| dir.display().to_string())?;
        }
    }
    if config.vm.enabled {
        make(&config.vm.sockets, 0o2770, accounts.vm.uid, accounts.vm.gid)?;
    }
    Ok(())
}

/// Sees to the certificate.
fn renew(config: &Config, extend: bool) -> Result<Outcome, identity::Error> {
    let tls = &config.supervisor.tls;
    if !config.nginx.https.enabled {
        return Ok(Outcome::Kept);
    }
    let host = nix::unistd::gethostname().unwrap_or_default();
    let mut names = identity::names(&host.to_string_lossy());
    names.extend(tls.names.iter().cloned());
    let wish = Wish {
        names,
        addresses: identity::addresses(),
        days: u64::from(tls.days),
        renew_days: u64::from(tls.renew_days),
        extend,
    };
    let outcome = identity::ensure(&Pair::new(tls.cert.clone(), tls.key.clone()), &wish, unix_time())?;
    match outcome {
        Outcome::Made => log::info!("a self-signed certificate is made: {}", tls.cert.display()),
        Outcome::Renewed => log::info!("the self-signed certificate is renewed: {}", tls.cert.display()),
        Outcome::Extended => {
            log::info!(
                "the self-signed certificate is made anew, with this machine's addresses: {}",
                tls.cert.display()
            );
        }
        Outcome::Kept | Outcome::Foreign => {}
    }
    Ok(outcome)
}
