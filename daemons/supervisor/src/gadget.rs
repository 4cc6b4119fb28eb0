//! The USB gadget: made before `kvmd` starts, held while it comes and goes, put at rest when it dies.
//!
//! ```text
//!            controller found                       it goes, or another gadget has it
//!  Waiting ───────────────────▶ made and plugged in ─────────────────────────────────▶ Waiting (looks again)
//!     ▲ said once                 │  ▲ BIOS-safe, connect, disconnect (control verbs)
//!                                 ▼  │
//!                   nodes given to kvmd again whenever they reappear (inotify on /dev)
//! ```
//!
//! One task owns it; what blocks (configfs may take its time to plug in) runs beside the loop. The handle is cheap to
//! clone. What `kvmd` needs is given to it after each creation: the HID nodes, with links at the paths of the
//! settings, the attributes of the drives, and (some seconds after the first plugging in) the means to plug and unplug.

use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::supervisor as wire;
use config::{Config, HidType, Layout, MsdType};
use gadget::{Controller, Fate, Function, Made, Outcome, Paths, Plan, Role, UdcState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Accounts;
use crate::file;

mod dev;
mod settings;
#[cfg(test)]
mod tests;

/// Longest time for making the host take the last reports while the next `kvmd` waits for that: a host that asks for reports
/// does so some ten times meanwhile. One that does not (nobody there has opened the mouse, say) is told by the next
/// `kvmd` itself, and never by us after that: what came late would release what was pressed anew.
const LET_GO: Duration = Duration::from_millis(100);
/// Likewise at our end, where nobody waits and nobody comes after us.
const CLOSE: Duration = Duration::from_millis(800);
/// Longest wait for it to be made before everything else starts.
const BEGIN: Duration = Duration::from_secs(3);
/// How often is looked for a controller that is not there, or is taken.
const RETRY: Duration = Duration::from_secs(2);
/// Calls that wait for their turn.
const CALLS: usize = 8;

/// The gadget's owner, to be asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gadget {
    calls: mpsc::Sender<Call>,
}

#[derive(Debug)]
enum Call {
    Status(oneshot::Sender<wire::Gadget>),
    BiosSafe(bool, oneshot::Sender<Result<(), String>>),
    Connect(bool, oneshot::Sender<Result<(), String>>),
    Replug(oneshot::Sender<Result<(), String>>),
    LetGo(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Gadget {
    /// Makes and plugs in the gadget that the settings want; `None` when they want none, or we may not make one. Waits
    /// for that, but not for a kernel that hangs: then it comes later.
    pub async fn start(config: &Config, layout: &Layout, accounts: &Accounts) -> Option<Self> {
        if config.kvmd.hid.r#type != HidType::Otg && config.kvmd.msd.r#type != MsdType::Otg {
            return None;
        }
        if !accounts.switch() {
            log::warn!("not root: no USB gadget is made, though kvmd.hid.type or kvmd.msd.type is otg");
            return None;
        }
        let owner = Owner::new(config, layout, accounts.clone());
        let (calls, called) = mpsc::channel(CALLS);
        let (begins, begun) = oneshot::channel();
        tokio::spawn(serve(owner, called, begins));
        if tokio::time::timeout(BEGIN, begun).await.is_err() {
            log::warn!("the USB gadget takes long to come: everything else starts without it");
        }
        Some(Self { calls })
    }

    async fn ask<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.calls.send(call(sender)).await.ok()?;
        receiver.await.ok()
    }

    /// How it is.
    pub async fn status(&self) -> wire::Answer {
        match self.ask(Call::Status).await {
            Some(gadget) => wire::Answer::Gadget { gadget: Some(gadget) },
            None => gone(),
        }
    }

    /// Shows the host nothing but a boot keyboard, or everything; remembered over restarts.
    pub async fn set_bios_safe(&self, on: bool) -> wire::Answer {
        done(self.ask(|sender| Call::BiosSafe(on, sender)).await)
    }

    /// Plugs it in or pulls it.
    pub async fn connect(&self, on: bool) -> wire::Answer {
        done(self.ask(|sender| Call::Connect(on, sender)).await)
    }

    /// Pulls it and plugs it in again, if it is plugged in.
    pub async fn replug(&self) -> wire::Answer {
        done(self.ask(Call::Replug).await)
    }

    /// Releases every key and button that a dead `kvmd` has left pressed. Bounded.
    pub async fn let_go(&self) {
        self.ask(Call::LetGo).await;
    }

    /// Puts it at rest for the end of the appliance: releases everything, and removes it if the settings say so.
    pub async fn close(&self) {
        self.ask(Call::Close).await;
    }
}

/// Answers what was asked of the gadget, where there may be none.
pub async fn answer(gadget: Option<&Gadget>, request: &wire::Request) -> wire::Answer {
    match (gadget, request) {
        (Some(gadget), wire::Request::Gadget) => gadget.status().await,
        (Some(gadget), wire::Request::SetBiosSafe { on }) => gadget.set_bios_safe(*on).await,
        (Some(gadget), wire::Request::ConnectGadget { on }) => gadget.connect(*on).await,
        (Some(gadget), wire::Request::ReplugGadget) => gadget.replug().await,
        (None, wire::Request::Gadget) => wire::Answer::Gadget { gadget: None },
        _ => wire::Answer::Failed { reason: "there is no USB gadget here".to_owned() },
    }
}

fn gone() -> wire::Answer {
    wire::Answer::Failed { reason: "the USB gadget is not held any more".to_owned() }
}

fn done(result: Option<Result<(), String>>) -> wire::Answer {
    match result {
        Some(Ok(())) => wire::Answer::Done,
        Some(Err(reason)) => wire::Answer::Failed { reason },
        None => gone(),
    }
}

/// Runs what blocks beside the loop. `None` after a panic in it, which leaves nobody to hold the gadget.
async fn blocking(mut owner: Owner, work: impl FnOnce(&mut Owner) + Send + 'static) -> Option<Owner> {
    let done = tokio::task::spawn_blocking(move || {
        work(&mut owner);
        owner
    });
    done.await.inspect_err(|error| log::error!("the USB gadget is not held any more: {error}")).ok()
}

async fn serve(owner: Owner, mut calls: mpsc::Receiver<Call>, begun: oneshot::Sender<()>) {
    let begin = move |owner: &mut Owner| {
        let may_hold = owner.is_plugged_in();
        owner.begin();
        // Whoever held something down before us is dead by now; a host that is plugged in only now holds nothing, and is
        // not waited for. Where nobody waits, the next kvmd is there already, and says itself what is down.
        if may_hold && !begun.is_closed() {
            owner.let_go(LET_GO);
        }
        let _ = begun.send(());
    };
    let Some(mut owner) = blocking(owner, begin).await else { return };
    // Ends when the owner does.
    owner.states = Some(gadget::state::watch(owner.paths.clone(), CancellationToken::new()));
    let mut nodes = dev::Nodes::watch(Path::new("/dev"));
    loop {
        let due = owner.due();
        let next = tokio::select! {
            call = calls.recv() => match call {
                Some(call) => blocking(owner, move |owner| owner.answer(call)).await,
                None => return,
            },
            () = nodes.appeared() => blocking(owner, Owner::give_nodes).await,
            () = until(due) => blocking(owner, Owner::look_again).await,
        };
        match next {
            Some(next) => owner = next,
            None => return,
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Where `kvmd` looks for the HID nodes.
#[derive(Debug, Clone)]
struct Links {
    keyboard: PathBuf,
    mouse: PathBuf,
    mouse_alt: Option<PathBuf>,
}

/// The gadget and everything that is to be done with it. Its methods block.
struct Owner {
    settings: gadget::Settings,
    paths: Paths,
    /// The controller the settings want; empty for any.
    wanted: String,
    accounts: Accounts,
    links: Links,
    /// Metadata and the last report of the absolute mouse.
    run: PathBuf,
    /// What is remembered over restarts.
    remembered: PathBuf,
    init_delay: Duration,
    remove_on_stop: bool,

    gadget: Option<gadget::Gadget>,
    controller: Option<Controller>,
    states: Option<watch::Receiver<UdcState>>,
    connected: bool,
    /// The plan whose shortcomings the log has.
    told: Option<Plan>,
    fault: Option<String>,
    /// When the controller is looked for again.
    retry_at: Option<Instant>,
    /// When what the gadget still lacks is looked for again.
    awaited_at: Option<Instant>,
    /// When `kvmd` is given the means to plug and unplug; `None` when it has them or nothing is plugged in.
    hand_over_at: Option<Instant>,
    handed_over: bool,
}

impl Owner {
    fn new(config: &Config, layout: &Layout, accounts: Accounts) -> Self {
        let remembered = layout.var.join("gadget.json");
        let hid = &config.kvmd.hid;
        let bios_safe = Remembered::read(&remembered).bios_safe;
        Self {
            settings: gadget::Settings { bios_safe, ..settings::wanted(config) },
            paths: Paths { name: config.otg.gadget.clone(), ..Paths::default() },
            wanted: config.otg.udc.clone(),
            accounts,
            links: Links {
                keyboard: hid.keyboard.device.clone(),
                mouse: hid.mouse.device.clone(),
                mouse_alt: hid.mouse_alt.device.clone(),
            },
            run: layout.run.join("otg"),
            remembered,
            init_delay: config.otg.init_delay,
            remove_on_stop: config.otg.remove_on_stop,
            gadget: None,
            controller: None,
            states: None,
            connected: true,
            told: None,
            fault: None,
            retry_at: None,
            awaited_at: None,
            hand_over_at: None,
            handed_over: false,
        }
    }

    fn last_absolute(&self) -> PathBuf {
        self.run.join("last-absolute")
    }

    /// Not empty while `kvmd` has pulled the cable for a moment.
    fn relinking(&self) -> PathBuf {
        self.run.join("relinking")
    }

    /// A `kvmd` that died while it had pulled the cable for a moment has meant to plug it in again.
    fn plug_in_again(&mut self) {
        let mark = self.relinking();
        if std::fs::metadata(&mark).is_ok_and(|found| found.len() > 0) {
            let cleared = std::fs::File::options().write(true).truncate(true).open(&mark);
            if let Err(error) = cleared {
                log::warn!("{}: {error}", mark.display());
            }
            if self.connected {
                log::info!("kvmd ended while it changed the USB gadget: plugging it in again");
                self.apply();
            }
        }
    }

    /// Whether a host may see it; also where nobody can tell.
    fn is_plugged_in(&self) -> bool {
        self.paths.udc().map_or(true, |udc| udc.is_some())
    }

    fn begin(&mut self) {
        if let Err(error) = self.make_run() {
            log::error!("{}: {error}", self.run.display());
        }
        self.apply();
    }

    fn make_run(&self) -> io::Result<()> {
        file::directory(&self.run, 0o755)?;
        // Another kvmd's.
        file::replace(&self.relinking(), &[], 0o600)?;
        self.accounts.give(&self.relinking(), self.accounts.kvmd.uid, self.accounts.kvmd.gid)?;
        let last = self.last_absolute();
        // What the last one noted is still true: the pointer has not moved since.
        if !last.is_file() {
            file::replace(&last, &[], 0o600)?;
        }
        self.accounts.give(&last, self.accounts.kvmd.uid, self.accounts.kvmd.gid)
    }

    fn due(&self) -> Option<Instant> {
        [self.retry_at, self.awaited_at, self.hand_over_at].into_iter().flatten().min()
    }

    fn look_again(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now >= at) {
            self.apply();
        }
        if self.awaited_at.is_some_and(|at| now >= at) {
            if let Some(gadget) = &mut self.gadget {
                gadget.look_again();
            }
            self.await_rest();
        }
        if self.hand_over_at.is_some_and(|at| now >= at) {
            self.hand_over();
        }
    }

    fn await_rest(&mut self) {
        let is_awaiting = self.gadget.as_ref().is_some_and(gadget::Gadget::is_awaiting);
        self.awaited_at = is_awaiting.then(|| Instant::now() + RETRY);
    }

    fn answer(&mut self, call: Call) {
        // Somebody who hung up does not want to know.
        match call {
            Call::Status(sender) => drop(sender.send(self.status())),
            Call::BiosSafe(on, sender) => drop(sender.send(self.set_bios_safe(on))),
            Call::Connect(on, sender) => drop(sender.send(self.connect(on))),
            Call::Replug(sender) => drop(sender.send(self.replug())),
            // The next kvmd has not waited: what is down by now is its own.
            Call::LetGo(sender) if sender.is_closed() => {}
            Call::LetGo(sender) => {
                self.let_go(LET_GO);
                self.plug_in_again();
                let _ = sender.send(());
            }
            Call::Close(sender) => {
                self.close();
                let _ = sender.send(());
            }
        }
    }

    /// Makes the gadget as it should be, plugs it in if it should be, gives away what is `kvmd`'s. Whatever fails is
    /// tried again later, and said when it is new.
    fn apply(&mut self) {
        let fault = self.try_apply().err();
        self.retry_at = fault.is_some().then(|| Instant::now() + RETRY);
        self.await_rest();
        match &fault {
            Some(why) if self.fault.as_ref() != Some(why) => log::warn!("USB gadget: {why}; trying again"),
            None if self.fault.is_some() => log::info!("the USB gadget is there after all"),
            _ => {}
        }
        self.fault = fault;
    }

    fn try_apply(&mut self) -> Result<(), String> {
        let text = |error: gadget::Error| error.to_string();
        let found = Controller::find(&self.wanted).map_err(|error| format!("/sys/class/udc: {error}"))?;
        let plan = gadget::plan(&self.settings, found.as_ref().unwrap_or(&Controller::unknown()));
        self.tell(&plan);
        let made = match &mut self.gadget {
            Some(gadget) => gadget.change(plan).map_err(text)?,
            None => {
                let (gadget, made) = gadget::Gadget::hold(self.paths.clone(), plan).map_err(text)?;
                self.gadget = Some(gadget);
                made
            }
        };
        if made == Made::Anew {
            self.handed_over = false;
        }
        self.controller = found;
        let gadget = self.gadget.as_ref().ok_or("not made")?;
        if let Err(error) = write_metadata(&self.run, gadget.plan()) {
            log::warn!("{}: {error}", self.run.display());
        }
        if self.connected {
            let controller = self.controller.as_ref().ok_or_else(|| match self.wanted.as_str() {
                "" => "this machine has no USB device controller".to_owned(),
                name => format!("this machine has no USB device controller {name}"),
            })?;
            let was = self.paths.udc().ok().flatten();
            gadget.bind(&controller.name).map_err(text)?;
            let was_on_it = was.as_deref() == Some(&*controller.name);
            let how = if was_on_it { ", as it was already" } else { "" };
            log::info!("the USB gadget is on {}{how}", controller.name);
            if was_on_it {
                self.hand_over();
            } else if !self.handed_over {
                self.hand_over_at = Some(Instant::now() + self.init_delay);
            }
        }
        self.give_drives();
        self.give_nodes();
        Ok(())
    }

    /// What the host will not see though the settings want it, once for each plan.
    fn tell(&mut self, plan: &Plan) {
        if self.told.as_ref() == Some(plan) {
            return;
        }
        self.told = Some(plan.clone());
        for function in &plan.functions {
            if let Fate::DoesNotFit { turn_off } = &function.fate {
                let advice = match turn_off {
                    Some(roles) => format!("it would fit without {}", settings::switches(roles).join(", ")),
                    None => "this controller never has room for it".to_owned(),
                };
                let name = &function.description;
                log::warn!("USB gadget: {name} is not shown, there are not enough endpoints; {advice}");
            }
        }
    }

    fn give(&self, path: &Path) {
        let kvmd = self.accounts.kvmd;
        let owner = |found: &std::fs::Metadata| (found.uid(), found.gid());
        if std::fs::symlink_metadata(path).is_ok_and(|found| owner(&found) == (kvmd.uid, kvmd.gid)) {
            return;
        }
        if let Err(error) = self.accounts.give(path, kvmd.uid, kvmd.gid) {
            log::warn!("{}: cannot be given to kvmd: {error}", path.display());
        }
    }

    fn give_drives(&self) {
        for path in self.gadget.iter().flat_map(gadget::Gadget::drive_attributes) {
            self.give(&path);
        }
    }

    /// The nodes come and go with the binding, and `kvmd` itself may bind.
    fn give_nodes(&mut self) {
        let Some(gadget) = &self.gadget else { return };
        for node in gadget.nodes() {
            self.give(&node.path);
            let link = match node.role {
                Role::Keyboard => Some(&self.links.keyboard),
                Role::Mouse => Some(&self.links.mouse),
                Role::MouseAlt => self.links.mouse_alt.as_ref(),
                _ => None,
            };
            if let Some(link) = link.filter(|link| **link != node.path)
                && let Err(error) = point(link, &node.path)
            {
                log::warn!("{}: {error}", link.display());
            }
        }
        // By this file a sleeping host is woken.
        if let Some(controller) = &self.controller {
            self.give(&Path::new("/sys/class/udc").join(&controller.name).join("srp"));
        }
    }

    fn hand_over(&mut self) {
        self.hand_over_at = None;
        self.handed_over = true;
        for path in self.gadget.iter().flat_map(gadget::Gadget::cable_attributes) {
            self.give(&path);
        }
    }

    fn set_bios_safe(&mut self, on: bool) -> Result<(), String> {
        if self.settings.bios_safe == on {
            return Ok(());
        }
        Remembered { bios_safe: on }
            .write(&self.remembered)
            .map_err(|error| format!("{}: {error}", self.remembered.display()))?;
        self.settings.bios_safe = on;
        log::info!(
            "the target is shown {}",
            if on { "nothing but a boot keyboard" } else { "everything again" }
        );
        // Pulled by kvmd itself: it stays so.
        let pulled =
            self.fault.is_none() && self.connected && self.paths.udc().is_ok_and(|udc| udc.is_none());
        let connected = self.connected;
        self.connected = connected && !pulled;
        self.apply();
        self.connected = connected;
        self.done()
    }

    fn connect(&mut self, on: bool) -> Result<(), String> {
        self.connected = on;
        if on {
            self.apply();
            return self.done();
        }
        (self.retry_at, self.fault) = (None, None);
        // A host lets go by itself of what is pulled.
        let unbound = self.gadget.as_ref().map_or(Ok(()), gadget::Gadget::unbind);
        unbound.map_err(|error| error.to_string())
    }

    /// What somebody else has pulled stays pulled.
    fn replug(&mut self) -> Result<(), String> {
        let (Some(gadget), Ok(Some(controller))) = (&self.gadget, self.paths.udc()) else { return Ok(()) };
        if let Err(error) = gadget.unbind().and_then(|()| gadget.bind(&controller)) {
            log::warn!("the USB gadget is not plugged in again: {error}");
            self.apply();
            return self.done();
        }
        self.give_nodes();
        Ok(())
    }

    fn done(&self) -> Result<(), String> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn let_go(&self, limit: Duration) {
        let Some(gadget) = &self.gadget else { return };
        let outcomes = gadget.let_go(&self.last_absolute(), limit);
        if outcomes.is_empty() {
            return;
        }
        let failed: Vec<String> = outcomes
            .iter()
            .filter_map(|(role, outcome)| match outcome {
                Outcome::Sent | Outcome::NoHost => None,
                Outcome::TooLate => Some(format!("{role:?}: the host does not ask for reports")),
                Outcome::Failed(error) => Some(format!("{role:?}: {error}")),
            })
            .collect();
        match failed.as_slice() {
            [] => log::info!("every key and button of the target is released"),
            failed => log::warn!("keys of the target cannot be released: {}", failed.join("; ")),
        }
    }

    fn close(&mut self) {
        self.let_go(CLOSE);
        (self.retry_at, self.awaited_at, self.hand_over_at) = (None, None, None);
        if !self.remove_on_stop {
            return;
        }
        if let Some(gadget) = self.gadget.take()
            && let Err(error) = gadget.remove()
        {
            log::warn!("the USB gadget cannot be removed: {error}");
        }
        let links = [Some(&self.links.keyboard), Some(&self.links.mouse), self.links.mouse_alt.as_ref()];
        for link in links.into_iter().flatten().filter(|link| link.is_symlink()) {
            let _ = std::fs::remove_file(link);
        }
        let _ = std::fs::remove_dir_all(&self.run);
    }

    /// As it was told, for the controller's own word is not to be trusted after a binding; but what is not bound is not.
    fn state(&self) -> UdcState {
        let now = gadget::state::read(&self.paths);
        match &self.states {
            Some(states) if now != UdcState::Unbound => *states.borrow(),
            _ => now,
        }
    }

    /// What the host should see and does not, though the gadget is there.
    fn lacks(&self) -> Option<String> {
        let faults = self.gadget.as_ref().map(gadget::Gadget::faults);
        faults.filter(|faults| !faults.is_empty()).map(|faults| faults.join("; "))
    }

    fn status(&self) -> wire::Gadget {
        let plan = self.gadget.as_ref().map(gadget::Gadget::plan);
        let is_missing = |name: &str| self.gadget.as_ref().is_some_and(|gadget| gadget.is_missing(name));
        let functions = plan.map_or(Vec::new(), |plan| {
            plan.functions.iter().map(|one| shown(one, is_missing(&one.name))).collect()
        });
        wire::Gadget {
            name: self.paths.name.clone(),
            controller: self.controller.as_ref().map(|controller| controller.name.clone()),
            state: self.state().name().to_owned(),
            connected: self.connected,
            bios_safe: self.settings.bios_safe,
            endpoints: self.settings.endpoints,
            used: plan.map_or(0, Plan::used),
            fault: self.fault.clone().or_else(|| self.lacks()),
            functions,
        }
    }
}

fn shown(function: &Function, missing: bool) -> wire::GadgetFunction {
    let (fate, turn_off) = match &function.fate {
        _ if missing => (wire::GadgetFate::Missing, Vec::new()),
        Fate::Linked => (wire::GadgetFate::Shown, Vec::new()),
        Fate::NotStarted => (wire::GadgetFate::NotStarted, Vec::new()),
        Fate::BiosSafe => (wire::GadgetFate::BiosSafe, Vec::new()),
        Fate::DoesNotFit { turn_off } => {
            let roles = turn_off.as_deref().unwrap_or_default();
            (wire::GadgetFate::DoesNotFit, settings::switches(roles))
        }
    };
    wire::GadgetFunction {
        name: function.name.clone(),
        description: function.description.clone(),
        endpoints: function.cost.endpoints,
        fate,
        turn_off,
    }
}

/// Makes `link` lead to `node`, in one step. Only a link is ever replaced, and none is followed.
fn point(link: &Path, node: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(link) {
        Ok(found) if !found.is_symlink() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "is there, and is not a link"));
        }
        Ok(_) if std::fs::read_link(link).is_ok_and(|to| to == node) => return Ok(()),
        _ => {}
    }
    let mut new = link.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = std::fs::remove_file(&new);
    symlink(node, &new)?;
    std::fs::rename(&new, link)
}

/// One small file for each function, for programs that switch functions on and off.
fn write_metadata(dir: &Path, plan: &Plan) -> io::Result<()> {
    let name = |function: &Function| format!("{}@meta.json", function.name);
    let names: Vec<String> = plan.functions.iter().map(name).collect();
    for entry in std::fs::read_dir(dir)?.flatten() {
        let old = entry.file_name();
        let old = old.to_string_lossy();
        if old.ends_with("@meta.json") && !names.iter().any(|name| *name == old) {
            std::fs::remove_file(entry.path())?;
        }
    }
    for (function, name) in plan.functions.iter().zip(names) {
        let text = serde_json::json!({
            "function": function.name,
            "description": function.description,
            "endpoints": function.cost.endpoints,
            "starter": settings::starter(function.role),
        });
        // Not synced: it is gone with the power anyway.
        std::fs::write(dir.join(name), text.to_string())?;
    }
    Ok(())
}

/// What is remembered over restarts.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Remembered {
    #[serde(default)]
    bios_safe: bool,
}

impl Remembered {
    /// A file that cannot be read is one that says nothing.
    fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        file::replace(path, &serde_json::to_vec(self)?, 0o644)
    }
}
