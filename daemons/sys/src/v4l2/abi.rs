//! The structures of `linux/videodev2.h` that are used here, and the requests that carry them.
//!
//! Written by hand: bindings made by bindgen would need libclang at build time for what is a dozen structures. Their sizes
//! are part of the request numbers, so a wrong one is refused by the kernel (`ENOTTY`) and, before that, by the
//! assertions at the end.
#![expect(clippy::struct_field_names, reason = "the kernel's names")]

use std::marker::PhantomData;

use libc::{c_ulong, timespec, timeval};

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
pub(crate) const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`.
pub(crate) const MMAP: u32 = 1;
/// `V4L2_MEMORY_FLAG_NON_COHERENT`.
pub(crate) const NON_COHERENT: u8 = 1;
/// `V4L2_DV_BT_656_1120`.
pub(crate) const BT_656_1120: u32 = 0;
/// `V4L2_EVENT_SOURCE_CHANGE`.
pub(crate) const SOURCE_CHANGE: u32 = 5;
/// `V4L2_CTRL_FLAG_NEXT_CTRL`.
pub(crate) const NEXT_CTRL: u32 = 0x8000_0000;
/// `V4L2_PIX_FMT_PRIV_MAGIC`: the fields after `priv` count.
pub(crate) const PRIV_MAGIC: u32 = 0xfeed_cafe;
/// `V4L2_PIX_FMT_FLAG_SET_CSC`.
pub(crate) const SET_CSC: u32 = 2;

/// A request with the structure it carries: the two cannot be mixed up.
pub(crate) struct Request<T> {
    pub(crate) number: libc::Ioctl,
    carries: PhantomData<fn(T)>,
}

impl<T> Request<T> {
    const fn read(number: u32) -> Self {
        Self { number: libc::_IOR::<T>(b'V' as u32, number), carries: PhantomData }
    }

    const fn write(number: u32) -> Self {
        Self { number: libc::_IOW::<T>(b'V' as u32, number), carries: PhantomData }
    }

    const fn both(number: u32) -> Self {
        Self { number: libc::_IOWR::<T>(b'V' as u32, number), carries: PhantomData }
    }
}

pub(crate) const QUERYCAP: Request<Capability> = Request::read(0);
pub(crate) const ENUM_FMT: Request<FormatDescription> = Request::both(2);
pub(crate) const G_FMT: Request<Format> = Request::both(4);
pub(crate) const S_FMT: Request<Format> = Request::both(5);
pub(crate) const REQBUFS: Request<RequestBuffers> = Request::both(8);
pub(crate) const QUERYBUF: Request<Buffer> = Request::both(9);
pub(crate) const QBUF: Request<Buffer> = Request::both(15);
pub(crate) const DQBUF: Request<Buffer> = Request::both(17);
pub(crate) const STREAMON: Request<i32> = Request::write(18);
pub(crate) const STREAMOFF: Request<i32> = Request::write(19);
pub(crate) const S_PARM: Request<StreamParameters> = Request::both(22);
pub(crate) const ENUMINPUT: Request<Input> = Request::both(26);
pub(crate) const G_CTRL: Request<Control> = Request::both(27);
pub(crate) const S_CTRL: Request<Control> = Request::both(28);
pub(crate) const QUERYCTRL: Request<ControlQuery> = Request::both(36);
pub(crate) const G_INPUT: Request<i32> = Request::read(38);
pub(crate) const S_INPUT: Request<i32> = Request::both(39);
pub(crate) const G_EDID: Request<Edid> = Request::both(40);
pub(crate) const S_EDID: Request<Edid> = Request::both(41);
pub(crate) const ENUM_FRAMESIZES: Request<FrameSize> = Request::both(74);
pub(crate) const S_DV_TIMINGS: Request<Timings> = Request::both(87);
pub(crate) const G_DV_TIMINGS: Request<Timings> = Request::both(88);
pub(crate) const DQEVENT: Request<Event> = Request::read(89);
pub(crate) const SUBSCRIBE_EVENT: Request<EventSubscription> = Request::write(90);
pub(crate) const QUERY_DV_TIMINGS: Request<Timings> = Request::read(99);

/// Numbers and arrays of numbers only: any bytes are a value, all zeroes among them.
///
/// # Safety
///
/// That must be so, and the structure must have the kernel's layout.
pub(crate) unsafe trait Plain: Sized {
    /// All zeroes.
    fn zeroed() -> Self {
        // SAFETY: the trait's promise.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($( $(#[$doc:meta])* struct $name:ident = $size:literal { $( $field:ident: $type:ty ),+ $(,)? } )+) => { $(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name { $( pub(crate) $field: $type, )+ }

        // SAFETY: fields of plain numbers in the kernel's order, `repr(C)`; the size is asserted below.
        unsafe impl Plain for $name {}

        #[cfg(target_pointer_width = "64")]
        const _: () = assert!(size_of::<$name>() == $size);
    )+ };
}

// SAFETY: an integer.
unsafe impl Plain for i32 {}

plain! {
    struct Capability = 104 {
        driver: [u8; 16], card: [u8; 32], bus_info: [u8; 32],
        version: u32, capabilities: u32, device_caps: u32, reserved: [u32; 3],
    }

    struct FormatDescription = 64 {
        index: u32, kind: u32, flags: u32, description: [u8; 32],
        pixelformat: u32, mbus_code: u32, reserved: [u32; 3],
    }

    struct PixFormat = 48 {
        width: u32, height: u32, pixelformat: u32, field: u32, bytesperline: u32, sizeimage: u32,
        colorspace: u32, private: u32, flags: u32, ycbcr_enc: u32, quantization: u32, xfer_func: u32,
    }

    /// The union also has pointers in it, hence the alignment.
    struct Format = 208 { kind: u32, align: [usize; 0], pix: PixFormat, rest: [u8; 152] }

    struct RequestBuffers = 20 {
        count: u32, kind: u32, memory: u32, capabilities: u32, flags: u8, reserved: [u8; 3],
    }

    struct Timecode = 16 { kind: u32, flags: u32, parts: [u8; 4], userbits: [u8; 4] }

    struct Buffer = 88 {
        index: u32, kind: u32, bytesused: u32, flags: u32, field: u32, timestamp: timeval, timecode: Timecode,
        sequence: u32, memory: u32, offset: c_ulong, length: u32, reserved: [u32; 2],
    }

    struct Input = 80 {
        index: u32, name: [u8; 32], kind: u32, audioset: u32, tuner: u32, std: u64,
        status: u32, capabilities: u32, reserved: [u32; 3],
    }

    struct StreamParameters = 204 {
        kind: u32, capability: u32, capturemode: u32, numerator: u32, denominator: u32,
        extendedmode: u32, readbuffers: u32, reserved: [u32; 4], rest: [u8; 160],
    }

    struct Control = 8 { id: u32, value: i32 }

    struct ControlQuery = 68 {
        id: u32, kind: u32, name: [u8; 32], minimum: i32, maximum: i32, step: i32, default: i32,
        flags: u32, reserved: [u32; 2],
    }

    /// The address goes as a number, so that nothing here is a pointer.
    struct Edid = 40 { pad: u32, start_block: u32, blocks: u32, reserved: [u32; 5], edid: usize }

    /// `sizes`: width and height, or least, most, step of both.
    struct FrameSize = 44 { index: u32, pixelformat: u32, kind: u32, sizes: [u32; 6], reserved: [u32; 2] }

    struct Event = 136 {
        kind: u32, data: [u64; 8], pending: u32, sequence: u32, timestamp: timespec, id: u32, reserved: [u32; 8],
    }

    struct EventSubscription = 32 { kind: u32, id: u32, flags: u32, reserved: [u32; 5] }
}

/// `v4l2_dv_timings`, packed in C: kept as words, as the pixel clock stands on no boundary of its own.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timings {
    pub(crate) kind: u32,
    pub(crate) words: [u32; 32],
}

// SAFETY: plain numbers; the size is asserted below.
unsafe impl Plain for Timings {}

const _: () = assert!(size_of::<Timings>() == 132);
