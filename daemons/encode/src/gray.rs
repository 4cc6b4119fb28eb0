//! A part of a JPEG in shades of grey, for reading text from it: API.md 8.7, the snapshot's `ocr_left` and its kind.

use turbojpeg::{Decompressor, Image, PixelFormat};

use crate::{Error, dimensions};

/// A picture in shades of grey: one byte a pixel, lines without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gray {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width` times `height` bytes, 0 is black.
    pub pixels: Vec<u8>,
}

/// A part of a picture by the coordinates of its edges; one that is none is the picture's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Region {
    /// The first column.
    pub left: Option<u32>,
    /// The first line.
    pub top: Option<u32>,
    /// One behind the last column.
    pub right: Option<u32>,
    /// One behind the last line.
    pub bottom: Option<u32>,
}

impl Region {
    /// Columns and lines within a picture of that size; the whole of it where nothing would be left.
    fn within(self, width: u32, height: u32) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let span = |from: Option<u32>, to: Option<u32>, size: u32| {
            from.unwrap_or(0).min(size) as usize..to.unwrap_or(size).min(size) as usize
        };
        let (columns, lines) = (span(self.left, self.right, width), span(self.top, self.bottom, height));
        if columns.is_empty() || lines.is_empty() {
            return (0..width as usize, 0..height as usize);
        }
        (columns, lines)
    }
}

/// Decodes a part of a JPEG. Takes milliseconds: call it off the event loop.
///
/// # Errors
///
/// [`Error::Library`] for what is no sound JPEG, [`Error::Size`] for one that is out of range.
pub fn gray(jpeg: &[u8], region: Region) -> Result<Gray, Error> {
    let (width, height) = dimensions(jpeg)?;
    let pitch = width as usize;
    let mut pixels = vec![0; pitch * height as usize];
    let image = Image {
        pixels: pixels.as_mut_slice(),
        width: pitch,
        pitch,
        height: height as usize,
        format: PixelFormat::GRAY,
    };
    let mut decoder = Decompressor::new()?;
    decoder.set_scan_limit(500)?; // as for a preview
    decoder.decompress(jpeg, image)?;
    let (columns, lines) = region.within(width, height);
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (side(columns.len()), side(lines.len()));
    if columns.len() < pitch || lines.len() * pitch < pixels.len() {
        let cut = pixels.chunks_exact(pitch).skip(lines.start).take(lines.len());
        pixels = cut.flat_map(|line| &line[columns.clone()]).copied().collect();
    }
    Ok(Gray { width, height, pixels })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Format, Jpeg, View};

    /// 32 by 16 pixels: the left half black, the right half white.
    fn halves() -> Vec<u8> {
        let line = [[0; 16 * 3], [255; 16 * 3]].concat();
        let pixels = line.repeat(16);
        let view = View::packed(Format::Rgb24, 32, 16, &pixels).unwrap();
        Jpeg::new(95).unwrap().encode(&view).unwrap().to_vec()
    }

    #[test]
    fn a_region_is_cut_out_by_its_edges() {
        let whole = gray(&halves(), Region::default()).unwrap();
        assert_eq!((whole.width, whole.height, whole.pixels.len()), (32, 16, 512));
        assert!(whole.pixels[0] < 10 && whole.pixels[31] > 245);
        let right = Region { left: Some(20), bottom: Some(4), ..Region::default() };
        let right = gray(&halves(), right).unwrap();
        assert_eq!((right.width, right.height), (12, 4));
        assert!(right.pixels.iter().all(|pixel| *pixel > 245));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(gray(b"JFIF", Region::default()).is_err());
    }

    proptest! {
        #[test]
        fn every_region_is_inside_and_not_empty(
            left in any::<Option<u32>>(), top in 0_u32..40, right in 0_u32..40, bottom in any::<Option<u32>>(),
            width in 1_u32..40, height in 1_u32..40,
        ) {
            let region = Region { left, top: Some(top), right: Some(right), bottom };
            let (columns, lines) = region.within(width, height);
            prop_assert!(!columns.is_empty() && columns.end <= width as usize);
            prop_assert!(!lines.is_empty() && lines.end <= height as usize);
        }
    }
}
