//! How a child is started: the order, and the supervisor's half of carrying it out.
//!
//! The supervisor starts its own program again with the subcommand `exec-child` and a socket as standard input,
//! and sends the [`Order`] and the descriptors through it. That small process, still single-threaded, becomes the
//! child (`exec_child`). This way nothing runs between `fork` and `exec`, no descriptor is ever inherited by
//! accident, and command lines and environments show nothing they should not.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::journald::Place;

/// Longest order, in bytes.
pub const LONGEST: usize = 256 * 1024;
/// The hidden subcommand.
pub const SUBCOMMAND: &str = "exec-child";

/// Whom a child runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
}

/// What a child keeps of our rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rights {
    /// Nothing: this user, no capabilities, none to be gained.
    User(RunAs),
    /// What we have ourselves, and nothing to be gained: we are not root and cannot switch.
    Same,
    /// Everything: fsck, which has to be root.
    All,
    /// Everything, in a mount namespace of its own: journald.
    Journal(Place),
}

/// What to start, and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Program (an absolute path) and arguments.
    pub command: Vec<OsString>,
    /// The whole environment, except for `LISTEN_*`.
    pub env: Vec<(OsString, OsString)>,
    /// Whom it runs as.
    pub rights: Rights,
    /// Its file mode mask.
    pub umask: u32,
    /// The names of the descriptors passed, in order.
    pub names: Vec<String>,
    /// The supervisor's process id: a child whose parent is another one by now must not live.
    pub parent: i32,
}

/// A child to start: the order without what [`start`] fills in, and the descriptors.
#[derive(Debug)]
pub struct Launch {
    /// Program (an absolute path) and arguments.
    pub command: Vec<OsString>,
    /// Environment beside the inherited part.
    pub env: Vec<(OsString, OsString)>,
    /// Whom it runs as.
    pub rights: Rights,
    /// Its file mode mask.
    pub umask: u32,
    /// Descriptors by name.
    pub fds: Vec<(String, OwnedFd)>,
}

/// A process on its way to become the child.
#[derive(Debug)]
pub struct Started {
    /// Its process id; also its process group.
    pub pid: Pid,
    /// Closed without a word when the child runs; else says why it does not.
    pub outcome: OwnedFd,
}

/// Variables that a child inherits. Everything else stays behind, the supervisor's own `NOTIFY_SOCKET`,
/// `WATCHDOG_*` and `LISTEN_*` above all.
const INHERITED: &[&str] =
    &["PATH", "LANG", "TZ", "TERM", "RUST_BACKTRACE", "KVMD_LOG", "KVMD_LOG_STDERR", "KVMD_SHARE"];

/// The part of our environment that children get.
fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    INHERITED.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
}

/// Why a start failed, when it did: what [`Started::outcome`] says, to be asked once, when the process has ended.
#[must_use]
pub fn failure(outcome: &OwnedFd) -> Option<String> {
    let stream = UnixStream::from(outcome.try_clone().ok()?);
    stream.set_nonblocking(true).ok()?;
    let mut buffer = vec![0; 1024];
    match (&stream).read(&mut buffer) {
        Ok(len @ 1..) => Some(String::from_utf8_lossy(buffer.get(..len)?).into_owned()),
        _ => None,
    }
}

/// Starts a child. That it was started says nothing yet about whether it runs: [`Started::outcome`].
///
/// # Errors
///
/// When the first process cannot be made; the kernel's words.
pub fn start(launch: Launch) -> io::Result<Started> {
    let (ours, theirs) = sys::pass::pair()?;
    let (names, fds): (Vec<_>, Vec<_>) = launch.fds.into_iter().unzip();
    let order = Order {
        command: launch.command,
        env: inherited().chain(launch.env).collect(),
        rights: launch.rights,
        umask: launch.umask,
        names,
        parent: nix::unistd::getpid().as_raw(),
    };
    let packet = serde_json::to_vec(&order)?;
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    sys::pass::send(&ours, &packet, &borrowed)?;
    // Whatever a child prints belongs beside our own stray words, never into our standard output.
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    let child = Command::new("/proc/self/exe")
        .arg0("kvmd-supervisor")
        .arg(SUBCOMMAND)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(stderr))
        .process_group(0)
        .spawn()?;
    // The process is reaped by its id with all the others; std's handle does nothing when dropped.
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Started { pid: Pid::from_raw(pid), outcome: ours })
}
