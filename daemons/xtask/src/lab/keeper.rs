//! The process that outlives nothing: it holds the kernel, and lets go of it when the leash is cut.
//!
//! A kernel of User Mode Linux is a dozen host processes and threads, of which a `kill -9` of one leaves the others. The keeper is
//! the first process of a PID namespace where it may have one (root, or a user namespace), so that its own end is everybody's end;
//! elsewhere it adopts what the kernel leaves, and ends it.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `xtask lab-keep DIR LINUX ARGUMENT…`: standard input is the leash, DIR is removed at the end.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<ExitCode> {
    let mut arguments = arguments.into_iter();
    let dir = arguments.next().context("no directory")?;
    let kernel = arguments.next().context("no kernel")?;
    prctl::set_child_subreaper(true)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let child = Command::new(&kernel)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| kernel.display().to_string())?;
    let kernel = Pid::from_raw(child.id().try_into()?);
    std::thread::spawn(move || {
        // Nothing is ever written to the leash: the end of the read is its end.
        let _ = std::io::stdin().lock().read(&mut [0]);
        let _ = kill(kernel, Signal::SIGKILL);
    });
    let code = loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == kernel => {
                break u8::try_from(code).unwrap_or(u8::MAX);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == kernel => {
                break u8::try_from(128 + signal as i32).unwrap_or(u8::MAX);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    end_orphans();
    let _ = std::fs::remove_dir_all(dir);
    Ok(ExitCode::from(code))
}

/// What the kernel left behind is ours now.
fn end_orphans() {
    loop {
        for orphan in children() {
            let _ = kill(orphan, Signal::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) | Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn children() -> Vec<Pid> {
    let me = std::process::id();
    let path = format!("/proc/self/task/{me}/children");
    // Inside of a PID namespace /proc tells other numbers; there nobody has to be looked for.
    if me == 1 {
        return vec![Pid::from_raw(-1)];
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}
