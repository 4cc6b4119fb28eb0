//! Descriptors passed by the parent: sd_listen_fds(3), `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;

/// Descriptors are numbered from here.
const FIRST: i32 = 3;
/// More than this in `LISTEN_FDS` is a mistake, not a daemon with many sockets.
const MOST: usize = 64;

/// The descriptors the parent passed, by name; each can be taken once.
#[derive(Debug, Default)]
pub struct ListenFds {
    fds: Vec<(String, OwnedFd)>,
}

impl ListenFds {
    /// Takes the first descriptor of that name.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.fds.iter().position(|(have, _)| have == name)?;
        Some(self.fds.remove(at).1)
    }

    /// Takes all descriptors of that name: a listener may be there once for IPv4 and once for IPv6.
    pub fn take_all(&mut self, name: &str) -> Vec<OwnedFd> {
        std::iter::from_fn(|| self.take(name)).collect()
    }

    /// The names not taken yet, in the order passed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fds.iter().map(|(name, _)| name.as_str())
    }
}

/// Takes over the descriptors that the parent passed to this process, all marked close-on-exec.
///
/// Empty when `LISTEN_PID` is missing or another process's, and at every call after the first one. Call it
/// before anything else opens a descriptor.
///
/// # Errors
///
/// [`Error::ListenFd`] when an announced number is not open.
pub fn listen_fds() -> Result<ListenFds, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(ListenFds::default());
    }
    let var = |name| std::env::var(name).ok();
    let pid = std::process::id();
    let names = announced(pid, var("LISTEN_PID"), var("LISTEN_FDS"), var("LISTEN_FDNAMES"));
    let mut fds = Vec::with_capacity(names.len());
    for (number, name) in (FIRST..).zip(names) {
        match sys::fd::adopt(number) {
            Ok(fd) => fds.push((name, fd)),
            Err(source) => return Err(Error::ListenFd { number, name, source }),
        }
    }
    Ok(ListenFds { fds })
}

/// The names of the announced descriptors in order; `unknown` where the parent gave none.
fn announced(own_pid: u32, pid: Option<String>, count: Option<String>, names: Option<String>) -> Vec<String> {
    if pid.and_then(|text| text.parse().ok()) != Some(own_pid) {
        return Vec::new();
    }
    let count = count.and_then(|text| text.parse().ok()).filter(|count| *count <= MOST).unwrap_or(0);
    let names = names.unwrap_or_default();
    let given = names.split(':').filter(|name| !name.is_empty()).map(str::to_owned);
    given.chain(std::iter::repeat_with(|| "unknown".to_owned())).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::announced;
    use proptest::prelude::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn names_follow_the_order_of_the_descriptors() {
        assert_eq!(announced(7, some("7"), some("2"), some("https:http")), ["https", "http"]);
    }

    #[test]
    fn another_process_s_descriptors_are_left_alone() {
        assert!(announced(7, some("8"), some("2"), some("https:http")).is_empty());
        assert!(announced(7, None, some("2"), None).is_empty());
    }

    #[test]
    fn missing_names_are_unknown_and_extra_names_are_ignored() {
        assert_eq!(announced(7, some("7"), some("2"), some("a")), ["a", "unknown"]);
        assert_eq!(announced(7, some("7"), some("1"), some("a:b")), ["a"]);
    }

    proptest! {
        #[test]
        fn no_environment_makes_more_than_the_limit(pid in ".*", count in ".*", names in ".*") {
            prop_assert!(announced(7, Some(pid), Some(count.clone()), Some(names.clone())).len() <= super::MOST);
            prop_assert!(announced(7, some("7"), Some(count), Some(names)).len() <= super::MOST);
        }
    }
}
