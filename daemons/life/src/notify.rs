//! Telling the parent how we are: sd_notify(3) over `NOTIFY_SOCKET`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The way to the parent; does nothing when the parent does not listen.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    to: Option<Arc<(UnixDatagram, SocketAddr)>>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET`: a path, or `@name` for the abstract name space.
    #[must_use]
    pub fn from_env() -> Self {
        std::env::var_os("NOTIFY_SOCKET").map_or_else(Self::default, |name| Self::new(&name))
    }

    /// To the socket of that name. A name that cannot be an address gives a notifier that does nothing.
    #[must_use]
    pub fn new(name: &OsStr) -> Self {
        let open = || {
            let socket = UnixDatagram::unbound().ok()?;
            // A parent that does not read must not stall us: what does not fit is dropped.
            socket.set_nonblocking(true).ok()?;
            Some(Arc::new((socket, address(name)?)))
        };
        Self { to: open() }
    }

    /// `READY=1`.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// `STOPPING=1`.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// `WATCHDOG=1`.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// `STATUS=text`; line ends in the text become spaces, because a line end ends the field.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace(['\n', '\r'], " ")));
    }

    /// The parent may be gone or its queue full; neither is this daemon's business.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = self.to.as_deref()
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            log::debug!("cannot tell the parent {message:?}: {error}");
        }
    }
}

fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

/// The watchdog's period, when `WATCHDOG_USEC` is set and meant for this process.
pub(crate) fn watchdog_from_env() -> Option<Duration> {
    let var = |name| std::env::var(name).ok();
    watchdog(std::process::id(), var("WATCHDOG_PID"), var("WATCHDOG_USEC"))
}

fn watchdog(own_pid: u32, pid: Option<String>, usec: Option<String>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    usec?.parse().ok().filter(|usec| *usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn states_reach_a_socket_with_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str());
        notifier.ready();
        notifier.status("two\nlines");
        notifier.alive();
        notifier.stopping();
        let all: Vec<_> = (0..4).map(|_| received(&socket)).collect();
        assert_eq!(all, ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn states_reach_an_abstract_socket() {
        let name = format!("life-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        Notifier::new(OsStr::new(&format!("@{name}"))).ready();
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn nobody_listening_is_no_error() {
        Notifier::default().ready();
        Notifier::new(OsStr::new("/nonexistent/socket")).ready();
        Notifier::new(OsStr::new("relative")).ready();
        Notifier::new(OsStr::new("")).ready();
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(watchdog(7, some("7"), some("2000000")), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(7, None, some("5")), Some(Duration::from_micros(5)));
        assert_eq!(watchdog(7, some("8"), some("5")), None);
        for bad in ["0", "", "-1", "x"] {
            assert_eq!(watchdog(7, None, some(bad)), None);
        }
    }
}
