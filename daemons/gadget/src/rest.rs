//! Last reports, sent by somebody who is not the one that pressed: to all devices at once, for a bounded time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::poll::{PollTimeout, poll};

/// Between two tries: a host asks for reports that often.
const PAUSE: Duration = Duration::from_millis(4);

/// What became of a report.
#[derive(Debug)]
pub enum Outcome {
    /// The kernel has it, and the host gets it with its next poll.
    Sent,
    /// The host has not taken the report before it.
    TooLate,
    /// There is no host (any more): nothing is pressed there.
    NoHost,
    /// The kernel refused.
    Failed(io::Error),
}

/// Sends one report to each node.
pub(crate) fn send(reports: &[(PathBuf, Vec<u8>)], limit: Duration) -> Vec<Outcome> {
    let end = Instant::now() + limit;
    let mut under_way: Vec<(usize, File)> = Vec::new();
    let mut outcomes: Vec<Outcome> = reports.iter().map(|_| Outcome::TooLate).collect();
    for (at, (path, _)) in reports.iter().enumerate() {
        // Not waited for, and nothing but the node itself: a link in its place is somebody's trick.
        match OpenOptions::new().write(true).custom_flags(O_NONBLOCK | O_NOFOLLOW).open(path) {
            Ok(node) => under_way.push((at, node)),
            Err(error) => set(&mut outcomes, at, Outcome::Failed(error)),
        }
    }
    loop {
        under_way.retain_mut(|(at, node)| {
            let Some((_, report)) = reports.get(*at) else { return false };
            match node.write(report) {
                Ok(_) => set(&mut outcomes, *at, Outcome::Sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
                Err(error) if error.raw_os_error() == Some(Errno::ESHUTDOWN as i32) => {
                    set(&mut outcomes, *at, Outcome::NoHost);
                }
                Err(error) => set(&mut outcomes, *at, Outcome::Failed(error)),
            }
            false
        });
        let left = end.saturating_duration_since(Instant::now());
        if under_way.is_empty() || left.is_zero() {
            return outcomes;
        }
        // Not waited for on the nodes themselves: kernels before 6.12.82 make a node's list of waiters anew when the
        // gadget is bound, and whoever waits in the old one then corrupts it.
        let _ = poll(&mut [], PollTimeout::try_from(PAUSE.min(left)).unwrap_or(PollTimeout::ZERO));
    }
}

fn set(outcomes: &mut [Outcome], at: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(at) {
        *slot = outcome;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::io::Read;

    fn fifo(dir: &tempfile::TempDir, name: &str) -> (PathBuf, File) {
        let path = dir.path().join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let reader = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
        (path, reader)
    }

    #[test]
    fn everybody_gets_a_report_and_one_that_does_not_read_delays_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (first, mut reads) = fifo(&dir, "first");
        let (second, _does_not_read) = fifo(&dir, "second");
        let mut filler = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&second).unwrap();
        while filler.write(&[0; 4096]).is_ok() {}
        let missing = dir.path().join("missing");
        let reports = [(second, vec![0; 5]), (missing, vec![0; 8]), (first, vec![1, 2, 3])];
        let outcomes = send(&reports, Duration::from_millis(50));
        assert!(
            matches!(outcomes[..], [Outcome::TooLate, Outcome::Failed(_), Outcome::Sent]),
            "{outcomes:?}"
        );
        let mut read = [0; 8];
        assert_eq!((reads.read(&mut read).unwrap(), &read[..3]), (3, &[1, 2, 3][..]));
    }

    #[test]
    fn a_report_waits_until_the_one_before_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut reads) = fifo(&dir, "node");
        let mut filler = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
        while filler.write(&[0; 4096]).is_ok() {}
        let taker = std::thread::spawn(move || {
            let mut all = vec![0; 4096];
            while reads.read(&mut all).is_ok() {}
            reads
        });
        let outcomes = send(&[(path, vec![7])], Duration::from_secs(20));
        assert!(matches!(outcomes[..], [Outcome::Sent]), "{outcomes:?}");
        drop(taker.join().unwrap());
    }

    #[test]
    fn a_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let outcomes = send(&[(link, vec![0; 8])], Duration::from_millis(10));
        assert!(matches!(outcomes[..], [Outcome::Failed(_)]));
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }
}
