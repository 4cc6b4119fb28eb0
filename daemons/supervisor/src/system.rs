//! The system itself, as root sees to it: its owner, its names, who may come by SSH, its network, its end.
//!
//! One handle, [`System`], which answers what comes over the control socket. Everything here touches files or waits for
//! programs, so it happens beside the loop. What only a system has that was started from an image is refused elsewhere:
//! a run below `--state` must not rename the computer it runs on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use client::supervisor::Answer;
use client::system::{Ask, Release, Stage, State, Told};
use config::{Config, Layout};

use crate::claim::{self, Claim};

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

/// The handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct System(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Root,
    image: bool,
    claim: Mutex<Option<Claim>>,
    users: PathBuf,
}

impl System {
    /// The system below `root`, which was started from an image if that says so and nothing is kept elsewhere.
    #[must_use]
    pub fn new(root: Root, layout: &Layout, config: &Config) -> Self {
        let image = !layout.has_state() && root.path("/usr/lib/kvmd/release").exists();
        let users = config.kvmd.auth.internal.file.clone();
        Self(Arc::new(Inner { root, image, claim: Mutex::default(), users }))
    }

    /// Whether it was started from an image.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.0.image
    }

    /// Shows a code where there is nobody yet, if the settings say so. For when the users of an older installation have
    /// been taken over.
    pub fn open_claim(&self, layout: &Layout, config: &Config) {
        if !config.kvmd.auth.claimable(layout) {
            return;
        }
        let places = if layout.has_state() {
            let card = layout.state.as_deref().map(card_of);
            claim::Places { card, ..claim::Places::default() }
        } else {
            claim::Places {
                card: Some(self.0.root.path("/boot/sel")).filter(|card| card.is_dir()),
                console: Some(self.0.root.path("/dev/console")),
                issue: Some(self.0.root.path("/run/issue.d/kvmd.issue")),
            }
        };
        let claim = Claim::open(self.0.users.clone(), places, &hostname());
        *locked(&self.0.claim) = Some(claim);
    }

    /// Answers, beside the loop.
    pub async fn answer(&self, ask: Ask) -> Answer {
        let inner = Arc::clone(&self.0);
        let answered = tokio::task::spawn_blocking(move || inner.answer(ask)).await;
        match answered {
            Ok(Ok(told)) => Answer::System { told },
            Ok(Err(error)) => Answer::Failed { reason: format!("{error:#}") },
            Err(error) => Answer::Failed { reason: error.to_string() },
        }
    }
}

/// What stands for the card's partition in a run below `--state`.
#[must_use]
pub fn card_of(state: &Path) -> PathBuf {
    let card = state.join("boot/sel");
    if let Err(error) = crate::file::directory_if_missing(&card, 0o700) {
        log::warn!("{}: {error}", card.display());
    }
    card
}

impl Inner {
    fn answer(&self, ask: Ask) -> anyhow::Result<Told> {
        match ask {
            Ask::Show => Ok(Told::State { state: Box::new(self.state()) }),
            Ask::CheckClaim { code } => {
                let mut claim = locked(&self.claim);
                Ok(claim.as_mut().map_or(Told::NotImage, |claim| Told::Claim {
                    check: claim.check(&code.0, &hostname(), Instant::now()),
                }))
            }
            Ask::Claimed => {
                locked(&self.claim).iter_mut().for_each(Claim::claimed);
                Ok(Told::Done)
            }
            _ => Ok(Told::NotImage),
        }
    }

    fn state(&self) -> State {
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
            data_lost: self.root.path("/run/kvmd-boot/data-lost").exists(),
            stages: self.root.text("/run/kvmd-boot/stages").map_or_else(Vec::new, |text| stages(&text)),
            ..State::default()
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
    let span = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(span.as_millis()).ok()
}

/// A panic of whoever held it has left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_and_a_slot_are_read_as_they_were_written() {
        let read = release("VERSION=1.2.3\nBOARD=\"rpi4\"\nBUILD=abc\nFLOOR=1.0.0\n");
        assert_eq!(
            (read.version.as_str(), read.board.as_str(), read.build.as_str()),
            ("1.2.3", "rpi4", "abc")
        );
        assert_eq!(slot("quiet kvmd.slot=b rw\n").as_deref(), Some("b"));
        for none in ["quiet", "kvmd.slot=", "kvmd.slot=c", "xkvmd.slot=a"] {
            assert_eq!(slot(none), None, "{none}");
        }
        let stages = stages("kernel 1.5\ninitramfs=2.25\nnonsense\nbad -1\n");
        let stages: Vec<_> = stages.iter().map(|stage| (stage.name.as_str(), stage.at_ms)).collect();
        assert_eq!(stages, [("kernel", 1500), ("initramfs", 2250)]);
    }
}
