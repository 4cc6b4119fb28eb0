//! Whether anybody holds a file open for writing.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Whether nobody has this file open for writing, be it by a descriptor or a shared mapping. The file must be open for reading
/// only, and ours. It says nothing of those who may open it later.
///
/// # Errors
///
/// The kernel's words, where the file system knows no leases, say.
#[expect(unsafe_code, reason = "fcntl")]
pub fn has_no_writer(file: impl AsFd) -> io::Result<bool> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: fcntl with F_SETLEASE takes an int and touches no memory; the descriptor is open for as long as `file` is borrowed.
    let set = |kind: libc::c_int| Errno::result(unsafe { libc::fcntl(fd, libc::F_SETLEASE, kind) });
    match set(libc::F_RDLCK) {
        Ok(_) => {
            // At once: it would only be broken by the next who writes, and nobody is to be held up.
            set(libc::F_UNLCK)?;
            Ok(true)
        }
        Err(Errno::EAGAIN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};

    #[test]
    fn a_writer_is_seen_while_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "x").unwrap();
        let reader = File::open(&path).unwrap();
        assert!(has_no_writer(&reader).unwrap());
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(!has_no_writer(&reader).unwrap());
        drop(writer);
        assert!(has_no_writer(&reader).unwrap());
        // And the lease is gone: writing is not held up.
        OpenOptions::new().append(true).open(&path).unwrap();
    }
}
