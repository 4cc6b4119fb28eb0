//! File descriptors that came to us by number: across `exec`, or under a number a child expects.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Takes over an inherited descriptor and marks it close-on-exec.
///
/// Call it once for a number, early, and only for numbers that the parent announced (`LISTEN_FDS`): the
/// caller states by this that nothing else in the process owns the number.
///
/// # Errors
///
/// `InvalidInput` for the standard streams (0 to 2), `EBADF` when the number is not open.
#[expect(unsafe_code, reason = "an inherited descriptor has no other way into the type system")]
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a standard stream is not ours to adopt"));
    }
    close_on_exec(number, true)?;
    // SAFETY: fcntl has just shown the number to be open; it was announced by the parent for us to own, and
    // code in this process that opens descriptors itself never gives out a number that is already open.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets or clears close-on-exec on an open descriptor number.
///
/// # Errors
///
/// `EBADF` when the number is not open.
#[expect(unsafe_code, reason = "nix wants a borrowed descriptor, and a bare number is all that exists here")]
fn close_on_exec(number: RawFd, on: bool) -> io::Result<()> {
    let flags = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: F_SETFD changes one flag of a descriptor; a number that is not open gives EBADF.
    match unsafe { libc::fcntl(number, libc::F_SETFD, flags) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A close-on-exec copy whose number is `lowest` or more.
///
/// # Errors
///
/// What `F_DUPFD_CLOEXEC` says.
#[expect(unsafe_code, reason = "nix gives the copy as a bare number")]
pub fn copy_above(fd: impl AsFd, lowest: RawFd) -> io::Result<OwnedFd> {
    let number = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: fcntl has just created this number for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `number` a copy of `fd` that survives `exec`. What was open under `number` is closed.
///
/// For the last steps of a process before `exec` only: it pulls numbers out from under their owners.
///
/// # Errors
///
/// What `dup3` says.
#[expect(unsafe_code, reason = "the target is a bare number by design: LISTEN_FDS counts from 3")]
pub fn place(fd: &impl AsRawFd, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return close_on_exec(number, false);
    }
    // SAFETY: dup2 touches no memory of ours; the caller is about to exec and uses `number` no more.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Marks every descriptor from `first` upward close-on-exec, so that `exec` drops what was not placed.
///
/// # Errors
///
/// What `close_range` says (`ENOSYS` before Linux 5.11).
#[expect(unsafe_code, reason = "neither std nor nix wraps close_range")]
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range with CLOSE_RANGE_CLOEXEC only sets a flag on open descriptors; it takes no pointers.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::IntoRawFd;

    #[test]
    fn standard_streams_are_not_adopted() {
        for number in 0..3 {
            assert_eq!(adopt(number).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert_eq!(adopt(9_999).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn an_adopted_descriptor_closes_on_exec() {
        let raw = File::open("/dev/null").unwrap().into_raw_fd();
        close_on_exec(raw, false).unwrap();
        let fd = adopt(raw).unwrap();
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}
