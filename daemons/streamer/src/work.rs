//! The thread that does the work: wait for a picture, encode it, publish it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use capture::{News, Source, SourceState};
use client::streamer as wire;
use encode::{Chroma, Jpeg};
use frames::{Format, Meta, Writer, now_ns};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::edid::Keeper;
use crate::meter::{Figures, Meter};
use crate::placard::Placard;
use crate::serve::Request;

/// Longest wait for a picture before commands and the stop signal are looked at: how late those may be.
const SLICE: Duration = Duration::from_millis(200);
/// An unchanged picture is published again after this.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What the work begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// How much colour the JPEGs keep at most.
    pub chroma: Chroma,
    /// Most new pictures a second, 0 = as many as come.
    pub desired_fps: u32,
    /// Size of the placard until a picture came, pixels.
    pub size: (u32, u32),
}

impl Default for Settings {
    fn default() -> Self {
        Self { quality: 80, chroma: Chroma::default(), desired_fps: 30, size: (1280, 720) }
    }
}

/// What is in the ring at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Live,
    Placard(SourceState),
}

/// The work and everything it owns.
pub struct Work {
    source: Box<dyn Source>,
    encoder: Jpeg,
    placard: Placard,
    ring: Writer,
    commands: mpsc::Receiver<Request>,
    monitor: Keeper,
    state: watch::Sender<wire::State>,
    turns: Arc<AtomicU64>,
    meter: Meter,
    figures: Figures,
    quality: u8,
    desired_fps: u32,
    size: (u32, u32),
    shown: Shown,
    /// The picture that is shown was encoded with other settings.
    stale: bool,
    /// The next new picture is wanted then.
    due: Instant,
    published: Instant,
}

impl Work {
    /// Work that has not begun. The state can be followed at once; every turn of the work counts `turns` up.
    ///
    /// # Errors
    ///
    /// [`encode::Error`] when there is no memory for an encoder.
    pub fn new(
        settings: Settings,
        source: Box<dyn Source>,
        ring: Writer,
        commands: mpsc::Receiver<Request>,
        monitor: Keeper,
    ) -> Result<Self, encode::Error> {
        let now = Instant::now();
        let mut encoder = Jpeg::new(settings.quality)?;
        encoder.set_chroma(settings.chroma);
        let mut work = Self {
            source,
            quality: encoder.quality(),
            encoder,
            placard: Placard::new()?,
            ring,
            commands,
            monitor,
            state: watch::Sender::new(blank()),
            turns: Arc::default(),
            meter: Meter::new(now),
            figures: Figures::default(),
            desired_fps: settings.desired_fps,
            size: settings.size,
            shown: Shown::Nothing,
            stale: false,
            due: now,
            published: now,
        };
        work.tell();
        Ok(work)
    }

    /// The state, as the socket tells it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<wire::State> {
        self.state.subscribe()
    }

    /// A number that rises as long as the work goes on; several times a second.
    #[must_use]
    pub fn turns(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.turns)
    }

    /// Works until told to stop. Blocks: give it a thread of its own.
    pub fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.turn(Instant::now() + SLICE);
        }
        self.monitor.stop(self.source.monitor());
    }

    /// One turn: waits for news until `deadline` at most and acts on them.
    fn turn(&mut self, deadline: Instant) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        while let Ok(request) = self.commands.try_recv() {
            match request {
                Request::Set(set) => self.set(set),
                Request::Edid(order, answer) => {
                    let outcome = self.monitor.order(&order, self.source.monitor(), Instant::now());
                    let _ = answer.send(outcome); // whoever asked may have left
                }
            }
        }
        self.monitor.tick(self.source.monitor(), Instant::now());
        if self.stale && self.shown == Shown::Live {
            self.show_picture();
        }
        let heartbeat = self.published + HEARTBEAT;
        let deadline = deadline.min(heartbeat).min(self.meter.due());
        match self.news(deadline) {
            Ok(News::New) => self.show_picture(),
            Ok(News::Same) => {}
            Err(signal) => self.show_placard(signal.state()),
        }
        let now = Instant::now();
        if now >= self.published + HEARTBEAT {
            self.repeat();
        }
        if let Some(figures) = self.meter.take(now) {
            self.figures = figures;
            self.tell();
        }
    }

    /// Asks the source, not before the next picture is wanted: until then it may gather changes.
    fn news(&mut self, deadline: Instant) -> Result<News, capture::Signal> {
        if self.due > deadline {
            pause_until(deadline);
            return Ok(News::Same);
        }
        pause_until(self.due);
        let news = self.source.wait(deadline)?;
        // A source that says "the same" before it had to has looked at a picture: that counts as one, too.
        if news == News::New || Instant::now() < deadline {
            let interval = Duration::from_secs(1).checked_div(self.desired_fps).unwrap_or(Duration::ZERO);
            // Counted from when it was wanted, so that being late by a little does not lower the rate.
            self.due = (self.due + interval).max(Instant::now());
        }
        Ok(news)
    }

    fn set(&mut self, set: wire::Set) {
        if let Some(quality) = set.quality.map(|quality| quality.clamp(1, 100))
            && quality != self.quality
        {
            self.quality = quality;
            self.stale = true;
        }
        if let Some(desired_fps) = set.desired_fps {
            self.desired_fps = desired_fps;
            self.due = self.published; // wanted at once; the new rate counts from there
        }
        if let Some(size) = set.resolution {
            self.source.set_size(size.width, size.height);
        }
        self.tell();
    }

    /// Encodes and publishes the source's picture.
    fn show_picture(&mut self) {
        self.stale = false;
        let Some(picture) = self.source.picture() else { return };
        let size = (picture.view.width(), picture.view.height());
        if size != self.size || self.shown != Shown::Live {
            log::info!("source: live, {}x{} {}", size.0, size.1, picture.view.format());
        }
        let encode_begin = now_ns();
        let slot_bytes = self.ring.slot_bytes();
        match encode_to_fit(&mut self.encoder, &picture.view, self.quality, slot_bytes) {
            Ok(()) => {}
            Err(error) => {
                if self.shown != Shown::Placard(SourceState::EncoderFault) {
                    log::error!("encoder: {error}");
                }
                self.size = size;
                self.show_placard(SourceState::EncoderFault);
                return;
            }
        }
        if self.shown == Shown::Live && self.size == size && !self.encoder.is_new() {
            return; // equal to the last one: the heartbeat repeats that
        }
        let encode_end = now_ns();
        let state = SourceState::Live;
        let meta = meta(size, state, (picture.captured, encode_begin, encode_end));
        match self.ring.publish(&meta, self.encoder.last()) {
            Ok((_, published)) => self.meter.fresh(&meta, published),
            Err(error) => log::error!("frame ring: {error}"),
        }
        self.published = Instant::now();
        let changed = (self.shown, self.size) != (Shown::Live, size);
        (self.shown, self.size) = (Shown::Live, size);
        if changed {
            self.tell();
        }
    }

    /// Publishes the placard of a state, if it is not what is shown.
    fn show_placard(&mut self, state: SourceState) {
        if self.shown == Shown::Placard(state) {
            return;
        }
        log::info!("source: {}", state.name());
        self.shown = Shown::Placard(state);
        if let Err(error) = self.placard.show(state, self.size) {
            log::error!("placard: {error}");
        }
        self.repeat();
        self.tell();
    }

    /// Publishes what is shown once more, as it is.
    fn repeat(&mut self) {
        let now = now_ns();
        let (size, state, bytes) = match self.shown {
            Shown::Nothing => {
                self.published = Instant::now();
                return;
            }
            Shown::Live => (self.size, SourceState::Live, self.encoder.last()),
            Shown::Placard(state) => (Placard::size(self.size.0, self.size.1), state, self.placard.bytes()),
        };
        self.published = Instant::now();
        if bytes.is_empty() {
            return; // the encoder failed even at that, which was logged
        }
        match self.ring.publish(&meta(size, state, (now, now, now)), bytes) {
            Ok(_) => self.meter.repeated(),
            Err(error) => log::error!("frame ring: {error}"),
        }
    }

    /// Tells the socket's side how things are, if that has changed.
    fn tell(&mut self) {
        let state = wire::State {
            source: wire::Source {
                resolution: wire::Resolution { width: self.size.0, height: self.size.1 },
                online: self.shown == Shown::Live,
                desired_fps: self.desired_fps,
                captured_fps: self.figures.captured_fps,
                state: match self.shown {
                    Shown::Live => wire::SourceState::Live,
                    Shown::Nothing => wire::SourceState::NoSync,
                    Shown::Placard(state) => spell(state),
                },
            },
            encoder: wire::Encoder { kind: "CPU".to_owned(), quality: self.quality },
            stream: wire::Stream { queued_fps: self.figures.queued_fps },
            latency: self.figures.latency,
        };
        self.state.send_if_modified(|told| {
            let changed = *told != state;
            *told = state;
            changed
        });
    }
}

/// Encodes with that quality, or with the best lower one whose JPEG fits a slot of the ring.
fn encode_to_fit(
    encoder: &mut Jpeg,
    view: &encode::View<'_>,
    quality: u8,
    slot_bytes: usize,
) -> Result<(), encode::Error> {
    // Noise at 4K may take a lower quality; it is tried anew for each picture, as most fit.
    let mut quality = quality;
    loop {
        if encoder.quality() != quality {
            encoder.set_quality(quality)?;
        }
        let need = encoder.encode(view)?.len();
        if need <= slot_bytes {
            return Ok(());
        }
        if quality <= 1 {
            return Err(encode::Error::TooLarge { need, room: slot_bytes });
        }
        quality /= 2;
    }
}

fn meta(
    (width, height): (u32, u32),
    state: SourceState,
    (captured, encode_begin, encode_end): (u64, u64, u64),
) -> Meta {
    let online = state == SourceState::Live;
    Meta { format: Format::Jpeg, width, height, online, key: true, captured, encode_begin, encode_end, state }
}

fn spell(state: SourceState) -> wire::SourceState {
    match state {
        SourceState::Live => wire::SourceState::Live,
        SourceState::NoCable => wire::SourceState::NoCable,
        SourceState::NoSync => wire::SourceState::NoSync,
        SourceState::UnsupportedMode => wire::SourceState::UnsupportedMode,
        SourceState::EncoderFault => wire::SourceState::EncoderFault,
    }
}

/// A state for the moment before the first one is told.
fn blank() -> wire::State {
    wire::State {
        source: wire::Source {
            resolution: wire::Resolution { width: 0, height: 0 },
            online: false,
            desired_fps: 0,
            captured_fps: 0,
            state: wire::SourceState::NoSync,
        },
        encoder: wire::Encoder { kind: "CPU".to_owned(), quality: 0 },
        stream: wire::Stream { queued_fps: 0 },
        latency: None,
    }
}

fn pause_until(then: Instant) {
    loop {
        let left = then.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::os::fd::OwnedFd;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use capture::{Picture, Signal};
    use frames::{Frame, Reader};

    type Script = Arc<Mutex<VecDeque<Result<News, Signal>>>>;

    /// A source that says what it is told to and shows grey pictures of the size it is set to.
    struct Scripted {
        script: Script,
        size: (u32, u32),
        pixels: Vec<u8>,
        /// The picture does not change.
        still: Arc<AtomicBool>,
    }

    impl Source for Scripted {
        fn wait(&mut self, _: Instant) -> Result<News, Signal> {
            let news = self.script.lock().unwrap().pop_front().unwrap_or(Ok(News::Same));
            let step = if self.still.load(Ordering::Relaxed) { 0 } else { 3 };
            self.pixels.iter_mut().for_each(|pixel| *pixel = pixel.wrapping_add(step));
            news
        }

        fn picture(&self) -> Option<Picture<'_>> {
            let view =
                encode::View::packed(encode::Format::Bgrx, self.size.0, self.size.1, &self.pixels).ok()?;
            Some(Picture { view, captured: now_ns() })
        }

        fn set_size(&mut self, width: u32, height: u32) -> bool {
            self.size = (width, height);
            self.pixels = vec![0; (width * height * 4) as usize];
            true
        }
    }

    struct Bench {
        work: Work,
        script: Script,
        still: Arc<AtomicBool>,
        commands: mpsc::Sender<Request>,
        _dir: tempfile::TempDir,
        reader: Reader,
        _ring: OwnedFd,
    }

    fn bench(slot_bytes: u32) -> Bench {
        let ring = frames::create(8, slot_bytes).unwrap();
        let script = Script::default();
        let still = Arc::<AtomicBool>::default();
        let mut source = Scripted {
            script: Arc::clone(&script),
            size: (0, 0),
            pixels: Vec::new(),
            still: Arc::clone(&still),
        };
        source.set_size(64, 48);
        let (commands, from) = mpsc::channel(4);
        let dir = tempfile::tempdir().unwrap();
        let monitor = Keeper::open(dir.path(), None);
        let settings = Settings { desired_fps: 0, ..Settings::default() };
        let work =
            Work::new(settings, Box::new(source), Writer::attach(&ring).unwrap(), from, monitor).unwrap();
        Bench {
            work,
            script,
            still,
            commands,
            reader: Reader::attach(&ring).unwrap(),
            _ring: ring,
            _dir: dir,
        }
    }

    impl Bench {
        fn turn(&mut self, news: Result<News, Signal>) -> Option<Frame> {
            self.script.lock().unwrap().push_back(news);
            self.work.turn(Instant::now());
            self.reader.latest()
        }

        /// As if the last frame was published that long ago.
        fn age(&mut self, age: Duration) {
            self.work.published = Instant::now().checked_sub(age).unwrap();
        }
    }

    #[test]
    fn a_new_picture_is_published_and_an_unchanged_one_is_not() {
        let mut bench = bench(100_000);
        let first = bench.turn(Ok(News::New)).unwrap();
        assert_eq!((first.seq, first.meta.width, first.meta.height, first.meta.online), (1, 64, 48, true));
        assert_eq!(encode::dimensions(&first.data).unwrap(), (64, 48));
        assert!(
            first.meta.captured <= first.meta.encode_begin && first.meta.encode_end <= first.published_ns
        );
        assert_eq!(bench.turn(Ok(News::Same)).unwrap().seq, 1);
        assert_eq!(bench.turn(Ok(News::New)).unwrap().seq, 2);
        assert_eq!(bench.work.subscribe().borrow().source.state, wire::SourceState::Live);
    }

    #[test]
    fn a_new_picture_that_is_equal_to_the_last_is_not_published_but_after_a_placard_it_is() {
        let mut bench = bench(100_000);
        bench.turn(Ok(News::New)).unwrap();
        bench.still.store(true, Ordering::Relaxed);
        assert_eq!(bench.turn(Ok(News::New)).unwrap().seq, 1);
        assert!(!bench.turn(Err(Signal::Absent(SourceState::NoCable))).unwrap().meta.online);
        let again = bench.turn(Ok(News::New)).unwrap();
        assert_eq!((again.seq, again.meta.online), (3, true));
    }

    #[test]
    fn an_unchanged_picture_is_repeated_after_a_second_without_being_encoded() {
        let mut bench = bench(100_000);
        let first = bench.turn(Ok(News::New)).unwrap();
        bench.age(HEARTBEAT);
        let second = bench.turn(Ok(News::Same)).unwrap();
        assert_eq!((second.seq, &second.data), (2, &first.data));
        assert!(second.meta.online && second.meta.captured > first.meta.captured);
        assert_eq!(second.meta.encode_begin, second.meta.encode_end);
        assert_eq!(bench.turn(Ok(News::Same)).unwrap().seq, 2);
    }

    #[test]
    fn each_state_without_a_picture_is_shown_at_once_and_told() {
        let mut bench = bench(100_000);
        bench.turn(Ok(News::New));
        for (seq, state) in (2..).zip(SourceState::ALL.into_iter().skip(1)) {
            for _ in 0..3 {
                let frame = bench.turn(Err(Signal::Absent(state))).unwrap();
                assert_eq!((frame.seq, frame.meta.state, frame.meta.online), (seq, state, false));
                assert_eq!(encode::dimensions(&frame.data).unwrap(), (frame.meta.width, frame.meta.height));
            }
            let told = bench.work.subscribe().borrow().source.clone();
            assert_eq!((told.state, told.online), (spell(state), false));
        }
        assert!(bench.turn(Ok(News::New)).unwrap().meta.online);
    }

    #[test]
    fn a_placard_is_repeated_after_a_second() {
        let mut bench = bench(100_000);
        let first = bench.turn(Err(Signal::Absent(SourceState::NoSync))).unwrap();
        bench.age(HEARTBEAT);
        let second = bench.turn(Err(Signal::Absent(SourceState::NoSync))).unwrap();
        assert_eq!((second.seq, second.data), (first.seq + 1, first.data));
    }

    #[test]
    fn a_new_quality_shows_at_once_even_when_the_picture_does_not_change() {
        let mut bench = bench(100_000);
        bench.turn(Ok(News::New));
        bench.commands.try_send(Request::Set(wire::Set { quality: Some(5), ..Default::default() })).unwrap();
        let frame = bench.turn(Ok(News::Same)).unwrap();
        assert_eq!(frame.seq, 2);
        assert_eq!(bench.work.subscribe().borrow().encoder.quality, 5);
        bench.commands.try_send(Request::Set(wire::Set { quality: Some(0), ..Default::default() })).unwrap();
        bench.turn(Ok(News::Same));
        assert_eq!(bench.work.subscribe().borrow().encoder.quality, 1, "taken to the nearest");
    }

    #[test]
    fn a_new_size_goes_to_the_source_and_into_the_state() {
        let mut bench = bench(100_000);
        bench.turn(Ok(News::New));
        let resolution = Some("80x60".parse().unwrap());
        bench.commands.try_send(Request::Set(wire::Set { resolution, ..Default::default() })).unwrap();
        let frame = bench.turn(Ok(News::New)).unwrap();
        assert_eq!((frame.meta.width, frame.meta.height), (80, 60));
        let told = bench.work.subscribe().borrow().source.resolution;
        assert_eq!((told.width, told.height), (80, 60));
    }

    #[test]
    fn a_limited_rate_does_not_ask_the_source_early() {
        let mut bench = bench(100_000);
        bench
            .commands
            .try_send(Request::Set(wire::Set { desired_fps: Some(1), ..Default::default() }))
            .unwrap();
        assert_eq!(bench.turn(Ok(News::New)).unwrap().seq, 1);
        assert_eq!(bench.turn(Ok(News::New)).unwrap().seq, 1);
        assert_eq!(bench.script.lock().unwrap().len(), 1, "the second picture is still to be asked for");
        bench
            .commands
            .try_send(Request::Set(wire::Set { desired_fps: Some(0), ..Default::default() }))
            .unwrap();
        assert_eq!(bench.turn(Ok(News::New)).unwrap().seq, 2);
        assert_eq!(bench.turn(Ok(News::New)).unwrap().seq, 3);
    }

    #[test]
    fn a_picture_too_large_for_a_slot_takes_a_lower_quality() {
        let mut bench = bench(2_000);
        bench.work.quality = 100;
        let noise = |at: u32| u8::try_from((at ^ (at >> 3)).wrapping_mul(2_654_435_761) >> 24).unwrap();
        let pixels: Vec<u8> = (0..64 * 48 * 4).map(noise).collect();
        let view = encode::View::packed(encode::Format::Bgrx, 64, 48, &pixels).unwrap();
        let mut encoder = Jpeg::new(100).unwrap();
        assert!(encoder.encode(&view).unwrap().len() > 2_000);
        encode_to_fit(&mut encoder, &view, 100, 2_000).unwrap();
        assert!(encoder.last().len() <= 2_000 && encoder.quality() < 100);
        let refused = encode_to_fit(&mut encoder, &view, 100, 100);
        assert!(matches!(refused, Err(encode::Error::TooLarge { room: 100, .. })));
        assert!(bench.turn(Ok(News::New)).is_some());
    }
}
