//! Ports against a model of the kernel's function and of the host behind it.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use hid_wire::{Button, Device, Key, Keyboard, Report};
use proptest::prelude::*;

use super::*;
use crate::link::{Link, Presence};
use crate::owner::Owner;
use crate::queue::{Entry, Task};
use crate::{Event, Settings};

/// A function as the kernel has it, and the host behind it.
#[derive(Debug, Default)]
struct Kernel {
    /// Made anew when the function is.
    identity: u32,
    exists: bool,
    configured: bool,
    asleep: bool,
    in_flight: Option<Vec<u8>>,
    taken: Vec<Vec<u8>>,
    /// Where in `taken` the host saw the device for the first time.
    seen_from: usize,
    opened: usize,
    waited: usize,
}

impl Kernel {
    /// The host polls.
    fn poll(&mut self) {
        if self.configured && !self.asleep {
            self.taken.extend(self.in_flight.take());
        }
    }
}

#[derive(Clone, Debug)]
struct Place(Arc<Mutex<Kernel>>);

impl Place {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Kernel { exists: true, configured: true, ..Kernel::default() })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kernel) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }
}

#[derive(Debug)]
struct Opened(Place, u32);

impl Open for Place {
    type Node = Opened;

    fn open(&self) -> io::Result<Opened> {
        self.with(|kernel| {
            kernel.opened += 1;
            let identity = kernel.identity;
            if kernel.exists {
                Ok(Opened(self.clone(), identity))
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        })
    }

    fn is_replaced(&self, node: &Opened) -> bool {
        self.with(|kernel| kernel.exists && kernel.identity != node.1)
    }
}

impl Node for Opened {
    fn write(&mut self, report: &[u8]) -> io::Result<()> {
        self.0.with(|kernel| {
            if kernel.identity != self.1 || !kernel.configured {
                return Err(io::Error::from_raw_os_error(nix::libc::ESHUTDOWN));
            }
            if kernel.in_flight.is_some() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            kernel.in_flight = Some(report.to_vec());
            Ok(())
        })
    }

    fn wait_free(&mut self, patience: Duration) -> io::Result<bool> {
        self.0.with(|kernel| {
            kernel.waited += usize::from(!patience.is_zero());
            if kernel.identity != self.1 {
                return Ok(false);
            }
            kernel.poll();
            Ok(kernel.configured && kernel.in_flight.is_none())
        })
    }

    fn read(&mut self) -> io::Result<u8> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

const A: [u8; 8] = [0, 0, 4, 0, 0, 0, 0, 0];
const UP: [u8; 8] = [0; 8];

fn port() -> (Port<Place>, Place) {
    let place = Place::new();
    (Port::new(place.clone(), Duration::from_millis(100)), place)
}

#[test]
fn a_press_and_its_release_are_polled_one_by_one() {
    let (mut port, place) = port();
    port.send(&A).unwrap();
    assert_eq!(place.with(|kernel| kernel.taken.clone()), [A]);
    port.send(&UP).unwrap();
    assert_eq!(place.with(|kernel| kernel.taken.clone()), [A, UP]);
}

#[test]
fn a_sleeping_host_gets_what_was_handed_over_and_nobody_waits_twice() {
    let (mut port, place) = port();
    place.with(|kernel| kernel.asleep = true);
    assert_eq!(port.send(&A), Err(Error::Untaken));
    let waited = place.with(|kernel| kernel.waited);
    for _ in 0..100 {
        assert!(matches!(port.send(&UP), Err(Error::NoHost(_))));
        assert_eq!(port.taken(), Err(Error::Untaken));
    }
    assert_eq!(place.with(|kernel| kernel.waited), waited);
    place.with(|kernel| kernel.asleep = false);
    assert_eq!(port.taken(), Ok(()));
    port.send(&UP).unwrap();
    assert_eq!(place.with(|kernel| kernel.taken.clone()), [A, UP]);
}

#[test]
fn somebody_else_s_report_is_waited_for() {
    let (mut port, place) = port();
    place.with(|kernel| kernel.in_flight = Some(UP.to_vec()));
    port.send(&A).unwrap();
    assert_eq!(place.with(|kernel| kernel.taken.clone()), [UP, A]);
    place.with(|kernel| {
        kernel.asleep = true;
        kernel.in_flight = Some(UP.to_vec());
    });
    assert!(matches!(port.send(&A), Err(Error::NoHost(_))));
    assert_eq!(port.taken(), Err(Error::Untaken), "nothing of ours, but nothing can be sent either");
}

#[test]
fn a_function_that_is_made_anew_is_opened_anew() {
    let (mut port, place) = port();
    port.send(&A).unwrap();
    place.with(|kernel| kernel.identity += 1);
    port.send(&UP).unwrap();
    // In flight in the old one: it will never arrive, and must not hold up the new one.
    place.with(|kernel| kernel.asleep = true);
    assert_eq!(port.send(&A), Err(Error::Untaken));
    place.with(|kernel| {
        kernel.identity += 1;
        kernel.in_flight = None;
        kernel.asleep = false;
    });
    port.send(&A).unwrap();
    assert_eq!(place.with(|kernel| kernel.taken.clone()), [A, UP, A]);
}

#[test]
fn a_node_that_is_not_there_yet_is_found_later_and_kept_over_an_unbind() {
    let (mut port, place) = port();
    place.with(|kernel| kernel.exists = false);
    assert!(matches!(port.send(&A), Err(Error::NoHost(_))));
    place.with(|kernel| kernel.exists = true);
    port.send(&A).unwrap();
    let opened = place.with(|kernel| kernel.opened);
    place.with(|kernel| (kernel.exists, kernel.configured) = (false, false));
    assert!(matches!(port.send(&UP), Err(Error::NoHost(_))));
    // Bound again, though the node is somebody else's for now: the open one works.
    place.with(|kernel| kernel.configured = true);
    port.send(&UP).unwrap();
    assert_eq!(place.with(|kernel| kernel.opened), opened);
}

/// What may happen.
#[derive(Clone, Debug)]
enum Act {
    Do(Event),
    Clear,
    Sleep,
    Wake,
    /// The host resets the bus and configures again; it takes the device for the same as before.
    Reset,
    Unbind,
    Bind,
    /// The gadget is made anew.
    Renew,
    /// The news of the host reach the owner.
    Notice,
    Pass(Duration),
}

#[derive(Debug)]
struct Cable {
    ports: [Port<Place>; 3],
}

impl Link for Cable {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        self.ports[report.device() as usize].send(report.bytes())
    }

    fn taken(&mut self, device: Device) -> Result<(), Error> {
        self.ports[device as usize].taken()
    }
}

struct Rig {
    owner: Owner<Cable>,
    places: [Place; 3],
    /// What is down and sent by then, by the pure machines.
    keyboard: Keyboard,
    said: Vec<Report>,
    notches: usize,
    arrival: u64,
    start: Instant,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let places = Device::ALL.map(|_| Place::new());
        let ports = places.clone().map(|place| Port::new(place, Duration::from_millis(100)));
        let start = Instant::now();
        Self {
            owner: Owner::new(Settings::default(), Cable { ports }, 1),
            places,
            keyboard: Keyboard::new(),
            said: vec![Report::Keyboard(UP)],
            notches: 0,
            arrival: 0,
            start,
            now: start,
        }
    }

    fn all(&self, mut act: impl FnMut(&mut Kernel)) {
        self.places.iter().for_each(|place| place.with(&mut act));
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Do(event) => {
                if let Event::Key { key, pressed, finish } = event {
                    self.said.extend(self.keyboard.event(*key, *pressed, *finish));
                }
                self.notches += usize::from(matches!(event, Event::Wheel { .. }));
                self.owner.handle(Task::Entry(Entry::Event(event.clone(), None)), self.now);
            }
            Act::Clear => {
                let report = self.keyboard.release_all();
                self.said.push(report);
                self.owner.handle(Task::Clear { reset: false }, self.now);
            }
            Act::Sleep => self.all(|kernel| kernel.asleep = kernel.configured),
            Act::Wake => {
                self.all(|kernel| kernel.asleep = false);
                self.arrival += 1;
            }
            Act::Reset => {
                self.all(|kernel| {
                    kernel.in_flight = None;
                    kernel.asleep = false;
                });
                self.arrival += 1;
            }
            Act::Unbind => self.all(|kernel| {
                kernel.in_flight = None;
                (kernel.configured, kernel.asleep, kernel.exists) = (false, false, false);
                kernel.seen_from = kernel.taken.len();
            }),
            Act::Bind => {
                self.all(|kernel| (kernel.configured, kernel.exists) = (true, true));
                self.arrival += 1;
            }
            Act::Renew => {
                self.act(&Act::Unbind);
                self.all(|kernel| kernel.identity += 1);
                self.act(&Act::Bind);
            }
            Act::Notice => {
                let (configured, asleep) = self.places[0].with(|kernel| (kernel.configured, kernel.asleep));
                let here = Presence::Here { arrival: self.arrival };
                let presence = if configured && !asleep { here } else { Presence::Away };
                self.owner.handle(Task::Present(presence), self.now);
                self.owner.tick(self.now, self.start);
            }
            Act::Pass(time) => self.pass(*time),
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.owner.wake_at(self.start).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.owner.tick(self.now, self.start);
        }
        self.now = end;
    }

    /// What the host takes for down: nothing on a device it has just met.
    fn host(&self, device: Device) -> Option<Vec<u8>> {
        self.places[device as usize].with(|kernel| kernel.taken.get(kernel.seen_from..)?.last().cloned())
    }
}

#[test]
fn a_release_that_a_reset_of_the_bus_swallowed_is_said_again() {
    let key = |pressed| Act::Do(Event::Key { key: Key::KEY_A, pressed, finish: false });
    let mut rig = Rig::new();
    rig.act(&key(true));
    rig.act(&Act::Sleep);
    rig.act(&key(false));
    assert!(!rig.owner.state().keyboard.online);
    rig.act(&Act::Reset);
    // The kernel's only sign is that it takes reports again.
    rig.act(&Act::Pass(Duration::from_millis(200)));
    assert!(rig.owner.state().keyboard.online);
    assert_eq!(rig.host(Device::Keyboard).unwrap(), A);
    rig.act(&Act::Notice);
    assert_eq!(rig.host(Device::Keyboard).unwrap(), UP);
}

fn any_act() -> impl Strategy<Value = Act> {
    let keys: Vec<Key> =
        Key::all().filter(|key| key.modifier().is_some() || (4..13).contains(&key.usage())).collect();
    prop_oneof![
        12 => (prop::sample::select(keys), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(key, pressed, finish)| Act::Do(Event::Key { key, pressed, finish })),
        4 => (prop::sample::select(Button::ALL.to_vec()), any::<bool>())
            .prop_map(|(button, pressed)| Act::Do(Event::Button { button, pressed })),
        2 => any::<(i16, i16)>().prop_map(|(x, y)| Act::Do(Event::Move { x, y })),
        2 => Just(Act::Do(Event::Wheel { deltas: vec![(0, 1)], squash: false })),
        10 => prop::sample::select(vec![
            Act::Clear, Act::Sleep, Act::Wake, Act::Reset, Act::Unbind, Act::Bind, Act::Renew, Act::Notice,
        ]),
        1 => (1..30_000_u64).prop_map(|time| Act::Pass(Duration::from_millis(time))),
        3 => (1..300_u64).prop_map(|time| Act::Pass(Duration::from_millis(time))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_the_host_it_ends_with_our_state_and_nothing_doubled(
        acts in prop::collection::vec(any_act(), 0..120)
    ) {
        let mut rig = Rig::new();
        acts.iter().for_each(|act| rig.act(act));
        // The host is there in the end.
        for act in [Act::Wake, Act::Bind, Act::Notice, Act::Pass(Duration::from_secs(1))] {
            rig.act(&act);
        }
        prop_assert!(rig.owner.state().keyboard.online && rig.owner.state().mouse.online);
        let keyboard = rig.host(Device::Keyboard).unwrap_or(UP.to_vec());
        prop_assert_eq!(keyboard, rig.keyboard.report().bytes().to_vec());
        let buttons = |report: Option<Vec<u8>>| report.map_or(0, |report| report[0]);
        let Report::Absolute([down, ..]) = rig.owner.current(Device::AbsoluteMouse) else { unreachable!() };
        prop_assert_eq!(buttons(rig.host(Device::AbsoluteMouse)), down);

        // No notch twice.
        let turned = rig.places[1].with(|kernel| kernel.taken.iter().filter(|report| report[5] != 0).count());
        prop_assert!(turned <= rig.notches, "{} of {}", turned, rig.notches);
        // Nothing out of order, and nothing that was never said.
        let said = rig.said.clone();
        let mut at = 0;
        for report in rig.places[0].with(|kernel| kernel.taken.clone()) {
            let next = said[at..].iter().position(|said| said.bytes() == report);
            prop_assert!(next.is_some(), "{:?} after report {}", report, at);
            at += next.unwrap_or_default();
        }
        // And everything let go at the end.
        let places = rig.places.clone();
        drop(rig);
        for place in places {
            place.with(|kernel| {
                kernel.poll();
                let last = kernel.taken.last().cloned().unwrap_or_default();
                assert!(last[..1].iter().all(|byte| *byte == 0), "{last:?}");
            });
        }
    }

    #[test]
    fn a_host_that_stays_gets_every_report_once(acts in prop::collection::vec(any_act(), 0..200)) {
        let mut rig = Rig::new();
        let stays = |act: &&Act| matches!(act, Act::Do(_) | Act::Clear | Act::Pass(_) | Act::Notice);
        acts.iter().filter(stays).for_each(|act| rig.act(act));
        let said: Vec<_> = rig.said[1..].iter().map(|report| report.bytes().to_vec()).collect();
        prop_assert_eq!(rig.places[0].with(|kernel| kernel.taken.clone()), said);
        let turned = rig.places[1].with(|kernel| kernel.taken.iter().filter(|report| report[5] != 0).count());
        prop_assert_eq!(turned, rig.notches);
    }
}
