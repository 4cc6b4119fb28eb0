//! The seam between the machine that follows a source and the device: what is asked of a device, and the real one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use encode::Format;
use frames::SourceState;
use sys::v4l2::{self as video, Device, Filled, FormatOffer, PixFormat, Queue, Ready, Timings};

use super::{Input, Settings, format};

/// What is known of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading<T> {
    /// A signal with these timings.
    Signal(T),
    /// The device has no timings to be followed: its size is set.
    Free,
    /// No picture to be had.
    Absent(SourceState),
}

/// What the pictures are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) stride: usize,
}

/// A size and a rate to ask for, where the device has a choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) size: Option<(u32, u32)>,
    /// Pictures a second, 0 = as it is.
    pub(crate) fps: u32,
}

/// A capture device, and the clock that goes with it.
pub(crate) trait Node: Send {
    /// What tells one signal from another.
    type Timings: Copy + std::fmt::Debug + Send;

    /// Now.
    fn now(&self) -> Instant;
    /// Now, on the clock of the pictures' timestamps: `CLOCK_MONOTONIC`.
    fn since_boot(&self) -> Duration;
    /// Whether the device tells of a change by itself.
    fn tells_changes(&self) -> bool;
    /// Looks at the source. May take as long as the hardware needs to measure a signal.
    fn reading(&mut self) -> io::Result<Reading<Self::Timings>>;
    /// Whether two signals are the same to a receiver.
    fn same(&self, one: &Self::Timings, other: &Self::Timings) -> bool;
    /// Starts the capture. `Ok(None)`: no picture in a form we can read.
    fn start(&mut self, timings: Option<&Self::Timings>, wish: Wish) -> io::Result<Option<Mode>>;
    /// Ends it, if it was started. Never fails: a device that is gone has ended it.
    fn stop(&mut self);
    /// Waits for an event, and while it captures for a picture or a fault.
    fn wait(&mut self, until: Instant) -> io::Result<Ready>;
    /// Takes all events; says whether the source has changed.
    fn take_events(&mut self) -> io::Result<bool>;
    /// How many buffers the driver has.
    fn given(&self) -> usize;
    /// Takes the buffer that was filled first.
    fn take(&mut self) -> io::Result<Option<Filled>>;
    /// Gives a buffer back.
    fn give(&mut self, index: u32) -> io::Result<()>;
    /// What is in a buffer that was taken.
    fn bytes(&self, index: u32, len_bytes: usize) -> Option<&[u8]>;
    /// What the target is shown as its monitor.
    fn edid(&mut self) -> io::Result<Vec<u8>>;
    /// Shows the target another monitor; the capture must be stopped.
    fn set_edid(&mut self, edid: &[u8]) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Video {
    device: Arc<Device>,
    settings: Settings,
    /// The input's number, where the device has inputs.
    input: Option<u32>,
    events: bool,
    queue: Option<Queue>,
}

impl Video {
    /// Opens the device, chooses the input and shows the target its monitor.
    pub(crate) fn open(settings: &Settings) -> io::Result<Self> {
        let device = Device::open(&settings.device)?;
        let (driver, card, can) = device.capabilities()?;
        if can & video::CAN_CAPTURE == 0 || can & video::CAN_STREAM == 0 {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "not a device that captures pictures"));
        }
        let input = choose_input(&device, &settings.input)?;
        let events = device.subscribe_source_change(input.unwrap_or(0)).is_ok();
        log::info!(
            "capture device {}: {card} ({driver}), input {}, {} changes by itself",
            settings.device.display(),
            input.map_or_else(|| "only".to_owned(), |input| input.to_string()),
            if events { "tells" } else { "does not tell" },
        );
        Ok(Self { device: Arc::new(device), settings: settings.clone(), input, events, queue: None })
    }

    /// Shows the target the wanted monitor, unless it is shown already: setting it anew is a cable pulled.
    pub(crate) fn show_edid(&mut self, edid: &[u8]) -> io::Result<()> {
        if self.edid()? == edid {
            return Ok(());
        }
        log::info!("capture device: the target is shown a monitor of {} bytes", edid.len());
        self.set_edid(edid)
    }

    /// Pad of the requests about an EDID: the input's number.
    fn pad(&self) -> u32 {
        self.input.unwrap_or(0)
    }

    /// Why an input that is not digital gives nothing.
    fn analog_absence(&self) -> Option<SourceState> {
        const NO_POWER: u32 = 0x1;
        const NO_SIGNAL: u32 = 0x2;
        const NO_LOCK: u32 = 0x100 | 0x400 | 0x1_0000;
        let status = self.device.input(self.input?).ok()?.status;
        match status {
            status if status & (NO_POWER | NO_SIGNAL) != 0 => Some(SourceState::NoCable),
            status if status & NO_LOCK != 0 => Some(SourceState::NoSync),
            _ => None,
        }
    }

    /// The format to ask for, by what is offered; `None` when there is none.
    fn format(&self) -> io::Result<Option<FormatOffer>> {
        let offers = match self.device.formats() {
            Ok(offers) => offers,
            Err(error) if not_known(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        if let Some(offer) = format::choose(&offers, self.settings.format) {
            return Ok(Some(offer));
        }
        if offers.is_empty() {
            return self.device.format().map(|set| Some(FormatOffer { fourcc: set.fourcc, flags: 0 }));
        }
        let names: Vec<_> = offers.iter().map(|offer| format::name(offer.fourcc)).collect();
        log::error!(
            "capture device {}: offers {}, {} is wanted",
            self.settings.device.display(),
            names.join(", "),
            self.settings.format.map_or("a format we know", Format::name),
        );
        Ok(None)
    }
}

impl Node for Video {
    type Timings = Timings;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn since_boot(&self) -> Duration {
        Duration::from_nanos(frames::now_ns())
    }

    fn tells_changes(&self) -> bool {
        self.events
    }

    fn reading(&mut self) -> io::Result<Reading<Timings>> {
        let free = || self.analog_absence().map_or(Reading::Free, Reading::Absent);
        if !self.settings.follow_timings {
            return Ok(free());
        }
        match self.device.query_timings() {
            Ok(timings) if timings.width() == 0 || timings.height() == 0 => {
                Ok(Reading::Absent(SourceState::NoSync))
            }
            Ok(timings) => Ok(Reading::Signal(timings)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOLINK) => Ok(Reading::Absent(SourceState::NoCable)),
                Some(libc::ENOLCK) => Ok(Reading::Absent(SourceState::NoSync)),
                Some(libc::ERANGE) => Ok(Reading::Absent(SourceState::UnsupportedMode)),
                _ if not_known(&error) => Ok(free()),
                _ => Err(error),
            },
        }
    }

    fn same(&self, one: &Timings, other: &Timings) -> bool {
        one.same_signal(other)
    }

    fn start(&mut self, timings: Option<&Timings>, wish: Wish) -> io::Result<Option<Mode>> {
        self.stop();
        if let Some(timings) = timings {
            match self.device.set_timings(timings) {
                Ok(()) => {}
                // It can be measured, but not received.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ERANGE)) => {
                    log::warn!("{}: {}: {error}", self.settings.device.display(), said(timings));
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(offer) = self.format()? else { return Ok(None) };
        let mut wanted = PixFormat { fourcc: offer.fourcc, ..self.device.format()? };
        (wanted.stride, wanted.quantization, wanted.encoding) = (0, 0, 0);
        let is_rgb = matches!(
            format::known(offer.fourcc),
            Some(Format::Bgrx | Format::Rgb24 | Format::Bgr24 | Format::Jpeg) | None
        );
        // Where the device can, values as JPEG means them, so that colours are right without being converted.
        if !is_rgb && offer.flags & video::CHOOSES_RANGE != 0 {
            wanted.quantization = video::FULL_RANGE;
        }
        if !is_rgb && offer.flags & video::CHOOSES_ENCODING != 0 {
            wanted.encoding = video::BT_601;
        }
        if let Some(timings) = timings {
            (wanted.width, wanted.height) = (timings.width(), timings.height());
        } else {
            let offers = self.device.sizes(offer.fourcc).unwrap_or_default();
            if let Some(size) = format::choose_size(&offers, wish.size) {
                (wanted.width, wanted.height) = size;
            }
        }
        let set = self.device.set_format(&wanted)?;
        let Some(format) = format::known(set.fourcc) else {
            log::error!("{}: gives {}", self.settings.device.display(), format::name(set.fourcc));
            return Ok(None);
        };
        let fps = match (timings, wish.fps) {
            (None, 1..) => self.device.set_rate(wish.fps).unwrap_or(0),
            _ => 0,
        };
        self.queue = Some(Queue::start(&self.device, self.settings.buffers)?);
        let stride = usize::try_from(set.stride).unwrap_or(0).max(format.line_bytes(set.width));
        log::info!(
            "{}: {} as {}x{} {format}{}",
            self.settings.device.display(),
            timings.map_or_else(|| "free".to_owned(), said),
            set.width,
            set.height,
            if fps > 0 { format!(", {fps} a second") } else { String::new() },
        );
        Ok(Some(Mode { format, width: set.width, height: set.height, stride }))
    }

    fn stop(&mut self) {
        self.queue = None;
    }

    fn wait(&mut self, until: Instant) -> io::Result<Ready> {
        let left = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(10));
        if self.queue.is_none() && !self.events {
            crate::pace::wait_until(Instant::now() + left);
            return Ok(Ready::default());
        }
        self.device.wait(self.queue.is_some(), left)
    }

    fn take_events(&mut self) -> io::Result<bool> {
        self.device.take_events()
    }

    fn given(&self) -> usize {
        self.queue.as_ref().map_or(0, Queue::given)
    }

    fn take(&mut self) -> io::Result<Option<Filled>> {
        self.queue.as_mut().map_or(Ok(None), Queue::take)
    }

    fn give(&mut self, index: u32) -> io::Result<()> {
        self.queue.as_mut().map_or(Ok(()), |queue| queue.give(index))
    }

    fn bytes(&self, index: u32, len_bytes: usize) -> Option<&[u8]> {
        self.queue.as_ref()?.bytes(index, len_bytes)
    }

    fn edid(&mut self) -> io::Result<Vec<u8>> {
        self.device.edid(self.pad())
    }

    fn set_edid(&mut self, edid: &[u8]) -> io::Result<()> {
        self.device.set_edid(self.pad(), edid)
    }
}

/// The signal in a log.
fn said(timings: &Timings) -> String {
    let rate = timings.millihertz();
    let lines = if timings.interlaced() { "i" } else { "p" };
    format!("{}x{}{lines} {}.{:02} Hz", timings.width(), timings.height(), rate / 1000, rate % 1000 / 10)
}

/// A request that this driver, or this input of it, does not know.
pub(crate) fn not_known(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::ENODATA | libc::EINVAL | libc::EOPNOTSUPP))
}

/// Chooses the wanted input; says which one is in use, where there are inputs.
fn choose_input(device: &Device, wanted: &Input) -> io::Result<Option<u32>> {
    let number = match wanted {
        Input::AsItIs => None,
        Input::Number(number) => Some(*number),
        Input::Name(name) => Some(input_named(device, name)?),
    };
    // Setting what is set already may still disturb a device, and one without inputs refuses.
    let current = device.current_input().ok();
    if let Some(number) = number.filter(|number| current != Some(*number)) {
        device.select_input(number)?;
    }
    Ok(number.or(current))
}

/// The input of that name, or the first whose name begins like it; small and capital letters are the same.
fn input_named(device: &Device, name: &str) -> io::Result<u32> {
    let inputs = device.inputs()?;
    let name = name.to_lowercase();
    let at = |fits: &dyn Fn(&str) -> bool| inputs.iter().position(|input| fits(&input.name.to_lowercase()));
    let found = at(&|other| other == name).or_else(|| at(&|other| other.starts_with(&name)));
    found.and_then(|at| u32::try_from(at).ok()).ok_or_else(|| {
        let names: Vec<_> = inputs.iter().map(|input| format!("{:?}", input.name)).collect();
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("no input {name:?}, there are {}", names.join(", ")),
        )
    })
}

/// What to tell people when the device at `path` fails like that, and to write to the log.
pub(crate) fn lost(path: &Path, error: &io::Error) -> crate::Signal {
    let gone = matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::ENOENT | libc::EIO));
    let state = if gone || !path.exists() { SourceState::NoCable } else { SourceState::NoSync };
    crate::Signal::Lost { state, why: format!("{}: {error}", path.display()) }
}
