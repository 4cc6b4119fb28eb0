//! The journal of this machine, by libsystemd.

use std::{fmt::Display, fs, io, path::PathBuf, time::Duration};

use systemd::{
    Journal as Handle,
    journal::{OpenDirectoryOptions, OpenOptions},
};

use crate::{
    Error, Record,
    format::one_line,
    reader::{Cursor, Journal},
};

/// Where the journal lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Place {
    /// The system's own directories.
    #[default]
    System,
    /// A directory with journal files, or with one directory of them per machine id (a private journald's).
    Directory(PathBuf),
}

impl Place {
    /// What `KVMD_JOURNAL_DIR` says (the supervisor sets it where it runs a journald of its own), else the system's.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var_os("KVMD_JOURNAL_DIR") {
            Some(directory) if !directory.is_empty() => Self::Directory(directory.into()),
            _ => Self::System,
        }
    }
}

/// What to read, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the journal lies.
    pub place: Place,
    /// Daemons to read beside those whose records are there already (see [`is_ours`]): a daemon that logs its first
    /// line after a reader was opened is only followed when it is named here.
    pub identifiers: Vec<String>,
    /// Only records of processes with one of these user ids, by the journal's own word; empty = any.
    pub uids: Vec<u32>,
    /// Only records of one of these programs, by the journal's own word; empty = any.
    pub programs: Vec<PathBuf>,
    /// Longer messages are cut.
    pub max_message_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let daemons = ["kvmd", "kvmd-supervisor", "kvmd-streamer", "kvmd-media", "kvmd-vnc", "kvmd-ipmi"];
        Self {
            place: Place::System,
            identifiers: daemons.map(str::to_owned).to_vec(),
            uids: Vec::new(),
            programs: Vec::new(),
            max_message_bytes: 8_192,
        }
    }
}

/// Whether an identifier is one of our daemons': `kvmd`, or `kvmd-` and words.
#[must_use]
pub fn is_ours(identifier: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut parts = identifier.split('-');
    parts.next() == Some("kvmd") && parts.all(word)
}

/// The journal of this machine.
#[derive(Debug, Clone, Default)]
pub struct SystemJournal {
    settings: Settings,
}

impl SystemJournal {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn handle(&self) -> Result<Handle, Error> {
        let Place::Directory(directory) = &self.settings.place else {
            // Users' journals too: on a laptop the daemons run as a user and log there.
            let handle = OpenOptions::default().local_only(true).open().map_err(unavailable)?;
            let files =
                handle.has_persistent_files().unwrap_or(false) || handle.has_runtime_files().unwrap_or(false);
            return if files { Ok(handle) } else { Err(Error::Unavailable("no readable file".to_owned())) };
        };
        // libsystemd opens an empty directory happily and would then wait for ever.
        let holds_files = fs::read_dir(directory).map_err(unavailable)?.flatten().any(|entry| {
            let path = entry.path();
            is_journal(&path)
                || fs::read_dir(&path).is_ok_and(|inner| inner.flatten().any(|e| is_journal(&e.path())))
        });
        if !holds_files {
            return Err(Error::Unavailable(format!("{}: no journal file", directory.display())));
        }
        let path = directory.to_str().ok_or_else(|| Error::Unavailable("path is not UTF-8".to_owned()))?;
        OpenDirectoryOptions::default().open_directory(path).map_err(unavailable)
    }

    /// Only this boot, only ours. Values of one field are alternatives, different fields must all fit.
    fn filter(&self, handle: &mut Handle) -> io::Result<()> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let boot_id = fs::read_to_string(BOOT_ID)?.trim().replace('-', "");
        let mut identifiers = present_identifiers(handle)?;
        identifiers.extend(self.settings.identifiers.iter().cloned());
        identifiers.sort_unstable();
        identifiers.dedup();
        handle.match_flush()?;
        handle.match_add("_BOOT_ID", boot_id)?;
        for identifier in identifiers {
            handle.match_add("SYSLOG_IDENTIFIER", identifier)?;
        }
        for uid in &self.settings.uids {
            handle.match_add("_UID", uid.to_string())?;
        }
        for program in &self.settings.programs {
            handle.match_add("_EXE", program.as_os_str().as_encoded_bytes())?;
        }
        Ok(())
    }
}

fn unavailable(error: impl Display) -> Error {
    Error::Unavailable(error.to_string())
}

fn broken(error: systemd::Error) -> Error {
    Error::Broken(error.into())
}

fn is_journal(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "journal")
}

/// The identifiers of ours that the journal has records of; bounded.
fn present_identifiers(handle: &mut Handle) -> io::Result<Vec<String>> {
    const MAX: usize = 256;
    let mut found = Vec::new();
    handle.query_unique("SYSLOG_IDENTIFIER")?;
    while let Some(field) = handle.enumerate_unique()? {
        let value = field.value().and_then(|value| std::str::from_utf8(value).ok());
        if let Some(identifier) = value.filter(|identifier| is_ours(identifier)) {
            found.push(identifier.to_owned());
        }
        if found.len() >= MAX {
            break;
        }
    }
    Ok(found)
}

impl Journal for SystemJournal {
    fn open(&self, first_us: Option<u64>) -> Result<Box<dyn Cursor>, Error> {
        let mut handle = self.handle()?;
        let max_message_bytes = self.settings.max_message_bytes;
        let mut seek = || -> io::Result<()> {
            // One more than is shown, so that a cut can be seen; and the name of the field counts too.
            handle.set_data_threshold(max_message_bytes.saturating_add(64))?;
            self.filter(&mut handle)?;
            match first_us {
                Some(first_us) => handle.seek_realtime_usec(first_us)?,
                None => handle.seek_head()?,
            }
            Ok(())
        };
        seek().map_err(unavailable)?;
        Ok(Box::new(SystemCursor { handle, max_message_bytes }))
    }
}

struct SystemCursor {
    handle: Handle,
    max_message_bytes: usize,
}

impl SystemCursor {
    fn record(&mut self) -> io::Result<Option<Record>> {
        const MAX_IDENTIFIER: usize = 64;
        let time_us = self.handle.timestamp_usec()?;
        let Some(identifier) = value(&mut self.handle, "SYSLOG_IDENTIFIER", MAX_IDENTIFIER)? else {
            return Ok(None);
        };
        let message = value(&mut self.handle, "MESSAGE", self.max_message_bytes)?.unwrap_or_default();
        Ok(Some(Record { time_us, unit: format!("{identifier}.service"), message }))
    }
}

fn value(handle: &mut Handle, field: &str, max_bytes: usize) -> io::Result<Option<String>> {
    let field = handle.get_data(field)?;
    Ok(field.and_then(|field| field.value().map(|value| one_line(value, max_bytes))))
}

impl Cursor for SystemCursor {
    fn next(&mut self) -> Result<Option<Record>, Error> {
        while self.handle.next().map_err(broken)? > 0 {
            match self.record() {
                Ok(Some(record)) => return Ok(Some(record)),
                Ok(None) => {}
                // One damaged record (a file cut short by a power loss) is no reason to stop.
                Err(error) if is_damage(&error) => log::debug!("Skipping a damaged journal record: {error}"),
                Err(error) => return Err(Error::Broken(error)),
            }
        }
        Ok(None)
    }

    fn wait(&mut self, at_most: Duration) -> Result<(), Error> {
        self.handle.wait(Some(at_most)).map(|_| ()).map_err(broken)
    }
}

fn is_damage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    [Errno::EBADMSG, Errno::EADDRNOTAVAIL, Errno::ENODATA, Errno::EPROTONOSUPPORT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_daemons_are_kvmd_and_kvmd_something() {
        for ours in ["kvmd", "kvmd-streamer", "kvmd-a-b_c9"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["", "kvmdx", "kvmd-", "kvmd--a", "sshd", "xkvmd", "kvmd-a b", "kvmd-a\n"] {
            assert!(!is_ours(other), "{other:?}");
        }
    }

    #[test]
    fn where_there_is_no_journal_reading_is_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        for place in [dir.path().to_owned(), dir.path().join("missing")] {
            let journal =
                SystemJournal::new(Settings { place: Place::Directory(place), ..Settings::default() });
            assert!(matches!(journal.open(None), Err(Error::Unavailable(_))));
        }
    }
}
