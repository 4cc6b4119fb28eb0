//! What is kept of updates beside the boot choice: what became of them, which version a slot holds, whose settings are
//! its own. Everything here blocks, and on a card that was just written for as long as that takes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::history::{self, Entry};
use crate::{Settings, Slot};

/// Where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    dir: PathBuf,
    etc: PathBuf,
    failure: PathBuf,
}

impl Notes {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { dir: settings.dir.clone(), etc: settings.etc.clone(), failure: settings.failure.clone() }
    }

    pub(crate) fn history(&self) -> Vec<Entry> {
        history::read(&self.history_file())
    }

    pub(crate) fn add(&self, entry: &Entry) -> io::Result<Vec<Entry>> {
        history::add(&self.history_file(), entry)
    }

    fn history_file(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }

    /// The slot is good: its settings are its own from now on.
    pub(crate) fn settle(&self, slot: Slot) -> io::Result<()> {
        let layer = self.etc.join(slot.name());
        let mark = layer.join(".settled");
        if mark.exists() || !layer.is_dir() {
            return Ok(());
        }
        fs::File::create(&mark)?.sync_all()?;
        fs::File::open(&layer)?.sync_all()
    }

    /// What a slot holds, as far as it was noted.
    pub(crate) fn version_of(&self, slot: Slot) -> Option<String> {
        short(&self.version_file(slot))
    }

    pub(crate) fn note_version(&self, slot: Slot, version: Option<String>) {
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

    fn version_file(&self, slot: Slot) -> PathBuf {
        self.dir.join(format!("slot-{slot}"))
    }

    /// An installation begins: whoever comes after us stops what is left of it. Not synced, for a power cut stops it.
    pub(crate) fn begin_install(&self, version: &str) {
        let _ = fs::write(self.install_file(), version);
    }

    /// What was being installed when we ended.
    pub(crate) fn cut_off(&self) -> Option<String> {
        short(&self.install_file())
    }

    /// The installation is over, and the bundle is not needed any more.
    pub(crate) fn end_install(&self, bundle: Option<&Path>) {
        let _ = fs::remove_file(self.install_file());
        if let Some(bundle) = bundle {
            let _ = fs::remove_file(bundle);
        }
    }

    fn install_file(&self) -> PathBuf {
        self.dir.join("installing")
    }

    /// Removes what an update that was cut off has left.
    pub(crate) fn clear(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if !path.extension().is_some_and(|end| end == "raucb" || end == "new") {
                continue;
            }
            // Whoever uploads may have made anything.
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }

    /// Why that slot was given up in our place, if it was said: in whole words.
    pub(crate) fn failure_of(&self, slot: Slot) -> Option<String> {
        let text = fs::read_to_string(&self.failure).ok()?;
        let (told, why) = text.trim().split_once(' ')?;
        let why: String = why.chars().filter(|one| !one.is_control()).take(300).collect();
        (Slot::parse(told) == Some(slot)).then_some(why)
    }

    /// It is told, or an old story.
    pub(crate) fn forget_failure(&self) {
        let _ = fs::remove_file(&self.failure);
    }
}

/// The first words of a small file.
fn short(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().chars().take(64).collect()).filter(|version: &String| !version.is_empty())
}
