//! The one who carries updates out: one task, asked through [`Update`], seen through a watch.
//!
//! What takes long (looking at a bundle, writing it, judging a trial) runs beside the task and reports to it, so that it
//! always answers. What it needs done by others is [`Machine`].

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use crate::history::{self, Entry, Outcome};
use crate::progress::Line;
use crate::state::{Error, Phase, State};
use crate::trial;
use crate::{Bundle, Choice, Loader, Refused, Release, Sel, Slot, Standing, Unfit, release, store};

/// Where things lie, and how long a release has to prove itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mounted partition with the boot choice.
    pub boot: PathBuf,
    /// What the kernel was started with.
    pub cmdline: PathBuf,
    /// What the release says of itself.
    pub release: PathBuf,
    /// The slots' settings, a directory each.
    pub etc: PathBuf,
    /// Ours: the history, and bundles on their way.
    pub dir: PathBuf,
    /// Where the initramfs says why a start failed.
    pub failure: PathBuf,
    /// How long a new release has to prove itself.
    pub deadline: Duration,
}

/// A future on the heap.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What has to be done outside.
pub trait Machine: Send + Sync {
    /// Takes the uploaded bundle out of reach of whoever received it; `None` when there is none.
    fn take_upload(&self) -> Boxed<'_, Result<Option<PathBuf>, String>>;
    /// What a bundle says of itself, its signature checked.
    fn inspect<'a>(&'a self, bundle: &'a str) -> Boxed<'a, Result<Bundle, Unfit>>;
    /// Writes a bundle to the other slot, and tells how it gets on.
    fn install<'a>(&'a self, bundle: &'a str, progress: mpsc::Sender<Line>) -> Boxed<'a, Result<(), String>>;
    /// Whether the appliance can serve; why not.
    fn probe(&self) -> Boxed<'_, Result<(), String>>;
    /// A trial goes on after a restart that is not ours: has a firmware that has to be asked try the same slot again.
    fn try_again(&self);
    /// Restarts the machine orderly; `trial` asks a firmware that has to be asked for the slot that is to be tried.
    fn restart(&self, trial: bool) -> Boxed<'_, Result<(), String>>;
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It was uploaded.
    Upload,
    /// A file, or an address that RAUC reads from.
    At(String),
}

#[derive(Debug)]
enum Call {
    Install(Source, Reply),
    Restart(Reply),
    Rollback(Reply),
    MarkGood(Reply),
    End(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Result<(), Error>>;

/// What those who work beside the task report.
#[derive(Debug)]
enum Report {
    /// A bundle is let in. Whoever asked for it is told when that shows.
    Fits(String, Reply),
    /// It is not.
    Unfit(Error, Reply),
    Progress(Line),
    Written(Result<(), String>),
    Judged(Result<(), String>),
}

/// The handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Update {
    calls: mpsc::Sender<Call>,
    state: watch::Receiver<State>,
}

impl Update {
    /// Finds out how the release that runs stands, and starts the owner; `None` where this is no image: nothing says which release runs, from which slot.
    ///
    /// # Errors
    ///
    /// Where it is one, but says so wrongly.
    pub async fn start(settings: Settings, machine: Arc<dyn Machine>) -> Result<Option<Self>, StartError> {
        let line = fs::read_to_string(&settings.cmdline).unwrap_or_default();
        let Some(slot) = Slot::of_command_line(&line) else { return Ok(None) };
        let Ok(text) = fs::read_to_string(&settings.release) else { return Ok(None) };
        let release = Release::parse(&text)?;
        let sel = Sel::new(&settings.boot);
        let loader = Loader::find(&sel)?;
        fs::create_dir_all(&settings.dir).map_err(|error| StartError::Dir(settings.dir.clone(), error))?;
        let state = State {
            release,
            slot,
            kept: slot,
            other: None,
            phase: Phase::Idle,
            problem: None,
            history: history::read(&settings.dir.join(HISTORY)),
        };
        let (state, watched) = watch::channel(state);
        let (calls, called) = mpsc::channel(8);
        let (report, reports) = mpsc::channel(16);
        let mut owner =
            Owner { settings, machine, sel, loader, slot, state, report, bundle: None, given_up: false };
        owner.begin().await;
        tokio::spawn(owner.run(called, reports));
        Ok(Some(Self { calls, state: watched }))
    }

    /// How updates stand.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    async fn ask(&self, call: impl FnOnce(Reply) -> Call) -> Result<(), Error> {
        let gone = || Error::Failed("updates are not seen to any more".to_owned());
        let (reply, answer) = oneshot::channel();
        self.calls.send(call(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Installs a bundle into the other slot: answered when it was looked at and is let in.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn install(&self, source: Source) -> Result<(), Error> {
        self.ask(|reply| Call::Install(source, reply)).await
    }

    /// Restarts the machine, into the new release where there is one.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn restart(&self) -> Result<(), Error> {
        self.ask(Call::Restart).await
    }

    /// Goes back: forgets an update that was not started yet, gives up one that is being tried, or tries the release
    /// before this one.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn rollback(&self) -> Result<(), Error> {
        self.ask(Call::Rollback).await
    }

    /// Keeps the release that is being tried: a person has seen that it is good.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn mark_good(&self) -> Result<(), Error> {
        self.ask(Call::MarkGood).await
    }

    /// The appliance stops orderly: a trial is not failed by that.
    pub async fn end(&self) {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::End(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// Why updates cannot be seen to on a system that is an image.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the release says of itself.
    #[error("the release's facts: {0}")]
    Release(#[from] release::Error),
    /// The boot choice.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Our directory.
    #[error("{0}: {1}")]
    Dir(PathBuf, std::io::Error),
}

const HISTORY: &str = "history.jsonl";

struct Owner {
    settings: Settings,
    machine: Arc<dyn Machine>,
    sel: Sel,
    loader: Loader,
    slot: Slot,
    state: watch::Sender<State>,
    report: mpsc::Sender<Report>,
    /// An uploaded bundle that was taken, to be removed when it is done with.
    bundle: Option<PathBuf>,
    /// The trial was given up: our own end is then no orderly one that would have it tried again.
    given_up: bool,
}

/// How long after a good release could not be kept that is tried again.
const AGAIN: Duration = Duration::from_secs(10);

impl Owner {
    async fn run(mut self, mut calls: mpsc::Receiver<Call>, mut reports: mpsc::Receiver<Report>) {
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.answer(call).await,
                    None => return,
                },
                Some(report) = reports.recv() => self.hear(report).await,
            }
        }
    }

    /// Finds out how the release that runs stands, and what happened before.
    async fn begin(&mut self) {
        // Whatever lies here belongs to an update that was cut off.
        clear(&self.settings.dir);
        self.note_version(self.slot, Some(self.release().version.to_string()));
        let slot = self.slot;
        let choice = match self.change(move |choice| Ok(choice.with_start(slot))).await {
            Ok(choice) => choice,
            Err(error) => {
                log::error!("{error}");
                Choice::settled(slot)
            }
        };
        let standing = choice.standing(slot);
        log::info!("release {} runs from slot {slot}: {standing:?}", self.release().version);
        match standing {
            Standing::Settled => {
                self.settle_or_say();
                self.set_phase(self.idle());
            }
            Standing::Pending => self.set_phase(self.ready(&choice)),
            Standing::FellBack => self.fell_back(&choice).await,
            Standing::OnTrial | Standing::Stranded => {
                self.set_phase(Phase::Trial);
                let (machine, report) = (Arc::clone(&self.machine), self.report.clone());
                let deadline = self.settings.deadline;
                tokio::spawn(async move {
                    let _ = report.send(Report::Judged(trial::judge(machine.as_ref(), deadline).await)).await;
                });
            }
        }
    }

    async fn answer(&mut self, call: Call) {
        // Who hung up does not want to know.
        match call {
            Call::Install(source, reply) => self.install(source, reply).await,
            Call::Restart(reply) => drop(reply.send(self.restart().await)),
            Call::Rollback(reply) => drop(reply.send(self.rollback().await)),
            Call::MarkGood(reply) => {
                let on_trial = self.state.borrow().phase == Phase::Trial;
                drop(reply.send(if on_trial { self.good().await } else { Ok(()) }));
            }
            Call::End(reply) if self.given_up => drop(reply.send(())),
            Call::End(reply) => {
                let slot = self.slot;
                match self.change(move |choice| Ok(choice.with_orderly_end(slot))).await {
                    Ok(choice) if choice.trial == Some(slot) && self.loader == Loader::Firmware => {
                        self.machine.try_again();
                    }
                    Ok(_) => {}
                    Err(error) => log::warn!("{error}"),
                }
                let _ = reply.send(());
            }
        }
    }

    async fn hear(&mut self, report: Report) {
        match report {
            Report::Fits(version, reply) => {
                self.set_phase(Phase::Installing { version, percent: 0, message: String::new() });
                drop(reply.send(Ok(())));
            }
            Report::Unfit(error, reply) => {
                let problem = error.problem();
                self.finish_bundle();
                self.record(
                    &self.wanted_version(),
                    self.slot.other(),
                    Outcome::Refused,
                    Some(&problem.reason),
                );
                self.state.send_modify(|state| state.problem = Some(problem));
                self.set_phase(self.resting().await);
                drop(reply.send(Err(error)));
            }
            Report::Progress(Line::Progress { percent, message }) => self.state.send_modify(|state| {
                if let Phase::Installing { percent: shown, message: text, .. } = &mut state.phase {
                    (*shown, *text) = (percent, message);
                }
            }),
            Report::Progress(_) => {}
            Report::Written(result) => self.written(result).await,
            Report::Judged(_) if self.state.borrow().phase != Phase::Trial => {}
            Report::Judged(Ok(())) => {
                if let Err(error) = self.good().await {
                    log::error!("the release is good, but cannot be kept yet: {error}");
                    let report = self.report.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(AGAIN).await;
                        drop(report.send(Report::Judged(Ok(()))).await);
                    });
                }
            }
            Report::Judged(Err(why)) => self.not_good(&why).await,
        }
    }

    async fn install(&mut self, source: Source, reply: Reply) {
        let refuse = |reply: Reply, error| drop(reply.send(Err(error)));
        match self.state.borrow().phase {
            Phase::Idle | Phase::Ready { .. } | Phase::RolledBack { .. } => {}
            Phase::Trial => return refuse(reply, Error::OnTrial),
            Phase::Checking | Phase::Installing { .. } | Phase::Restarting => {
                return refuse(reply, Error::Busy);
            }
        }
        let bundle = match source {
            Source::At(place) => place,
            Source::Upload => match self.machine.take_upload().await {
                Ok(Some(path)) => {
                    let place = path.to_string_lossy().into_owned();
                    self.bundle = Some(path);
                    place
                }
                Ok(None) => return refuse(reply, Error::NoUpload),
                Err(why) => return refuse(reply, Error::Failed(why)),
            },
        };
        self.state.send_modify(|state| state.problem = None);
        self.set_phase(Phase::Checking);
        let work =
            Work { machine: Arc::clone(&self.machine), release: self.release(), report: self.report.clone() };
        tokio::spawn(work.install(bundle, reply));
    }

    /// The bundle is written, or not: RAUC has changed the boot choice accordingly.
    async fn written(&mut self, result: Result<(), String>) {
        self.finish_bundle();
        let (version, slot) = (self.wanted_version(), self.slot.other());
        let result = match (result, self.sel.choice()) {
            (Ok(()), Ok((_, choice))) if choice.trial != Some(slot) => {
                Err("it was written, but the boot choice was not changed".to_owned())
            }
            (Ok(()), Err(error)) => Err(error.to_string()),
            (result, _) => result,
        };
        match result {
            Ok(()) => {
                log::info!("release {version} is installed in slot {slot}: it is tried at the next start");
                self.note_version(slot, Some(version.clone()));
                self.record(&version, slot, Outcome::Installed, None);
            }
            Err(why) => {
                log::error!("release {version} is not installed: {why}");
                // Nothing was written when RAUC itself refused; what the slot holds is then what it held.
                if self.sel.choice().is_ok_and(|(_, choice)| !choice.is_good(slot)) {
                    self.note_version(slot, None);
                }
                self.record(&version, slot, Outcome::Failed, Some(&why));
                let problem = Error::Failed(why).problem();
                self.state.send_modify(|state| state.problem = Some(problem));
            }
        }
        self.set_phase(self.resting().await);
    }

    async fn restart(&mut self) -> Result<(), Error> {
        match self.state.borrow().phase {
            Phase::Checking | Phase::Installing { .. } => return Err(Error::Busy),
            _ => {}
        }
        let before = self.state.borrow().phase.clone();
        let by_firmware = self.loader == Loader::Firmware;
        let trial = self.sel.choice()?.1.trial.filter(|slot| *slot != self.slot);
        // The firmware notes nothing: what it is asked to try counts as tried from here on.
        if let Some(trial) = trial.filter(|_| by_firmware) {
            self.change(move |choice| Ok(choice.with_start(trial))).await?;
        }
        self.set_phase(Phase::Restarting);
        let asked = self.machine.restart(by_firmware && trial.is_some()).await;
        if let Err(why) = asked {
            if let Some(trial) = trial.filter(|_| by_firmware) {
                self.change(move |choice| Ok(choice.with_orderly_end(trial))).await?;
            }
            self.set_phase(before);
            return Err(Error::Failed(why));
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        let phase = self.state.borrow().phase.clone();
        match phase {
            Phase::Checking | Phase::Installing { .. } | Phase::Restarting => Err(Error::Busy),
            Phase::Ready { .. } => {
                let kept = self.slot;
                self.change(move |choice| Ok(choice.with_primary(kept))).await?;
                log::info!("the update that waited for a restart is not tried");
                self.set_phase(self.idle());
                Ok(())
            }
            Phase::Trial => {
                self.not_good("a person went back").await;
                Ok(())
            }
            Phase::Idle | Phase::RolledBack { .. } => {
                let other = self.state.borrow().other.clone().ok_or(Error::NoOther)?;
                let slot = self.slot;
                let choice = self.change(move |choice| choice.with_rollback(slot)).await?;
                log::info!("going back to release {other}");
                self.set_phase(self.ready(&choice));
                self.restart().await
            }
        }
    }

    /// The release that runs is good, and is kept.
    async fn good(&mut self) -> Result<(), Error> {
        let slot = self.slot;
        // First: a slot that is kept without it would have its settings replaced by the other slot's at the next start.
        self.settle()
            .map_err(|error| Error::Failed(format!("its settings cannot be marked as its own: {error}")))?;
        self.change(move |choice| Ok(choice.with_good(slot, slot))).await?;
        let version = self.release().version.to_string();
        log::info!("release {version} is good, and is kept");
        self.record(&version, slot, Outcome::Good, None);
        self.set_phase(Phase::Idle);
        Ok(())
    }

    /// The release that runs is not good: the one before comes back.
    async fn not_good(&mut self, why: &str) {
        let version = self.release().version.to_string();
        let (slot, reason) = (self.slot, why.to_owned());
        let stranded = self.sel.choice().is_ok_and(|(_, choice)| choice.standing(slot) == Standing::Stranded);
        if stranded {
            log::error!("release {version} is not good ({why}), and there is no other");
            let problem = Error::Failed(reason).problem();
            self.state.send_modify(|state| state.problem = Some(problem));
            return self.set_phase(Phase::Idle);
        }
        log::error!("release {version} is rolled back: {why}");
        self.given_up = true;
        self.record(&version, slot, Outcome::RolledBack, Some(why));
        if let Err(error) = self.change(|choice| Ok(choice.with_failed_trial())).await {
            log::error!("{error}");
        }
        self.set_phase(Phase::Restarting);
        if let Err(error) = self.machine.restart(false).await {
            log::error!("the machine cannot be restarted: {error}");
            self.set_phase(Phase::RolledBack { version, reason });
        }
    }

    /// This release came back because the new one ended without a mark.
    async fn fell_back(&mut self, choice: &Choice) {
        let slot = choice.trial.unwrap_or(self.slot.other());
        let version = self.version_of(slot).unwrap_or_else(|| "the new release".to_owned());
        let reason = told_failure(&self.settings.failure, slot).unwrap_or_else(|| {
            "it ended without having proved itself: a crash, a hang, or the power failed".to_owned()
        });
        let _ = fs::remove_file(&self.settings.failure);
        log::error!("release {version} was tried and is rolled back: {reason}");
        self.record(&version, slot, Outcome::RolledBack, Some(&reason));
        if let Err(error) = self.change(|choice| Ok(choice.with_failed_trial())).await {
            log::error!("{error}");
        }
        self.settle_or_say();
        self.set_phase(Phase::RolledBack { version, reason });
    }

    /// Off the loop: making the partition writable and syncing takes its time.
    async fn change(
        &self,
        change: impl Fn(Choice) -> Result<Choice, Refused> + Send + 'static,
    ) -> Result<Choice, Error> {
        let (sel, fallback) = (self.sel.clone(), Choice::settled(self.slot));
        let done = tokio::task::spawn_blocking(move || {
            sel.change(fallback, |choice| change(choice).map_err(Error::from))
        });
        done.await.unwrap_or_else(|error| Err(Error::Failed(error.to_string())))
    }

    fn release(&self) -> Release {
        self.state.borrow().release.clone()
    }

    /// The phase when nothing goes on: what is to be tried, or what happened last.
    async fn resting(&self) -> Phase {
        match self.sel.choice() {
            Ok((_, choice)) if choice.standing(self.slot) == Standing::Pending => self.ready(&choice),
            _ => self.idle(),
        }
    }

    fn ready(&self, choice: &Choice) -> Phase {
        let slot = choice.trial.unwrap_or(self.slot.other());
        Phase::Ready { version: self.version_of(slot).unwrap_or_default() }
    }

    /// Nothing, or that the last update was given up.
    fn idle(&self) -> Phase {
        let state = self.state.borrow();
        match state.history.iter().rfind(|entry| entry.outcome != Outcome::Refused) {
            Some(Entry { outcome: Outcome::RolledBack, version, reason, .. }) => {
                Phase::RolledBack { version: version.clone(), reason: reason.clone().unwrap_or_default() }
            }
            _ => Phase::Idle,
        }
    }

    fn wanted_version(&self) -> String {
        match &self.state.borrow().phase {
            Phase::Installing { version, .. } => version.clone(),
            _ => String::new(),
        }
    }

    fn set_phase(&self, phase: Phase) {
        let choice = self.sel.choice().map(|(_, choice)| choice).ok();
        let other = self.slot.other();
        let version = self.version_of(other).filter(|_| choice.is_some_and(|choice| choice.is_good(other)));
        self.state.send_modify(|state| {
            state.kept = choice.map_or(state.kept, |choice| choice.primary);
            (state.other, state.phase) = (version, phase);
        });
    }

    fn record(&self, version: &str, slot: Slot, outcome: Outcome, reason: Option<&str>) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let entry = Entry {
            at: since.as_secs(),
            version: version.to_owned(),
            from: self.release().version.to_string(),
            slot: slot.name().to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
        };
        match history::add(&self.settings.dir.join(HISTORY), &entry) {
            Ok(history) => self.state.send_modify(|state| state.history = history),
            Err(error) => {
                log::warn!("the history of updates: {error}");
                self.state.send_modify(|state| state.history.push(entry));
            }
        }
    }

    /// The slot that runs is good: its settings are its own from now on.
    fn settle(&self) -> std::io::Result<()> {
        let layer = self.settings.etc.join(self.slot.name());
        let mark = layer.join(".settled");
        if mark.exists() || !layer.is_dir() {
            return Ok(());
        }
        fs::File::create(&mark)?.sync_all()?;
        fs::File::open(&layer)?.sync_all()
    }

    fn settle_or_say(&self) {
        if let Err(error) = self.settle() {
            log::warn!("the settings of slot {} cannot be marked as its own: {error}", self.slot);
        }
    }

    fn version_file(&self, slot: Slot) -> PathBuf {
        self.settings.dir.join(format!("slot-{slot}"))
    }

    /// What a slot holds, as far as it was noted.
    fn version_of(&self, slot: Slot) -> Option<String> {
        let text = fs::read_to_string(self.version_file(slot)).ok()?;
        Some(text.trim().chars().take(64).collect()).filter(|version: &String| !version.is_empty())
    }

    fn note_version(&self, slot: Slot, version: Option<String>) {
        if self.version_of(slot) == version {
            return;
        }
        let path = self.version_file(slot);
        let noted = match version {
            Some(version) => history::replace(&path, format!("{version}\n").as_bytes()),
            None => fs::remove_file(&path),
        };
        if let Err(error) = noted {
            log::warn!("{}: {error}", path.display());
        }
    }

    fn finish_bundle(&mut self) {
        if let Some(path) = self.bundle.take() {
            let _ = fs::remove_file(path);
        }
    }
}

/// What an install needs that runs beside the owner.
struct Work {
    machine: Arc<dyn Machine>,
    release: Release,
    report: mpsc::Sender<Report>,
}

impl Work {
    async fn install(self, bundle: String, reply: Reply) {
        // The owner hears all of this while it lives, and nobody has to when it does not.
        let tell = async |report| drop(self.report.send(report).await);
        let looked = self.machine.inspect(&bundle).await.and_then(|found| found.fits(&self.release));
        let version = match looked {
            Ok(version) => version,
            Err(unfit) => {
                log::warn!("a bundle is refused: {unfit}");
                return tell(Report::Unfit(unfit.into(), reply)).await;
            }
        };
        log::info!("release {version} is being installed");
        tell(Report::Fits(version.to_string(), reply)).await;
        let (progress, mut lines) = mpsc::channel(16);
        let forward = async {
            while let Some(line) = lines.recv().await {
                tell(Report::Progress(line)).await;
            }
        };
        let (result, ()) = tokio::join!(self.machine.install(&bundle, progress), forward);
        tell(Report::Written(result)).await;
    }
}

/// Removes what an update that was cut off has left.
fn clear(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "raucb" || end == "new"))
    {
        let _ = fs::remove_file(entry.path());
    }
}

/// What the initramfs said of a start that failed: the slot, and why.
fn told_failure(path: &Path, slot: Slot) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let (told, why) = text.trim().split_once(' ')?;
    let why: String = why.chars().filter(|one| !one.is_control()).take(300).collect();
    (Slot::parse(told) == Some(slot)).then(|| format!("it did not start: {why}"))
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
