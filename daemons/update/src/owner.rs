//! The one who carries updates out: one task, asked through [`Update`], seen through a watch.
//!
//! What takes long (looking at a bundle, writing it, judging a trial) runs beside the task and reports to it, so that it
//! always answers. What touches a disk runs on a thread for that. What it needs done by others is [`Machine`].

mod verdict;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};

use crate::history::{Entry, Outcome};
use crate::notes::Notes;
use crate::progress::Line;
use crate::state::{Error, Phase, State};
use crate::{Choice, Loader, Machine, Refused, Release, Sel, Settings, Slot, Standing, release, store};

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
    /// What an installation that somebody before us began had left is stopped.
    Stopped,
    Judged(Result<(), String>),
    /// The machine was to restart long ago: what was before, and which slot the firmware was to try.
    StillHere(Phase, Option<Slot>),
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
        let notes = Notes::new(&settings);
        let state = State {
            release,
            slot,
            kept: slot,
            other: None,
            phase: Phase::Idle,
            problem: None,
            history: notes.history(),
        };
        let (state, watched) = watch::channel(state);
        let (calls, called) = mpsc::channel(8);
        let (report, reports) = mpsc::channel(16);
        let deadline = settings.deadline;
        let mut owner = Owner {
            notes,
            machine,
            sel,
            loader,
            slot,
            state,
            report,
            bundle: None,
            deadline,
            given_up: false,
        };
        owner.begin(&settings).await;
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

struct Owner {
    notes: Notes,
    machine: Arc<dyn Machine>,
    sel: Sel,
    loader: Loader,
    slot: Slot,
    state: watch::Sender<State>,
    report: mpsc::Sender<Report>,
    /// An uploaded bundle that was taken, to be removed when it is done with.
    bundle: Option<PathBuf>,
    /// How long a release has to prove itself.
    deadline: Duration,
    /// The trial was given up: our own end is then no orderly one that would have it tried again.
    given_up: bool,
}

/// Longest time from a restart that was asked for to the end of us.
const RESTART: Duration = Duration::from_secs(300);

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
                let begun = version.clone();
                let _ = self.off(move |notes, _| notes.begin_install(&begun)).await;
                self.set_phase(Phase::Installing { version, percent: 0, message: String::new() }).await;
                drop(reply.send(Ok(())));
            }
            Report::Unfit(error, reply) => {
                let problem = error.problem();
                self.end_install().await;
                let version = self.wanted_version();
                self.record(&version, self.slot.other(), Outcome::Refused, Some(&problem.reason)).await;
                self.state.send_modify(|state| state.problem = Some(problem));
                self.set_phase(self.resting().await).await;
                drop(reply.send(Err(error)));
            }
            Report::Progress(Line::Progress { percent, message }) => self.state.send_modify(|state| {
                if let Phase::Installing { percent: shown, message: text, .. } = &mut state.phase {
                    (*shown, *text) = (percent, message);
                }
            }),
            Report::Written(result) => self.written(result).await,
            Report::Stopped => {
                // RAUC may have come to its end all the same.
                let choice = self.off(|_, sel| sel.choice()).await;
                let whole = matches!(choice, Ok(Ok((_, choice))) if choice.trial == Some(self.slot.other()));
                self.written(if whole { Ok(()) } else { Err("it was cut off".to_owned()) }).await;
            }
            Report::Judged(judgement) => self.judged(judgement).await,
            Report::StillHere(before, trial) if self.state.borrow().phase == Phase::Restarting => {
                log::error!("the machine was to restart, and has not");
                if self.given_up {
                    return self.restart_by_force(before).await;
                }
                if let Some(trial) = trial
                    && let Err(error) = self.change(move |choice| Ok(choice.with_orderly_end(trial))).await
                {
                    log::warn!("{error}");
                }
                let problem = Error::Failed("the machine was to restart, and has not".to_owned()).problem();
                self.state.send_modify(|state| state.problem = Some(problem));
                let on_trial = before == Phase::Trial;
                self.set_phase(before).await;
                if on_trial {
                    // What was found meanwhile nobody has heard. Its time is over but for what everybody has.
                    self.judge(self.deadline, self.deadline);
                }
            }
            Report::Progress(_) | Report::StillHere(..) => {}
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
        self.set_phase(Phase::Checking).await;
        let work =
            Work { machine: Arc::clone(&self.machine), release: self.release(), report: self.report.clone() };
        tokio::spawn(work.install(bundle, reply));
    }

    /// The bundle is written, or not: RAUC has changed the boot choice accordingly.
    async fn written(&mut self, result: Result<(), String>) {
        self.end_install().await;
        let (version, slot) = (self.wanted_version(), self.slot.other());
        let noted = version.clone();
        let result = self.off(move |notes, sel| {
            let result = match (result, sel.choice()) {
                (Ok(()), Ok((_, choice))) if choice.trial != Some(slot) => {
                    Err("it was written, but the boot choice was not changed".to_owned())
                }
                (Ok(()), Err(error)) => Err(error.to_string()),
                (result, _) => result,
            };
            if result.is_ok() {
                notes.note_version(slot, Some(noted));
            } else if sel.choice().is_ok_and(|(_, choice)| !choice.is_good(slot)) {
                // Else nothing was written, as when RAUC itself refused: the slot holds what it held.
                notes.note_version(slot, None);
            }
            result
        });
        match result.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => {
                log::info!("release {version} is installed in slot {slot}: it is tried at the next start");
                self.record(&version, slot, Outcome::Installed, None).await;
            }
            Err(why) => {
                log::error!("release {version} is not installed: {why}");
                self.record(&version, slot, Outcome::Failed, Some(&why)).await;
                let problem = Error::Failed(why).problem();
                self.state.send_modify(|state| state.problem = Some(problem));
            }
        }
        self.set_phase(self.resting().await).await;
    }

    async fn restart(&mut self) -> Result<(), Error> {
        match self.state.borrow().phase {
            Phase::Checking | Phase::Installing { .. } => return Err(Error::Busy),
            _ => {}
        }
        let before = self.state.borrow().phase.clone();
        let by_firmware = self.loader == Loader::Firmware;
        let choice = self.off(|_, sel| sel.choice()).await??.1;
        // The firmware notes nothing: what it is asked to try counts as tried from here on.
        let asked_for = choice.trial.filter(|slot| by_firmware && *slot != self.slot);
        if let Some(trial) = asked_for {
            self.change(move |choice| Ok(choice.with_start(trial))).await?;
        }
        self.set_phase(Phase::Restarting).await;
        if let Err(why) = self.machine.restart(asked_for.is_some()).await {
            if let Some(trial) = asked_for {
                self.change(move |choice| Ok(choice.with_orderly_end(trial))).await?;
            }
            self.set_phase(before).await;
            return Err(Error::Failed(why));
        }
        // Asked for again: the first one's end is expected already.
        if before != Phase::Restarting {
            self.expect_the_end(before, asked_for);
        }
        Ok(())
    }

    /// A restart was asked for. One that does not come must not leave us waiting for ever.
    fn expect_the_end(&self, before: Phase, trial: Option<Slot>) {
        let report = self.report.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTART).await;
            let _ = report.send(Report::StillHere(before, trial)).await;
        });
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        let phase = self.state.borrow().phase.clone();
        match phase {
            Phase::Checking | Phase::Installing { .. } | Phase::Restarting => Err(Error::Busy),
            Phase::Ready { .. } => {
                let kept = self.slot;
                self.change(move |choice| Ok(choice.with_primary(kept))).await?;
                log::info!("the update that waited for a restart is not tried");
                self.set_phase(self.idle()).await;
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
                self.set_phase(self.ready(&choice).await).await;
                self.restart().await
            }
        }
    }

    /// Off the loop: a card that was just written takes its time.
    async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Notes, &Sel) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (notes, sel) = (self.notes.clone(), self.sel.clone());
        let done = tokio::task::spawn_blocking(move || work(&notes, &sel)).await;
        done.map_err(|error| Error::Failed(error.to_string()))
    }

    async fn change(
        &self,
        change: impl Fn(Choice) -> Result<Choice, Refused> + Send + 'static,
    ) -> Result<Choice, Error> {
        let fallback = Choice::settled(self.slot);
        self.off(move |_, sel| sel.change(fallback, |choice| change(choice).map_err(Error::from))).await?
    }

    fn release(&self) -> Release {
        self.state.borrow().release.clone()
    }

    /// The phase when nothing goes on: what is to be tried, or what happened last.
    async fn resting(&self) -> Phase {
        match self.off(|_, sel| sel.choice()).await {
            Ok(Ok((_, choice))) if choice.standing(self.slot) == Standing::Pending => {
                self.ready(&choice).await
            }
            _ => self.idle(),
        }
    }

    async fn ready(&self, choice: &Choice) -> Phase {
        let slot = choice.trial.unwrap_or(self.slot.other());
        let version = self.off(move |notes, _| notes.version_of(slot)).await;
        Phase::Ready { version: version.ok().flatten().unwrap_or_default() }
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

    async fn set_phase(&self, phase: Phase) {
        let other = self.slot.other();
        let looked = self.off(move |notes, sel| (sel.choice().ok(), notes.version_of(other))).await;
        let (choice, version) = looked.ok().unzip();
        let choice = choice.flatten().map(|(_, choice)| choice);
        let version = version.flatten().filter(|_| choice.is_some_and(|choice| choice.is_good(other)));
        self.state.send_modify(|state| {
            state.kept = choice.map_or(state.kept, |choice| choice.primary);
            (state.other, state.phase) = (version, phase);
        });
    }

    async fn record(&self, version: &str, slot: Slot, outcome: Outcome, reason: Option<&str>) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let entry = Entry {
            at: since.as_secs(),
            version: version.to_owned(),
            from: self.release().version.to_string(),
            slot: slot.name().to_owned(),
            outcome,
            reason: reason.map(str::to_owned),
        };
        let added = entry.clone();
        match self
            .off(move |notes, _| notes.add(&added))
            .await
            .map(|added| added.map_err(|error| error.to_string()))
        {
            Ok(Ok(history)) => self.state.send_modify(|state| state.history = history),
            Ok(Err(error)) => {
                log::warn!("the history of updates: {error}");
                self.state.send_modify(|state| state.history.push(entry));
            }
            Err(error) => log::error!("the history of updates: {error}"),
        }
    }

    async fn end_install(&mut self) {
        let bundle = self.bundle.take();
        let _ = self.off(move |notes, _| notes.end_install(bundle.as_deref())).await;
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

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
