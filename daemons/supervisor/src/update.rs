//! New releases of the system: the crate `update` put to work. It decides, we do what needs root.
//!
//! - [`rauc`]: RAUC's program run as a child, its words read;
//! - [`take`]: an uploaded bundle taken out of `kvmd`'s reach;
//! - [`probe`]: whether the appliance can serve, which a new release has to show.

mod probe;
mod rauc;
mod take;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use client::supervisor::Answer;
use client::update as wire;
use client::update::{Ask, Told};
use config::{Config, HidType};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use update::progress::Line;
use update::{Boxed, Bundle, Machine, Settings, Source, Unfit, Update};

use self::probe::Probe;
use self::rauc::Rauc;
use crate::appliance::Appliance;
use crate::system::DATA_LOST;
use crate::tool::Tools;

/// Longest address that is taken.
const LONGEST_URL: usize = 2048;

/// The handle; answers also where this is no image. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Updates(Option<Image>);

#[derive(Debug, Clone)]
struct Image {
    update: Update,
    /// The state with a number that changes with it.
    numbered: watch::Receiver<(u64, wire::State)>,
}

impl Updates {
    /// Finds out how the release that runs stands, and begins to judge it where it is on trial.
    pub async fn start(config: &Config, appliance: &Appliance, tools: Tools) -> Self {
        let places = &config.supervisor.update;
        let machine = Hands {
            rauc: Rauc { program: places.rauc.clone(), tools: tools.clone() },
            probe: Probe {
                supervisor: client::supervisor::Supervisor::new(&config.supervisor.unix),
                web: appliance.web(),
                certificate: config.supervisor.tls.cert.clone(),
                has_gadget: config.kvmd.hid.r#type == HidType::Otg,
                streamer: config.kvmd.streamer.unix.clone(),
                data_lost: PathBuf::from(DATA_LOST),
                had_controller: places.dir.join("has-controller"),
            },
            uploads: config.kvmd.update.uploads.clone(),
            dir: places.dir.clone(),
            reboot: places.reboot.clone(),
            ours: places.cmdline == Path::new("/proc/cmdline"),
            reboot_argument: PathBuf::from("/run/systemd/reboot-param"),
            tools,
        };
        let probe = machine.probe.clone();
        let settings = Settings {
            boot: places.boot.clone(),
            cmdline: places.cmdline.clone(),
            release: places.release.clone(),
            etc: places.etc.clone(),
            dir: places.dir.clone(),
            failure: places.failure.clone(),
            deadline: config.kvmd.update.health_deadline,
            up: clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from),
        };
        match Update::start(settings, Arc::new(machine)).await {
            Ok(Some(update)) => {
                tokio::spawn(probe.remember(update.watch()));
                Self(Some(Image { numbered: number(update.watch()), update }))
            }
            Ok(None) => Self::default(),
            Err(error) => {
                log::error!("updates are not possible: {error}");
                Self::default()
            }
        }
    }

    /// Answers what was asked over the control socket.
    pub async fn answer(&self, ask: Ask) -> Answer {
        let told = match &self.0 {
            Some(image) => image.answer(ask).await,
            None => Told::NotImage,
        };
        Answer::Update { told }
    }

    /// The appliance stops orderly: a trial is not failed by that.
    pub async fn end(&self) {
        if let Some(image) = &self.0 {
            image.update.end().await;
        }
    }
}

impl Image {
    async fn answer(&self, ask: Ask) -> Told {
        let done = match ask {
            Ask::Show => return self.state(),
            Ask::Watch { seen } => {
                let mut numbered = self.numbered.clone();
                let news = numbered.wait_for(|(number, _)| *number != seen);
                // Nothing new, or the end of us: what is known is told.
                let _ = tokio::time::timeout(Duration::from_secs(wire::WATCH_S), news).await;
                return self.state();
            }
            Ask::Install { from } => match source(from) {
                Ok(source) => self.update.install(source).await,
                Err(reason) => return Told::Refused { kind: wire::Kind::Invalid, reason },
            },
            Ask::Restart => self.update.restart().await,
            Ask::Rollback => self.update.rollback().await,
            Ask::MarkGood => self.update.mark_good().await,
        };
        match done {
            Ok(()) => Told::Done,
            Err(error) => {
                let wire::Problem { kind, reason } = error.problem();
                Told::Refused { kind, reason }
            }
        }
    }

    fn state(&self) -> Told {
        let (number, state) = self.numbered.borrow().clone();
        Told::State { number, state: Box::new(state) }
    }
}

/// Where a bundle is, if that can be: RAUC must neither read it as an option nor fetch it by other means.
fn source(from: wire::Source) -> Result<Source, String> {
    let plain =
        |text: &str| text.len() <= LONGEST_URL && !text.chars().any(|one| one.is_control() || one == ' ');
    match from {
        wire::Source::Upload => Ok(Source::Upload),
        wire::Source::Url { url } => {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
            let begins = |one: char| one.is_ascii_alphanumeric() || one == '[';
            match host.starts_with(begins) && plain(&url) {
                // RAUC writes the address to the log.
                true if host.contains('@') => {
                    Err("the address of a bundle has no user and password".to_owned())
                }
                true => Ok(Source::At(url)),
                false => Err("the address of a bundle begins with http:// or https://".to_owned()),
            }
        }
        wire::Source::File { path } if path.starts_with('/') => Ok(Source::At(path)),
        wire::Source::File { .. } => Err("the path of a bundle begins with /".to_owned()),
    }
}

/// Numbers the states. Numbers of an earlier life do not come again.
fn number(mut states: watch::Receiver<update::State>) -> watch::Receiver<(u64, wire::State)> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = u64::try_from(since.as_micros()).unwrap_or_default();
    let (to, numbered) = watch::channel((first, show(&states.borrow_and_update())));
    tokio::spawn(async move {
        while states.changed().await.is_ok() {
            let state = show(&states.borrow_and_update());
            to.send_if_modified(|(number, shown)| {
                let news = *shown != state;
                if news {
                    (*number, *shown) = (*number + 1, state);
                }
                news
            });
        }
    });
    numbered
}

/// What the owner of updates needs done.
struct Hands {
    rauc: Rauc,
    probe: Probe,
    uploads: PathBuf,
    dir: PathBuf,
    reboot: Vec<String>,
    /// The kernel itself says which slot runs: this is no computer that plays an image.
    ours: bool,
    /// What systemd passes on to the kernel when it restarts the machine.
    reboot_argument: PathBuf,
    tools: Tools,
}

impl Machine for Hands {
    fn take_upload(&self) -> Boxed<'_, Result<Option<PathBuf>, String>> {
        let (from, to) = (self.uploads.clone(), self.dir.clone());
        Box::pin(async move {
            let taken = tokio::task::spawn_blocking(move || take::take(&from, &to)).await;
            taken.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        })
    }

    fn inspect<'a>(&'a self, bundle: &'a str) -> Boxed<'a, Result<Bundle, Unfit>> {
        Box::pin(self.rauc.info(bundle))
    }

    fn install<'a>(&'a self, bundle: &'a str, progress: mpsc::Sender<Line>) -> Boxed<'a, Result<(), String>> {
        Box::pin(self.rauc.install(bundle, progress))
    }

    fn stop_install(&self) -> Boxed<'_, ()> {
        Box::pin(self.rauc.stop())
    }

    fn probe(&self) -> Boxed<'_, Result<(), String>> {
        Box::pin(self.probe.ask())
    }

    fn probed(&self) -> Boxed<'_, ()> {
        Box::pin(self.probe.rest())
    }

    fn try_again(&self) {
        let path = &self.reboot_argument;
        if path.parent().is_some_and(Path::is_dir) && !path.exists() {
            let _ = std::fs::write(path, TRYBOOT);
        }
    }

    fn forget_try(&self) {
        // Another's is left alone.
        if std::fs::read(&self.reboot_argument).is_ok_and(|text| text == TRYBOOT.as_bytes()) {
            let _ = std::fs::remove_file(&self.reboot_argument);
        }
    }

    fn restart(&self, trial: bool) -> Boxed<'_, Result<(), String>> {
        let argument = format!("--reboot-argument={TRYBOOT}");
        Box::pin(async move {
            let (program, arguments) =
                self.reboot.split_first().ok_or("supervisor.update.reboot is empty")?;
            let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            if trial {
                arguments.push(&argument);
            } else {
                self.forget_try();
            }
            log::info!("the machine restarts");
            self.tools.run(program, &arguments).await.map_err(|error| error.to_string())
        })
    }

    fn restart_by_force(&self) -> Boxed<'_, Result<(), String>> {
        Box::pin(async move {
            if !self.ours {
                return Err("this computer only plays an image".to_owned());
            }
            self.forget_try();
            log::warn!("the machine restarts by force");
            self.tools.run("systemctl", &["--force", "reboot"]).await.map_err(|error| error.to_string())
        })
    }
}

/// What a Raspberry Pi's firmware is asked for by a restart: any partition, and the one that is to be tried.
const TRYBOOT: &str = "0 tryboot";

fn show(state: &update::State) -> wire::State {
    let release = &state.release;
    wire::State {
        version: release.version.to_string(),
        board: release.board.clone(),
        compatible: release.compatible.clone(),
        build: release.build.clone(),
        floor: release.floor.as_ref().map(ToString::to_string),
        slot: state.slot.name().to_owned(),
        kept: state.kept.name().to_owned(),
        other: state.other.clone(),
        phase: state.phase.clone(),
        problem: state.problem.clone(),
        history: state.history.clone(),
    }
}
