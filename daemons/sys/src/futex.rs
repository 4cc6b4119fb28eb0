//! Sleeping on a word of shared memory: futex(2), between processes.
#![expect(unsafe_code, reason = "libc has no typed futex call")]

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Somebody woke the word, a signal came, or for no reason: look at the word again.
    Woken,
    /// The word did not hold the expected value to begin with.
    Changed,
    /// The time is up.
    TimedOut,
}

/// Sleeps as long as `word` holds `expected`, until [`wake_all`] or for `timeout`.
///
/// The futex is a shared one: the key is the file and the offset, so it works between processes, and on a mapping
/// that this process may only read.
///
/// # Errors
///
/// What the kernel says other than the three outcomes of [`Wake`].
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> io::Result<Wake> {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the address is valid for a read for as long as `word` is borrowed; the kernel only reads both.
    let outcome = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, ptr::from_ref(&timeout))
    };
    if outcome == 0 {
        return Ok(Wake::Woken);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Wake::Changed),
        Some(libc::EINTR) => Ok(Wake::Woken),
        Some(libc::ETIMEDOUT) => Ok(Wake::TimedOut),
        _ => Err(error),
    }
}

/// Wakes everybody who sleeps on `word`, in any process; says how many.
///
/// # Errors
///
/// What the kernel says (`EFAULT` is impossible for a borrowed word).
pub fn wake_all(word: &AtomicU32) -> io::Result<usize> {
    // SAFETY: the kernel uses the address as a key only.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    usize::try_from(woken).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::{memfd, mmap};

    #[test]
    fn a_word_that_changed_already_is_not_waited_for() {
        let word = AtomicU32::new(2);
        assert_eq!(wait(&word, 1, Duration::from_secs(3600)).unwrap(), Wake::Changed);
        assert_eq!(wait(&word, 2, Duration::ZERO).unwrap(), Wake::TimedOut);
        assert_eq!(wake_all(&word).unwrap(), 0);
    }

    #[test]
    fn a_reader_with_a_read_only_mapping_is_woken_by_the_writer() {
        let fd = memfd::create_sealed("test", 4096).unwrap();
        let read = mmap::ReadMap::new(&memfd::read_only(&fd).unwrap()).unwrap();
        let write = mmap::WriteMap::new(&fd).unwrap();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(move || {
                while read.load(8, Ordering::Acquire) == Some(0) {
                    read.wait(8, 0, Duration::from_secs(3600)).unwrap();
                }
            });
            // Wake without a change of the word until one sleeper was really asleep: proves the keys are the same.
            while wake_all(write.word(8).unwrap()).unwrap() == 0 {
                std::thread::yield_now();
            }
            write.word(8).unwrap().store(1, Ordering::Release);
            while !sleeper.is_finished() {
                wake_all(write.word(8).unwrap()).unwrap();
                std::thread::yield_now();
            }
        });
    }
}
