//! Events to reports to the link, with what is known about each device. Knows no clock: time is an argument.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use hid_wire::{AbsoluteMouse, Device, Keyboard, RelativeMouse, Report, deltas};
use log::{debug, error, info};

use crate::jiggler::{Nudge, Schedule};
use crate::link::Presence;
use crate::queue::{Entry, Task};
use crate::{Event, Link, MouseOutput, Settings, State, link, state};

/// Between two tries after those that were asked for: a host that is there must hear of the last release in the end.
const SLOW_RETRY: Duration = Duration::from_secs(2);

/// What became of the last report of a device.
#[derive(Debug)]
struct Delivery {
    online: bool,
    /// Something was sent since the host last came. A report that is under way when a host leaves may be lost without
    /// anybody noticing, so the host hears the final state again when it is back.
    used: bool,
    /// The last report, while the host has not taken it.
    owed: Option<Owed>,
}

#[derive(Debug)]
struct Owed {
    report: Report,
    /// The link has it, and must not get it again.
    handed_over: bool,
    tries_left: u32,
    at: Instant,
}

/// The one who talks to the link. Dropping it releases everything.
#[derive(Debug)]
pub(crate) struct Owner<L: Link> {
    settings: Settings,
    link: L,
    keyboard: Keyboard,
    absolute: AbsoluteMouse,
    /// Where a process before this one left the pointer, as the bytes of a report.
    left_at: [u8; 4],
    relative: RelativeMouse,
    output: MouseOutput,
    jiggler: Schedule,
    presence: Presence,
    deliveries: [Delivery; 3],
    state: State,
}

impl<L: Link> Owner<L> {
    /// `seed` decides the variation of the jiggler's intervals.
    pub(crate) fn new(settings: Settings, link: L, seed: u64) -> Self {
        let output = settings.mice.first_output();
        let mut absolute = AbsoluteMouse::with_ranges(settings.x_range, settings.y_range);
        absolute.set_doubled(output == MouseOutput::UsbWin98);
        let active = settings.jiggler_enabled && settings.jiggler_active;
        let presence = link.presence().map_or(Presence::Here { arrival: 0 }, |presence| *presence.borrow());
        let present = presence.is_here();
        let leds = link.leds().map(|leds| *leds.borrow()).unwrap_or_default();
        let state = State {
            online: presence != Presence::Broken,
            busy: false,
            connected: link.connected(),
            keyboard: state::Keyboard { online: present, leds, outputs: state::Outputs::default() },
            mouse: state::Mouse { online: present, absolute: true, outputs: state::Outputs::default() },
            jiggler: state::Jiggler {
                enabled: settings.jiggler_enabled,
                active,
                interval: settings.jiggler_interval,
            },
        };
        let mut owner = Self {
            jiggler: Schedule::new(settings.jiggler_interval, active, seed),
            keyboard: Keyboard::new(),
            relative: RelativeMouse::new(),
            deliveries: Device::ALL.map(|_| Delivery { online: true, used: false, owed: None }),
            settings,
            link,
            absolute,
            left_at: [0; 4],
            output,
            presence,
            state,
        };
        for report in owner.link.left_behind() {
            if let Report::Absolute([_, x0, x1, y0, y1, ..]) = report {
                owner.left_at = [x0, x1, y0, y1];
            }
            // Tried for the first time when the host is here.
            let owed = Owed { report, handed_over: false, tries_left: 0, at: Instant::now() };
            *owner.delivery(report.device()) = Delivery { online: false, used: true, owed: Some(owed) };
        }
        let available = owner.settings.mice.outputs();
        owner.state.mouse.outputs.available = available.iter().map(|output| output.name()).collect();
        owner.refresh();
        owner
    }

    /// What clients see now.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Does one task other than [`Task::Stop`], which is the caller's.
    pub(crate) fn handle(&mut self, task: Task, now: Instant) {
        match task {
            Task::Stop | Task::Wake => {}
            Task::Clear { reset } => {
                if reset && let Err(error) = self.link.reset() {
                    info!("the far end of the link goes on as it is: {error}");
                }
                self.release_all(now);
            }
            Task::Leds(leds) => self.state.keyboard.leds = leds,
            Task::Present(presence) => self.set_presence(presence, now),
            Task::Entry(Entry::Event(event, done)) => {
                self.event(event, now);
                if let Some(done) = done {
                    // Who waited may have left; that is their business.
                    let _ = done.send(());
                }
            }
            Task::Entry(Entry::Output(output)) => self.set_output(output, now),
            Task::Entry(Entry::Jiggler(active)) => {
                self.jiggler.set_active(active && self.settings.jiggler_enabled);
            }
            Task::Entry(Entry::Connected(connected)) => self.set_connected(connected),
        }
        self.refresh();
    }

    /// Does what is due without being asked: retries and the jiggler.
    pub(crate) fn tick(&mut self, now: Instant, last_event: Instant) {
        for device in Device::ALL {
            self.retry(device, now);
        }
        let position = self.is_absolute().then(|| self.absolute.position().unwrap_or_default());
        if let Some(nudge) = self.jiggler.next(now, last_event, position) {
            let report = match nudge {
                Nudge::To(x, y) => self.absolute.move_to(x, y),
                Nudge::By(dx, dy) => self.relative.move_by(dx, dy),
            };
            self.send(report, now);
        }
        self.refresh();
    }

    /// When [`Self::tick`] will have something to do, if nothing else happens.
    pub(crate) fn wake_at(&self, last_event: Instant) -> Option<Instant> {
        let is_here = self.presence.is_here();
        let owed = self.deliveries.iter().filter_map(|delivery| delivery.owed.as_ref());
        let retries = owed.filter(|owed| owed.is_tried(is_here)).map(|owed| owed.at);
        retries.chain(self.jiggler.wake_at(last_event)).min()
    }

    fn event(&mut self, event: Event, now: Instant) {
        if event.is_of_mouse() {
            self.jiggler.yield_to_hand(now);
        }
        let is_absolute = self.is_absolute();
        match event {
            Event::Key { key, pressed, finish } => {
                self.keyboard.event(key, pressed, finish).for_each(|report| self.send(report, now));
            }
            Event::Button { button, pressed } if is_absolute => {
                self.absolute.button(button, pressed).for_each(|report| self.send(report, now));
            }
            Event::Button { button, pressed } => {
                self.relative.button(button, pressed).for_each(|report| self.send(report, now));
            }
            Event::Move { x, y } if is_absolute => {
                let report = self.absolute.move_to(x, y);
                self.send(report, now);
            }
            Event::Relative { deltas: list, squash } if !is_absolute => {
                deltas(&list, squash).for_each(|(dx, dy)| self.send(self.relative.move_by(dx, dy), now));
            }
            // The other kind of movement than the mouse in use can make.
            Event::Move { .. } | Event::Relative { .. } => {}
            Event::Wheel { deltas: list, squash } => deltas(&list, squash).for_each(|(x, y)| {
                let report = if is_absolute { self.absolute.wheel(x, y) } else { self.relative.wheel(x, y) };
                self.send(report, now);
            }),
        }
    }

    /// Says so to every device, whatever is known to be down: the host may know otherwise.
    pub(crate) fn release_all(&mut self, now: Instant) {
        let report = self.keyboard.release_all();
        self.send(report, now);
        if self.settings.mice.has_absolute() {
            let report = self.absolute.release_all();
            self.send(report, now);
        }
        if self.settings.mice.has_relative() {
            let report = self.relative.release_all();
            self.send(report, now);
        }
    }

    fn set_output(&mut self, output: MouseOutput, now: Instant) {
        if output == self.output || !self.settings.mice.outputs().contains(&output) {
            return;
        }
        info!("the mouse is now {}", output.name());
        let report =
            if self.is_absolute() { self.absolute.release_all() } else { self.relative.release_all() };
        self.send(report, now);
        self.absolute.set_doubled(output == MouseOutput::UsbWin98);
        self.output = output;
        self.jiggler.yield_to_hand(now);
    }

    fn set_connected(&mut self, connected: bool) {
        if let Err(error) = self.link.set_connected(connected) {
            info!("the cable stays as it is: {error}");
        }
        self.state.connected = self.link.connected();
    }

    /// A host that comes back hears at once what is down, if it missed anything or may have, or something is held: it may
    /// be another host than before.
    fn set_presence(&mut self, presence: Presence, now: Instant) {
        let before = std::mem::replace(&mut self.presence, presence);
        if !presence.is_here() || presence == before {
            return;
        }
        debug!("the host is here, {presence:?}: it hears what is down, if it may have missed that");
        let tries_left = self.settings.retries;
        for device in Device::ALL {
            let current = self.current(device);
            let delivery = self.delivery(device);
            let missed = std::mem::take(&mut delivery.used) || !delivery.online || holds(&current);
            match &mut delivery.owed {
                // It never left, so that it is still news, with its movement.
                Some(owed) if !owed.handed_over => {
                    owed.at = now;
                    owed.tries_left = tries_left;
                }
                _ if missed => {
                    delivery.owed = Some(Owed { report: current, handed_over: false, tries_left, at: now });
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, report: Report, now: Instant) {
        self.delivery(report.device()).used = true;
        // A newer report says all that an older one would have said.
        let owed = Owed { report, handed_over: false, tries_left: self.settings.retries, at: now };
        self.deliver(owed, now);
    }

    fn retry(&mut self, device: Device, now: Instant) {
        let is_here = self.presence.is_here();
        let delivery = self.delivery(device);
        if let Some(mut owed) = delivery.owed.take_if(|owed| owed.at <= now && owed.is_tried(is_here)) {
            owed.tries_left = owed.tries_left.saturating_sub(1);
            self.deliver(owed, now);
        }
    }

    fn deliver(&mut self, mut owed: Owed, now: Instant) {
        let device = owed.report.device();
        let result = if owed.handed_over { self.link.taken(device) } else { self.link.send(&owed.report) };
        let current = self.current(device);
        let retry_pause = self.settings.retry_pause;
        let delivery = self.delivery(device);
        let was_online = std::mem::replace(&mut delivery.online, result.is_ok());
        delivery.owed = result.as_ref().err().map(|error| {
            owed.handed_over = matches!(error, link::Error::Untaken);
            let is_last = owed.tries_left == 0;
            // Nobody expects a movement of long ago, and one that may have arrived must not come twice.
            if is_last && !owed.handed_over || matches!(error, link::Error::Unsure(_)) {
                owed.report = current;
            }
            owed.at = now + if is_last { SLOW_RETRY } else { retry_pause };
            owed
        });
        match result {
            Ok(()) if !was_online => info!("{device:?}: the host takes reports again"),
            Err(error) if was_online => log_lost(device, &error),
            Ok(()) | Err(_) => {}
        }
    }

    fn delivery(&mut self, device: Device) -> &mut Delivery {
        let [keyboard, absolute, relative] = &mut self.deliveries;
        match device {
            Device::Keyboard => keyboard,
            Device::AbsoluteMouse => absolute,
            Device::RelativeMouse => relative,
        }
    }

    /// What is down, without movement.
    pub(crate) fn current(&self, device: Device) -> Report {
        match device {
            Device::Keyboard => self.keyboard.report(),
            Device::AbsoluteMouse => match (self.absolute.report(), self.absolute.position()) {
                (Report::Absolute([buttons, ..]), None) => {
                    let [x0, x1, y0, y1] = self.left_at;
                    Report::Absolute([buttons, x0, x1, y0, y1, 0, 0])
                }
                (report, _) => report,
            },
            Device::RelativeMouse => self.relative.report(),
        }
    }

    fn is_absolute(&self) -> bool {
        matches!(self.output, MouseOutput::Usb | MouseOutput::UsbWin98)
    }

    fn refresh(&mut self) {
        let [keyboard, absolute, relative] = &self.deliveries;
        let is_absolute = self.is_absolute();
        let mouse = if is_absolute { absolute } else { relative };
        let is_here = self.presence.is_here();
        self.state.online = self.presence != Presence::Broken;
        self.state.keyboard.online = is_here && keyboard.online;
        self.state.mouse.online = is_here && mouse.online;
        self.state.mouse.absolute = is_absolute;
        self.state.mouse.outputs.active =
            if self.state.mouse.outputs.available.is_empty() { "" } else { self.output.name() };
        self.state.jiggler.active = self.jiggler.is_active();
    }
}

impl Owed {
    /// Whether it is tried without anything having happened. A host that is away is not asked for ever: it will say when
    /// it comes.
    fn is_tried(&self, is_here: bool) -> bool {
        is_here || self.tries_left > 0
    }
}

impl<L: Link> Drop for Owner<L> {
    fn drop(&mut self) {
        // A link whose panic brought us here may do it again, and must not take the process with it.
        let released = catch_unwind(AssertUnwindSafe(|| self.release_all(Instant::now())));
        if released.is_err() {
            error!("what is down at the target stays down: the link panicked over the releases");
        }
    }
}

/// Whether a key or button is down.
fn holds(report: &Report) -> bool {
    match report {
        Report::Keyboard(bytes) => bytes.iter().any(|byte| *byte != 0),
        Report::Absolute([buttons, ..]) | Report::Relative([buttons, ..]) => *buttons != 0,
    }
}

fn log_lost(device: Device, error: &link::Error) {
    info!("{device:?}: {error}; the last report is kept for the host's return");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hid_wire::{Key, Leds};

    use super::*;
    use crate::link::{Recorder, Recording};

    const PAUSE: Duration = Duration::from_millis(100);

    struct Rig {
        owner: Owner<Recorder>,
        host: Recording,
        start: Instant,
        now: Instant,
    }

    impl Rig {
        fn new(settings: Settings) -> Self {
            let (link, host) = Recorder::new();
            let start = Instant::now();
            Self { owner: Owner::new(settings, link, 1), host, start, now: start }
        }

        fn event(&mut self, event: Event) {
            self.owner.handle(Task::Entry(Entry::Event(event, None)), self.now);
        }

        fn key(&mut self, key: Key, pressed: bool) {
            self.event(Event::Key { key, pressed, finish: false });
        }

        /// Lets time pass, waking the owner whenever it asked to be, the last event being at the start.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(at) = self.owner.wake_at(self.start).filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.owner.tick(self.now, self.start);
            }
            self.now = end;
        }
    }

    #[test]
    fn the_last_report_is_tried_150_times_and_then_rarely() {
        let mut rig = Rig::new(Settings::default());
        rig.host.set_cut(true);
        rig.key(Key::KEY_A, true);
        rig.key(Key::KEY_B, true);
        assert!(!rig.owner.state().keyboard.online);
        assert_eq!(rig.host.attempts(), 2);
        rig.pass(PAUSE * 150);
        assert_eq!(rig.host.attempts(), 2 + 150);
        rig.pass(SLOW_RETRY * 10);
        assert_eq!(rig.host.attempts(), 2 + 150 + 10);
    }

    #[test]
    fn a_host_that_is_away_is_not_tried_for_ever() {
        let mut rig = Rig::new(Settings::default());
        rig.owner.handle(Task::Present(Presence::Away), rig.now);
        rig.host.set_cut(true);
        rig.event(Event::Wheel { deltas: vec![(0, 1)], squash: false });
        rig.pass(PAUSE * 1000);
        assert_eq!(rig.host.attempts(), 1 + 150);
        assert_eq!(rig.owner.wake_at(rig.start), None);
        rig.host.set_cut(false);
        rig.owner.handle(Task::Present(Presence::Here { arrival: 1 }), rig.now);
        rig.pass(PAUSE);
        // Not the notch of long ago.
        assert_eq!(rig.host.take(), [Report::Absolute([0; 7])]);
    }

    /// A cable whose last holder died.
    #[derive(Debug)]
    struct Inherited(Recorder, Vec<Report>);

    impl Link for Inherited {
        fn send(&mut self, report: &Report) -> Result<(), link::Error> {
            self.0.send(report)
        }

        fn left_behind(&self) -> Vec<Report> {
            self.1.clone()
        }
    }

    #[test]
    fn what_was_left_behind_is_released_until_the_host_takes_it_and_moves_no_pointer() {
        let (link, host) = Recorder::new();
        let left = vec![Report::Keyboard([0; 8]), Report::Absolute([0, 1, 2, 3, 4, 0, 0])];
        let mut owner = Owner::new(Settings::default(), Inherited(link, left.clone()), 1);
        let mut now = Instant::now();
        let pass = |owner: &mut Owner<Inherited>, now: &mut Instant| {
            *now += SLOW_RETRY;
            owner.tick(*now, *now);
        };
        owner.handle(Task::Present(Presence::Away), now);
        pass(&mut owner, &mut now);
        assert_eq!(host.attempts(), 0, "nobody is there");
        host.set_cut(true);
        owner.handle(Task::Present(Presence::Here { arrival: 1 }), now);
        // Longer than reports are tried for their own sake.
        for _ in 0..200 {
            pass(&mut owner, &mut now);
        }
        assert!(!owner.state().keyboard.online);
        host.set_cut(false);
        for _ in 0..3 {
            pass(&mut owner, &mut now);
        }
        assert_eq!(host.take(), left);
        assert!(owner.state().keyboard.online && owner.state().mouse.online);
    }

    #[test]
    fn each_arrival_of_a_host_hears_once_what_was_last_said() {
        let mut rig = Rig::new(Settings::default());
        rig.key(Key::KEY_A, true);
        rig.key(Key::KEY_A, false);
        let _ = rig.host.take();
        for arrival in 1..4 {
            // It left and came between two looks.
            rig.owner.handle(Task::Present(Presence::Here { arrival }), rig.now);
            rig.pass(PAUSE);
            let said = if arrival == 1 { vec![Report::Keyboard([0; 8])] } else { vec![] };
            assert_eq!(rig.host.take(), said, "the release may have been under way");
        }
    }

    #[test]
    fn a_movement_that_may_have_arrived_is_not_made_twice() {
        let mut rig = Rig::new(Settings::default());
        rig.host.fail_next(link::Error::Unsure("the answer was lost".to_owned()));
        rig.event(Event::Wheel { deltas: vec![(0, 1)], squash: false });
        rig.pass(PAUSE * 3);
        assert_eq!(rig.host.take(), [Report::Absolute([0; 7])]);
    }

    #[test]
    fn what_was_handed_over_is_asked_after_and_not_sent_again() {
        let mut rig = Rig::new(Settings::default());
        rig.host.fail_next(link::Error::Untaken);
        rig.event(Event::Wheel { deltas: vec![(0, 1)], squash: false });
        assert!(!rig.owner.state().mouse.online);
        rig.pass(PAUSE * 3);
        assert!(rig.owner.state().mouse.online);
        assert_eq!((rig.host.take(), rig.host.attempts()), (vec![], 1));
    }

    #[test]
    fn a_retry_delivers_the_last_report_only() {
        let mut rig = Rig::new(Settings::default());
        rig.host.set_cut(true);
        rig.key(Key::KEY_A, true);
        rig.key(Key::KEY_A, false);
        rig.pass(PAUSE * 20);
        rig.host.set_cut(false);
        rig.pass(PAUSE);
        assert_eq!(rig.host.take(), [Report::Keyboard([0; 8])]);
        assert!(rig.owner.state().keyboard.online);
        rig.pass(PAUSE * 200);
        assert_eq!(rig.host.take(), []);
    }

    #[test]
    fn a_newer_event_takes_the_place_of_the_report_owed() {
        let mut rig = Rig::new(Settings::default());
        rig.host.set_cut(true);
        rig.key(Key::KEY_A, true);
        rig.host.set_cut(false);
        rig.key(Key::KEY_B, true);
        rig.pass(PAUSE * 10);
        assert_eq!(rig.host.take(), [Report::Keyboard([0, 0, 4, 5, 0, 0, 0, 0])]);
    }

    #[test]
    fn a_mouse_that_is_offline_does_not_take_the_keyboard_with_it() {
        let mut rig = Rig::new(Settings::default());
        rig.host.set_cut(true);
        rig.event(Event::Move { x: 0, y: 0 });
        rig.host.set_cut(false);
        rig.key(Key::KEY_A, true);
        let state = rig.owner.state();
        assert_eq!((state.keyboard.online, state.mouse.online), (true, false));
        rig.pass(PAUSE);
        assert!(rig.owner.state().mouse.online);
    }

    #[test]
    fn the_jiggler_moves_around_the_last_place_when_nothing_happens() {
        let mut rig = Rig::new(Settings { jiggler_active: true, ..Settings::default() });
        rig.event(Event::Move { x: 0, y: 0 });
        let home = rig.host.take();
        rig.pass(Duration::from_secs(44));
        assert_eq!(rig.host.take(), []);
        rig.pass(Duration::from_secs(33));
        let moves = rig.host.take();
        assert_eq!(moves.len(), 11);
        assert_eq!(moves[10..], home[..]);
        assert_ne!(moves[0], home[0]);
        // And again, as nothing else happens.
        rig.pass(Duration::from_secs(77));
        assert_eq!(rig.host.take().len(), 11);
    }

    #[test]
    fn the_jiggler_cannot_be_switched_on_where_it_is_disabled() {
        let settings = Settings { jiggler_enabled: false, jiggler_active: true, ..Settings::default() };
        let mut rig = Rig::new(settings);
        rig.owner.handle(Task::Entry(Entry::Jiggler(true)), rig.now);
        assert!(!rig.owner.state().jiggler.active);
        rig.pass(Duration::from_secs(600));
        assert_eq!(rig.host.take(), []);
    }

    #[test]
    fn dropping_the_owner_releases_everything() {
        let mut rig = Rig::new(Settings::default());
        rig.key(Key::KEY_A, true);
        rig.owner.handle(Task::Leds(Leds::default()), rig.now);
        drop(rig.owner);
        let reports = rig.host.take();
        assert_eq!(reports.len(), 4);
        assert!(reports[1..].iter().all(|report| report.bytes().iter().all(|byte| *byte == 0)));
    }
}
