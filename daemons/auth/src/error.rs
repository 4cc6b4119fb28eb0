//! Refusals (what a client is told) and failures (what an administrator must mend).

use std::{io, path::PathBuf, sync::Arc};

use crate::syntax::Invalid;

/// Why a request may not pass. The HTTP status of each is fixed by section 3 of the contract.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    /// No usable credentials were shown: 401.
    #[error("Unauthorized")]
    Unauthorized,
    /// Credentials were shown and are wrong, expired, or locked out for now: 403. Deliberately says no more.
    #[error("Forbidden")]
    Forbidden,
    /// Credentials were shown that cannot be anybody's: 400.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Too many password checks are waiting already: 503.
    #[error("Service Unavailable")]
    Busy,
    /// The check itself failed (a file cannot be read): 500. Nobody gets in meanwhile.
    #[error(transparent)]
    Failed(Arc<Error>),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// What went wrong on our side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("{path}: cannot read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be replaced; the old one is still there.
    #[error("{path}: cannot write: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The TOTP secret file holds something that is not base32.
    #[error("{path}: not a base32 secret")]
    BadSecret {
        /// The file.
        path: PathBuf,
    },
    /// The kernel gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
    /// A thread that checks or writes died, or takes too long.
    #[error("the password check or the write did not finish")]
    Unfinished,
    /// The user is already in the file (`add`).
    #[error("user {0:?} exists")]
    UserExists(String),
    /// The user is not in the file (`set`, `del`).
    #[error("user {0:?} does not exist")]
    NoUser(String),
    /// A name or password with characters that could never be checked.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Fills `bytes` from the kernel's generator.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::Random(error.to_string()))
}
