//! A smaller JPEG of a JPEG: API.md 8.7, the snapshot's `preview`.

use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

use crate::view::{Format, MAX_SIDE, View};
use crate::{Error, Jpeg};

/// Bytes of a pixel while a picture is scaled.
const PIXEL: usize = 4;

/// Width and height in pixels that a JPEG says it has.
///
/// # Errors
///
/// [`Error::Library`] for what is no JPEG, [`Error::Size`] for one that is out of range.
pub fn dimensions(jpeg: &[u8]) -> Result<(u32, u32), Error> {
    let header = Decompressor::new()?.read_header(jpeg)?;
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (side(header.width), side(header.height));
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::Size { width, height });
    }
    Ok((width, height))
}

/// The size of a preview of a picture of `width` x `height`: both maxima 0 means one fifth of each side, one maximum
/// 0 means no limit on that side; the aspect is kept and nothing is enlarged. At least one pixel.
#[must_use]
pub fn fit(width: u32, height: u32, max_width: u32, max_height: u32) -> (u32, u32) {
    if (max_width, max_height) == (0, 0) {
        return ((width / 5).max(1), (height / 5).max(1));
    }
    let limit = |max: u32, full: u32| if max == 0 { full } else { max.min(full) };
    let (max_width, max_height) = (limit(max_width, width), limit(max_height, height));
    let (wide, high) = (u64::from(width), u64::from(height));
    let rounded = |numerator: u64, denominator: u64, max: u32| {
        u32::try_from((numerator + denominator / 2) / denominator.max(1)).unwrap_or(max).clamp(1, max.max(1))
    };
    if u64::from(max_width) * high <= u64::from(max_height) * wide {
        (max_width, rounded(high * u64::from(max_width), wide, max_height))
    } else {
        (rounded(wide * u64::from(max_height), high, max_width), max_height)
    }
}

/// Makes a preview of a JPEG with a quality of 1 to 100, of the size that [`fit`] gives; `None` when that is the full
/// size, so that the original is the answer. Takes milliseconds: call it off the event loop.
///
/// # Errors
///
/// [`Error::Library`] for what is no sound JPEG.
pub fn preview(jpeg: &[u8], max_width: u32, max_height: u32, quality: u8) -> Result<Option<Vec<u8>>, Error> {
    let full = dimensions(jpeg)?;
    let (width, height) = fit(full.0, full.1, max_width, max_height);
    if (width, height) == full {
        return Ok(None);
    }
    let mut decoder = Decompressor::new()?;
    // The library scales by eighths while it decodes, which costs less than decoding it all. Not below the target.
    let fine = |eighths: &usize| {
        let factor = ScalingFactor::new(*eighths, 8);
        factor.scale(full.0 as usize) >= width as usize && factor.scale(full.1 as usize) >= height as usize
    };
    let factor = ScalingFactor::new((1..8).find(fine).unwrap_or(8), 8);
    decoder.set_scaling_factor(factor)?;
    decoder.set_scan_limit(500)?; // a progressive file of very many scans costs time without end
    let (scaled_width, scaled_height) = (factor.scale(full.0 as usize), factor.scale(full.1 as usize));
    let mut pixels = vec![0; scaled_width * scaled_height * PIXEL];
    let image = Image {
        pixels: pixels.as_mut_slice(),
        width: scaled_width,
        pitch: scaled_width * PIXEL,
        height: scaled_height,
        format: PixelFormat::BGRX,
    };
    decoder.decompress(jpeg, image)?;
    let small = shrink(&pixels, (scaled_width, scaled_height), (width as usize, height as usize));
    let view = View::packed(Format::Bgrx, width, height, &small)?;
    Ok(Some(Jpeg::new(quality)?.encode(&view)?.to_vec()))
}

/// Averages the area of source pixels under each target pixel, in two passes. No target side may exceed its source.
fn shrink(pixels: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let across = spans(from.0, to.0);
    let mut narrow = Vec::with_capacity(to.0 * from.1 * PIXEL);
    for line in pixels.chunks_exact(from.0 * PIXEL) {
        for span in &across {
            narrow.extend(mean(span.iter().map(|(index, weight)| (&line[index * PIXEL..], weight))));
        }
    }
    let stride = to.0 * PIXEL;
    let mut small = Vec::with_capacity(to.1 * stride);
    for span in &spans(from.1, to.1) {
        for column in 0..to.0 {
            let at = column * PIXEL;
            small.extend(mean(span.iter().map(|(index, weight)| (&narrow[index * stride + at..], weight))));
        }
    }
    small
}

/// The weighted mean of the pixels at the beginning of each slice; weights are at most `MAX_SIDE` and add up to less
/// than 2 to the 24th, so nothing overflows.
fn mean<'a>(pixels: impl Iterator<Item = (&'a [u8], &'a u32)>) -> [u8; PIXEL] {
    let (mut sums, mut total) = ([0_u32; PIXEL], 0);
    for (pixel, weight) in pixels {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += u32::from(*value) * weight;
        }
        total += weight;
    }
    sums.map(|sum| u8::try_from((sum + total / 2) / total.max(1)).unwrap_or(u8::MAX))
}

/// For each target position the source positions under it, with weights: its length in units of 1/`to` source pixels.
fn spans(from: usize, to: usize) -> Vec<Vec<(usize, u32)>> {
    (0..to)
        .map(|target| {
            let (begin, end) = (target * from, (target + 1) * from);
            (begin / to..end.div_ceil(to))
                .map(|index| {
                    let overlap = end.min((index + 1) * to) - begin.max(index * to);
                    (index, u32::try_from(overlap).unwrap_or(0))
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_those_of_the_contract() {
        for ((width, height, max_width, max_height), expected) in [
            ((1920, 1080, 0, 0), (384, 216)),
            ((3, 3, 0, 0), (1, 1)),
            ((1920, 1080, 640, 0), (640, 360)),
            ((1920, 1080, 0, 540), (960, 540)),
            ((1920, 1080, 500, 500), (500, 281)),
            ((1920, 1080, 4000, 4000), (1920, 1080)),
            ((1920, 1080, 1, 1), (1, 1)),
            ((1000, 2, 10, 0), (10, 1)),
        ] {
            assert_eq!(fit(width, height, max_width, max_height), expected, "{width}x{height}");
        }
    }

    #[test]
    fn an_even_colour_stays_what_it_is_and_a_border_goes_in_by_its_area() {
        assert_eq!(shrink(&[9; 7 * 5 * 4], (7, 5), (3, 2)), [9; 3 * 2 * 4]);
        let line = [0, 0, 0, 0, 60, 60, 60, 60, 90, 90, 90, 90];
        assert_eq!(shrink(&line, (3, 1), (2, 1)), [20, 20, 20, 20, 80, 80, 80, 80]);
    }

    proptest! {
        #[test]
        fn a_preview_is_inside_its_limits_and_never_larger(
            width in 1..=MAX_SIDE, height in 1..=MAX_SIDE, max_width in any::<u32>(), max_height in 0_u32..20_000,
        ) {
            let (small_width, small_height) = fit(width, height, max_width, max_height);
            prop_assert!((1..=width).contains(&small_width) && (1..=height).contains(&small_height));
            prop_assert!(max_width == 0 || small_width <= max_width);
            prop_assert!(max_height == 0 || small_height <= max_height);
        }

        #[test]
        fn every_span_covers_its_share_exactly(from in 1_usize..300, share in 1_usize..300) {
            let to = share.min(from);
            for span in spans(from, to) {
                prop_assert_eq!(span.iter().map(|(_, weight)| *weight as usize).sum::<usize>(), from);
                prop_assert!(span.iter().all(|(index, _)| *index < from));
            }
        }
    }
}
