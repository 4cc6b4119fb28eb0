//! The first process of the laboratory: makes the root, the network and the simulated chip, runs the command, reports, ends the kernel.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, send, socket,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname, sync};

use super::spec::{Spec, Word, tty};
use super::{console, mounts, sims};

/// What shows that this is the laboratory, also to programs that got an environment of their own.
const MARK: &str = "/run/lab";

/// `xtask lab-init SPEC`.
pub(crate) fn run(spec: &Path) -> Result<Infallible> {
    if std::process::id() != 1 {
        bail!("this is for the laboratory's first process");
    }
    let status = console::open_raw(tty::STATUS)?;
    let word = match live(spec, &status) {
        Ok(code) => Word::Ended(code),
        Err(error) => Word::Failed(format!("{error:#}")),
    };
    // What was written through to the host has to be there before anybody looks.
    sync();
    say(&status, &word);
    Ok(reboot(RebootMode::RB_POWER_OFF)?)
}

fn say(mut status: &File, word: &Word) {
    let _ = status.write_all(word.line().as_bytes());
    let _ = nix::sys::termios::tcdrain(status);
}

fn live(spec: &Path, status: &File) -> Result<u8> {
    let spec = Spec::read(spec)?;
    mounts::compose(&spec)?;
    set_cad_enabled(false)?;
    sethostname("lab")?;
    loopback().context("loopback")?;
    if spec.command.is_empty() {
        say(status, &Word::Ready);
        let terminal = || File::options().read(true).write(true).open(console::path(tty::LOG));
        let mut init = Command::new("/sbin/init");
        init.env_clear().env("TERM", "vt100").stdin(terminal()?).stdout(terminal()?).stderr(terminal()?);
        return Err(init.exec()).context("/sbin/init");
    }
    fs::write(MARK, "")?;
    sims::gpio(Path::new("/sys/kernel/config"))?;
    command(&spec, status)
}

/// Runs the command; its exit code, when all of its output is out.
fn command(spec: &Spec, status: &File) -> Result<u8> {
    let name = spec.command.first().context("no command")?;
    let mut command = Command::new(name);
    command.args(&spec.command[1..]).env_clear().envs(spec.environment.iter().cloned());
    command.env("KVMD_LAB", "1").current_dir(&spec.directory);
    let mut pouring = Vec::new();
    if spec.terminal {
        let terminal = || File::options().read(true).write(true).open(console::path(tty::TERMINAL));
        command = on_terminal(&command, spec);
        command.stdin(terminal()?).stdout(terminal()?).stderr(terminal()?);
    } else {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let (out, err) = (console::open_raw(tty::OUT)?, console::open_raw(tty::ERR)?);
    say(status, &Word::Ready);
    let mut child = match command.spawn() {
        Ok(child) => child,
        // As a shell has it.
        Err(error) => {
            let _ = writeln!(&err, "{}: {error}", name.display());
            let _ = nix::sys::termios::tcdrain(&err);
            return Ok(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    drop(command);
    if let Some(pipe) = child.stdout.take() {
        pouring.push(thread::spawn(move || console::pour(pipe, &out)));
    }
    if let Some(pipe) = child.stderr.take() {
        pouring.push(thread::spawn(move || console::pour(pipe, &err)));
    }
    let code = reap_until(Pid::from_raw(child.id().try_into()?))?;
    // What the command left running would hold its pipes open for ever.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    for pour in pouring {
        let _ = pour.join();
    }
    Ok(code)
}

/// The same command with the terminal as its own, so that Ctrl-C and job control work.
fn on_terminal(command: &Command, spec: &Spec) -> Command {
    let mut session = Command::new("setsid");
    session.args(["--ctty", "--wait"]).args(&spec.command);
    session.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    session.current_dir(&spec.directory);
    session
}

/// Buries every process whose parent died, until the one waited for has ended.
fn reap_until(command: Pid) -> Result<u8> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => return Ok(u8::try_from(code & 0xff)?),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                return Ok(u8::try_from(128 + signal as i32)?);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Brings `lo` up: one netlink message, because the host may have no `ip`.
fn loopback() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST: u16 = 1;
    const IFF_UP: u32 = 1;
    const LO: i32 = 1;
    let mut message = Vec::with_capacity(32);
    // nlmsghdr: length, type, flags, sequence, sender.
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    // ifinfomsg: family and padding, type, index, flags, which flags to change.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&LO.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&netlink), &NetlinkAddr::new(0, 0))?;
    send(std::os::fd::AsRawFd::as_raw_fd(&netlink), &message, MsgFlags::empty())?;
    Ok(())
}
