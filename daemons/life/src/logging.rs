//! Log lines: to the journal where there is one, else to standard error, in one format for both.
//!
//! `%-30.30s %7s --- %s`: the name (module path or an explicit target, dots between the parts), the level, the
//! text. Standard error gets the time in front of it, because there nothing else keeps it.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::time::SystemTime;

use std::path::{Path, PathBuf};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::Error;
use crate::native::{Entry, Native};

/// Longest text of one line, in bytes; the rest is cut. Keeps a hostile client from filling the journal.
const LONGEST: usize = 8 * 1024;
/// The native socket of the machine's journal.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// The system journal, natively.
    Journal,
    /// Standard error: no journal answers.
    Stderr,
}

/// Installs the logger for this process. Lines carry `identifier` as `SYSLOG_IDENTIFIER`.
///
/// The level is `info`, or what `KVMD_LOG` names (`off`, `error`, `warn`, `info`, `debug`, `trace`). Our own
/// crates' debug lines only: dependencies stay at `warn` unless the level is `trace`. `KVMD_LOG_STDERR=1` asks
/// for standard error even where a journal answers, `KVMD_LOG_ECHO=error` for the lines of that level and worse
/// in both places. `KVMD_JOURNAL_SOCKET` names the socket of a journal that is not the machine's.
///
/// # Errors
///
/// [`Error::Logger`] when one is installed already.
pub fn init_logging(identifier: &str) -> Result<Sink, Error> {
    let socket = std::env::var_os("KVMD_JOURNAL_SOCKET").map_or_else(|| JOURNAL.into(), PathBuf::from);
    init_logging_at(identifier, &socket, level_from_env("KVMD_LOG_ECHO").unwrap_or(LevelFilter::Off))
}

fn level_from_env(name: &str) -> Option<LevelFilter> {
    std::env::var(name).ok()?.parse().ok()
}

/// Like [`init_logging`], to the journal at that socket, and with lines of `echo` and worse on standard error too:
/// for a program in a terminal whose journal nobody watches.
///
/// # Errors
///
/// [`Error::Logger`] when one is installed already.
pub fn init_logging_at(identifier: &str, socket: &Path, echo: LevelFilter) -> Result<Sink, Error> {
    let level = level_from_env("KVMD_LOG").unwrap_or(LevelFilter::Info);
    let wanted = std::env::var_os("KVMD_LOG_STDERR").is_none_or(|value| value != "1");
    let journal = if wanted && journal_answers(socket) { Native::new(socket, identifier).ok() } else { None };
    let sink = if journal.is_some() { Sink::Journal } else { Sink::Stderr };
    let logger = Logger { identifier: identifier.to_owned(), journal, level, echo };
    log::set_boxed_logger(Box::new(logger)).map_err(|_| Error::Logger)?;
    log::set_max_level(level);
    Ok(sink)
}

/// Whether a journal listens at that native socket.
#[must_use]
pub fn journal_answers(socket: impl AsRef<Path>) -> bool {
    UnixDatagram::unbound().is_ok_and(|own| own.connect(socket).is_ok())
}

struct Logger {
    identifier: String,
    journal: Option<Native>,
    level: LevelFilter,
    echo: LevelFilter,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if self.level < LevelFilter::Trace && foreign(metadata.target()) {
            self.level.min(LevelFilter::Warn)
        } else {
            self.level
        };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = format_line(record.target(), record.level(), &record.args().to_string());
        if let Some(journal) = &self.journal {
            let sent = journal.send(&Entry {
                level: record.level(),
                message: &line,
                target: record.target(),
                file: record.file(),
                line: record.line(),
            });
            if sent.is_ok() && record.level() > self.echo {
                return;
            }
        }
        // Nothing can be done about a standard error that does not take it.
        let _ = writeln!(io::stderr().lock(), "{} {}: {line}", clock(SystemTime::now()), self.identifier);
    }

    fn flush(&self) {}
}

/// Chatty dependencies, by the first part of their targets.
fn foreign(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or_default();
    ["actix_server", "actix_http", "actix_web", "rustls", "mio", "tokio", "h2"].contains(&first)
}

/// One line without its end: `%-30.30s %7s --- %s`.
#[must_use]
pub fn format_line(target: &str, level: Level, text: &str) -> String {
    let name: String = target.replace("::", ".").chars().take(30).collect();
    let level = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    };
    let text = if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        format!("{}…", text.get(..end).unwrap_or_default())
    } else {
        text.to_owned()
    };
    format!("{name:<30} {level:>7} --- {text}")
}

/// `HH:MM:SS.mmm` in UTC.
fn clock(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:03}Z", seconds % 60, since.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_line_looks_as_the_reference_s_lines_do() {
        assert_eq!(
            format_line("aiohttp.access", Level::Info, "[admin]"),
            "aiohttp.access                    INFO --- [admin]"
        );
        assert_eq!(
            format_line("kvmd::hid", Level::Warn, "x"),
            "kvmd.hid                       WARNING --- x"
        );
    }

    #[test]
    fn a_long_name_is_cut_to_its_column() {
        let line = format_line(&"n".repeat(50), Level::Error, "x");
        assert_eq!(line, format!("{}   ERROR --- x", "n".repeat(30)));
    }

    #[test]
    fn a_long_text_is_cut() {
        let line = format_line("n", Level::Error, &"ä".repeat(LONGEST));
        assert!(line.len() < LONGEST + 100);
        assert!(line.ends_with('…'));
    }

    #[test]
    fn the_clock_is_utc() {
        assert_eq!(
            clock(SystemTime::UNIX_EPOCH + Duration::from_millis(86_400_000 + 3_723_004)),
            "01:02:03.004Z"
        );
    }

    proptest! {
        #[test]
        fn the_level_stands_in_its_column(target in ".*", text in ".*") {
            let line = format_line(&target, Level::Info, &text);
            let column: String = line.chars().skip(30).take(8).collect();
            prop_assert_eq!(column, "    INFO");
        }
    }
}
