//! Programs of the system that are run for a moment: `networkctl`, `systemctl`. The loop starts and reaps them as it does
//! everything; whoever wants one run waits for its end.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use nix::sys::wait::WaitStatus;
use tokio::sync::{mpsc, oneshot};

use crate::file;
use crate::launch::{Launch, Rights};

/// Longest wait for one.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One to be run.
#[derive(Debug)]
pub struct Job {
    /// What.
    pub launch: Launch,
    /// It changes what must not be left half changed: whoever stops waits for it, and begins no more of them.
    pub whole: bool,
    /// Where its end is told.
    pub end: oneshot::Sender<io::Result<WaitStatus>>,
}

/// Has programs run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tools(mpsc::Sender<Job>);

impl Tools {
    /// The asking side, and what the loop listens at.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Job>) {
        let (ask, asked) = mpsc::channel(8);
        (Self(ask), asked)
    }

    /// Nobody runs programs any more.
    #[must_use]
    pub fn are_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Starts a program; its end is told by what comes back.
    ///
    /// # Errors
    ///
    /// When the supervisor is stopping.
    pub async fn start(&self, launch: Launch) -> io::Result<oneshot::Receiver<io::Result<WaitStatus>>> {
        let (end, ended) = oneshot::channel();
        let job = Job { launch, whole: false, end };
        self.0.send(job).await.map_err(|_| io::Error::other("the supervisor is stopping"))?;
        Ok(ended)
    }

    /// Runs a program with our rights to its end.
    ///
    /// # Errors
    ///
    /// It is not there, cannot be started, takes longer than [`PATIENCE`] (it is then left alone), or ends with a failure.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> io::Result<()> {
        self.run_to_the_end(PATIENCE, program, arguments, 0..=0, false).await
    }

    /// As [`Tools::run`], for at most that long, good with each of these exit statuses, and as [`Job::whole`] says.
    ///
    /// # Errors
    ///
    /// As [`Tools::run`].
    pub async fn run_whole(
        &self,
        patience: Duration,
        program: &str,
        arguments: &[&str],
        good: std::ops::RangeInclusive<i32>,
    ) -> io::Result<()> {
        self.run_to_the_end(patience, program, arguments, good, true).await
    }

    async fn run_to_the_end(
        &self,
        patience: Duration,
        program: &str,
        arguments: &[&str],
        good: std::ops::RangeInclusive<i32>,
        whole: bool,
    ) -> io::Result<()> {
        let words = || [&[program], arguments].concat().join(" ");
        let path = file::program(program)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{program} is not installed")))?;
        let mut command: Vec<OsString> = vec![path.into()];
        command.extend(arguments.iter().map(OsString::from));
        let launch = Launch { command, env: Vec::new(), rights: Rights::All, umask: 0o022, fds: Vec::new() };
        let (end, ended) = oneshot::channel();
        let gone = || io::Error::other("the supervisor is stopping");
        let wait = async {
            self.0.send(Job { launch, whole, end }).await.map_err(|_| gone())?;
            ended.await.map_err(|_| gone())?
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(Ok(WaitStatus::Exited(_, code))) if good.contains(&code) => Ok(()),
            Ok(Ok(WaitStatus::Exited(_, code))) => {
                Err(io::Error::other(format!("{}: exit status {code}", words())))
            }
            Ok(Ok(status)) => Err(io::Error::other(format!("{}: {status:?}", words()))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other(format!("{}: no end after {} s", words(), patience.as_secs()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;

    #[tokio::test]
    async fn who_asks_hears_how_it_ended() {
        let (tools, mut asked) = Tools::new();
        let answer = tokio::spawn(async move {
            for status in [0, 3] {
                let job = asked.recv().await.unwrap();
                assert_eq!(job.launch.command.last().unwrap(), "reload");
                job.end.send(Ok(WaitStatus::Exited(Pid::from_raw(1), status))).unwrap();
            }
        });
        tools.run("sh", &["reload"]).await.unwrap();
        let failed = tools.run("sh", &["reload"]).await.unwrap_err();
        assert_eq!(failed.to_string(), "sh reload: exit status 3");
        answer.await.unwrap();
        assert!(tools.are_gone());
        assert!(tools.run("sh", &[]).await.unwrap_err().to_string().contains("stopping"));
        let missing = tools.run("no-such-program-here", &[]).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
