//! What the guard answers: whose password it was, what a login came to, by what right a request passes.

use crate::{
    api_token::Grant,
    carrier::{Peer, Via},
    right::Right,
    session::{Session, Token},
};

/// Whose right password it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The user, trimmed.
    pub user: String,
}

/// What a login came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A new session: set the cookie.
    Session(Token),
    /// Nobody has to log in here: no cookie.
    NotNeeded,
}

/// By what right a request passes.
#[derive(Debug, Clone)]
pub enum Access {
    /// Nobody is asked (`auth.enabled: false`).
    Open,
    /// A right password.
    Password {
        /// The user.
        user: String,
        /// The header it came in.
        via: Via,
        /// Whether it still is right.
        right: Right,
    },
    /// A living session.
    Session(Session),
    /// A good API token.
    Token(Grant),
    /// The unix socket's other end.
    Peer(Peer),
}

impl Access {
    /// The user, where there is one: an API token is nobody's.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Open | Self::Token(_) => None,
            Self::Password { user, .. } | Self::Peer(Peer { user, .. }) => Some(user),
            Self::Session(session) => Some(&session.user),
        }
    }

    /// The access log's user field: `admin (xhdr)`, `admin (token)`, `admin (basic)`, `root[0] (unix)`, `-`; ours:
    /// `ci (bearer)`, the name of an API token.
    #[must_use]
    pub fn tag(&self) -> String {
        match self {
            Self::Open => "-".to_owned(),
            Self::Password { user, via: Via::XHeader, .. } => format!("{user} (xhdr)"),
            Self::Password { user, via: Via::Basic, .. } => format!("{user} (basic)"),
            Self::Session(session) => format!("{} (token)", session.user),
            Self::Token(token) => format!("{} (bearer)", token.name),
            Self::Peer(Peer { user, uid }) => format!("{user}[{uid}] (unix)"),
        }
    }

    /// Whether this right is for a subsystem (the first part of a path) at all. Whether it is still good can always be
    /// asked (`auth`).
    #[must_use]
    pub fn reaches(&self, subsystem: &str) -> bool {
        match self {
            Self::Token(token) => subsystem == "auth" || token.reaches(subsystem),
            _ => true,
        }
    }

    /// Returns once this right has ended while it was used: what lives by it closes.
    pub async fn ended(&self) {
        match self {
            Self::Session(session) => session.ended().await,
            Self::Token(token) => token.ended().await,
            Self::Password { right, .. } => right.ended().await,
            Self::Open | Self::Peer(_) => std::future::pending().await,
        }
    }

    /// Whether it has ended by now.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Session(session) => session.has_ended(),
            Self::Token(token) => token.has_ended(),
            Self::Password { right, .. } => right.has_ended(),
            Self::Open | Self::Peer(_) => false,
        }
    }
}
