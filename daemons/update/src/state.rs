//! How updates stand, for whoever watches, and why something that was asked is not done.

use crate::history::Entry;
use crate::{Refused, Release, Slot, Unfit, store};

/// How updates stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The release that runs.
    pub release: Release,
    /// Where it runs from.
    pub slot: Slot,
    /// The slot that is kept: another one while a release is tried.
    pub kept: Slot,
    /// What the other slot holds that could be started.
    pub other: Option<String>,
    /// What goes on.
    pub phase: Phase,
    /// Why the last wish was not fulfilled.
    pub problem: Option<Problem>,
    /// What became of updates, the newest last.
    pub history: Vec<Entry>,
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// A bundle is looked at.
    Checking,
    /// A bundle is written to the other slot.
    Installing {
        /// What it brings.
        version: String,
        /// 0 to 100.
        percent: u8,
        /// What is being done.
        message: String,
    },
    /// The other slot's release is tried at the next start.
    Ready {
        /// Its version.
        version: String,
    },
    /// The machine restarts.
    Restarting,
    /// The release that runs has to prove itself.
    Trial,
    /// The last update did not prove itself, and this release came back.
    RolledBack {
        /// What was tried.
        version: String,
        /// Why it was given up.
        reason: String,
    },
}

/// Why a wish was not fulfilled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of reason.
    pub kind: Kind,
    /// The reason, for people.
    pub reason: String,
}

/// Kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another update is on its way, or a release is being tried.
    Busy,
    /// It is no whole bundle.
    Bundle,
    /// Nobody we trust has signed it.
    Signature,
    /// It is for another board.
    Board,
    /// It is older than the floor, or has no version.
    Version,
    /// There is nothing to install, or nothing to go back to.
    Nothing,
    /// It was begun, and went wrong.
    Failed,
}

/// Why a wish is not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another update is on its way.
    #[error("an update is on its way already")]
    Busy,
    /// The release that runs is being tried, and the other slot is the way back.
    #[error("the release that runs has not proved itself yet, and the other slot is the way back")]
    OnTrial,
    /// Nothing was uploaded.
    #[error("no bundle was uploaded")]
    NoUpload,
    /// The other slot holds nothing that could be started.
    #[error("the other slot holds no release to go back to")]
    NoOther,
    /// The bundle may not be installed.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The boot choice.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The boot choice.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What was tried, and did not work.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// The same, to be kept and shown.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let kind = match self {
            Self::Busy | Self::OnTrial => Kind::Busy,
            Self::NoUpload | Self::NoOther | Self::Refused(_) => Kind::Nothing,
            Self::Unfit(Unfit::NoBundle(_) | Unfit::Part(_)) => Kind::Bundle,
            Self::Unfit(Unfit::Signature(_)) => Kind::Signature,
            Self::Unfit(Unfit::Board { .. }) => Kind::Board,
            Self::Unfit(Unfit::TooOld { .. } | Unfit::Version(_)) => Kind::Version,
            Self::Store(_) | Self::Failed(_) => Kind::Failed,
        };
        Problem { kind, reason: self.to_string() }
    }
}
