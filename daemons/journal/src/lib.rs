//! The system journal: seek, follow, format (section 8.2 of the wire contract).
//!
//! ```text
//!   Reader::read ──> thread "journal": open ──> seek ──> records so far ──> (follow) wait ⇄ new records
//!                         │                                   │                        │
//!                         └─ Error to the caller              └──── bounded queue ─────┴──> Records
//! ```
//!
//! One record is one line: control characters are made visible, long messages are cut. Only records of this boot
//! and of our own daemons are read, told by `SYSLOG_IDENTIFIER` and, where asked for, by fields the journal itself
//! vouches for.
//!
//! libsystemd blocks and its handles stay on one thread, so each reader has a thread of its own, a bounded number of
//! them. Dropping [`Records`] ends the thread within [`PATIENCE`].
//!
//! What it does not do: write to the journal (that is `life`), HTTP, or tell who may read.

mod format;
mod reader;
mod system;

pub use format::{format_line, format_line_in, one_line};
pub use reader::{Cursor, Disabled, Journal, PATIENCE, Query, Reader, Records};
pub use system::{Place, Settings, SystemJournal, is_ours};

/// One record of one of our daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the journal received it, in microseconds since 1970.
    pub time_us: u64,
    /// `<SYSLOG_IDENTIFIER>.service`
    pub unit: String,
    /// What was logged: one line, bounded.
    pub message: String,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the log is switched off by settings.
    #[error("The log reader is disabled")]
    Disabled,
    /// There is no journal, or none we may read.
    #[error("No journal to read: {0}")]
    Unavailable(String),
    /// As many readers as there may be are reading already.
    #[error("Too many log readers")]
    Busy,
    /// The journal broke off while being read.
    #[error("Reading the journal failed: {0}")]
    Broken(std::io::Error),
}
