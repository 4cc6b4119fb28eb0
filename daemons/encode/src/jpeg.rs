//! The JPEG encoder.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp, compressed_buf_len};

use crate::Error;
use crate::planes::{self, Planes};
use crate::view::{Format, View};

/// Encodes pictures one after the other; keeps its buffers, so a frame costs no allocation once sizes settle.
#[derive(Debug)]
pub struct Jpeg {
    compressor: Compressor,
    quality: u8,
    planes: Planes,
    /// As large as the worst picture of this size could get; the kernel gives pages for what is used of it.
    out: Vec<u8>,
    len: usize,
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
            planes: Planes::default(),
            out: Vec::new(),
            len: 0,
        };
        jpeg.set_quality(quality)?;
        Ok(jpeg)
    }

    /// Quality of the pictures to come, 1 to 100; values outside are taken to the nearest.
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

    /// Encodes a picture; the bytes stay until the next one, see [`Jpeg::last`].
    ///
    /// # Errors
    ///
    /// [`Error::Library`]; the last picture is then lost.
    pub fn encode(&mut self, view: &View<'_>) -> Result<&[u8], Error> {
        self.len = 0;
        let subsamp = match view.format() {
            Format::Bgrx | Format::Yuv420 => Subsamp::Sub2x2,
            Format::Yuv422 | Format::Yuyv | Format::Uyvy => Subsamp::Sub2x1,
        };
        let (width, height) = (view.width() as usize, view.height() as usize);
        let worst = compressed_buf_len(width, height, subsamp)?;
        if self.out.len() != worst {
            // A fresh zeroed allocation is untouched pages; growing the old one would copy it.
            self.out = vec![0; worst];
        }
        self.len = if view.format() == Format::Bgrx {
            self.compressor.set_subsamp(subsamp)?;
            let pixels = view.data();
            let image = Image { pixels, width, pitch: view.stride(), height, format: PixelFormat::BGRX };
            self.compressor.compress_to_slice(image, &mut self.out)?
        } else {
            let image = planes::of(view, &mut self.planes);
            self.compressor.compress_yuv_planes_to_slice(&image, &mut self.out)?
        };
        Ok(self.last())
    }

    /// The picture that was encoded last; empty when there is none.
    #[must_use]
    pub fn last(&self) -> &[u8] {
        self.out.get(..self.len).unwrap_or_default()
    }
}
