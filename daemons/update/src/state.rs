//! How updates stand, for whoever watches, and why something that was asked is not done.

pub use client::update::{Kind, Phase, Problem};

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
