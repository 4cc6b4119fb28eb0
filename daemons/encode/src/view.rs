//! A picture in somebody else's memory.

use std::fmt;

use crate::Error;
use crate::markers::Markers;

/// Longest side of a picture in pixels.
pub(crate) const MAX_SIDE: u32 = 16_384;

/// Pixels of the largest block of a JPEG with halved chroma, either way.
const BLOCK: u32 = 16;

/// How the pixels lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Four bytes a pixel: blue, green, red, anything.
    Bgrx,
    /// Planes Y, U, V; chroma halved both ways (V4L2 `YU12`).
    Yuv420,
    /// Planes Y, U, V; chroma halved across (V4L2 `422P`).
    Yuv422,
    /// Two pixels in four bytes: Y, U, Y, V.
    Yuyv,
    /// Two pixels in four bytes: U, Y, V, Y.
    Uyvy,
    /// A plane Y, then one of pairs U, V, both with the same stride; chroma halved both ways (V4L2 `NV12`).
    Nv12,
    /// Three bytes a pixel: red, green, blue (V4L2 `RGB3`).
    Rgb24,
    /// Three bytes a pixel: blue, green, red (V4L2 `BGR3`).
    Bgr24,
    /// A JPEG already (V4L2 `MJPG`, `JPEG`): passed on, see [`View::jpeg`].
    Jpeg,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Bgrx,
        Self::Yuv420,
        Self::Yuv422,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Rgb24,
        Self::Bgr24,
        Self::Jpeg,
    ];

    /// Those that are pixels in lines: all but [`Format::Jpeg`].
    pub const RAW: [Self; 8] = [
        Self::Bgrx,
        Self::Yuv420,
        Self::Yuv422,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Rgb24,
        Self::Bgr24,
    ];

    /// Its name in settings and messages: `bgrx`, `yuv420`, `yuv422`, `yuyv`, `uyvy`, `nv12`, `rgb24`, `bgr24`, `jpeg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bgrx => "bgrx",
            Self::Yuv420 => "yuv420",
            Self::Yuv422 => "yuv422",
            Self::Yuyv => "yuyv",
            Self::Uyvy => "uyvy",
            Self::Nv12 => "nv12",
            Self::Rgb24 => "rgb24",
            Self::Bgr24 => "bgr24",
            Self::Jpeg => "jpeg",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Bytes of a line (of the first plane) without padding; 0 for a JPEG, which has no lines.
    #[must_use]
    pub fn line_bytes(self, width: u32) -> usize {
        let width = width as usize;
        match self {
            Self::Bgrx => width * 4,
            Self::Rgb24 | Self::Bgr24 => width * 3,
            Self::Yuv420 | Self::Yuv422 => width,
            Self::Nv12 => width.div_ceil(2) * 2,
            Self::Yuyv | Self::Uyvy => width.div_ceil(2) * 4,
            Self::Jpeg => 0,
        }
    }

    /// Bytes of a picture with lines of `stride` bytes; the chroma planes of `yuv420` and `yuv422` have half the
    /// stride, rounded up. Saturates instead of overflowing; 0 for a JPEG.
    #[must_use]
    pub fn picture_bytes(self, height: u32, stride: usize) -> usize {
        let height = height as usize;
        let half = stride.div_ceil(2);
        let chroma = match self {
            Self::Bgrx | Self::Rgb24 | Self::Bgr24 | Self::Yuyv | Self::Uyvy => 0,
            Self::Yuv420 => half.saturating_mul(height.div_ceil(2)).saturating_mul(2),
            Self::Yuv422 => half.saturating_mul(height).saturating_mul(2),
            Self::Nv12 => stride.saturating_mul(height.div_ceil(2)),
            Self::Jpeg => return 0,
        };
        stride.saturating_mul(height).saturating_add(chroma)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A picture: pixels (or a JPEG) borrowed from whoever captured them. Its numbers fit together, [`View::new`] and
/// [`View::jpeg`] saw to that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    format: Format,
    width: u32,
    height: u32,
    stride: usize,
    data: &'a [u8],
}

impl<'a> View<'a> {
    /// A picture of `width` x `height` pixels (1 to 16384 each) with `stride` bytes from line to line of its first
    /// plane. Bytes after the picture are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Size`]; [`Error::TooShort`] when `stride` is less than a line or `data` less than the picture. For
    /// [`Format::Jpeg`] those of [`View::jpeg`], and [`Error::Jpeg`] when it has another size.
    pub fn new(
        format: Format,
        width: u32,
        height: u32,
        stride: usize,
        data: &'a [u8],
    ) -> Result<Self, Error> {
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Error::Size { width, height });
        }
        if format == Format::Jpeg {
            let view = Self::jpeg(data)?;
            let as_told = (view.width, view.height) == (width, height);
            return if as_told {
                Ok(view)
            } else {
                Err(Error::Jpeg("its size is not the one it should have"))
            };
        }
        let need = format.picture_bytes(height, stride.max(format.line_bytes(width)));
        if stride < format.line_bytes(width) || data.len() < need {
            return Err(Error::TooShort { have: data.len(), stride, need });
        }
        Ok(Self { format, width, height, stride, data: &data[..need] })
    }

    /// A picture that came as a JPEG; its size is what it says itself. What follows its end (capture devices pad) is
    /// left off. Looked at cheaply: its segments and its two ends, not the coded picture.
    ///
    /// # Errors
    ///
    /// [`Error::Jpeg`] for what is none, is cut off or is of a kind that browsers do not show, [`Error::Size`].
    pub fn jpeg(data: &'a [u8]) -> Result<Self, Error> {
        let markers = Markers::read(data)?;
        let (width, height) = (markers.width.into(), markers.height.into());
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Error::Size { width, height });
        }
        Ok(Self { format: Format::Jpeg, width, height, stride: 0, data: &data[..markers.end] })
    }

    /// A picture that a capture device sent as a JPEG, held to the size that was agreed on. Its sides may be rounded up to
    /// whole blocks, as some encoders do. Progressive ones, which no capture device needs, are refused: whoever decodes
    /// one needs memory for all of it.
    ///
    /// # Errors
    ///
    /// Those of [`View::jpeg`], and [`Error::Jpeg`] for another size and for a progressive one.
    pub fn captured_jpeg(width: u32, height: u32, data: &'a [u8]) -> Result<Self, Error> {
        let view = Self::jpeg(data)?;
        let fits = |side: u32, agreed: u32| {
            (agreed..=agreed.saturating_add(BLOCK - 1) / BLOCK * BLOCK).contains(&side)
        };
        if !fits(view.width, width) || !fits(view.height, height) {
            return Err(Error::Jpeg("its size is not the one it should have"));
        }
        if !Markers::read(data)?.sequential {
            return Err(Error::Jpeg("progressive"));
        }
        Ok(view)
    }

    /// A picture without padding between its lines.
    ///
    /// # Errors
    ///
    /// As [`View::new`].
    pub fn packed(format: Format, width: u32, height: u32, data: &'a [u8]) -> Result<Self, Error> {
        Self::new(format, width, height, format.line_bytes(width), data)
    }

    /// How the pixels lie.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Bytes from line to line of the first plane; 0 for a JPEG.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The pixels, all planes; or the JPEG.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Its planes in the order in which they lie in memory; none for a JPEG.
    pub(crate) fn planes(&self) -> impl Iterator<Item = Plane<'a>> + use<'a> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (pair, half_rows) = (width.div_ceil(2), height.div_ceil(2));
        let half_stride = self.stride.div_ceil(2);
        let first = (self.stride, self.format.line_bytes(self.width), height);
        let shapes: [(usize, usize, usize); 3] = match self.format {
            Format::Bgrx | Format::Rgb24 | Format::Bgr24 | Format::Yuyv | Format::Uyvy => {
                [first, (0, 0, 0), (0, 0, 0)]
            }
            Format::Yuv420 => [first, (half_stride, pair, half_rows), (half_stride, pair, half_rows)],
            Format::Yuv422 => [first, (half_stride, pair, height), (half_stride, pair, height)],
            Format::Nv12 => [first, (self.stride, pair * 2, half_rows), (0, 0, 0)],
            Format::Jpeg => [(0, 0, 0); 3],
        };
        let mut rest = self.data;
        shapes.into_iter().filter(|(stride, ..)| *stride > 0).map(move |(stride, line_bytes, rows)| {
            let (data, after) = rest.split_at(stride * rows);
            rest = after;
            Plane { data, stride, line_bytes, rows }
        })
    }
}

/// One plane of a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plane<'a> {
    /// `rows` lines of `stride` bytes.
    pub(crate) data: &'a [u8],
    pub(crate) stride: usize,
    /// Bytes of a line that are pixels.
    pub(crate) line_bytes: usize,
    pub(crate) rows: usize,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, width, height, stride, .. } = self;
        write!(f, "View({format} {width}x{height}, stride {stride})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_together_are_refused() {
        let data = vec![0; 1000];
        for (width, height) in [(0, 1), (1, 0), (16_385, 1), (1, u32::MAX)] {
            assert!(matches!(View::packed(Format::Bgrx, width, height, &data), Err(Error::Size { .. })));
        }
        assert!(matches!(View::new(Format::Bgrx, 10, 1, 39, &data), Err(Error::TooShort { .. })));
        assert!(matches!(View::new(Format::Bgrx, 10, 10, usize::MAX, &data), Err(Error::TooShort { .. })));
        assert!(View::packed(Format::Bgrx, 10, 25, &data).is_ok());
        assert!(View::packed(Format::Bgrx, 10, 26, &data).is_err());
    }

    #[test]
    fn odd_sizes_round_chroma_up() {
        assert_eq!(Format::Yuv420.picture_bytes(3, 5), 15 + 2 * 3 * 2);
        assert_eq!(Format::Yuv422.picture_bytes(3, 5), 15 + 2 * 3 * 3);
        assert_eq!(Format::Yuyv.line_bytes(5), 12);
        assert_eq!(Format::Yuyv.picture_bytes(3, 12), 36);
        assert_eq!(Format::Nv12.line_bytes(5), 6);
        assert_eq!(Format::Nv12.picture_bytes(3, 8), 24 + 2 * 8);
        assert_eq!(Format::Bgr24.picture_bytes(2, Format::Bgr24.line_bytes(5)), 30);
    }

    #[test]
    fn the_planes_are_all_of_the_picture_in_its_order() {
        for format in Format::RAW {
            let stride = format.line_bytes(5) + 3;
            let data: Vec<u8> = (0..=255).cycle().take(format.picture_bytes(7, stride)).collect();
            let view = View::new(format, 5, 7, stride, &data).unwrap();
            let together: Vec<u8> = view.planes().flat_map(|plane| plane.data.to_vec()).collect();
            assert_eq!(together, data, "{format}");
            for plane in view.planes() {
                assert_eq!(plane.data.len(), plane.stride * plane.rows, "{format}");
                assert!(plane.line_bytes <= plane.stride, "{format}");
            }
        }
    }

    #[test]
    fn a_captured_jpeg_has_the_agreed_size_or_whole_blocks_and_is_not_progressive() {
        let mut encoder = crate::Jpeg::new(80).unwrap();
        let pixels = vec![0; 64 * 48 * 4];
        let mut jpeg =
            encoder.encode(&View::packed(Format::Bgrx, 64, 48, &pixels).unwrap()).unwrap().to_vec();
        for (width, height, fits) in [
            (64, 48, true),
            (50, 34, true), // rounded up
            (49, 33, true),
            (48, 48, false),
            (64, 32, false),
            (65, 48, false),
            (64, 49, false),
            (u32::MAX, 48, false),
        ] {
            let view = View::captured_jpeg(width, height, &jpeg);
            assert_eq!(view.is_ok(), fits, "{width}x{height}");
        }
        let frame = jpeg.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 1] = 0xC2;
        assert!(View::jpeg(&jpeg).is_ok());
        assert!(matches!(View::captured_jpeg(64, 48, &jpeg), Err(Error::Jpeg("progressive"))));
    }

    #[test]
    fn names_lead_back_to_their_formats() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
        }
        assert_eq!(Format::from_name("YUYV"), None);
    }
}
