//! Programs of the user's: started without a shell, bounded in time and in what they may say.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Bytes of a program's output that are kept; the rest is read and forgotten, so that it does not stop.
const KEPT: u64 = 4096;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    /// The beginning of what it wrote, both streams.
    pub(crate) said: String,
}

/// A program and everything it started; none of it outlives this.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also after it has ended: what it left behind in its group goes with it. Its number is not somebody else's
        // before tokio has reaped it, and after that only if nothing of the group is left.
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a program to its end, or to the end of its time; dropped before, it is killed.
///
/// # Errors
/// When it cannot be started, or does not end in time.
pub(crate) async fn run(command: &[String], limit: Duration) -> io::Result<Outcome> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no program"));
    };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut running = Running { child, group };
    let (out, err) = (running.child.stdout.take(), running.child.stderr.take());
    let ended = async {
        // What it leaves running may keep its output open: that is not waited for.
        let said = async { tokio::join!(beginning(out), beginning(err)) };
        tokio::pin!(said);
        let mut texts = None;
        let status = tokio::select! {
            biased;
            both = &mut said => { texts = Some(both); running.child.wait().await? }
            status = running.child.wait() => status?,
        };
        let (out, err) = match texts {
            Some(both) => both,
            None => timeout(LINGER, said).await.unwrap_or_default(),
        };
        Ok(Outcome { status, said: [out, err].concat() })
    };
    timeout(limit, ended).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{program}: not done within {} s", limit.as_secs_f64()),
        ))
    })
}

/// How long the last words of a program that has ended may take.
const LINGER: Duration = Duration::from_millis(100);

async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let _ = (&mut stream).take(KEPT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn words(command: &[&str]) -> Vec<String> {
        command.iter().map(|word| (*word).to_owned()).collect()
    }

    fn is_alive(pid: &str) -> bool {
        // A zombie waits for its parent only.
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    }

    #[tokio::test]
    async fn a_program_says_how_it_ended_and_its_words_are_not_a_shell_s() {
        let outcome = run(&words(&["/bin/echo", "$HOME; true"]), LONG).await.unwrap();
        assert!(outcome.status.success());
        assert_eq!(outcome.said, "$HOME; true\n");
        assert!(!run(&words(&["/bin/false"]), LONG).await.unwrap().status.success());
        let missing = run(&words(&["/nowhere/program"]), LONG).await.unwrap_err();
        assert!(missing.to_string().contains("/nowhere/program"), "{missing}");
        assert!(run(&[], LONG).await.is_err());
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_everything_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let late = run(&words(&["/bin/sh", "-c", &script]), Duration::from_millis(300)).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let pid = std::fs::read_to_string(&file).unwrap();
        let limit = tokio::time::Instant::now() + LONG;
        while is_alive(&pid) {
            assert!(tokio::time::Instant::now() < limit);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_program_that_talks_without_end_is_read_and_mostly_forgotten() {
        let loud = run(&words(&["/usr/bin/head", "-c", "3000000", "/dev/zero"]), LONG).await.unwrap();
        assert!(loud.status.success());
        assert_eq!(loud.said.len() as u64, KEPT);
    }

    #[tokio::test]
    async fn one_that_leaves_something_running_is_not_waited_for() {
        let started = tokio::time::Instant::now();
        run(&words(&["/bin/sh", "-c", "sleep 600 & exit 0"]), LONG).await.unwrap();
        assert!(started.elapsed() < LONG);
    }
}
