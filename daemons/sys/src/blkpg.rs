//! Partitions of a disk as the kernel knows them: made longer while it runs.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `BLKPG` of `linux/blkpg.h`.
const BLKPG: libc::c_ulong = 0x1269;
/// `BLKPG_RESIZE_PARTITION`.
const RESIZE: libc::c_int = 3;

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Argument {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *mut c_void,
}

/// `struct blkpg_partition`.
#[repr(C)]
struct Partition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    pno: libc::c_int,
    devname: [libc::c_char; 64],
    volname: [libc::c_char; 64],
}

/// Tells the kernel that the partition of that number, which begins at byte `start`, is `length` bytes long. It may be
/// mounted; whoever has it open sees the new length.
///
/// # Errors
///
/// The kernel's words: `EBUSY` where it would reach into another one, `ENXIO` where there is none of that number.
#[expect(unsafe_code, reason = "neither std nor nix wraps BLKPG")]
pub fn resize(disk: &File, number: i32, start: u64, length: u64) -> io::Result<()> {
    let number_of =
        |bytes: u64| i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let mut partition = Partition {
        start: number_of(start)?,
        length: number_of(length)?,
        pno: number,
        devname: [0; 64],
        volname: [0; 64],
    };
    let datalen = i32::try_from(size_of::<Partition>()).map_err(io::Error::other)?;
    let mut argument = Argument { op: RESIZE, flags: 0, datalen, data: (&raw mut partition).cast() };
    // SAFETY: the descriptor is open for the call; both structures have the layout of the kernel's header, live for the
    // call, and the kernel only reads them.
    let result = unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG as _, &raw mut argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_disk_has_no_partitions() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(resize(&file, 1, 0, 512).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(resize(&file, 1, u64::MAX, 512).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
