//! Telling the kernel when to bring a part of a file to the disk: sync_file_range(2).
#![expect(unsafe_code, reason = "neither std nor nix has sync_file_range")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Starts to write the dirty pages of a range, without waiting. Says nothing about metadata or the disk's cache.
///
/// # Errors
///
/// What the kernel says; `ENOSYS` or `EINVAL` where a file system cannot do it.
pub fn start(file: &File, offset: u64, len: u64) -> io::Result<()> {
    range(file, offset, len, libc::SYNC_FILE_RANGE_WRITE)
}

/// Waits until the dirty pages of a range are written. Says nothing about metadata or the disk's cache.
///
/// # Errors
///
/// As [`start`], and errors of the writing itself.
pub fn wait(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    range(file, offset, len, flags)
}

fn range(file: &File, offset: u64, len: u64, flags: libc::c_uint) -> io::Result<()> {
    let large = |n: u64| libc::off64_t::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let (offset, len) = (large(offset)?, large(len)?);
    // SAFETY: the descriptor is open for as long as `file` is borrowed; the call takes no pointers.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, flags) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_written_range_can_be_started_and_waited_for() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        start(&file, 0, 50_000).unwrap();
        wait(&file, 0, 100_000).unwrap();
    }

    #[test]
    fn an_impossible_range_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(start(&file, u64::MAX, 1).is_err());
    }
}
