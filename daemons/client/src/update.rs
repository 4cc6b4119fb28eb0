//! What may be asked of the supervisor about updates.
//!
//! One verb of the control socket, [`Request::Update`](crate::supervisor::Request::Update), carries one [`Ask`] and is
//! answered by one [`Told`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// How long [`Ask::Watch`] waits for something new.
pub const WATCH_S: u64 = 20;

/// One question or wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How updates stand: [`Told::State`].
    Show,
    /// The same, once it differs from what was told with that number, or after [`WATCH_S`].
    Watch {
        /// [`Told::State::number`] of what is known.
        seen: u64,
    },
    /// Installs a bundle: answered when it was looked at, and is let in or not.
    Install {
        /// Where it is.
        from: Source,
    },
    /// Restarts the machine, into the new release where there is one.
    Restart,
    /// Goes back to the release before, or forgets one that was not started yet.
    Rollback,
    /// Keeps the release that is being tried.
    MarkGood,
}

/// Where a bundle is. What is asked is logged: an address without what it may hold for a server alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// It was uploaded.
    Upload,
    /// Somewhere on the network.
    Url {
        /// `http://` or `https://`.
        url: String,
    },
    /// A file of this machine.
    File {
        /// Its absolute path.
        path: String,
    },
}

impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload => out.write_str("Upload"),
            Self::File { path } => out.debug_struct("File").field("path", path).finish(),
            Self::Url { url } => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let place = rest.split(['?', '#']).next().unwrap_or_default();
                let end = place.find('/').unwrap_or(place.len());
                let (host, path) = place.split_at_checked(end).unwrap_or_default();
                let host = host.rsplit('@').next().unwrap_or_default();
                out.debug_struct("Url").field("url", &format!("{scheme}://{host}{path}")).finish()
            }
        }
    }
}

impl Ask {
    /// Whether it only looks.
    #[must_use]
    pub fn looks(&self) -> bool {
        matches!(self, Self::Show | Self::Watch { .. })
    }

    /// Whether only root asks it: a file to be read with root's eyes, and judging in the place of the health check.
    #[must_use]
    pub fn is_roots(&self) -> bool {
        matches!(self, Self::Install { from: Source::File { .. } } | Self::MarkGood)
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// Done, or on its way.
    Done,
    /// How updates stand.
    State {
        /// Changes with every change.
        number: u64,
        /// The whole of it.
        state: Box<State>,
    },
    /// This is no system that was started from an image.
    NotImage,
    /// It is not done.
    Refused {
        /// What kind of reason.
        kind: Kind,
        /// The reason, in one line for people.
        reason: String,
    },
}

/// How updates stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The release that runs.
    pub version: String,
    /// The board it is for.
    pub board: String,
    /// What a bundle has to name to fit.
    pub compatible: String,
    /// What it was built from.
    pub build: String,
    /// The oldest version that may be installed.
    pub floor: Option<String>,
    /// The slot it runs from.
    pub slot: String,
    /// The slot that is kept: another one while a release is tried.
    pub kept: String,
    /// The version in the other slot that could be started.
    pub other: Option<String>,
    /// What goes on.
    pub phase: Phase,
    /// Why the last wish was not fulfilled.
    pub problem: Option<Problem>,
    /// What became of updates, the newest last.
    pub history: Vec<Entry>,
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of reason.
    pub kind: Kind,
    /// The reason, in one line for people.
    pub reason: String,
}

/// Kinds of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// The wish itself makes no sense.
    Invalid,
    /// It was begun, and went wrong.
    Failed,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in seconds since 1970 by that machine's clock.
    pub at: u64,
    /// What it brought; empty when that was not known.
    pub version: String,
    /// What ran when it came.
    pub from: String,
    /// The slot it went to.
    pub slot: String,
    /// `refused`, `failed`, `installed`, `good` or `rolled_back`.
    pub outcome: Outcome,
    /// Why, where it went wrong.
    pub reason: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not let in.
    Refused,
    /// Writing it failed.
    Failed,
    /// It is whole, and to be tried.
    Installed,
    /// It was tried and found good.
    Good,
    /// It was tried, and the release before it came back.
    RolledBack,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_keep_their_spelling() {
        let url = Source::Url { url: "https://x/y".into() };
        for (ask, text) in [
            (Ask::Show, r#"{"do":"show"}"#),
            (Ask::Watch { seen: 7 }, r#"{"do":"watch","seen":7}"#),
            (Ask::Install { from: Source::Upload }, r#"{"do":"install","from":{"at":"upload"}}"#),
            (Ask::Install { from: url }, r#"{"do":"install","from":{"at":"url","url":"https://x/y"}}"#),
            (Ask::MarkGood, r#"{"do":"mark_good"}"#),
        ] {
            assert_eq!(serde_json::to_string(&ask).unwrap(), text);
            assert_eq!(serde_json::from_str::<Ask>(text).unwrap(), ask);
        }
    }

    #[test]
    fn what_an_address_holds_for_the_server_alone_is_not_logged() {
        for (url, shown) in [
            ("https://user:secret@host:8443/x.raucb?token=secret#secret", "https://host:8443/x.raucb"),
            ("https://host", "https://host"),
            ("user:secret@host", "://host"),
            ("", "://"),
        ] {
            let ask = Ask::Install { from: Source::Url { url: url.to_owned() } };
            assert_eq!(format!("{ask:?}"), format!("Install {{ from: Url {{ url: {shown:?} }} }}"));
        }
    }

    #[test]
    fn a_daemon_may_not_have_roots_files_read() {
        let file = Ask::Install { from: Source::File { path: "/etc/shadow".into() } };
        assert!(file.is_roots() && Ask::MarkGood.is_roots());
        assert!(!Ask::Install { from: Source::Upload }.is_roots() && !Ask::Restart.is_roots());
    }
}
