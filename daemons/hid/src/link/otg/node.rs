//! A device node of a HID function.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Between two looks whether the host polled: what the fastest polls of a gadget (1 ms) make worthwhile.
const LOOK: Duration = Duration::from_micros(500);

/// Where a node is found, again and again.
pub(super) trait Open {
    type Node: Node;

    /// Opens what is there now.
    fn open(&self) -> io::Result<Self::Node>;

    /// Whether something else is there now than when `node` was opened. Nothing there is not something else: an unbound
    /// function takes its node away, and the open one works again when it is bound.
    fn is_replaced(&self, node: &Self::Node) -> bool;
}

/// What can be done with an open node; nothing here waits but [`Self::wait_free`].
pub(super) trait Node {
    /// Hands over a report: `WouldBlock` while there is one already, `ESHUTDOWN` while no host has the function configured.
    fn write(&mut self, report: &[u8]) -> io::Result<()>;

    /// Whether there is no report in it, waiting for that for some time.
    fn wait_free(&mut self, patience: Duration) -> io::Result<bool>;

    /// The last output report of the host that nobody has read yet.
    fn read(&mut self) -> io::Result<u8>;
}

/// A node in the file system.
#[derive(Clone, Debug)]
pub(super) struct Place(pub(super) PathBuf);

/// An open node, and which one that is.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    identity: (u64, u64),
}

impl Open for Place {
    type Node = Opened;

    fn open(&self) -> io::Result<Opened> {
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.0)?;
        let there = file.metadata()?;
        Ok(Opened { file, identity: (there.dev(), there.ino()) })
    }

    fn is_replaced(&self, node: &Opened) -> bool {
        std::fs::metadata(&self.0).is_ok_and(|there| (there.dev(), there.ino()) != node.identity)
    }
}

impl Opened {
    /// With a time of zero the kernel does not queue us anywhere, which is what counts here.
    fn is_free(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO)?;
        Ok(fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)))
    }
}

impl Node for Opened {
    fn write(&mut self, report: &[u8]) -> io::Result<()> {
        // A report is taken whole or not at all.
        self.file.write(report).map(drop)
    }

    fn wait_free(&mut self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        loop {
            if self.is_free()? {
                return Ok(true);
            }
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(false);
            }
            std::thread::park_timeout(rest.min(LOOK));
        }
    }

    fn read(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        match self.file.read(&mut byte)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0]),
        }
    }
}
