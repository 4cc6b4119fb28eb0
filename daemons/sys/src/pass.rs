//! Descriptors sent from one process to another: `SCM_RIGHTS` over a unix sequenced-packet socket pair.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

/// Most descriptors in one packet; the kernel's limit is 253.
pub const MOST: usize = 32;

/// Two connected ends, both close-on-exec.
///
/// # Errors
///
/// What `socketpair` says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one packet: `bytes` (not empty) and copies of `fds` (at most [`MOST`]).
///
/// # Errors
///
/// `InvalidInput` for an empty packet or too many descriptors, else what `sendmsg` says.
pub fn send(to: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.is_empty() || fds.len() > MOST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty packet, or too many descriptors"));
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg::<()>(to.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one packet of at most `longest` bytes, its descriptors close-on-exec.
///
/// # Errors
///
/// `UnexpectedEof` when the other end is closed, `InvalidData` when the packet did not fit.
pub fn receive(from: impl AsFd, longest: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; longest];
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let raw = from.as_fd().as_raw_fd();
    let message = recvmsg::<()>(raw, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            fds.extend(numbers.into_iter().map(own));
        }
    }
    let len = message.bytes;
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the packet does not fit"));
    }
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(len);
    Ok((bytes, fds))
}

#[expect(unsafe_code, reason = "received descriptors arrive as bare numbers")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: recvmsg has just created this number for us alone.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    #[test]
    fn a_packet_carries_bytes_and_descriptors_in_order() {
        let (a, b) = pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"hello").unwrap();
        file.rewind().unwrap();
        let null = File::open("/dev/null").unwrap();
        send(&a, b"spec", &[file.as_fd(), null.as_fd()]).unwrap();
        let (bytes, mut fds) = receive(&b, 64).unwrap();
        assert_eq!((bytes.as_slice(), fds.len()), (&b"spec"[..], 2));
        let mut text = String::new();
        File::from(fds.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_closed_end_and_a_packet_too_long_are_errors() {
        let (a, b) = pair().unwrap();
        send(&a, &[1; 65], &[]).unwrap();
        assert_eq!(receive(&b, 64).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(a);
        assert_eq!(receive(&b, 64).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
