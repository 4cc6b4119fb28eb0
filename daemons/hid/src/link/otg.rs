//! USB: three functions of a gadget (`f_hid`), each a device node that takes reports and gives lights.
//!
//! A node holds one report at a time, until the host polls for it. [`Otg::send`] waits for that, so that no two reports
//! share a poll and a click never overtakes the modifier held on the keyboard. A host that sleeps or is busy starting
//! does not poll: then the report stays with the kernel ([`Error::Untaken`]) and is delivered when the host reads on;
//! who comes later does not wait again.
//!
//! ```text
//! each port:   Free ──write──> InFlight ──host polls──> Free
//!                                 │  not within `select_timeout`
//!                                 └─────> Stalled ──host polls, or the function starts anew──> Free
//! ```
//!
//! What the kernel does to a report in flight: it survives a suspend; an unbind, a reset or another configuration drops
//! it without a word, which then looks as if it had been taken. The owner of the link therefore says the final state
//! again each time the host comes ([`Presence::Here`]).
//!
//! Nobody ever sleeps in the kernel on a node. Until a fix of 2026 (6.12 has it since spring) binding a gadget made the
//! node's wait queues anew under whoever waited there, so epoll on a node corrupts memory at the next rebind. Looking
//! now and then costs little: twice a millisecond while a report is in flight, ten times a second for lights, and not at
//! all while the host is away.

mod lights;
mod node;
mod port;

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gadget::{LastReport, UdcState};
use hid_wire::{Device, Leds, Report};
use log::{debug, info};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use tokio::sync::watch;

use super::{Error, Link, Presence};
use node::Place;
use port::Port;

/// A function of the gadget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its device node, or a link to it. It may be missing for now.
    pub device: PathBuf,
    /// How long a report may wait for the host's poll before others stop waiting for it.
    pub select_timeout: Duration,
    /// Whether its reports have a horizontal wheel. Without meaning for a keyboard.
    pub horizontal_wheel: bool,
}

impl Function {
    /// A function with a horizontal wheel whose reports wait for 0.1 s.
    #[must_use]
    pub fn new(device: impl Into<PathBuf>) -> Self {
        Self { device: device.into(), select_timeout: Duration::from_millis(100), horizontal_wheel: true }
    }
}

/// Which functions there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The keyboard.
    pub keyboard: Function,
    /// The mouse that says where the pointer is, where there is one.
    pub absolute: Option<Function>,
    /// The mouse that says how far it moved, where there is one.
    pub relative: Option<Function>,
    /// The gadget's `UDC` file: names the controller that wakes a sleeping host. Nothing wakes it where this is `None`,
    /// unless the kernel does so by itself at each write (`wakeup_on_write`).
    pub udc: Option<PathBuf>,
    /// Where controllers are.
    pub udc_class: PathBuf,
    /// Where the absolute mouse's last report is noted, for whoever has to release its buttons when we cannot.
    pub last_absolute: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keyboard: Function::new("/dev/kvmd-hid-keyboard"),
            absolute: Some(Function::new("/dev/kvmd-hid-mouse")),
            relative: Some(Function::new("/dev/kvmd-hid-mouse-alt")),
            udc: None,
            udc_class: PathBuf::from("/sys/class/udc"),
            last_absolute: None,
        }
    }
}

/// Keyboard and mice of a USB gadget.
#[derive(Debug)]
pub struct Otg {
    keyboard: Port<Place>,
    absolute: Option<Mouse>,
    relative: Option<Mouse>,
    waker: Waker,
    last_absolute: Option<LastReport>,
    left_at: Option<[u8; 4]>,
    leds: watch::Receiver<Leds>,
    presence: watch::Receiver<Presence>,
}

#[derive(Debug)]
struct Mouse {
    port: Port<Place>,
    horizontal_wheel: bool,
}

impl Mouse {
    fn new(function: Function) -> Self {
        let horizontal_wheel = function.horizontal_wheel;
        Self { port: port(function), horizontal_wheel }
    }
}

fn port(function: Function) -> Port<Place> {
    Port::new(Place(function.device), function.select_timeout)
}

impl Otg {
    /// A link through these functions; `bus` says what the host does ([`gadget::state::watch`]). Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(settings: Settings, bus: watch::Receiver<UdcState>) -> Self {
        let (leds_sender, leds) = watch::channel(Leds::default());
        let first = if bus.borrow().is_configured() { Presence::Here { arrival: 0 } } else { Presence::Away };
        let (presence_sender, presence) = watch::channel(first);
        let node = Place(settings.keyboard.device.clone());
        let controller = settings.udc.map(|udc| controller(udc, bus.clone()));
        tokio::spawn(lights::follow(node, bus, leds_sender, presence_sender));
        Self {
            keyboard: port(settings.keyboard),
            absolute: settings.absolute.map(Mouse::new),
            relative: settings.relative.map(Mouse::new),
            waker: Waker { controller, class: settings.udc_class, looked: None, complained: false },
            left_at: settings.last_absolute.as_deref().and_then(last_position),
            last_absolute: settings.last_absolute.as_deref().and_then(open_last_report),
            leds,
            presence,
        }
    }

    fn hand_over(&mut self, report: &Report) -> Result<(), Error> {
        let mouse = match report.device() {
            Device::Keyboard => return self.keyboard.send(report.bytes()),
            Device::AbsoluteMouse => self.absolute.as_mut(),
            Device::RelativeMouse => self.relative.as_mut(),
        };
        match mouse {
            Some(mouse) if mouse.horizontal_wheel => mouse.port.send(report.bytes()),
            Some(mouse) => mouse.port.send(report.bytes_without_pan()),
            // The owner knows which mice there are, and asks for no other.
            None => Ok(()),
        }
    }

    fn port(&mut self, device: Device) -> Option<&mut Port<Place>> {
        match device {
            Device::Keyboard => Some(&mut self.keyboard),
            Device::AbsoluteMouse => self.absolute.as_mut().map(|mouse| &mut mouse.port),
            Device::RelativeMouse => self.relative.as_mut().map(|mouse| &mut mouse.port),
        }
    }
}

impl Link for Otg {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        if let (Report::Absolute(bytes), Some(last)) = (report, &self.last_absolute) {
            last.record(bytes);
        }
        // Letting go of keys (each session does when it opens) is no reason to wake anybody.
        if !is_at_rest(report) {
            self.waker.wake();
        }
        self.hand_over(report)
    }

    fn taken(&mut self, device: Device) -> Result<(), Error> {
        self.port(device).map_or(Ok(()), Port::taken)
    }

    fn leds(&self) -> Option<watch::Receiver<Leds>> {
        Some(self.leds.clone())
    }

    fn presence(&self) -> Option<watch::Receiver<Presence>> {
        Some(self.presence.clone())
    }

    /// The supervisor lets go as well, but a host that sleeps does not hear it. The absolute mouse is left alone where
    /// nobody knows where the pointer is: a report would move it.
    fn left_behind(&self) -> Vec<Report> {
        let absolute = self.left_at.filter(|_| self.absolute.is_some());
        let absolute = absolute.map(|[x0, x1, y0, y1]| Report::Absolute([0, x0, x1, y0, y1, 0, 0]));
        let relative = self.relative.is_some().then_some(Report::Relative([0; 5]));
        [Report::Keyboard([0; 8])].into_iter().chain(absolute).chain(relative).collect()
    }
}

/// Where the pointer was last sent, if anybody has sent it anywhere. Its bytes are those of a report.
fn last_position(path: &Path) -> Option<[u8; 4]> {
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path).ok()?;
    let mut place = [0; 4];
    file.read_exact_at(&mut place, 1).ok()?;
    Some(place)
}

/// The file is somebody else's to make; without it the pointer ends in the corner after a crash.
fn open_last_report(path: &Path) -> Option<LastReport> {
    let opened = LastReport::open(path);
    opened.inspect_err(|error| debug!("{}: {error}", path.display())).ok()
}

/// Whether it says that nothing is down, and moves nothing but perhaps a pointer to where it already is.
fn is_at_rest(report: &Report) -> bool {
    match report {
        Report::Keyboard(bytes) => bytes.iter().all(|byte| *byte == 0),
        Report::Absolute([buttons, _, _, _, _, wheel, pan]) => [*buttons, *wheel, *pan] == [0; 3],
        Report::Relative(bytes) => bytes.iter().all(|byte| *byte == 0),
    }
}

/// The controller the gadget is on, read from its `UDC` file again whenever the bus is another. Beside everything else:
/// the kernel lets nobody read that file while it unbinds, however long the drive's storage makes it wait.
fn controller(udc: PathBuf, mut bus: watch::Receiver<UdcState>) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            bus.mark_unchanged();
            let file = udc.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file));
            let name = read.await.ok().and_then(Result::ok).map(|text| text.trim().to_owned());
            sender.send_replace(name.filter(|name| !name.is_empty()));
            tokio::select! {
                changed = bus.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

/// Wakes a sleeping host: writing to a controller's `srp` is a remote wake-up while the bus is suspended. The state of the
/// controller rarely tells that (neither dwc2 nor dummy_hcd say so), the gadget's does.
#[derive(Debug)]
struct Waker {
    /// Its name; `None` where nothing is ever woken.
    controller: Option<watch::Receiver<Option<String>>>,
    class: PathBuf,
    looked: Option<Instant>,
    complained: bool,
}

/// Looks in [`Waker`] are this far apart: a mouse moves a thousand times a second.
const LOOK_FOR_SLEEP: Duration = Duration::from_millis(250);

impl Waker {
    /// Asks the host to wake up, if it sleeps. Looked for before a report is handed over: some controllers take one for a
    /// host that sleeps, and call it delivered.
    fn wake(&mut self) {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now < looked + LOOK_FOR_SLEEP) {
            return;
        }
        let Some(name) = self.controller.as_ref().and_then(|name| name.borrow().clone()) else { return };
        self.looked = Some(now);
        let controller = self.class.join(name);
        let suspended = std::fs::read_to_string(controller.join("gadget/suspended"));
        if suspended.is_ok_and(|text| text.trim() != "1") {
            return;
        }
        match std::fs::write(controller.join("srp"), "1") {
            Ok(()) => {
                debug!("the host was asked to wake up");
                self.complained = false;
            }
            Err(error) if !std::mem::replace(&mut self.complained, true) => {
                info!("a host that sleeps cannot be asked to wake up: {error}");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_controller_s_name_is_not_waited_for_and_a_sleeping_host_is_woken_once_it_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (udc, class) = (dir.path().join("UDC"), dir.path().join("class"));
        let controller = class.join("a.usb");
        std::fs::create_dir_all(controller.join("gadget")).unwrap();
        std::fs::write(controller.join("gadget/suspended"), "1\n").unwrap();
        // Like the kernel while it binds: nobody gets an answer until somebody writes.
        nix::unistd::mkfifo(&udc, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (_bus, states) = watch::channel(UdcState::Configured);
        let mut name = super::controller(udc.clone(), states);
        let mut waker = Waker { controller: Some(name.clone()), class, looked: None, complained: false };
        waker.wake();
        assert!(!controller.join("srp").exists());
        let writer = std::thread::spawn(move || std::fs::write(udc, "a.usb\n"));
        tokio::time::timeout(Duration::from_secs(20), name.wait_for(Option::is_some)).await.unwrap().unwrap();
        writer.join().unwrap().unwrap();
        waker.wake();
        assert_eq!(std::fs::read_to_string(controller.join("srp")).unwrap(), "1");
    }

    #[tokio::test]
    async fn the_absolute_mouse_is_released_only_where_its_position_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let last = dir.path().join("last-absolute");
        let left = || {
            let settings = Settings { last_absolute: Some(last.clone()), ..Settings::default() };
            Otg::new(settings, watch::channel(UdcState::Unbound).1).left_behind()
        };
        let others = [Report::Keyboard([0; 8]), Report::Relative([0; 5])];
        assert_eq!(left(), others);
        std::fs::write(&last, []).unwrap();
        assert_eq!(left(), others, "nobody has sent anything");
        std::fs::write(&last, [1, 2, 3, 4, 5, 6, 7]).unwrap();
        assert_eq!(left(), [others[0], Report::Absolute([0, 2, 3, 4, 5, 0, 0]), others[1]]);
    }
}
