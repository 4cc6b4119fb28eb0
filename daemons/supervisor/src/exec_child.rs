//! The child's half of a start: from a copy of the supervisor to the program, giving up everything on the way.
//!
//! The steps, in an order that matters: groups and user while we still may; the bounding set before the user,
//! because it needs a capability; the parent-death signal after the user, because the kernel clears it there;
//! descriptors last, because they land on numbers in use.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, getppid, setgroups, setresgid, setresuid};

use crate::launch::{LONGEST, Order, Rights};

/// `EX_OSERR`: the child could not be made.
const EX_OSERR: u8 = 71;

/// Becomes the child ordered through standard input; returns only when that fails.
#[must_use]
pub fn run() -> ExitCode {
    // A copy with a high number: standard input becomes /dev/null below.
    let Ok(order) = sys::fd::copy_above(io::stdin().as_fd(), 64) else {
        return ExitCode::from(EX_OSERR);
    };
    let Err(error) = become_child(&order);
    // The supervisor logs it; if even this fails it still sees the exit code.
    let _ = sys::pass::send(&order, error.to_string().as_bytes(), &[]);
    ExitCode::from(EX_OSERR)
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
struct Failed {
    step: String,
    source: io::Error,
}

/// Names the step that an error belongs to.
trait Step<T> {
    fn step(self, step: &str) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, Failed> {
        self.map_err(|error| Failed { step: step.to_owned(), source: error.into() })
    }
}

fn become_child(socket: &OwnedFd) -> Result<std::convert::Infallible, Failed> {
    let (packet, fds) = sys::pass::receive(socket, LONGEST).step("receiving the order")?;
    let order: Order = serde_json::from_slice(&packet).step("reading the order")?;
    give_up(&order.rights)?;
    prctl::set_pdeathsig(Signal::SIGKILL).step("setting the parent-death signal")?;
    if getppid().as_raw() != order.parent {
        return Err(io::Error::other("the supervisor is gone")).step("looking for the parent");
    }
    umask(Mode::from_bits_truncate(order.umask));
    place(&fds)?;
    let Some((program, arguments)) = order.command.split_first() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput)).step("reading the command");
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(order.env);
    if !fds.is_empty() {
        command
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", fds.len().to_string())
            .env("LISTEN_FDNAMES", order.names.join(":"));
    }
    Err(command.exec()).step(&program.to_string_lossy())
}

fn give_up(rights: &Rights) -> Result<(), Failed> {
    if let Rights::User(user) = rights {
        let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).step("setting the groups")?;
        let gid = Gid::from_raw(user.gid);
        setresgid(gid, gid, gid).step("setting the group")?;
        sys::capability::drop_bounding().step("dropping the bounding set")?;
        sys::capability::clear_ambient().step("clearing the ambient set")?;
        let uid = Uid::from_raw(user.uid);
        setresuid(uid, uid, uid).step("setting the user")?;
        sys::capability::clear().step("clearing the capabilities")?;
    }
    if let Rights::Journal(place) = rights {
        place.enter().map_err(io::Error::other).step("preparing a place for journald")?;
    }
    if matches!(rights, Rights::User(_) | Rights::Same) {
        prctl::set_no_new_privs().step("setting no_new_privs")?;
    }
    Ok(())
}

/// Puts the descriptors at 3, 4, 5 …, /dev/null at 0, and has everything else closed by `exec`.
fn place(fds: &[OwnedFd]) -> Result<(), Failed> {
    // Out of the way first, so that no placement overwrites one that comes later.
    let high: Vec<OwnedFd> =
        fds.iter().map(|fd| sys::fd::copy_above(fd, 64)).collect::<Result<_, _>>().step("copying")?;
    let null = File::open("/dev/null").and_then(|file| sys::fd::copy_above(file, 64)).step("/dev/null")?;
    sys::fd::place(&null, 0).step("replacing standard input")?;
    sys::fd::close_on_exec_from(3).step("closing the rest")?;
    for (number, fd) in (3..).zip(&high) {
        sys::fd::place(fd, number).step("placing a descriptor")?;
    }
    Ok(())
}
