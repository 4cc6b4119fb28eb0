//! What a host asks of a CD drive: the other side of the one we lend, played by tests.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use libc::{c_int, c_ulong};

/// `CDROMEJECT`
const EJECT: c_ulong = 0x5309;
/// `CDROM_LOCKDOOR`
const LOCK_DOOR: c_ulong = 0x5329;

/// Ejects the medium.
///
/// # Errors
///
/// The kernel's words; `EBUSY` or `EIO` while somebody else has it open.
#[expect(unsafe_code, reason = "neither std nor nix wraps CD drives")]
pub fn eject(drive: impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and this request takes no argument.
    check(unsafe { libc::ioctl(drive.as_fd().as_raw_fd(), EJECT as libc::Ioctl, 0) })
}

/// Locks the door, or unlocks it: PREVENT ALLOW MEDIUM REMOVAL.
///
/// # Errors
///
/// The kernel's words.
#[expect(unsafe_code, reason = "neither std nor nix wraps CD drives")]
pub fn lock_door(drive: impl AsFd, lock: bool) -> io::Result<()> {
    // SAFETY: the descriptor is open, and this request takes a number, not a pointer.
    check(unsafe { libc::ioctl(drive.as_fd().as_raw_fd(), LOCK_DOOR as libc::Ioctl, c_int::from(lock)) })
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
