//! The JPEG encoder: strips that did not change are not encoded again.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp, compressed_buf_len};

use crate::Error;
use crate::kept::{Kept, STRIP_ROWS, Strip};
use crate::markers::{EOI, Markers};
use crate::planes::{self, Planes};
use crate::tables;
use crate::view::{Format, View};

/// Kinds of the markers between restart intervals, which take turns.
const RESTART: [u8; 8] = [0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7];

/// How much colour a JPEG keeps at most. No more than the source has: one of 4:2:2 does not give 4:4:4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Chroma {
    /// One colour for two by two pixels, 4:2:0: what cameras and most streams do.
    #[default]
    Quarter,
    /// One for two pixels of a line, 4:2:2. A third more work and a tenth more bytes; small coloured text is clearer.
    Half,
    /// Each pixel its own, 4:4:4.
    Full,
}

/// Encodes pictures one after the other; keeps its buffers, so a frame costs no allocation once sizes settle.
///
/// The JPEG is an ordinary baseline one with restart markers. Each strip of 16 rows is a restart interval and as such
/// independent of the others, so what has not changed since the last picture is taken from the last JPEG. The bytes
/// are the same as if all had been encoded anew.
#[derive(Debug)]
pub struct Jpeg {
    compressor: Compressor,
    quality: u8,
    chroma: Chroma,
    kept: Kept,
    /// What `kept` has the shape of.
    shape: Option<Shape>,
    /// What the strips in `out` were encoded as; nothing when they cannot be used again.
    mode: Option<Mode>,
    out: Joined,
    /// The picture before, whose strips are used again; swapped with `out`.
    before: Joined,
    scratch: Scratch,
    is_new: bool,
}

/// Buffers for one strip.
#[derive(Debug, Default)]
struct Scratch {
    planes: Planes,
    /// The strip's own little JPEG; as large as the worst one could get.
    jpeg: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    format: Format,
    width: u32,
    height: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    shape: Shape,
    quality: u8,
    subsamp: Subsamp,
}

/// A whole JPEG and where its strips are.
#[derive(Debug, Default)]
struct Joined {
    bytes: Vec<u8>,
    /// Where each strip begins, and the end: a strip's bytes with the marker that follows.
    starts: Vec<usize>,
}

impl Jpeg {
    /// An encoder with a quality of 1 to 100; values outside are taken to the nearest.
    ///
    /// # Errors
    ///
    /// [`Error::Library`] when there is no memory.
    pub fn new(quality: u8) -> Result<Self, Error> {
        let mut jpeg = Self {
            compressor: Compressor::new()?,
            quality: 0,
            chroma: Chroma::default(),
            kept: Kept::default(),
            shape: None,
            mode: None,
            out: Joined::default(),
            before: Joined::default(),
            scratch: Scratch::default(),
            is_new: false,
        };
        jpeg.set_quality(quality)?;
        Ok(jpeg)
    }

    /// Quality of the pictures to come, 1 to 100; values outside are taken to the nearest. Pictures that are JPEGs
    /// already keep theirs.
    ///
    /// # Errors
    ///
    /// [`Error::Library`].
    pub fn set_quality(&mut self, quality: u8) -> Result<(), Error> {
        let quality = quality.clamp(1, 100);
        self.compressor.set_quality(quality.into())?;
        self.quality = quality;
        Ok(())
    }

    /// Quality in use, 1 to 100.
    #[must_use]
    pub fn quality(&self) -> u8 {
        self.quality
    }

    /// How much colour the pictures to come keep at most.
    pub fn set_chroma(&mut self, chroma: Chroma) {
        self.chroma = chroma;
    }

    /// Encodes a picture; the bytes stay until the next one, see [`Jpeg::last`]. One that is a JPEG already is passed
    /// on as it is, with the standard's Huffman tables if it has none.
    ///
    /// # Errors
    ///
    /// [`Error::Library`]; the last picture is then lost.
    pub fn encode(&mut self, view: &View<'_>) -> Result<&[u8], Error> {
        let shape = Shape { format: view.format(), width: view.width(), height: view.height() };
        let done = if shape.format == Format::Jpeg {
            self.mode = None;
            self.pass_on(view.data())
        } else {
            self.encode_strips(view, shape)
        };
        match done {
            Ok(is_new) => self.is_new = is_new,
            Err(error) => {
                self.mode = None;
                self.out.bytes.clear();
                return Err(error);
            }
        }
        Ok(self.last())
    }

    /// Whether the JPEG that was made last is another one than the one before. Who asks this need not compare pictures
    /// beforehand, which would read them twice.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The picture that was encoded last; empty when there is none.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        &self.out.bytes
    }

    /// Says whether anything changed.
    fn encode_strips(&mut self, view: &View<'_>, shape: Shape) -> Result<bool, Error> {
        let mode = Mode { shape, quality: self.quality, subsamp: subsamp(shape.format, self.chroma) };
        let anew = self.mode.replace(mode) != Some(mode);
        if self.shape != Some(shape) {
            self.kept.resize(view);
            self.shape = Some(shape);
        }
        if anew {
            let worst = compressed_buf_len(shape.width as usize, STRIP_ROWS, mode.subsamp)?;
            self.scratch.jpeg.resize(worst, 0);
        }
        let strips = (shape.height as usize).div_ceil(STRIP_ROWS);
        // Strips that `before`, the new picture in the making, has already.
        let mut have = None;
        for strip in 0..strips {
            // Strip by strip, so that the pixels are still in the cache when they are encoded.
            if !(self.kept.update(view, strip) || anew) {
                continue;
            }
            if have.is_none() {
                self.before.begin(if anew { &[] } else { self.out.head() });
            }
            self.before.append(&self.out, have.unwrap_or(0)..strip);
            let planes = self.kept.strip(strip);
            let len = compress(&mut self.compressor, &mode, strip, planes, &mut self.scratch)?;
            let little = &self.scratch.jpeg[..len];
            let markers = Markers::read(little)?;
            if anew && strip == 0 {
                self.before.begin(&head(little, &markers, &mode)?);
            }
            self.before.push(&little[markers.coded..markers.end - EOI.len()], strip + 1 == strips);
            have = Some(strip + 1);
        }
        if let Some(have) = have {
            self.before.append(&self.out, have..strips);
            std::mem::swap(&mut self.out, &mut self.before);
        }
        Ok(have.is_some())
    }

    /// A JPEG as it is, completed by the Huffman tables that motion JPEG leaves out. Says whether it is another one.
    fn pass_on(&mut self, jpeg: &[u8]) -> Result<bool, Error> {
        let markers = Markers::read(jpeg)?;
        let (before, after) = jpeg[..markers.end].split_at(markers.scan);
        let lacking = if markers.sequential && !markers.tables { &tables::STANDARD[..] } else { &[] };
        self.before.begin(before);
        self.before.bytes.extend_from_slice(lacking);
        self.before.bytes.extend_from_slice(after);
        std::mem::swap(&mut self.out, &mut self.before);
        Ok(self.out.bytes != self.before.bytes)
    }
}

impl Joined {
    fn begin(&mut self, head: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(head);
        self.starts.clear();
        self.starts.push(head.len());
    }

    /// All before the first strip.
    fn head(&self) -> &[u8] {
        &self.bytes[..self.starts.first().copied().unwrap_or(0)]
    }

    /// Appends strips of another picture, which have the same numbers here.
    fn append(&mut self, other: &Self, strips: std::ops::Range<usize>) {
        if strips.is_empty() {
            return;
        }
        let (from, to) = (other.starts[strips.start], other.starts[strips.end]);
        let here = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes[from..to]);
        self.starts
            .extend(other.starts[strips.start + 1..=strips.end].iter().map(|start| start - from + here));
    }

    /// Appends the coded bytes of the next strip, and the marker after them.
    fn push(&mut self, coded: &[u8], last: bool) {
        let number = self.starts.len() - 1;
        self.bytes.extend_from_slice(coded);
        self.bytes.extend_from_slice(&if last { EOI } else { [0xFF, RESTART[number % 8]] });
        self.starts.push(self.bytes.len());
    }
}

/// What there is of colour in the JPEG of a source with that format.
fn subsamp(format: Format, chroma: Chroma) -> Subsamp {
    match (format, chroma) {
        (Format::Yuv420 | Format::Nv12, _) | (_, Chroma::Quarter) => Subsamp::Sub2x2,
        (Format::Yuv422 | Format::Yuyv | Format::Uyvy, _) | (_, Chroma::Half) => Subsamp::Sub2x1,
        (_, Chroma::Full) => Subsamp::None,
    }
}

/// Encodes one strip as a JPEG of its own into `scratch.jpeg` and gives its length.
fn compress(
    compressor: &mut Compressor,
    mode: &Mode,
    strip: usize,
    planes: [Strip<'_>; 3],
    scratch: &mut Scratch,
) -> Result<usize, Error> {
    let Shape { format, width, height } = mode.shape;
    let rows = (height as usize - strip * STRIP_ROWS).min(STRIP_ROWS);
    let width = width as usize;
    let colours = match format {
        Format::Bgrx => PixelFormat::BGRX,
        Format::Rgb24 => PixelFormat::RGB,
        Format::Bgr24 => PixelFormat::BGR,
        _ => {
            let image = planes::of(format, mode.subsamp, (width, rows), planes, &mut scratch.planes);
            return Ok(compressor.compress_yuv_planes_to_slice(&image, &mut scratch.jpeg)?);
        }
    };
    compressor.set_subsamp(mode.subsamp)?;
    let [Strip { data: pixels, stride: pitch }, ..] = planes;
    let image = Image { pixels, width, pitch, height: rows, format: colours };
    Ok(compressor.compress_to_slice(image, &mut scratch.jpeg)?)
}

/// The head of the whole picture, made of that of its first strip: another height, and a restart interval.
fn head(little: &[u8], markers: &Markers, mode: &Mode) -> Result<Vec<u8>, Error> {
    // Groups of blocks (the standard's MCUs): how wide, and how many rows of them a strip has.
    let (group_width, group_rows) = match mode.subsamp {
        Subsamp::Sub2x2 => (16, 1),
        Subsamp::Sub2x1 => (16, 2),
        _ => (8, 2),
    };
    let groups = mode.shape.width.div_ceil(group_width) * group_rows;
    let too_large = |_| Error::Size { width: mode.shape.width, height: mode.shape.height };
    let (groups, height) =
        (u16::try_from(groups).map_err(too_large)?, u16::try_from(mode.shape.height).map_err(too_large)?);
    let mut head = little[..markers.scan].to_vec();
    head[markers.height_at..][..2].copy_from_slice(&height.to_be_bytes());
    head.extend_from_slice(&[0xFF, 0xDD, 0, 4]);
    head.extend_from_slice(&groups.to_be_bytes());
    head.extend_from_slice(&little[markers.scan..markers.coded]);
    Ok(head)
}
