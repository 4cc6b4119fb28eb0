//! Files in memory that several processes share: memfd_create(2) with seals.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// Creates a file in memory of exactly `len_bytes`, sealed against changing its size (and against removing that
/// seal), mode 0600. The descriptor is readable, writable and closed on exec.
///
/// The mode matters: a memfd starts as 0777, so whoever holds a read-only descriptor could reopen it for writing
/// through `/proc/self/fd`. With 0600 only the creating user (and root) can.
///
/// # Errors
///
/// What the kernel says, for example `ENOMEM` or `EFBIG`.
pub fn create_sealed(name: &str, len_bytes: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let file = File::from(fd);
    file.set_len(len_bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Opens the same file again, for reading only. The result is an open file of its own, not a duplicate, so it
/// cannot be used to write.
///
/// # Errors
///
/// What open(2) says; `/proc` must be mounted.
pub fn read_only(fd: &impl AsFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(OpenOptions::new().read(true).open(path)?.into())
}

/// The length in bytes, provided that the file is sealed against shrinking: only then is a mapping of it safe from
/// SIGBUS.
///
/// # Errors
///
/// `InvalidData` when the file is not sealed; `EINVAL` when it is no memfd at all.
pub fn sealed_len(fd: &impl AsFd) -> io::Result<u64> {
    let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?);
    if !seals.contains(SealFlag::F_SEAL_SHRINK) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file may shrink (not sealed)"));
    }
    let file = File::from(fd.as_fd().try_clone_to_owned()?);
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_size_cannot_change_and_only_the_owner_may_reopen_it() {
        let fd = create_sealed("test", 8192).unwrap();
        assert_eq!(sealed_len(&fd).unwrap(), 8192);
        let file = File::from(fd);
        assert!(file.set_len(4096).is_err());
        assert!(file.set_len(16384).is_err());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_read_only_descriptor_reads_the_same_bytes_and_refuses_to_write() {
        let fd = create_sealed("test", 4096).unwrap();
        let mut reader = File::from(read_only(&fd).unwrap());
        File::from(fd).write_all(b"frame").unwrap();
        let mut seen = [0; 5];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"frame");
        assert!(reader.write_all(b"x").is_err());
    }

    #[test]
    fn a_file_that_may_shrink_is_refused() {
        let fd = memfd_create("test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert_eq!(sealed_len(&fd).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(sealed_len(&tempfile::tempfile().unwrap()).is_err());
    }
}
