//! RAUC's program, run as a child of the loop's: what it prints is read through pipes, its end comes from who reaps it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::wait::WaitStatus;
use nix::unistd::pipe2;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use update::progress::{self, Line};
use update::{Bundle, Unfit, bundle};

use crate::file;
use crate::launch::{Launch, Rights};
use crate::tool::Tools;

/// Longest look at a bundle; shorter than whoever asked waits.
const LOOK: Duration = Duration::from_secs(25);
/// Longest install. A slow line is no reason to give up, one that stands still is: RAUC itself notices that.
const INSTALL: Duration = Duration::from_secs(4 * 3600);
/// Longest line that is read.
const LONGEST_LINE: usize = 4096;
/// How much of its complaints is read.
const WORDS: u64 = 16 * 1024;

/// RAUC's program.
pub(super) struct Rauc {
    pub(super) program: String,
    pub(super) tools: Tools,
}

/// A child under way.
struct Child {
    out: pipe::Receiver,
    err: pipe::Receiver,
    end: oneshot::Receiver<io::Result<WaitStatus>>,
}

impl Rauc {
    /// Starts it; with a limit, it is killed then.
    async fn start(&self, limit: Option<Duration>, arguments: &[&str]) -> io::Result<Child> {
        let program = file::program(&self.program).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{} is not installed", self.program))
        })?;
        let shell = file::program("/bin/sh").ok_or(io::ErrorKind::NotFound)?;
        // A child's output is beside ours. These go to descriptors of their own, of which the shell makes its output.
        let words = ["-c", "exec \"$@\" >&3 2>&4 3>&- 4>&-", "sh"];
        let mut command: Vec<OsString> = vec![shell.into()];
        command.extend(words.iter().map(OsString::from));
        if let Some(limit) = limit {
            command.extend(["timeout", "-s", "KILL"].map(OsString::from));
            command.push(limit.as_secs().to_string().into());
        }
        command.push(program.into());
        command.extend(arguments.iter().map(OsString::from));
        let (out, out_end) = pipe2(OFlag::O_CLOEXEC)?;
        let (err, err_end) = pipe2(OFlag::O_CLOEXEC)?;
        let launch = Launch {
            command,
            env: vec![("LC_ALL".into(), "C.UTF-8".into())],
            rights: Rights::All,
            umask: 0o022,
            fds: vec![("out".to_owned(), out_end), ("err".to_owned(), err_end)],
        };
        let end = self.tools.start(launch).await?;
        let receiver = |end: OwnedFd| pipe::Receiver::from_file(File::from(end));
        Ok(Child { out: receiver(out)?, err: receiver(err)?, end })
    }

    /// What a bundle says of itself; its signature is checked by that.
    pub(super) async fn info(&self, place: &str) -> Result<Bundle, Unfit> {
        let unread = |error: &dyn std::fmt::Display| Unfit::NoBundle(error.to_string());
        let look = async {
            let arguments = ["info", "--output-format=json", place];
            // Later than we give it up: whoever asked is told so.
            let limit = Some(LOOK + Duration::from_secs(1));
            let Child { out, err, end } =
                self.start(limit, &arguments).await.map_err(|error| unread(&error))?;
            let (mut told, mut words) = (Vec::new(), Vec::new());
            let (mut out, mut err) = (out.take(bundle::LONGEST as u64), err.take(WORDS));
            let read = async { tokio::try_join!(out.read_to_end(&mut told), err.read_to_end(&mut words)) };
            read.await.map_err(|error| unread(&error))?;
            // Whoever prints more than is read is not waited for.
            drop((out, err));
            match ended(end).await {
                Ok(()) => Bundle::parse(&told),
                Err(_) => Err(bundle::unreadable(&for_all(place, &String::from_utf8_lossy(&words)))),
            }
        };
        let late = || Err(Unfit::NoBundle(format!("it could not be looked at within {} s", LOOK.as_secs())));
        tokio::time::timeout(LOOK, look).await.unwrap_or_else(|_| late())
    }

    /// Writes a bundle to the other slot. The service does; the child is who asks it, and tells how it gets on.
    pub(super) async fn install(&self, place: &str, progress: mpsc::Sender<Line>) -> Result<(), String> {
        let install = async {
            let child = self.start(None, &["install", place]).await.map_err(|error| error.to_string())?;
            let Child { out, err, end } = child;
            let told = follow(BufReader::new(out), place, Some(&progress));
            let said = follow(BufReader::new(err), place, None);
            let ((told, _), (said, last)) = tokio::join!(told, said);
            let why = told.or(said).or(last);
            ended(end).await.map_err(|how| why.unwrap_or(how))
        };
        match tokio::time::timeout(INSTALL, install).await {
            Ok(end) => end,
            Err(_) => {
                self.stop().await;
                Err(format!("no end after {} h", INSTALL.as_secs() / 3600))
            }
        }
    }

    /// Stops the service, whatever it does: the slot that it writes is marked as not to be started.
    pub(super) async fn stop(&self) {
        if let Err(error) = self.tools.run("systemctl", &["try-restart", "rauc.service"]).await {
            log::warn!("RAUC may still be writing: {error}");
        }
    }
}

/// Reads lines to their end; gives back the error that was named, and the last words of all.
async fn follow(
    mut lines: impl AsyncBufRead + Unpin,
    place: &str,
    progress: Option<&mpsc::Sender<Line>>,
) -> (Option<String>, Option<String>) {
    let (mut error, mut last) = (None, None);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(LONGEST_LINE as u64).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            return (error, last);
        }
        let text = for_all(place, &String::from_utf8_lossy(&line));
        if !text.trim().is_empty() {
            last = Some(text.trim().chars().take(300).collect());
        }
        match progress::parse(&text) {
            Line::Error(why) => error = Some(why),
            Line::Words => {}
            step @ Line::Progress { .. } => {
                if let Some(progress) = progress {
                    let _ = progress.send(step).await;
                }
            }
        }
    }
}

/// RAUC's words without what the address of a bundle holds for its server alone, such as a signature: they become
/// reasons, which everybody sees.
fn for_all(place: &str, words: &str) -> String {
    match place.find(['?', '#']).and_then(|at| place.get(at..)) {
        Some(secret) if secret.len() > 1 => words.replace(secret, ""),
        _ => words.to_owned(),
    }
}

async fn ended(end: oneshot::Receiver<io::Result<WaitStatus>>) -> Result<(), String> {
    match end.await {
        Ok(Ok(WaitStatus::Exited(_, 0))) => Ok(()),
        Ok(Ok(WaitStatus::Exited(_, code))) => Err(format!("rauc: exit status {code}")),
        Ok(Ok(status)) => Err(format!("rauc: {status:?}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the supervisor is stopping".to_owned()),
    }
}
