//! A device made of a script, on a clock that only moves when the machine waits.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use encode::Format;
use sys::v4l2::{Filled, Ready};

use super::super::follow::Follow;
use super::super::node::{Mode, Node, Reading, Wish};

pub(super) const BUFFERS: u32 = 4;
pub(super) const SIZE: (u32, u32) = (8, 2);
/// A picture of that size in YUYV.
pub(super) const BYTES: usize = 32;

/// Pictures of one colour each.
static COLOURS: LazyLock<Vec<[u8; BYTES]>> =
    LazyLock::new(|| (0..=255).map(|value| [value; BYTES]).collect());

/// What a device sends that should send JPEGs of [`SIZE`]: one, one of whole blocks, a larger one, a progressive one.
pub(super) static JPEGS: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    let jpeg = |width, height| {
        let pixels = vec![0; (width * height * 4) as usize];
        let view = encode::View::packed(Format::Bgrx, width, height, &pixels).unwrap();
        encode::Jpeg::new(80).unwrap().encode(&view).unwrap().to_vec()
    };
    let mut progressive = jpeg(SIZE.0, SIZE.1);
    let frame = progressive.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
    progressive[frame + 1] = 0xC2;
    [jpeg(SIZE.0, SIZE.1), jpeg(16, 16), jpeg(32, 2), progressive]
});

#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    /// The driver fills a buffer, if it has one.
    Picture(u8),
    Damaged,
    Short,
    /// What a look at the source gives from now on.
    Signal(Result<Reading<u32>, i32>),
    /// Likewise, and the device says so.
    Event(Result<Reading<u32>, i32>),
    /// The capture stops in a fault until it is started anew.
    Fault,
}

/// What a test does to the device and sees of it, while the machine owns it.
pub(super) struct World {
    pub(super) clock: Duration,
    pub(super) plan: VecDeque<(Duration, Happening)>,
    pub(super) tells: bool,
    pub(super) reading: Result<Reading<u32>, i32>,
    pub(super) starts: Result<Option<Format>, i32>,
    pub(super) started: Vec<(Option<u32>, Wish)>,
    /// Each start is a change of the signal, so many milliseconds after it.
    pub(super) restless: Option<u64>,
    pub(super) capturing: bool,
    pub(super) fault: bool,
    pub(super) event: bool,
    pub(super) driver: VecDeque<u32>,
    pub(super) filled: VecDeque<Filled>,
    pub(super) colours: [u8; BUFFERS as usize],
    pub(super) sequence: u32,
    pub(super) dropped: u32,
    pub(super) edid: Vec<u8>,
    pub(super) edid_while_capturing: bool,
}

#[derive(Clone)]
pub(super) struct Fake {
    start: Instant,
    world: Arc<Mutex<World>>,
}

impl World {
    pub(super) fn happen(&mut self, what: Happening) {
        match what {
            Happening::Picture(colour) => self.fill(colour, BYTES, false),
            Happening::Damaged => self.fill(99, BYTES, true),
            Happening::Short => self.fill(98, BYTES - 1, false),
            Happening::Signal(reading) => self.reading = reading,
            Happening::Event(reading) => (self.reading, self.event) = (reading, self.tells),
            Happening::Fault => self.fault = true,
        }
    }

    fn fill(&mut self, colour: u8, len_bytes: usize, damaged: bool) {
        if !self.capturing {
            return;
        }
        let Some(index) = self.driver.pop_front() else {
            self.dropped += 1;
            return;
        };
        self.colours[index as usize] = colour;
        self.sequence += 1;
        let (captured, sequence) = (Some(self.clock), self.sequence);
        self.filled.push_back(Filled { index, len_bytes, captured, sequence, damaged });
    }
}

impl Fake {
    pub(super) fn new(tells: bool) -> Self {
        let world = World {
            clock: Duration::from_secs(100),
            plan: VecDeque::new(),
            tells,
            reading: Ok(Reading::Signal(1)),
            starts: Ok(Some(Format::Yuyv)),
            started: Vec::new(),
            restless: None,
            capturing: false,
            fault: false,
            event: false,
            driver: VecDeque::new(),
            filled: VecDeque::new(),
            colours: [0; BUFFERS as usize],
            sequence: 0,
            dropped: 0,
            edid: vec![1],
            edid_while_capturing: false,
        };
        Self { start: Instant::now(), world: Arc::new(Mutex::new(world)) }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(super) fn machine(&self) -> Follow<Self> {
        Follow::new(self.clone(), PathBuf::from("/dev/fake"), Wish::default())
    }

    /// Plans something so many milliseconds from now.
    pub(super) fn after(&self, millis: u64, what: Happening) {
        let mut world = self.world();
        let then = world.clock + Duration::from_millis(millis);
        let at = world.plan.partition_point(|(other, _)| *other <= then);
        world.plan.insert(at, (then, what));
    }

    pub(super) fn now_plus(&self, millis: u64) -> Instant {
        self.now() + Duration::from_millis(millis)
    }

    /// Moves the clock, and with it the plan.
    pub(super) fn pass(&self, to: Duration) {
        let mut world = self.world();
        while let Some((then, what)) = world.plan.front().copied().filter(|(then, _)| *then <= to) {
            world.plan.pop_front();
            world.clock = world.clock.max(then);
            world.happen(what);
        }
        world.clock = world.clock.max(to);
    }
}

pub(super) fn fault(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Node for Fake {
    type Timings = u32;

    fn now(&self) -> Instant {
        self.start + self.world().clock
    }

    fn since_boot(&self) -> Duration {
        self.world().clock
    }

    fn tells_changes(&self) -> bool {
        self.world().tells
    }

    fn reading(&mut self) -> io::Result<Reading<u32>> {
        self.world().reading.map_err(fault)
    }

    fn same(&self, one: &u32, other: &u32) -> bool {
        one == other
    }

    fn start(&mut self, timings: Option<&u32>, wish: Wish) -> io::Result<Option<Mode>> {
        let mut world = self.world();
        world.started.push((timings.copied(), wish));
        let Some(format) = world.starts.map_err(fault)? else { return Ok(None) };
        (world.capturing, world.fault) = (true, false);
        world.driver = (0..BUFFERS).collect();
        world.filled.clear();
        match world.restless {
            Some(0) => world.event = true,
            Some(millis) => {
                let (then, reading) = (world.clock + Duration::from_millis(millis), world.reading);
                world.plan.push_back((then, Happening::Event(reading)));
            }
            None => {}
        }
        Ok(Some(Mode { format, width: SIZE.0, height: SIZE.1, stride: format.line_bytes(SIZE.0) }))
    }

    fn stop(&mut self) {
        let mut world = self.world();
        world.capturing = false;
        world.driver.clear();
        world.filled.clear();
    }

    fn wait(&mut self, until: Instant) -> io::Result<Ready> {
        loop {
            let mut world = self.world();
            let ready = Ready {
                picture: !world.filled.is_empty(),
                event: world.event,
                fault: world.fault && world.capturing,
            };
            let end = until.saturating_duration_since(self.start);
            if ready != Ready::default() || world.clock >= end {
                return Ok(ready);
            }
            let next = world.plan.front().map_or(end, |(then, _)| end.min(*then));
            world.clock = world.clock.max(next);
            let to = world.clock;
            drop(world);
            self.pass(to);
        }
    }

    fn take_events(&mut self) -> io::Result<bool> {
        let mut world = self.world();
        if let Err(code) = world.reading
            && code == libc::ENODEV
        {
            return Err(fault(code));
        }
        Ok(std::mem::take(&mut world.event))
    }

    fn given(&self) -> usize {
        let world = self.world();
        world.driver.len() + world.filled.len()
    }

    fn take(&mut self) -> io::Result<Option<Filled>> {
        let mut world = self.world();
        if world.fault { Err(fault(libc::EIO)) } else { Ok(world.filled.pop_front()) }
    }

    fn give(&mut self, index: u32) -> io::Result<()> {
        let mut world = self.world();
        assert!(!world.driver.contains(&index), "a buffer given twice");
        world.driver.push_back(index);
        Ok(())
    }

    fn bytes(&self, index: u32, len_bytes: usize) -> Option<&[u8]> {
        let world = self.world();
        assert!(!world.driver.contains(&index), "a look into a buffer of the driver's");
        if world.starts == Ok(Some(Format::Jpeg)) {
            return Some(&JPEGS[usize::from(world.colours[index as usize])]);
        }
        COLOURS.get(usize::from(world.colours[index as usize]))?.get(..len_bytes)
    }

    fn edid(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.world().edid.clone())
    }

    fn set_edid(&mut self, edid: &[u8]) -> io::Result<()> {
        let mut world = self.world();
        world.edid_while_capturing |= world.capturing;
        world.edid = edid.to_vec();
        Ok(())
    }
}
