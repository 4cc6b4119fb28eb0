//! From settings to running devices: which driver each one gets, and what the network face is told.
//!
//! The only place that knows both `config` and the device crates. Everything it starts ends with the given token.

mod drive;
mod input;
mod switches;
mod video;

use crate::{
    audit,
    claim::Claim,
    credential::Redirects,
    daemons::Daemons,
    hid::Keymaps,
    holder::Holder,
    info::LoginNeeded,
    log::LogReader,
    pages::UserStyle,
    prometheus::{self, Figures},
    redfish,
    server::Handles,
    streamer::{
        Stop,
        frames::Frames,
        owner::{self, Streamer},
    },
    switch::Switch,
    system,
    update::{self, upload::Uploads},
    user::Accounts,
    ws::{
        hub::{Empty, Hub},
        session::Heartbeat,
        topics::{self, Legacy, Sources},
    },
};
use actix_web::web::Data;
use anyhow::Context;
use auth::Auth;
use client::supervisor::Supervisor;
use config::{AtxType, AuthExternalType, AuthInternalType, Config, HidType, Layout, MsdType, UserRole};
use life::ListenFds;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use vm::Qmp;

/// Log readers at once.
const LOG_READERS: usize = 8;

/// Everything that runs behind the listeners.
pub struct Devices {
    /// What handlers may ask for.
    pub handles: Handles,
    /// Owners; each ends by putting its device at rest.
    pub owners: JoinSet<()>,
    /// Ends what carries the devices' last words. Cancel it when the owners are done.
    pub later: CancellationToken,
}

/// What is being started, and when it shall end.
struct Start<'a> {
    owners: JoinSet<()>,
    stop: &'a CancellationToken,
    /// What the supervisor handed over beside the listeners: lines it holds with us.
    descriptors: &'a mut ListenFds,
}

impl Start<'_> {
    fn keep(&mut self, task: JoinHandle<()>) {
        self.owners.spawn(async move {
            if let Err(why) = task.await
                && why.is_panic()
            {
                log::error!("an owner panicked: {why}");
            }
        });
    }
}

/// The virtual machine, where there is one. Its connection outlives the devices: they have last words for it.
struct Machine {
    qmp: Option<Qmp>,
    screen: PathBuf,
    later: CancellationToken,
}

impl Machine {
    fn connect(config: &Config, later: &CancellationToken) -> Self {
        let sockets = &config.vm.sockets;
        let qmp = uses_vm(config).then(|| Qmp::connect(sockets.join("qmp-kvmd.sock"), later.child_token()));
        Self { qmp, screen: sockets.join("vnc.sock"), later: later.clone() }
    }

    fn get(&self, key: &str) -> anyhow::Result<(&Qmp, &CancellationToken)> {
        let qmp = self.qmp.as_ref().with_context(|| format!("{key}: there is no virtual machine"))?;
        Ok((qmp, &self.later))
    }
}

/// Starts everything.
pub fn start(
    config: &Config,
    layout: &Layout,
    frames: Frames,
    descriptors: &mut ListenFds,
    stop: &CancellationToken,
) -> anyhow::Result<Devices> {
    let later = CancellationToken::new();
    let machine = Machine::connect(config, &later);
    let supervisor = Supervisor::new(&config.supervisor.unix);
    let mut start = Start { owners: JoinSet::new(), stop, descriptors };
    let auth = start_auth(config, layout, &mut start)?;
    let audit = audit::Book::start(layout.kvmd_state().join("audit")).context("the audit log")?;
    let hid = input::start_hid(config, layout, &machine, &mut start)?;
    let holder = Holder::new(config.kvmd.hid.one_holder, &auth);
    let parts = Parts {
        login: LoginNeeded(auth.enabled()),
        auth,
        info: start_info(config, &supervisor, stop),
        keymaps: open_keymaps(config),
        hid,
        atx: start_atx(config, &machine, &mut start)?,
        msd: drive::start_msd(config, layout, &machine, &supervisor, &mut start)?,
        gpio: switches::start_gpio(config, layout, &mut start)?,
        switch: switches::start_switch(config, layout, &mut start),
        wol: switches::wol(&config.kvmd.gpio),
        ocr: video::open_ocr(config),
        changed: system::Changed::default(),
        audit,
        holder,
        uploads: Uploads::new(config.kvmd.update.uploads.clone(), config.kvmd.update.max_size),
    };
    let empty = Empty::new(stop.child_token());
    let hub = empty.hub();
    let settings = video::settings(config);
    let (streamer, task) = owner::spawn(settings, frames, hub.viewers(), supervisor, stop.child_token());
    start.keep(task);
    video::start_timed(config, &streamer, &parts.hid, &hub, &mut start)?;
    let mut topics = topics::start(parts.sources(&streamer), &hub, Legacy(config.kvmd.events.legacy), stop);
    let asked = Supervisor::new(&config.supervisor.unix);
    let updates = update::watch::start(asked.clone(), &parts.uploads, &hub, stop);
    topics.push(topics::updates(updates, &hub, stop));
    topics.push(system::watch(asked, parts.changed.clone(), &hub, stop));
    topics.extend(parts.holder.topic(&hub, stop));
    start.keep(empty.start(topics, parts.hid.clone()));
    Ok(Devices { handles: parts.handles(config, layout, streamer, hub, stop), owners: start.owners, later })
}

struct Parts {
    auth: Auth,
    login: LoginNeeded,
    info: info::Info,
    keymaps: Keymaps,
    hid: hid::Hid,
    atx: atx::Atx,
    msd: msd::Msd,
    gpio: gpio::Gpio,
    switch: Switch,
    wol: model::legacy::Wol,
    ocr: ocr::Ocr,
    changed: system::Changed,
    uploads: Uploads,
    audit: audit::Book,
    holder: Holder,
}

impl Parts {
    fn sources(&self, streamer: &Streamer) -> Sources {
        Sources {
            hid: self.hid.clone(),
            keymaps: self.keymaps.clone(),
            atx: self.atx.clone(),
            gpio: self.gpio.clone(),
            msd: self.msd.clone(),
            streamer: streamer.clone(),
            ocr: self.ocr.clone(),
            info: self.info.clone(),
            login: self.login,
            switch: self.switch.clone(),
            wol: self.wol.clone(),
        }
    }

    fn figures(&self, config: &Config, streamer: &Streamer, hub: &Hub) -> Figures {
        let sources = prometheus::Sources {
            atx: self.atx.clone(),
            gpio: self.gpio.clone(),
            info: self.info.clone(),
            streamer: streamer.clone(),
            hub: hub.clone(),
        };
        Figures::new(sources, config.kvmd.prometheus.auth.enabled)
    }

    fn handles(
        self,
        config: &Config,
        layout: &Layout,
        streamer: Streamer,
        hub: Hub,
        stop: &CancellationToken,
    ) -> Handles {
        let redirects = config.kvmd.auth.allow_redirects.iter().map(|path| path.to_lowercase()).collect();
        let figures = self.figures(config, &streamer, &hub);
        Handles {
            auth: Data::new(self.auth),
            redirects: Data::new(Redirects(redirects)),
            login: Data::new(self.login),
            info: Data::new(self.info),
            log: Data::new(log_reader(config)),
            hid: Data::new(self.hid),
            keymaps: Data::new(self.keymaps),
            atx: Data::new(self.atx),
            gpio: Data::new(self.gpio),
            msd: Data::new(self.msd),
            near: Data::new(crate::msd::Near(config.kvmd.msd.fetch_near)),
            streamer: Data::new(streamer),
            ocr: Data::new(self.ocr),
            hub: Data::new(hub),
            heartbeat: Data::new(Heartbeat(config.kvmd.server.heartbeat)),
            stop: Data::new(Stop(stop.child_token())),
            style: Data::new(UserStyle(layout.etc.join("web.css"))),
            supervisor: Data::new(Supervisor::new(&config.supervisor.unix)),
            accounts: Data::new(accounts(config, layout)),
            claim: Data::new(start_claim(config, layout)),
            changed: Data::new(self.changed),
            uploads: Data::new(self.uploads),
            audit: Data::new(self.audit),
            holder: Data::new(self.holder),
            switch: Data::new(self.switch),
            figures: Data::new(figures),
            identity: Data::new(redfish::Identity::of(&machine_id())),
        }
    }
}

/// The machine's own number; empty where it has none.
fn machine_id() -> String {
    std::fs::read_to_string("/etc/machine-id").unwrap_or_default()
}

fn uses_vm(config: &Config) -> bool {
    let kvmd = &config.kvmd;
    kvmd.hid.r#type == HidType::Vm || kvmd.atx.r#type == AtxType::Vm || kvmd.msd.r#type == MsdType::Vm
}

fn start_auth(config: &Config, layout: &Layout, start: &mut Start<'_>) -> anyhow::Result<Auth> {
    let settings = &config.kvmd.auth;
    if !settings.enabled {
        log::warn!("nobody has to log in: kvmd.auth.enabled is false");
        return Ok(Auth::disabled());
    }
    let service = auth_service(settings)?;
    let usc = &settings.usc;
    let limits = auth::Limits {
        per_user: settings.throttle.attempts,
        per_address: settings.throttle.address_attempts,
        window: settings.throttle.window,
        lock: settings.throttle.lockout,
        ..auth::Limits::default()
    };
    let guard = auth::Settings {
        state_dir: layout.kvmd_state(),
        role: role(settings.role),
        expire: settings.expire,
        extend: settings.extend,
        totp_secret: settings.totp.secret.file.clone().unwrap_or_default(),
        peers: auth::PeerRules {
            users: [&usc.users[..], &usc.kvmd_users[..]].concat(),
            groups: [&usc.groups[..], &usc.kvmd_groups[..]].concat(),
        },
        throttle: limits,
        ..auth::Settings::default()
    };
    let (auth, task) = Auth::start(guard, service, Arc::new(auth::clock::System), start.stop.child_token())?;
    start.keep(task);
    Ok(auth)
}

/// The role of who was given none.
const fn role(setting: UserRole) -> auth::Role {
    match setting {
        UserRole::Viewer => auth::Role::Viewer,
        UserRole::Operator => auth::Role::Operator,
        UserRole::Admin => auth::Role::Admin,
    }
}

fn accounts(config: &Config, layout: &Layout) -> Accounts {
    let settings = &config.kvmd.auth;
    Accounts {
        users: settings.internal.file.clone(),
        roles: layout.kvmd_state().join("roles"),
        others: role(settings.role),
        shared_secret: settings.totp.secret.file.clone().unwrap_or_default(),
        own_secrets: layout.kvmd_state().join(auth::totp::OWN_SECRETS),
    }
}

fn start_claim(config: &Config, layout: &Layout) -> Claim {
    let language = layout.kvmd_state().join("language");
    if config.kvmd.auth.claimable(layout) {
        return Claim::new(config.kvmd.auth.internal.file.clone(), language);
    }
    Claim::not_needed(language)
}

fn auth_service(settings: &config::Auth) -> anyhow::Result<Arc<dyn auth::Service>> {
    let htpasswd = || auth::Htpasswd::new(&settings.internal.file);
    let forced = || settings.internal.force_users.clone();
    Ok(match (settings.internal.r#type, settings.external.r#type) {
        (AuthInternalType::Htpasswd, AuthExternalType::None) => Arc::new(htpasswd()?),
        (AuthInternalType::Forbidden, _) => Arc::new(auth::Forbidden),
        (AuthInternalType::Htpasswd, AuthExternalType::Forbidden) => {
            let external = auth::Forbidden;
            Arc::new(auth::Split { internal: htpasswd()?, external, force_users: forced() })
        }
    })
}

fn start_info(config: &Config, supervisor: &Supervisor, stop: &CancellationToken) -> info::Info {
    let settings = &config.kvmd.info;
    let ours = info::Settings {
        meta: settings.meta.clone(),
        extras: settings.extras.clone(),
        platform: settings.hw.platform.clone(),
        ignore_past: settings.hw.ignore_past,
        health_poll: settings.hw.state_poll,
        fan_daemon: settings.fan.daemon.clone(),
        fan_socket: settings.fan.unix.clone(),
        fan_timeout: settings.fan.timeout,
        fan_poll: settings.fan.state_poll,
        kvmd_version: model::CONTRACT_TEXT.to_owned(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        streamer: info::Streamer {
            app: "kvmd-streamer".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: client::streamer::FEATURES.map(|(name, can)| (name.to_owned(), can)).into(),
        },
        ..info::Settings::default()
    };
    let ports = Box::new(|path: &str| match path {
        "vnc/server/port" => Some(5900),
        "ipmi/server/port" => Some(623),
        _ => None,
    });
    info::Info::spawn(ours, Arc::new(Daemons::new(supervisor.clone())), ports, stop)
}

/// The supervisor says where its own journal lies, when it runs one. Only what our programs wrote is read: any process
/// may call itself `kvmd`, but the journal itself says which program it was.
fn log_reader(config: &Config) -> LogReader {
    if !config.kvmd.log_reader.enabled {
        return LogReader(None);
    }
    let place = match std::env::var_os("KVMD_JOURNAL_DIR") {
        Some(dir) if !dir.is_empty() => journal::Place::Directory(dir.into()),
        _ => journal::Place::System,
    };
    let settings = journal::Settings { place, ..journal::Settings::default() };
    let programs = our_programs(&settings.identifiers);
    let journal = journal::SystemJournal::new(journal::Settings { programs, ..settings });
    LogReader(Some(journal::Reader::new(Arc::new(journal), LOG_READERS)))
}

/// Our programs lie beside each other. One that was replaced while it runs is known as deleted.
fn our_programs(names: &[String]) -> Vec<PathBuf> {
    let Ok(exe) = std::env::current_exe() else { return Vec::new() };
    let beside = |name: &String| {
        let path = exe.with_file_name(name);
        let mut deleted = path.clone().into_os_string();
        deleted.push(" (deleted)");
        [path, deleted.into()]
    };
    names.iter().flat_map(beside).collect()
}

fn open_keymaps(config: &Config) -> Keymaps {
    let path = &config.kvmd.hid.keymap;
    let default = path.file_name().map_or("en-us".into(), |name| name.to_string_lossy().into_owned());
    Keymaps(Arc::new(hid::Keymaps::open(path.parent().unwrap_or(Path::new("/")), &default)))
}

fn start_atx(config: &Config, machine: &Machine, start: &mut Start<'_>) -> anyhow::Result<atx::Atx> {
    let settings = &config.kvmd.atx;
    let ours = atx::Settings {
        click_delay: settings.click_delay,
        long_click_delay: settings.long_click_delay,
        ..atx::Settings::default()
    };
    let stop = start.stop.child_token();
    let (atx, task) = match settings.r#type {
        AtxType::Disabled => return Ok(atx::Atx::disabled()),
        AtxType::Fake => atx::spawn(ours, atx::PretendLines::default(), stop),
        AtxType::Vm => {
            let (qmp, later) = machine.get("kvmd.atx.type")?;
            atx::spawn(ours, atx::VmLines::new(qmp.clone(), later.child_token()), stop)
        }
        AtxType::Gpio => {
            let lines = gpio_panel(settings);
            let held = start.descriptors.take(&lines.switches().descriptor_name("atx"));
            atx::spawn(ours, atx::Gpio::open(lines, held), stop)
        }
    };
    start.keep(task);
    Ok(atx)
}

fn gpio_panel(settings: &config::Atx) -> atx::GpioSettings {
    let light = |line, inverted, debounce| atx::Light { line, inverted, debounce };
    atx::GpioSettings {
        device: settings.device.clone(),
        power_led: light(settings.power_led_pin, settings.power_led_inverted, settings.power_led_debounce),
        hdd_led: light(settings.hdd_led_pin, settings.hdd_led_inverted, settings.hdd_led_debounce),
        power_switch: settings.power_switch_pin,
        reset_switch: settings.reset_switch_pin,
    }
}
