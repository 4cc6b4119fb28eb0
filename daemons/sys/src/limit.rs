//! Bounds on another process of ours: prlimit(2) and setpriority(2).
#![expect(unsafe_code, reason = "nix sets limits of the calling process only, and no priorities")]

use std::io;

/// What of a process is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Bytes of its address space: what it asks for beyond that is refused.
    AddressSpace,
    /// Seconds it may compute; then it is ended.
    CpuTime,
    /// Bytes of the longest file it may write; at more it is ended. Pipes are no files.
    FileSize,
    /// Bytes of the core it leaves when it crashes.
    Core,
}

/// Bounds a process for good.
///
/// # Errors
///
/// What the kernel says: `ESRCH` for a process that has ended, `EPERM` for one that is not ours.
pub fn set(pid: u32, what: What, most: u64) -> io::Result<()> {
    let resource = match what {
        What::AddressSpace => libc::RLIMIT_AS,
        What::CpuTime => libc::RLIMIT_CPU,
        What::FileSize => libc::RLIMIT_FSIZE,
        What::Core => libc::RLIMIT_CORE,
    };
    let limit = libc::rlimit64 { rlim_cur: most, rlim_max: most };
    // SAFETY: the kernel reads one `rlimit64` by the first pointer while the call lasts, and the second may be null.
    let done = unsafe { libc::prlimit64(id(pid)?, resource, &raw const limit, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a process yield to others: 0 (as usual) to 19 (whenever nobody else wants to run).
///
/// # Errors
///
/// As [`set`].
pub fn niceness(pid: u32, nice: u8) -> io::Result<()> {
    let pid = libc::id_t::try_from(id(pid)?).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the call takes no pointers.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, pid, libc::c_int::from(nice)) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Zero would mean ourselves.
fn id(pid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_is_bounded_and_yields() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let bounds = [
            (What::AddressSpace, 64 << 20, "Max address space"),
            (What::CpuTime, 29, "Max cpu time"),
            (What::FileSize, 4096, "Max file size"),
            (What::Core, 0, "Max core file size"),
        ];
        for (what, most, _) in bounds {
            set(child.id(), what, most).unwrap();
        }
        niceness(child.id(), 7).unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        for (_, most, name) in bounds {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            assert_eq!(line.split_whitespace().next(), Some(most.to_string().as_str()), "{name}");
        }
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap();
        assert_eq!(nice, "7");
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn nobody_and_ourselves_by_zero_are_refused() {
        assert_eq!(set(0, What::Core, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(niceness(u32::MAX, 1).is_err());
    }
}
