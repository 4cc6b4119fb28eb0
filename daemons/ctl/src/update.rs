//! `kvmctl update`: new releases of the system, as the supervisor tells and does.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use clap::Subcommand;
use client::supervisor::{Error, Supervisor};
use client::update::{Ask, Outcome, Phase, Source, State, Told};

use crate::service::ask;
use crate::{Console, Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How updates stand. Exit code 3 while a release has to prove itself or was rolled back.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Installs a bundle into the other slot, and shows how it gets on. Takes effect at the next restart.
    Install {
        /// A file of this machine, or an address that begins with http:// or https://.
        bundle: String,
    },
    /// Restarts into the new release.
    Reboot,
    /// Goes back: forgets an update that waits for its start, gives up one on trial, or tries the release before this one.
    Rollback,
    /// Keeps the release that is on trial, without waiting for the health check.
    MarkGood,
}

pub(crate) fn run(config: &config::Config, verb: &Verb, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Status { json } => status(config, *json, console),
        Verb::Install { bundle } => install(config, bundle, console),
        Verb::Reboot => done(config, Ask::Restart),
        Verb::Rollback => done(config, Ask::Rollback),
        Verb::MarkGood => done(config, Ask::MarkGood),
    }
}

fn done(config: &config::Config, wish: Ask) -> Result<Exit, Failure> {
    match ask(config, async |supervisor| supervisor.update(wish).await)? {
        Told::Done => Ok(Exit::Good),
        other => Err(refused(other)),
    }
}

fn refused(told: Told) -> Failure {
    match told {
        Told::NotImage => {
            Failure::new(Exit::Failed, anyhow!("this system was not started from an appliance image"))
        }
        Told::Refused { reason, .. } => Failure::new(Exit::Failed, anyhow!(reason)),
        Told::Done | Told::State { .. } => {
            Failure::new(Exit::Unreachable, anyhow!("the supervisor told something else"))
        }
    }
}

fn status(config: &config::Config, json: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let state = match ask(config, async |supervisor| supervisor.update(Ask::Show).await)? {
        Told::State { state, .. } => *state,
        other => return Err(refused(other)),
    };
    if json {
        writeln!(console.out, "{:#}", serde_json::to_value(&state)?)?;
    } else {
        write!(console.out, "{}", table(&state))?;
    }
    Ok(match state.phase {
        Phase::Trial | Phase::RolledBack { .. } => Exit::NotReady,
        _ => Exit::Good,
    })
}

fn install(config: &config::Config, bundle: &str, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let from = if bundle.contains("://") {
        Source::Url { url: bundle.to_owned() }
    } else {
        let path = Path::new(bundle).canonicalize().map_err(|why| anyhow!("{bundle}: {why}"))?;
        Source::File { path: path.to_string_lossy().into_owned() }
    };
    let redraw = std::io::stdout().is_terminal();
    let mut show = |text: &str| -> std::io::Result<()> {
        if redraw {
            write!(console.out, "\r\x1b[K{text}")?;
        } else {
            writeln!(console.out, "{text}")?;
        }
        console.out.flush()
    };
    show("looking at the bundle")?;
    let end = ask(config, async |supervisor| follow(&supervisor, from, &mut show).await)?;
    if redraw {
        writeln!(console.out)?;
    }
    match end {
        Ok(version) => {
            writeln!(console.out, "release {version} is installed: kvmctl update reboot")?;
            Ok(Exit::Good)
        }
        Err(failure) => Err(failure),
    }
}

/// Asks for the installation and follows it to its end; gives back the version that is installed.
async fn follow(
    supervisor: &Supervisor,
    from: Source,
    show: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Result<Result<String, Failure>, Error> {
    match supervisor.update(Ask::Install { from }).await? {
        Told::Done => {}
        other => return Ok(Err(refused(other))),
    }
    let (mut seen, mut shown) = (0, String::new());
    loop {
        let state = match supervisor.update(Ask::Watch { seen }).await? {
            Told::State { number, state } => {
                seen = number;
                *state
            }
            other => return Ok(Err(refused(other))),
        };
        let text = match state.phase {
            Phase::Checking => "looking at the bundle".to_owned(),
            Phase::Installing { version, percent, message } => format!("{version}: {percent:3} % {message}"),
            Phase::Ready { version } => return Ok(Ok(version)),
            _ => {
                let why = state
                    .problem
                    .map_or_else(|| "it ended without a word".to_owned(), |problem| problem.reason);
                return Ok(Err(Failure::new(Exit::Failed, anyhow!(why))));
            }
        };
        // Nobody reads our output any more: the installation goes on without us.
        if text != shown && show(&text).is_err() {
            tokio::time::sleep(Duration::ZERO).await;
        }
        shown = text;
    }
}

fn table(state: &State) -> String {
    let mut text = format!("release {} for {}, in slot {}\n", state.version, state.board, state.slot);
    if let Some(other) = &state.other {
        text.push_str(&format!("the other slot holds {other}\n"));
    }
    text.push_str(&match &state.phase {
        Phase::Idle => "no update is on its way\n".to_owned(),
        Phase::Checking => "a bundle is looked at\n".to_owned(),
        Phase::Installing { version, percent, message } => {
            format!("{version} is being installed: {percent} % {message}\n")
        }
        Phase::Ready { version } => format!("{version} is tried at the next start: kvmctl update reboot\n"),
        Phase::Restarting => "the machine restarts\n".to_owned(),
        Phase::Trial => "it is on trial: it is kept when it has shown that it can serve\n".to_owned(),
        Phase::RolledBack { version, reason } => format!("{version} was rolled back: {reason}\n"),
    });
    if let Some(problem) = &state.problem {
        text.push_str(&format!("the last wish was not fulfilled: {}\n", problem.reason));
    }
    for entry in state.history.iter().rev().take(10) {
        let outcome = match entry.outcome {
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Installed => "installed",
            Outcome::Good => "found good",
            Outcome::RolledBack => "rolled back",
        };
        let version = if entry.version.is_empty() { "?" } else { &entry.version };
        let why = entry.reason.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        text.push_str(&format!("  {}  {version} in slot {}: {outcome}{why}\n", date(entry.at), entry.slot));
    }
    text
}

/// Seconds since 1970 as a date and time of day with seconds, in UTC.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the saturating cast")]
pub(crate) fn date_and_second(seconds: f64) -> String {
    let seconds = seconds.min(1e11) as u64;
    let date = date(seconds);
    format!("{}:{:02}Z", date.trim_end_matches('Z'), seconds % 60)
}

/// Seconds since 1970 as a date and time of day, in UTC.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, counted in cycles of 400 years; from Hinnant's "chrono-Compatible Low-Level Date Algorithms".
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}Z", rest / 3600, rest / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::line;
    use client::supervisor::{Answer, Request};
    use client::update::{Entry, Kind, Problem};
    use std::ffi::OsString;
    use tokio::io::BufReader;
    use tokio::net::UnixListener;

    fn state(phase: Phase) -> State {
        State {
            version: "0.1.0".into(),
            board: "rpi4".into(),
            compatible: "kvmd-rpi4".into(),
            build: "x".into(),
            floor: None,
            slot: "a".into(),
            kept: "a".into(),
            other: None,
            phase,
            problem: None,
            history: Vec::new(),
        }
    }

    /// A supervisor that gives these answers, one a connection, below a state directory.
    fn supervisor(answers: Vec<Told>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let path = dir.path().join("run/supervisor.sock");
        let (bound, ready) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(path).unwrap();
                bound.send(()).unwrap();
                for told in answers {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let (from, mut to) = stream.split();
                    let request: Request = line::read(&mut BufReader::new(from)).await.unwrap().unwrap();
                    assert!(matches!(request, Request::Update { .. }));
                    line::write(&mut to, &Answer::Update { told }).await.unwrap();
                }
            });
        });
        ready.recv().unwrap();
        dir
    }

    fn kvmctl(dir: &tempfile::TempDir, words: &[&str]) -> (Exit, String) {
        let mut line: Vec<OsString> =
            vec!["kvmctl".into(), "--state".into(), dir.path().into(), "update".into()];
        line.extend(words.iter().map(OsString::from));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut secret = |_: Option<&str>| Ok(String::new());
        let exit = crate::run(line, &mut Console { out: &mut out, err: &mut err, secret: &mut secret });
        (exit, String::from_utf8([out, err].concat()).unwrap())
    }

    fn told(number: u64, state: State) -> Told {
        Told::State { number, state: Box::new(state) }
    }

    fn installing(percent: u8) -> Phase {
        Phase::Installing { version: "0.2.0".into(), percent, message: "Copying image to rootfs.1".into() }
    }

    #[test]
    fn an_install_is_followed_to_its_end() {
        let ready = Phase::Ready { version: "0.2.0".into() };
        let answers = vec![
            Told::Done,
            told(1, state(Phase::Checking)),
            told(2, state(installing(46))),
            told(3, state(ready)),
        ];
        let (exit, text) = kvmctl(&supervisor(answers), &["install", "https://host/x.raucb"]);
        assert_eq!(exit, Exit::Good, "{text}");
        assert!(text.contains("0.2.0:  46 % Copying image to rootfs.1"), "{text}");
        assert!(text.ends_with("release 0.2.0 is installed: kvmctl update reboot\n"), "{text}");
    }

    #[test]
    fn an_install_that_fails_says_why() {
        let problem = Some(Problem { kind: Kind::Failed, reason: "corrupt payload".into() });
        let answers =
            vec![Told::Done, told(1, state(installing(0))), told(2, State { problem, ..state(Phase::Idle) })];
        let (exit, text) = kvmctl(&supervisor(answers), &["install", "https://host/x.raucb"]);
        assert_eq!(exit, Exit::Failed);
        assert!(text.ends_with("corrupt payload\n"), "{text}");
        let refusal = Told::Refused { kind: Kind::Board, reason: "this bundle is for kvmd-rpi5".into() };
        let (exit, text) = kvmctl(&supervisor(vec![refusal]), &["install", "/dev/null"]);
        assert_eq!(exit, Exit::Failed);
        assert!(text.ends_with("this bundle is for kvmd-rpi5\n"), "{text}");
    }

    #[test]
    fn what_was_rolled_back_is_told_with_its_reason() {
        let entry = Entry {
            at: 1_790_000_000,
            version: "0.2.0".into(),
            from: "0.1.0".into(),
            slot: "b".into(),
            outcome: Outcome::RolledBack,
            reason: Some("it hung".into()),
        };
        let phase = Phase::RolledBack { version: "0.2.0".into(), reason: "it hung".into() };
        let answers = vec![told(1, State { history: vec![entry], ..state(phase) })];
        let (exit, text) = kvmctl(&supervisor(answers), &["status"]);
        assert_eq!(exit, Exit::NotReady);
        assert_eq!(
            text,
            "release 0.1.0 for rpi4, in slot a\n0.2.0 was rolled back: it hung\n  \
             2026-09-21 14:13Z  0.2.0 in slot b: rolled back (it hung)\n"
        );
        let (exit, text) = kvmctl(&supervisor(vec![Told::NotImage]), &["rollback"]);
        assert_eq!((exit, text.contains("appliance image")), (Exit::Failed, true), "{text}");
    }

    #[test]
    fn dates_are_the_calendars() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00Z"),
            (951_782_400, "2000-02-29 00:00Z"),
            (1_709_251_199, "2024-02-29 23:59Z"),
            (1_790_000_000, "2026-09-21 14:13Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
