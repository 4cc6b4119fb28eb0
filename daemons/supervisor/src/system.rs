//! The system itself, as root sees to it: its owner, its names, who may come by SSH, its network, its end.
//!
//! One handle, [`System`], which answers what comes over the control socket. Everything here touches files or waits for
//! programs, so it happens beside the loop. What only a system has that was started from an image is refused elsewhere:
//! a run below `--state` must not rename the computer it runs on.

pub mod name;
pub mod network;
pub mod ssh;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use client::supervisor::Answer;
use client::system::{Ask, NETWORK_TRIAL_S, Network, Release, Stage, State, Told, rule};
use config::{Config, Layout};

use crate::claim::{self, Claim};
use crate::file;
use crate::grow;
use crate::preseed::{self, Wish};
use crate::runner::AfterStorage;
use crate::tool::Tools;

/// The card's partition that every computer can read.
const CARD: &str = "/boot/sel";
/// When the stages of the start began; the initramfs notes its own here.
const STAGES: &str = "/run/kvmd-boot/stages";
/// How often, and how far apart, a system that is still starting is asked to read settings.
const CATCH_UP_TRIES: u32 = 10;
const CATCH_UP_PAUSE: Duration = Duration::from_secs(3);
/// Longest time for having the network read its settings: a trial's end must not wait for longer.
const RELOAD: Duration = Duration::from_secs(30);
/// How far apart it is tried to take network settings back.
const UNDO_PAUSE: Duration = Duration::from_secs(10);
/// There when what was kept could not be mounted.
pub(crate) const DATA_LOST: &str = "/run/kvmd-boot/data-lost";

/// Where things of the system lie; below another root in tests.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// Below that directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// A path that is absolute on the system.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Whether it is the machine we run on.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// A file's text, up to 64 KiB; none where there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        use std::io::Read as _;
        let mut text = String::new();
        let file = std::fs::File::open(self.path(path)).ok()?;
        file.take(65_536).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// Something to be done once.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct System(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Root,
    image: bool,
    claim: Mutex<Option<Claim>>,
    users: PathBuf,
    /// Where things are kept.
    var: PathBuf,
    tools: Tools,
    /// Changes one after the other.
    turn: tokio::sync::Mutex<()>,
    /// When the trial of network settings ends, while there is one.
    trial_ends: Mutex<Option<tokio::time::Instant>>,
    /// Settings are to be read anew by the system as soon as it can be asked to.
    changed_early: Mutex<bool>,
    /// Whether `kvmd` may say who comes by SSH.
    ssh_by_web: bool,
    /// The drive's file system is to grow when it is mounted.
    grows_mounted: AtomicBool,
}

impl System {
    /// The system below `root`, which was started from an image if that says so and nothing is kept elsewhere.
    #[must_use]
    pub fn new(root: Root, layout: &Layout, config: &Config, tools: Tools) -> Self {
        let image = !layout.has_state() && root.path("/usr/lib/kvmd/release").exists();
        let users = config.kvmd.auth.internal.file.clone();
        Self(Arc::new(Inner {
            root,
            image,
            claim: Mutex::default(),
            users,
            var: layout.var.clone(),
            tools,
            turn: tokio::sync::Mutex::default(),
            trial_ends: Mutex::default(),
            changed_early: Mutex::default(),
            ssh_by_web: config.supervisor.ssh_by_web,
            grows_mounted: AtomicBool::new(false),
        }))
    }

    /// Gives an image's system its identity, and takes back network settings whose trial the last run did not end. Before
    /// anything uses the name.
    pub fn first(&self) {
        let inner = &self.0;
        if !inner.image {
            return;
        }
        if let Err(error) = name::first(&inner.root) {
            log::error!("this machine gets no name of its own: {error}");
        }
        match network::undo(&inner.root) {
            Ok(false) => {}
            Ok(true) => {
                log::warn!("network settings that nobody confirmed are taken back");
                *locked(&inner.changed_early) = true;
            }
            Err(error) => log::error!("network settings on trial cannot be taken back: {error}"),
        }
    }

    /// Carries out what was asked for on a card, all but the password. What fails is logged: the rest is done.
    pub fn carry_out(&self, wish: &Wish) {
        let root = &self.0.root;
        let tell = |what: &str, result: std::io::Result<()>| {
            if let Err(error) = result {
                log::error!("{what} of the card cannot be set: {error}");
            }
        };
        if let Some(hostname) = &wish.hostname {
            tell("the host name", name::set(root, hostname));
        }
        if let Some(timezone) = &wish.timezone {
            tell("the time zone", name::set_timezone(root, timezone));
        }
        if let Some(keys) = &wish.ssh_keys {
            tell("SSH keys", ssh::set_keys(root, keys, ssh::Others::Remove));
        }
        if let Some(on) = wish.ssh_password_login {
            tell("SSH's passwords", ssh::allow_passwords(root, on));
            *locked(&self.0.changed_early) = true;
        }
        if let Some(network) = &wish.network {
            tell("the network", network::write(root, network, false));
            *locked(&self.0.changed_early) = true;
        }
    }

    /// Whether there is such a time zone here.
    #[must_use]
    pub fn knows_timezone(&self, name: &str) -> bool {
        name::is_timezone(&self.0.root, name)
    }

    /// What an image's drive needs before it is looked at: all the room there is.
    #[must_use]
    pub fn before_storage(&self, config: &Config) -> Option<Work> {
        let partition = self.0.root.path(grow::MSD);
        if !self.0.image || !partition.exists() {
            return None;
        }
        let label = config.supervisor.storage.label.clone();
        let marker = self.0.var.join("growing");
        let this = self.clone();
        Some(Box::pin(async move {
            let left = grow::grow(partition, label, marker, this.0.tools.clone()).await;
            this.0.grows_mounted.store(left, Ordering::Release);
        }))
    }

    /// What it needs when it is mounted: the rest of that, if any is left then.
    #[must_use]
    pub fn after_storage(&self) -> AfterStorage {
        let this = self.clone();
        Box::new(move |stop| {
            let (partition, tools) = (this.0.root.path(grow::MSD), this.0.tools.clone());
            let wanted = this.0.grows_mounted.load(Ordering::Acquire);
            wanted.then(|| Box::pin(grow::grow_mounted(partition, tools, stop)) as Work)
        })
    }

    /// Has network and sshd read what was changed before anybody could be asked to. For when the loop runs. Whoever is not
    /// there yet reads it when it starts; who is just starting is asked again.
    pub async fn catch_up(self) {
        if !std::mem::take(&mut *locked(&self.0.changed_early)) {
            return;
        }
        for _ in 0..CATCH_UP_TRIES {
            let turn = self.0.turn.lock().await;
            let network = self.0.reload_network().await;
            let ssh =
                self.0.tools.run("systemctl", &["--no-block", "try-reload-or-restart", "ssh.service"]).await;
            drop(turn);
            if network && ssh.is_ok() {
                return;
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
    }

    /// Whether it was started from an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.0.image
    }

    /// The card's partition that every computer can read; a directory in its place in a run below `--state`.
    #[must_use]
    pub fn card(&self, layout: &Layout) -> Option<PathBuf> {
        match &layout.state {
            Some(state) => Some(card_of(state)),
            None => Some(self.0.root.path(CARD)).filter(|card| self.0.image && card.is_dir()),
        }
    }

    /// Where whoever sits before the machine looks.
    #[must_use]
    pub fn console(&self) -> Option<PathBuf> {
        self.0.image.then(|| self.0.root.path("/dev/console"))
    }

    /// Notes that a stage of the machine's start begins, for who asks later ([`State::stages`]) and on the console, once a start:
    /// a supervisor that comes again begins nothing.
    pub fn stage(&self, name: &str) {
        let Some(console) = self.console() else { return };
        match note_stage(&self.0.root, name) {
            Ok(Some(seconds)) => {
                if let Err(error) = claim::line(&console, &format!("kvmd-boot: {name} after {seconds} s")) {
                    log::debug!("{}: {error}", console.display());
                }
            }
            Ok(None) => {}
            // Started without our initramfs.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("{STAGES}: {error}"),
        }
    }

    /// Shows a code where there is nobody yet, if the settings say so. For when the users of an older installation have
    /// been taken over.
    pub fn open_claim(&self, layout: &Layout, config: &Config) {
        if !config.kvmd.auth.claimable(layout) {
            return;
        }
        let issue = (!layout.has_state()).then(|| self.0.root.path("/run/issue.d/kvmd.issue"));
        let places = claim::Places { card: self.card(layout), console: self.console(), issue };
        let claim = Claim::open(self.0.users.clone(), places, &hostname());
        *locked(&self.0.claim) = Some(claim);
    }

    /// Answers, beside the loop.
    pub async fn answer(&self, ask: Ask) -> Answer {
        match self.told(ask).await {
            Ok(told) => Answer::System { told },
            Err(error) => Answer::Failed { reason: format!("{error:#}") },
        }
    }

    async fn told(&self, ask: Ask) -> anyhow::Result<Told> {
        match ask {
            Ask::Show => {
                return self.blocking(|inner| Ok(Told::State { state: Box::new(inner.state()) })).await;
            }
            Ask::CheckClaim { code } => {
                return self.blocking(move |inner| Ok(inner.check_claim(&code.0))).await;
            }
            Ask::Claimed => {
                let claimed = |inner: &Inner| {
                    locked(&inner.claim).iter_mut().for_each(Claim::claimed);
                    Ok(Told::Done)
                };
                return self.blocking(claimed).await;
            }
            _ if !self.0.image => return Ok(Told::NotImage),
            _ => {}
        }
        let _turn = self.0.turn.lock().await;
        let checked = check(&ask, &self.0.root);
        if let Err(reason) = checked {
            return Ok(Told::Invalid { reason });
        }
        self.change(ask).await
    }

    /// Carries out what makes sense.
    async fn change(&self, ask: Ask) -> anyhow::Result<Told> {
        match ask {
            Ask::Show | Ask::CheckClaim { .. } | Ask::Claimed => {}
            Ask::SetHostname { name } => {
                let name = rule::hostname(&name)?;
                self.blocking(move |inner| Ok(name::set(&inner.root, &name)?)).await?;
            }
            Ask::SetTimezone { name } => {
                self.blocking(move |inner| Ok(name::set_timezone(&inner.root, name.trim())?)).await?;
            }
            Ask::SetSshKeys { keys } => {
                let keys = rule::ssh_keys(&keys)?;
                self.blocking(move |inner| Ok(ssh::set_keys(&inner.root, &keys, ssh::Others::Keep)?)).await?;
            }
            Ask::AllowSshPassword { on } => {
                self.blocking(move |inner| Ok(ssh::allow_passwords(&inner.root, on)?)).await?;
                self.0.tools.run("systemctl", &["try-reload-or-restart", "ssh.service"]).await?;
            }
            Ask::TryNetwork { network } => self.try_network(network).await?,
            Ask::ConfirmNetwork => {
                if !network::on_trial(&self.0.root) {
                    return Ok(Told::Invalid { reason: "no network settings are on trial".to_owned() });
                }
                self.blocking(|inner| Ok(network::keep(&inner.root)?)).await?;
                *locked(&self.0.trial_ends) = None;
                log::info!("the network settings are confirmed");
            }
            Ask::UndoNetwork => {
                if !self.undo_network().await? {
                    return Ok(Told::Invalid { reason: "no network settings are on trial".to_owned() });
                }
            }
            Ask::Reboot => self.0.tools.run("systemctl", &["--no-block", "reboot"]).await?,
            Ask::FactoryReset { drive } => {
                self.blocking(move |inner| Ok(inner.mark_reset(drive)?)).await?;
                log::warn!("factory reset{}", if drive { ", the drive's images too" } else { "" });
                self.0.tools.run("systemctl", &["--no-block", "reboot"]).await?;
            }
        }
        Ok(Told::Done)
    }

    async fn try_network(&self, wish: Network) -> anyhow::Result<()> {
        let ends = tokio::time::Instant::now() + Duration::from_secs(NETWORK_TRIAL_S);
        *locked(&self.0.trial_ends) = Some(ends);
        let written = self.blocking(move |inner| Ok(network::write(&inner.root, &wish, true)?)).await;
        if let Err(error) = written {
            self.undo_network().await?;
            return Err(error);
        }
        log::info!("network settings are on trial for {NETWORK_TRIAL_S} s");
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(ends).await;
            let _turn = this.0.turn.lock().await;
            // A later try has an end of its own.
            let ours = *locked(&this.0.trial_ends) == Some(ends);
            if !ours {
                return;
            }
            log::warn!("nobody confirmed the network settings: they are taken back");
            // A full or failing disk must not keep anybody out.
            while let Err(error) = this.undo_network().await {
                log::error!("the network settings cannot be taken back yet: {error:#}");
                tokio::time::sleep(UNDO_PAUSE).await;
            }
        });
        self.0.reload_network().await;
        Ok(())
    }

    /// Says whether there was a trial. One that cannot be taken back goes on.
    async fn undo_network(&self) -> anyhow::Result<bool> {
        let undone = self.blocking(|inner| Ok(network::undo(&inner.root)?)).await?;
        *locked(&self.0.trial_ends) = None;
        if undone {
            self.0.reload_network().await;
        }
        Ok(undone)
    }

    /// Does what touches files beside the loop.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner)).await?
    }
}

/// Whether a change makes sense; says why not.
fn check(ask: &Ask, root: &Root) -> Result<(), String> {
    let fits = match ask {
        Ask::SetHostname { name } => rule::hostname(name).map(drop),
        Ask::SetTimezone { name } => match rule::timezone(name) {
            Ok(name) if !name::is_timezone(root, name) => {
                return Err(format!("timezone: there is no {name} here"));
            }
            checked => checked.map(drop),
        },
        Ask::SetSshKeys { keys } => rule::ssh_keys(keys).map(drop),
        Ask::TryNetwork { network } => {
            // Else it would join whatever network bears that name.
            if let Some(ssid) = network::unknown_password(root, network) {
                return Err(format!("psk: expected the password of {ssid}"));
            }
            rule::network(network)
        }
        _ => Ok(()),
    };
    fits.map_err(|invalid| invalid.to_string())
}

/// What stands for the card's partition in a run below `--state`.
#[must_use]
pub fn card_of(state: &Path) -> PathBuf {
    let card = state.join("boot/sel");
    if let Err(error) = file::directory_if_missing(&card, 0o700) {
        log::warn!("{}: {error}", card.display());
    }
    card
}

impl Inner {
    fn check_claim(&self, code: &str) -> Told {
        let mut claim = locked(&self.claim);
        claim.as_mut().map_or(Told::NotImage, |claim| Told::Claim {
            check: claim.check(code, &hostname(), Instant::now()),
        })
    }

    /// Where the next start looks. One that lost its data finds it on the card alone. A `kvm.yaml` that was not applied, or
    /// could not be removed, is forgotten with the rest; one that a person puts there beside a mark of theirs is not ours.
    fn mark_reset(&self, drive: bool) -> std::io::Result<()> {
        let text: &[u8] = if drive { b"drive\n" } else { b"settings\n" };
        let card = self.root.path(CARD);
        if let Err(error) = preseed::forget(&card) {
            log::warn!("{} stays on the card: {error}", preseed::FILE);
        }
        if self.root.path(DATA_LOST).exists() {
            let open = sys::sel::Writable::open(&card)?;
            file::replace(&card.join("factory-reset"), text, 0o600)?;
            return open.close();
        }
        file::replace(&self.root.path("/data/.factory-reset"), text, 0o600)
    }

    /// Has the network read its settings; says whether all went well. What fails is logged: the trial's end asks again.
    async fn reload_network(&self) -> bool {
        let reloaded = tokio::time::timeout(RELOAD, self.reload_each()).await;
        reloaded.unwrap_or_else(|_| {
            log::warn!("the network does not read its settings within {} s", RELOAD.as_secs());
            false
        })
    }

    async fn reload_each(&self) -> bool {
        let run = async |program: &str, arguments: &[&str]| {
            let result = self.tools.run(program, arguments).await;
            result.inspect_err(|error| log::warn!("the network: {error}")).is_ok()
        };
        let mut good = true;
        for (interface, wanted) in network::wireless(&self.root) {
            let unit = format!("wpa_supplicant@{interface}.service");
            if wanted {
                good &= run("systemctl", &["--no-block", "enable", &unit]).await;
                good &= run("systemctl", &["--no-block", "restart", &unit]).await;
            } else {
                good &= run("systemctl", &["--no-block", "disable", "--now", &unit]).await;
            }
        }
        good & run("networkctl", &["reload"]).await
    }

    fn state(&self) -> State {
        let trial_ends = *locked(&self.trial_ends);
        State {
            image: self.image,
            release: self
                .root
                .text("/usr/lib/kvmd/release")
                .filter(|_| self.image)
                .map(|text| release(&text)),
            slot: self.root.text("/proc/cmdline").filter(|_| self.image).and_then(|line| slot(&line)),
            hostname: hostname(),
            claimed: locked(&self.claim).as_ref().is_none_or(Claim::is_owned),
            timezone: name::timezone(&self.root),
            data_lost: self.root.path(DATA_LOST).exists(),
            stages: self.root.text(STAGES).map_or_else(Vec::new, |text| stages(&text)),
            ssh: if self.image {
                client::system::Ssh { shell_only: !self.ssh_by_web, ..ssh::read(&self.root) }
            } else {
                client::system::Ssh::default()
            },
            network: if self.image { network::told(&network::kept(&self.root)) } else { Network::default() },
            network_trial_ms: trial_ends.map(|ends| {
                let left = ends.saturating_duration_since(tokio::time::Instant::now());
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
            }),
            interfaces: network::links(&self.root),
        }
    }
}

/// What the machine is called now.
#[must_use]
pub fn hostname() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}

fn release(text: &str) -> Release {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    Release { version: value("VERSION"), board: value("BOARD"), build: value("BUILD") }
}

fn slot(cmdline: &str) -> Option<String> {
    let value = cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix("kvmd.slot="));
    value.filter(|slot| matches!(*slot, "a" | "b")).map(str::to_owned)
}

/// Adds a stage to those that the initramfs noted; when it begins, in seconds, unless it has begun before.
fn note_stage(root: &Root, name: &str) -> std::io::Result<Option<String>> {
    let path = root.path(STAGES);
    let noted = std::fs::read_to_string(&path)?;
    if stages(&noted).iter().any(|stage| stage.name == name) {
        return Ok(None);
    }
    let uptime = root.text("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split_ascii_whitespace().next().unwrap_or_default().to_owned();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)?
        .write_all(format!("{name}={seconds}\n").as_bytes())?;
    Ok(Some(seconds))
}

/// Lines of a name and seconds.
fn stages(text: &str) -> Vec<Stage> {
    let line = |line: &str| {
        let (name, seconds) = line.rsplit_once([' ', '='])?;
        let at_ms = milliseconds(seconds)?;
        Some(Stage { name: name.trim().to_owned(), at_ms })
    };
    text.lines().take(64).filter_map(line).collect()
}

/// `1.234` seconds.
fn milliseconds(seconds: &str) -> Option<u64> {
    let seconds: f64 = seconds.trim().parse().ok()?;
    let span = Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(span.as_millis()).ok()
}

/// A panic of whoever held it has left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
