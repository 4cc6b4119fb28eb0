//! How updates of the system stand. Our own, not PiKVM's.

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};

/// How updates stand, always complete.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = update::State))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What goes on: `idle`, `uploading`, `checking`, `installing`, `ready` (for the restart), `restarting`, `trial` or
    /// `rolled_back`.
    pub state: String,
    /// The release that runs.
    pub release: Release,
    /// The slot it runs from: `a` or `b`.
    pub slot: String,
    /// The slot that is kept: another one while a release is tried.
    pub kept: String,
    /// The version in the other slot that one can go back to.
    pub other: Option<String>,
    /// What is installed, or waits for the restart.
    pub version: Option<String>,
    /// How far the upload or the installation is.
    pub percent: Option<u8>,
    /// What the installation does.
    pub message: Option<String>,
    /// The release that runs has to prove itself.
    pub trial: bool,
    /// What was tried last, when that did not prove itself.
    pub rolled_back: Option<RolledBack>,
    /// Why the last wish was not fulfilled.
    pub error: Option<Problem>,
    /// The bundle that is uploaded, or waits to be installed.
    pub upload: Option<Upload>,
    /// What became of updates, the newest last.
    pub history: Vec<Entry>,
}

/// The release that runs.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = update::Release))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// The board it is for.
    pub board: String,
    /// What a bundle has to name to fit.
    pub compatible: String,
    /// What it was built from.
    pub build: String,
    /// The oldest version that may be installed over it.
    pub floor: Option<String>,
}

/// What was tried, and given up.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = update::RolledBack))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// Its version.
    pub version: String,
    /// Why, for people.
    pub reason: String,
}

/// Why a wish was not fulfilled, spelled as in a failed answer.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = update::Problem))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The class.
    pub error: String,
    /// For people.
    pub error_msg: String,
}

/// An uploaded bundle.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = update::Upload))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Bytes promised.
    pub size: u64,
    /// Bytes taken.
    pub received: u64,
    /// All of them are there: it can be installed.
    pub complete: bool,
    /// Their hash, when they all are.
    pub sha256: Option<String>,
}

/// What became of an update.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = update::Entry))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in Unix seconds by the appliance's clock.
    pub at: u64,
    /// What it brought; empty when that was not known.
    pub version: String,
    /// What ran when it came.
    pub from: String,
    /// The slot it went to.
    pub slot: String,
    /// `refused`, `failed`, `installed`, `good` or `rolled_back`.
    pub outcome: String,
    /// Why, where it went wrong.
    pub reason: Option<String>,
}

/// The whole state; none when nothing changed.
#[must_use]
pub fn diff(old: &Option<State>, new: &Option<State>) -> Option<Event> {
    new.as_ref().filter(|_| old != new).map(full)
}

/// The event for a new client.
#[must_use]
pub fn full(state: &State) -> Event {
    Event::new(event::UPDATE, event::to_value(state))
}
