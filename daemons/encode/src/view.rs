//! A picture in somebody else's memory.

use std::fmt;

use crate::Error;

/// Longest side of a picture in pixels.
pub(crate) const MAX_SIDE: u32 = 16_384;

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
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bgrx, Self::Yuv420, Self::Yuv422, Self::Yuyv, Self::Uyvy];

    /// Its name in settings and messages: `bgrx`, `yuv420`, `yuv422`, `yuyv`, `uyvy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bgrx => "bgrx",
            Self::Yuv420 => "yuv420",
            Self::Yuv422 => "yuv422",
            Self::Yuyv => "yuyv",
            Self::Uyvy => "uyvy",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Bytes of a line (of the first plane) without padding.
    #[must_use]
    pub fn line_bytes(self, width: u32) -> usize {
        let width = width as usize;
        match self {
            Self::Bgrx => width * 4,
            Self::Yuv420 | Self::Yuv422 => width,
            Self::Yuyv | Self::Uyvy => width.div_ceil(2) * 4,
        }
    }

    /// Bytes of a picture with lines of `stride` bytes; chroma planes have half the stride, rounded up.
    /// Saturates instead of overflowing.
    #[must_use]
    pub fn picture_bytes(self, height: u32, stride: usize) -> usize {
        let height = height as usize;
        let first = stride.saturating_mul(height);
        let chroma_rows = match self {
            Self::Bgrx | Self::Yuyv | Self::Uyvy => 0,
            Self::Yuv420 => height.div_ceil(2),
            Self::Yuv422 => height,
        };
        first.saturating_add(stride.div_ceil(2).saturating_mul(chroma_rows).saturating_mul(2))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A picture: pixels borrowed from whoever captured them. Its numbers fit together, [`View::new`] saw to that.
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
    /// [`Error::Size`]; [`Error::TooShort`] when `stride` is less than a line or `data` less than the picture.
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
        let need = format.picture_bytes(height, stride.max(format.line_bytes(width)));
        if stride < format.line_bytes(width) || data.len() < need {
            return Err(Error::TooShort { have: data.len(), stride, need });
        }
        Ok(Self { format, width, height, stride, data: &data[..need] })
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

    /// Bytes from line to line of the first plane.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The pixels, all planes.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
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
    }

    #[test]
    fn names_lead_back_to_their_formats() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
        }
        assert_eq!(Format::from_name("YUYV"), None);
    }
}
