//! How far the host has taken us: the controller's state, told as it changes.
//!
//! ```text
//!            bind             cable            host              host             host
//!  Unbound ───────▶ NotAttached ──▶ Powered ──▶ Default ──▶ Addressed ──▶ Configured ◀──▶ Suspended
//!     ▲  unbind                                                               │
//!     └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The kernel wakes pollers of `/sys/class/udc/NAME/state`. Which controller that is stands in the gadget's `UDC`
//! file, whose writers are seen by inotify (on its directory: configfs makes the file's inode anew each time). A look
//! once a second is the net under both: a gadget may be made anew, and not every controller's driver tells.
//!
//! Some controllers say `configured` from the last binding until the host resets them. So after a binding the state
//! counts from the next change on.
//!
//! The `UDC` file is read by a thread of its own: the kernel lets nobody read it while it binds or unbinds, and an
//! unbind waits for the drive's storage, a slow card say. Until the name is known the last one counts.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Paths;

/// Where the kernel shows its controllers.
pub(crate) const CLASS: &str = "/sys/class/udc";
/// How often is looked where nobody tells.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for the controller's name at the beginning; it mostly takes microseconds.
const FIRST: Duration = Duration::from_millis(250);
/// Longest wait for it later, before what is known counts.
const PATIENCE: Duration = Duration::from_millis(50);

/// How far the host has taken us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UdcState {
    /// The gadget is on no controller: to the host there is no cable.
    Unbound,
    /// On a controller that sees no host.
    NotAttached,
    /// There is a host.
    Attached,
    /// It gives power.
    Powered,
    /// It has reset us.
    Default,
    /// It has given us an address.
    Addressed,
    /// It uses us.
    Configured,
    /// It sleeps.
    Suspended,
}

impl UdcState {
    /// The state as the kernel writes it. Words that are none of ours mean that nobody uses us.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "attached" => Self::Attached,
            "powered" => Self::Powered,
            "default" => Self::Default,
            "addressed" => Self::Addressed,
            "configured" => Self::Configured,
            "suspended" => Self::Suspended,
            _ => Self::NotAttached,
        }
    }

    /// The word for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::NotAttached => "not attached",
            Self::Attached => "attached",
            Self::Powered => "powered",
            Self::Default => "default",
            Self::Addressed => "addressed",
            Self::Configured => "configured",
            Self::Suspended => "suspended",
        }
    }

    /// Whether the host takes reports.
    #[must_use]
    pub fn is_configured(self) -> bool {
        self == Self::Configured
    }
}

/// The state at this moment. Waits for a binding or unbinding that is under way.
#[must_use]
pub fn read(paths: &Paths) -> UdcState {
    read_at(paths, CLASS.as_ref())
}

pub(crate) fn read_at(paths: &Paths, class: &Path) -> UdcState {
    of(paths.udc().ok().flatten().as_deref(), class)
}

/// The state of a gadget on that controller.
fn of(name: Option<&str>, class: &Path) -> UdcState {
    let Some(name) = name else { return UdcState::Unbound };
    std::fs::read_to_string(class.join(name).join("state"))
        .map_or(UdcState::NotAttached, |text| UdcState::parse(&text))
}

/// Tells the state as it changes, until `stop`. The same state is told again when the kernel says that something has
/// happened: a host may have reset us and be back before anybody could look. To be called inside of a
/// runtime; the task it starts ends with `stop` or when nobody listens any more.
#[must_use]
pub fn watch(paths: Paths, stop: CancellationToken) -> watch::Receiver<UdcState> {
    watch_at(paths, CLASS.into(), stop)
}

fn watch_at(paths: Paths, class: PathBuf, stop: CancellationToken) -> watch::Receiver<UdcState> {
    let (names, first) = Names::start(paths.clone());
    let (sender, receiver) = watch::channel(of(first.as_deref(), &class));
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sender.closed() => {}
            () = follow(&paths, &class, (names, first), &sender) => {}
        }
    });
    receiver
}

async fn follow(
    paths: &Paths,
    class: &Path,
    (mut names, mut name): (Names, Option<String>),
    sender: &watch::Sender<UdcState>,
) {
    let mut bindings = Bindings::new(paths.gadget());
    let mut open: Option<Open> = None;
    let mut woken = None;
    // Whoever looks for the first time sees what has been so for long.
    let mut trusted = true;
    loop {
        // Before the name is read: a change after that wakes us.
        bindings.renew();
        names.ask();
        let before = name.clone();
        if let Ok(told) = tokio::time::timeout(PATIENCE, names.told()).await {
            name = told;
        }
        if open.as_ref().map(|open| &open.name) != name.as_ref() {
            open = name.clone().and_then(|name| Open::new(class, name).ok());
        }
        let read = match &open {
            Some(open) => open.read().unwrap_or(UdcState::NotAttached),
            None => of(name.as_deref(), class),
        };
        match woken {
            // Until the controller tells, it shows what was before the binding.
            Some(Woken::Bound) => trusted = false,
            Some(Woken::Told | Woken::Looks) => trusted = true,
            // A binding took so long that the name came late: as above.
            Some(Woken::Named) => trusted &= name == before,
            None => {}
        }
        let state = if trusted || name.is_none() { read } else { UdcState::NotAttached };
        let told = woken == Some(Woken::Told);
        sender.send_if_modified(|have| std::mem::replace(have, state) != state || told);
        woken = Some(tokio::select! {
            () = changed(open.as_ref()) => Woken::Told,
            () = bindings.changed() => Woken::Bound,
            // It is asked for again at once: what came late may be old.
            _ = names.told(), if names.asked => Woken::Named,
            () = tokio::time::sleep(LOOK) => {
                // A controller that went and came back has another file of the same name.
                open.take_if(|open| open.is_replaced(class));
                Woken::Looks
            }
        });
    }
}

/// The thread that reads which controller the gadget is on: one reading at a time, however long it takes. It ends when
/// nobody asks any more.
struct Names {
    ask: std::sync::mpsc::SyncSender<()>,
    told: mpsc::Receiver<Option<String>>,
    asked: bool,
}

impl Names {
    /// Also the first name, unless that takes too long.
    fn start(paths: Paths) -> (Self, Option<String>) {
        let read = move || paths.udc().ok().flatten();
        let (ask, asked) = std::sync::mpsc::sync_channel(1);
        let (tell, told) = mpsc::channel(1);
        let (tell_first, first) = std::sync::mpsc::sync_channel(1);
        let body = move || {
            // Nobody waits for that any more, or for any.
            let _ = tell_first.send(read());
            while asked.recv().is_ok() && tell.blocking_send(read()).is_ok() {}
        };
        if let Err(error) = std::thread::Builder::new().name("udc-name".to_owned()).spawn(body) {
            log::error!("nobody can look which controller the USB gadget is on: {error}");
        }
        (Self { ask, told, asked: false }, first.recv_timeout(FIRST).ok().flatten())
    }

    /// Begins a reading, unless one is under way.
    fn ask(&mut self) {
        if self.told.try_recv().is_ok() {
            self.asked = false;
        }
        if !self.asked {
            self.asked = self.ask.try_send(()).is_ok();
        }
    }

    /// What was read. Cancel-safe.
    async fn told(&mut self) -> Option<String> {
        match self.told.recv().await {
            Some(name) => {
                self.asked = false;
                name
            }
            // There is no such thread.
            None => std::future::pending().await,
        }
    }
}

/// What made us look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The controller says that it has changed.
    Told,
    /// Somebody has bound or unbound the gadget, perhaps both.
    Bound,
    /// The controller's name, after a long wait.
    Named,
    /// Nothing, for a while.
    Looks,
}

async fn changed(open: Option<&Open>) {
    match open {
        Some(open) => open.changed().await,
        None => std::future::pending().await,
    }
}

/// A controller's state file, kept open so that the kernel can tell us.
struct Open {
    name: String,
    file: AsyncFd<File>,
}

impl Open {
    fn new(class: &Path, name: String) -> io::Result<Self> {
        let file = File::open(Self::path(class, &name))?;
        // The kernel calls a file that was never read changed, which would look like a host that has just come.
        file.read_at(&mut [0; 64], 0)?;
        let file = waited_for(file, Interest::PRIORITY)?;
        Ok(Self { name, file })
    }

    fn path(class: &Path, name: &str) -> PathBuf {
        class.join(name).join("state")
    }

    fn is_replaced(&self, class: &Path) -> bool {
        let identity = |there: Metadata| (there.dev(), there.ino());
        let ours = self.file.get_ref().metadata().map(identity).ok();
        std::fs::metadata(Self::path(class, &self.name)).map(identity).ok() != ours
    }

    fn read(&self) -> io::Result<UdcState> {
        let mut buffer = [0; 64];
        let len = self.file.get_ref().read_at(&mut buffer, 0)?;
        Ok(UdcState::parse(&String::from_utf8_lossy(buffer.get(..len).unwrap_or_default())))
    }

    async fn changed(&self) {
        match self.file.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// A descriptor that tasks can wait for.
#[expect(deprecated, reason = "its successor is an unsafe fn; both types given own the descriptor they name")]
fn waited_for<T: AsRawFd>(owner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}

/// Tells when somebody writes a gadget's `UDC` file.
struct Bindings {
    dir: PathBuf,
    queue: Option<AsyncFd<Queue>>,
    watched: bool,
}

/// An inotify queue as tokio wants it.
struct Queue(Inotify);

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Bindings {
    fn new(dir: PathBuf) -> Self {
        let queue = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(io::Error::from)
            .and_then(|inotify| waited_for(Queue(inotify), Interest::READABLE));
        if let Err(error) = &queue {
            log::debug!("the gadget is only looked at: {error}");
        }
        Self { dir, queue: queue.ok(), watched: false }
    }

    /// Watches the directory of today, if it is not watched.
    fn renew(&mut self) {
        if let Some(queue) = &self.queue
            && !self.watched
        {
            let added = queue.get_ref().0.add_watch(&self.dir, AddWatchFlags::IN_MODIFY);
            self.watched = added.is_ok();
        }
    }

    async fn changed(&mut self) {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = queue.readable().await else { return std::future::pending().await };
            let mut is_ours = false;
            while let Ok(events) = queue.get_ref().0.read_events() {
                // The directory is gone, and with it the watch.
                let gone = events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_IGNORED));
                self.watched &= !gone;
                is_ours |= gone || events.iter().any(|event| event.name.as_deref() == Some("UDC".as_ref()));
            }
            ready.clear_ready();
            if is_ours {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [UdcState; 8] = [
        UdcState::Unbound,
        UdcState::NotAttached,
        UdcState::Attached,
        UdcState::Powered,
        UdcState::Default,
        UdcState::Addressed,
        UdcState::Configured,
        UdcState::Suspended,
    ];

    #[test]
    fn every_state_of_the_kernel_is_read_as_it_is_called() {
        for state in STATES.into_iter().filter(|state| *state != UdcState::Unbound) {
            assert_eq!(UdcState::parse(&format!("{}\n", state.name())), state);
        }
        assert_eq!(UdcState::parse("reconnecting\n"), UdcState::NotAttached);
    }

    struct Fake {
        dir: tempfile::TempDir,
        paths: Paths,
    }

    impl Fake {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths { configfs: dir.path().join("config"), ..Paths::default() };
            std::fs::create_dir_all(paths.gadget()).unwrap();
            std::fs::write(paths.udc_file(), "\n").unwrap();
            for udc in ["a.usb", "b.usb"] {
                std::fs::create_dir_all(dir.path().join("class").join(udc)).unwrap();
            }
            Self { dir, paths }
        }

        fn class(&self) -> PathBuf {
            self.dir.path().join("class")
        }

        fn state(&self, udc: &str, state: &str) {
            std::fs::write(self.class().join(udc).join("state"), format!("{state}\n")).unwrap();
        }

        fn bind(&self, udc: &str) {
            std::fs::write(self.paths.udc_file(), format!("{udc}\n")).unwrap();
        }
    }

    async fn becomes(states: &mut watch::Receiver<UdcState>, state: UdcState) {
        tokio::time::timeout(Duration::from_secs(20), states.wait_for(|have| *have == state))
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn the_state_follows_binding_unbinding_and_another_controller() {
        let fake = Fake::new();
        fake.state("a.usb", "configured");
        fake.state("b.usb", "addressed");
        let stop = CancellationToken::new();
        let mut states = watch_at(fake.paths.clone(), fake.class(), stop.clone());
        assert_eq!(*states.borrow(), UdcState::Unbound);
        for _ in 0..3 {
            fake.bind("a.usb");
            becomes(&mut states, UdcState::Configured).await;
            fake.bind("b.usb");
            becomes(&mut states, UdcState::Addressed).await;
            fake.bind("");
            becomes(&mut states, UdcState::Unbound).await;
        }
        stop.cancel();
        assert!(states.wait_for(|_| false).await.is_err(), "the task ends with the token");
    }

    #[tokio::test]
    async fn a_gadget_that_is_made_anew_is_followed() {
        let fake = Fake::new();
        fake.state("a.usb", "suspended");
        fake.bind("a.usb");
        let mut states = watch_at(fake.paths.clone(), fake.class(), CancellationToken::new());
        assert_eq!(*states.borrow(), UdcState::Suspended);
        std::fs::remove_dir_all(fake.paths.gadget()).unwrap();
        becomes(&mut states, UdcState::Unbound).await;
        std::fs::create_dir_all(fake.paths.gadget()).unwrap();
        fake.bind("a.usb");
        becomes(&mut states, UdcState::Suspended).await;
    }

    #[tokio::test]
    async fn a_binding_that_takes_long_stops_nobody_but_the_thread_that_reads() {
        let fake = Fake::new();
        fake.state("a.usb", "configured");
        // Like the kernel while it binds: nobody gets an answer until somebody writes.
        std::fs::remove_file(fake.paths.udc_file()).unwrap();
        nix::unistd::mkfifo(&fake.paths.udc_file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut states = watch_at(fake.paths.clone(), fake.class(), CancellationToken::new());
        tokio::time::sleep(LOOK + PATIENCE * 4).await;
        assert_eq!(*states.borrow(), UdcState::Unbound, "others run on, and nothing is known yet");
        let mut done = File::options().write(true).open(fake.paths.udc_file()).unwrap();
        std::fs::remove_file(fake.paths.udc_file()).unwrap();
        fake.bind("a.usb");
        io::Write::write_all(&mut done, b"a.usb\n").unwrap();
        drop(done);
        becomes(&mut states, UdcState::Configured).await;
    }

    #[test]
    fn a_bound_gadget_whose_controller_is_gone_sees_no_host() {
        let fake = Fake::new();
        fake.bind("gone.usb");
        assert_eq!(read_at(&fake.paths, &fake.class()), UdcState::NotAttached);
    }
}
