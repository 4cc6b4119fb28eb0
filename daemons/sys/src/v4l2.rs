//! Video capture devices: the requests of V4L2 that a KVM needs, typed.
//!
//! The crates for V4L2 lack DV timings, EDID and events, and return a buffer only when the next one is asked for.
//! Everything goes through libc's `open`, `ioctl` and `mmap`, never by bare system calls, so that a preloaded library can
//! stand in for a device. What a driver does not know it answers with `ENOTTY`, which is passed on.
#![expect(unsafe_code, reason = "ioctl and mmap take addresses")]

mod abi;
mod queue;

use std::ffi::CString;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use abi::{Plain, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub use queue::{Filled, Queue};

/// Flag of [`Device::capabilities`]: pictures can be captured (in one plane of memory).
pub const CAN_CAPTURE: u32 = 0x0000_0001;
/// Flag of [`Device::capabilities`]: buffers are lent, as [`Queue`] needs it.
pub const CAN_STREAM: u32 = 0x0400_0000;
/// Flag of [`FormatOffer::flags`]: the range of values can be chosen.
pub const CHOOSES_RANGE: u32 = 0x0100;
/// Flag of [`FormatOffer::flags`]: the colour matrix can be chosen.
pub const CHOOSES_ENCODING: u32 = 0x0080;
/// Value of [`PixFormat::quantization`]: values use the whole range.
pub const FULL_RANGE: u32 = 1;
/// Value of [`PixFormat::encoding`]: the matrix of BT.601.
pub const BT_601: u32 = 1;
/// Longest list a driver is asked for, whatever it says.
const LIST: u32 = 256;
/// Bytes of a block of an EDID, and the most blocks asked for.
const EDID_BLOCK: usize = 128;
const EDID_BLOCKS: u32 = 8;

/// A device that is open. Not blocking.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

/// One of the device's inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name, as the driver writes it.
    pub name: String,
    /// Flags `V4L2_IN_ST_*`; for the current input only.
    pub status: u32,
    /// It is digital, with timings to be followed.
    pub timings: bool,
}

/// A pixel format the device offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatOffer {
    /// Four letters, the first one in the lowest byte.
    pub fourcc: u32,
    /// Flags `V4L2_FMT_FLAG_*`.
    pub flags: u32,
}

/// The format of pictures to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PixFormat {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Four letters, the first one in the lowest byte.
    pub fourcc: u32,
    /// Bytes from line to line of the first plane; 0 lets the driver choose.
    pub stride: u32,
    /// Range of the values, `V4L2_QUANTIZATION_*`; 0 is what is usual for the format.
    pub quantization: u32,
    /// Matrix from colours to luma and chroma, `V4L2_YCBCR_ENC_*`; 0 is what is usual for the signal.
    pub encoding: u32,
    /// Whose colours they are, `V4L2_COLORSPACE_*`. As the device said: without it range and matrix are not looked at.
    pub colorspace: u32,
}

/// Sizes of pictures a device offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeOffer {
    /// Exactly this width and height.
    Exact(u32, u32),
    /// Anything from the first to the second, in steps of the third.
    Between((u32, u32), (u32, u32), (u32, u32)),
}

/// Timings of a digital signal. Equal when the signal is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings(abi::Timings);

impl Timings {
    fn word(&self, index: usize) -> u32 {
        self.0.words.get(index).copied().unwrap_or(0)
    }

    /// Pixels across, without blanking.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.word(0)
    }

    /// Pixels down, without blanking.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.word(1)
    }

    /// Every second line a picture.
    #[must_use]
    pub fn interlaced(&self) -> bool {
        self.word(2) != 0
    }

    /// Pixels a second, blanking included.
    #[must_use]
    pub fn pixel_clock(&self) -> u64 {
        // Native halves of a u64 that stands at a multiple of four.
        let halves = [self.word(4).to_ne_bytes(), self.word(5).to_ne_bytes()].concat();
        halves.try_into().map_or(0, u64::from_ne_bytes)
    }

    /// Pictures a second, in thousandths; 0 when the timings do not tell.
    #[must_use]
    pub fn millihertz(&self) -> u32 {
        let line = [0, 6, 7, 8].iter().map(|index| u64::from(self.word(*index))).sum::<u64>();
        let lines = [1, 9, 10, 11].iter().map(|index| u64::from(self.word(*index))).sum::<u64>();
        let rate = (u128::from(self.pixel_clock()) * 1000).checked_div(u128::from(line) * u128::from(lines));
        rate.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0)
    }

    /// The same size at the same rate. A receiver measures the clock anew each time, so one part in a hundred is no
    /// difference; two rates that people tell apart (59.94 and 60 Hz are not among them) differ by more.
    #[must_use]
    pub fn same_signal(&self, other: &Self) -> bool {
        let size = |timings: &Self| (timings.width(), timings.height(), timings.interlaced());
        let (clock, others) = (self.pixel_clock(), other.pixel_clock());
        size(self) == size(other) && clock.abs_diff(others) <= clock / 100
    }
}

/// What a [`Device::wait`] ended with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// A buffer may be filled.
    pub picture: bool,
    /// There is an event.
    pub event: bool,
    /// The device cannot go on as it is, or is gone.
    pub fault: bool,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    ///
    /// What open(2) says; `EINVAL` for a path with a zero byte.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let flags = libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC;
        // SAFETY: the path ends with a zero and lives until open returns.
        let number = unsafe { libc::open(path.as_ptr(), flags) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: open has just made this number, for us alone.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(number) } })
    }

    /// Name of the driver, of the device, and what it can do (`CAN_*`).
    ///
    /// # Errors
    ///
    /// `ENOTTY` when this is no video device.
    pub fn capabilities(&self) -> io::Result<(String, String, u32)> {
        const PER_DEVICE: u32 = 0x8000_0000;
        let mut answer = abi::Capability::zeroed();
        call(self, &abi::QUERYCAP, &mut answer)?;
        let own = answer.capabilities & PER_DEVICE != 0;
        let flags = if own { answer.device_caps } else { answer.capabilities };
        Ok((text(&answer.driver), text(&answer.card), flags))
    }

    /// The inputs, in order.
    ///
    /// # Errors
    ///
    /// `ENOTTY` when the device has none to choose from.
    pub fn inputs(&self) -> io::Result<Vec<Input>> {
        list(|index| self.input(index))
    }

    /// One input.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is no such input, `ENOTTY` when there are none.
    pub fn input(&self, index: u32) -> io::Result<Input> {
        const TIMINGS: u32 = 2;
        let mut answer = abi::Input { index, ..Plain::zeroed() };
        call(self, &abi::ENUMINPUT, &mut answer)?;
        let timings = answer.capabilities & TIMINGS != 0;
        Ok(Input { name: text(&answer.name), status: answer.status, timings })
    }

    /// Number of the input in use.
    ///
    /// # Errors
    ///
    /// `ENOTTY` when there are none.
    pub fn current_input(&self) -> io::Result<u32> {
        let mut answer = 0;
        call(self, &abi::G_INPUT, &mut answer)?;
        Ok(answer.cast_unsigned())
    }

    /// Uses that input.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is no such input, `EBUSY` while the device captures.
    pub fn select_input(&self, index: u32) -> io::Result<()> {
        call(self, &abi::S_INPUT, &mut index.cast_signed())
    }

    /// The formats the device offers now.
    ///
    /// # Errors
    ///
    /// `ENOTTY` when the driver does not tell.
    pub fn formats(&self) -> io::Result<Vec<FormatOffer>> {
        list(|index| {
            let mut answer = abi::FormatDescription { index, kind: abi::CAPTURE, ..Plain::zeroed() };
            call(self, &abi::ENUM_FMT, &mut answer)?;
            Ok(FormatOffer { fourcc: answer.pixelformat, flags: answer.flags })
        })
    }

    /// The sizes the device offers in that format.
    ///
    /// # Errors
    ///
    /// `ENOTTY` when the driver does not tell, `EINVAL` when it does not know the format.
    pub fn sizes(&self, fourcc: u32) -> io::Result<Vec<SizeOffer>> {
        let offers = list(|index| {
            let mut answer = abi::FrameSize { index, pixelformat: fourcc, ..Plain::zeroed() };
            call(self, &abi::ENUM_FRAMESIZES, &mut answer)?;
            Ok(answer)
        })?;
        Ok(offers
            .into_iter()
            .map(|offer| match (offer.kind, offer.sizes) {
                (1, [width, height, ..]) => SizeOffer::Exact(width, height),
                (_, [w0, w1, across, h0, h1, down]) => SizeOffer::Between((w0, h0), (w1, h1), (across, down)),
            })
            .collect())
    }

    /// The format as it is.
    ///
    /// # Errors
    ///
    /// What the driver says.
    pub fn format(&self) -> io::Result<PixFormat> {
        let mut format = abi::Format { kind: abi::CAPTURE, ..Plain::zeroed() };
        call(self, &abi::G_FMT, &mut format)?;
        Ok(shown(&format))
    }

    /// Sets the format; gives what the driver made of it, which may differ in everything.
    ///
    /// # Errors
    ///
    /// `EBUSY` while there are buffers; what the driver says else.
    pub fn set_format(&self, wanted: &PixFormat) -> io::Result<PixFormat> {
        const FIELD_NONE: u32 = 1;
        let mut format = abi::Format { kind: abi::CAPTURE, ..Plain::zeroed() };
        format.pix.width = wanted.width;
        format.pix.height = wanted.height;
        format.pix.pixelformat = wanted.fourcc;
        format.pix.field = FIELD_NONE;
        format.pix.bytesperline = wanted.stride;
        if wanted.quantization != 0 || wanted.encoding != 0 {
            format.pix.private = abi::PRIV_MAGIC;
            format.pix.flags = abi::SET_CSC;
            format.pix.quantization = wanted.quantization;
            format.pix.ycbcr_enc = wanted.encoding;
            format.pix.colorspace = wanted.colorspace;
        }
        call(self, &abi::S_FMT, &mut format)?;
        Ok(shown(&format))
    }

    /// Wants that many pictures a second; gives what the driver made of it, 0 when it does not say.
    ///
    /// # Errors
    ///
    /// `ENOTTY` when the driver has no choice, `EBUSY` while it captures.
    pub fn set_rate(&self, fps: u32) -> io::Result<u32> {
        let mut wanted =
            abi::StreamParameters { kind: abi::CAPTURE, numerator: 1, denominator: fps, ..Plain::zeroed() };
        call(self, &abi::S_PARM, &mut wanted)?;
        Ok(wanted.denominator.checked_div(wanted.numerator).unwrap_or(0))
    }

    /// The timings of the signal that comes in now.
    ///
    /// # Errors
    ///
    /// `ENOLINK` without a signal, `ENOLCK` with one that is not stable, `ERANGE` with one that is beyond the
    /// hardware; `ENOTTY` and `ENODATA` when the input is not digital.
    pub fn query_timings(&self) -> io::Result<Timings> {
        let mut timings = abi::Timings::zeroed();
        call(self, &abi::QUERY_DV_TIMINGS, &mut timings)?;
        if timings.kind != abi::BT_656_1120 {
            return Err(io::Error::from_raw_os_error(libc::ERANGE));
        }
        Ok(Timings(timings))
    }

    /// The timings the device is set to.
    ///
    /// # Errors
    ///
    /// As [`Device::query_timings`] for an input that is not digital.
    pub fn timings(&self) -> io::Result<Timings> {
        let mut timings = abi::Timings::zeroed();
        call(self, &abi::G_DV_TIMINGS, &mut timings)?;
        Ok(Timings(timings))
    }

    /// Sets the timings to expect. Changes the format.
    ///
    /// # Errors
    ///
    /// `EBUSY` while there are buffers, `EINVAL` and `ERANGE` when the hardware cannot do them.
    pub fn set_timings(&self, timings: &Timings) -> io::Result<()> {
        call(self, &abi::S_DV_TIMINGS, &mut timings.0.clone())
    }

    /// The description of a monitor that the device shows to whatever is connected to its input; empty when it shows
    /// none.
    ///
    /// # Errors
    ///
    /// `ENOTTY` and `EINVAL` when the input has no such thing.
    pub fn edid(&self, input: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0_u8; EDID_BLOCK * EDID_BLOCKS as usize];
        let mut edid = abi::Edid {
            pad: input,
            blocks: EDID_BLOCKS,
            edid: bytes.as_mut_ptr().expose_provenance(),
            ..Plain::zeroed()
        };
        match call(self, &abi::G_EDID, &mut edid) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENODATA) => edid.blocks = 0,
            Err(error) => return Err(error),
        }
        bytes.truncate(EDID_BLOCK * edid.blocks.min(EDID_BLOCKS) as usize);
        Ok(bytes)
    }

    /// Shows another description; none when `bytes` is empty. What is connected sees that as a cable pulled and put
    /// back.
    ///
    /// # Errors
    ///
    /// `E2BIG` when the device has no room for it, `ENOTTY` and `EINVAL` when the input has no such thing.
    pub fn set_edid(&self, input: u32, bytes: &[u8]) -> io::Result<()> {
        let blocks = u32::try_from(bytes.len() / EDID_BLOCK).map_err(io::Error::other)?;
        // The kernel only reads it, but the structure is the one it writes to elsewhere.
        let mut copy = bytes.to_vec();
        let mut edid =
            abi::Edid { pad: input, blocks, edid: copy.as_mut_ptr().expose_provenance(), ..Plain::zeroed() };
        call(self, &abi::S_EDID, &mut edid)
    }

    /// Wants to hear when the source changes.
    ///
    /// # Errors
    ///
    /// `ENOTTY` and `EINVAL` when the driver does not tell.
    pub fn subscribe_source_change(&self, input: u32) -> io::Result<()> {
        let mut wish = abi::EventSubscription { kind: abi::SOURCE_CHANGE, id: input, ..Plain::zeroed() };
        call(self, &abi::SUBSCRIBE_EVENT, &mut wish)
    }

    /// Takes all events there are; says whether the source has changed.
    ///
    /// # Errors
    ///
    /// `ENODEV` when the device is gone.
    pub fn take_events(&self) -> io::Result<bool> {
        let mut changed = false;
        for _ in 0..LIST {
            let mut event = abi::Event::zeroed();
            match call(self, &abi::DQEVENT, &mut event) {
                Ok(()) => changed |= event.kind == abi::SOURCE_CHANGE,
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EAGAIN | libc::ENOTTY)) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(changed)
    }

    /// Number of the control of that name, as the driver writes it; `None` when there is none.
    #[must_use]
    pub fn control(&self, name: &str) -> Option<u32> {
        let mut query = abi::ControlQuery { id: abi::NEXT_CTRL, ..Plain::zeroed() };
        for _ in 0..1024 {
            call(self, &abi::QUERYCTRL, &mut query).ok()?;
            if text(&query.name) == name {
                return Some(query.id);
            }
            query = abi::ControlQuery { id: query.id | abi::NEXT_CTRL, ..Plain::zeroed() };
        }
        None
    }

    /// Value of a control.
    ///
    /// # Errors
    ///
    /// What the driver says.
    pub fn control_value(&self, id: u32) -> io::Result<i32> {
        let mut control = abi::Control { id, value: 0 };
        call(self, &abi::G_CTRL, &mut control)?;
        Ok(control.value)
    }

    /// Sets a control.
    ///
    /// # Errors
    ///
    /// What the driver says.
    pub fn set_control(&self, id: u32, value: i32) -> io::Result<()> {
        call(self, &abi::S_CTRL, &mut abi::Control { id, value })
    }

    /// Waits for an event, or also for a picture or a fault, at most `timeout` (rounded up to milliseconds). A device
    /// that does not capture is in a fault all the time: wait for events only.
    ///
    /// # Errors
    ///
    /// What poll(2) says; a signal is an end without news.
    pub fn wait(&self, pictures: bool, timeout: std::time::Duration) -> io::Result<Ready> {
        let millis = u16::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX);
        let wanted = if pictures { PollFlags::POLLIN | PollFlags::POLLPRI } else { PollFlags::POLLPRI };
        let mut fds = [PollFd::new(self.fd.as_fd(), wanted)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let seen = fds.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        Ok(Ready {
            picture: seen.contains(PollFlags::POLLIN),
            event: seen.contains(PollFlags::POLLPRI),
            fault: seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL),
        })
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Carries out a request; a signal in between is no end.
fn call<T: Plain>(device: &Device, request: &Request<T>, with: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: the request's number holds the size of `T`, so the kernel reads and writes that structure only, and
        // any bytes it writes are a valid `T` (`Plain`). The address inside an `Edid` is set by `edid` and `set_edid`
        // only, to memory that outlives the call and is as long as `blocks` says.
        let done = unsafe { libc::ioctl(device.fd.as_raw_fd(), request.number, std::ptr::from_mut(with)) };
        if done >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Maps a buffer for reading.
fn map(device: &Device, len_bytes: NonZeroUsize, offset: libc::off_t) -> io::Result<NonNull<u8>> {
    let fd = device.fd.as_raw_fd();
    // SAFETY: the kernel chooses the address, so nothing that exists is mapped over.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), len_bytes.get(), libc::PROT_READ, libc::MAP_SHARED, fd, offset)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

/// Everything up to the first `EINVAL`.
fn list<T>(mut at: impl FnMut(u32) -> io::Result<T>) -> io::Result<Vec<T>> {
    let mut all = Vec::new();
    for index in 0..LIST {
        match at(index) {
            Ok(item) => all.push(item),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn shown(format: &abi::Format) -> PixFormat {
    let pix = format.pix;
    let told = |value: u32| if pix.private == abi::PRIV_MAGIC { value } else { 0 };
    PixFormat {
        width: pix.width,
        height: pix.height,
        fourcc: pix.pixelformat,
        stride: pix.bytesperline,
        quantization: told(pix.quantization),
        encoding: told(pix.ycbcr_enc),
        colorspace: pix.colorspace,
    }
}

/// Up to the first zero, without control characters.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_have_the_numbers_of_the_kernels_header() {
        // Taken from a C program on x86-64; the sizes in them are the same on every 64-bit machine.
        #[cfg(target_pointer_width = "64")]
        for (ours, kernels) in [
            (abi::QUERYCAP.number, 0x8068_5600),
            (abi::S_FMT.number, 0xc0d0_5605),
            (abi::REQBUFS.number, 0xc014_5608),
            (abi::DQBUF.number, 0xc058_5611),
            (abi::STREAMON.number, 0x4004_5612),
            (abi::S_PARM.number, 0xc0cc_5616),
            (abi::ENUMINPUT.number, 0xc050_561a),
            (abi::S_EDID.number, 0xc028_5629),
            (abi::ENUM_FRAMESIZES.number, 0xc02c_564a),
            (abi::S_DV_TIMINGS.number, 0xc084_5657),
            (abi::DQEVENT.number, 0x8088_5659),
            (abi::SUBSCRIBE_EVENT.number, 0x4020_565a),
            (abi::QUERY_DV_TIMINGS.number, 0x8084_5663),
        ] {
            assert_eq!(ours, kernels);
        }
    }

    #[test]
    fn what_is_no_video_device_is_refused_by_name() {
        let device = Device::open(Path::new("/dev/null")).unwrap();
        assert_eq!(device.capabilities().unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(device.edid(0).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert!(!device.take_events().unwrap());
        assert_eq!(device.control("Brightness"), None);
        let missing = Device::open(Path::new("/nonexistent/video")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn names_end_at_the_first_zero_and_hold_no_control_characters() {
        assert_eq!(text(b"HDMI 0\0rest"), "HDMI 0");
        assert_eq!(text(b"a\x1b[2Jb"), "a[2Jb");
    }

    #[test]
    fn a_rate_is_worked_out_from_the_timings() {
        let mut words = [0; 32];
        // 1920x1080 at 60 Hz: 148.5 MHz, 2200 by 1125 with blanking.
        (words[0], words[1], words[6], words[9]) = (1920, 1080, 280, 45);
        let clock = 148_500_000_u64.to_ne_bytes();
        words[4] = u32::from_ne_bytes([clock[0], clock[1], clock[2], clock[3]]);
        words[5] = u32::from_ne_bytes([clock[4], clock[5], clock[6], clock[7]]);
        let timings = Timings(abi::Timings { kind: 0, words });
        assert_eq!((timings.width(), timings.height(), timings.millihertz()), (1920, 1080, 60_000));
        assert_eq!(Timings(abi::Timings { kind: 0, words: [0; 32] }).millihertz(), 0);
    }
}
