//! A strip's planes for the compressor: those that are kept where they are usable, else made from them.
//!
//! The loops are plain and one for each task, over lines that are in the cache: so the compiler makes vector code of
//! them on every architecture, which it does not of one loop that does all at once.

use turbojpeg::{Subsamp, YuvPlanesImage};

use crate::kept::Strip;
use crate::view::Format;

/// Planes of a strip and single lines, kept from strip to strip.
#[derive(Debug, Default)]
pub(crate) struct Planes {
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
    /// A line of pairs U, V.
    pairs: Vec<u8>,
    /// The mean of two lines.
    mean: Vec<u8>,
}

/// The planes of a strip of `width` x `rows` pixels in a YUV format, with chroma halved as `subsamp` says: as the
/// source has it, or halved down, too.
pub(crate) fn of<'a>(
    format: Format,
    subsamp: Subsamp,
    (width, rows): (usize, usize),
    [first, second, third]: [Strip<'a>; 3],
    scratch: &'a mut Planes,
) -> YuvPlanesImage<&'a [u8]> {
    let half = width.div_ceil(2);
    let down = subsamp == Subsamp::Sub2x2;
    match format {
        Format::Yuyv => scratch.unpack::<0>(first, half, down),
        Format::Uyvy => scratch.unpack::<1>(first, half, down),
        Format::Nv12 => scratch.split_pairs(second, half),
        Format::Yuv422 if down => scratch.halve(second, third, half),
        _ => {}
    }
    let Planes { y, u, v, .. } = scratch;
    let ((y_plane, y_stride), (u_plane, u_stride), (v_plane, v_stride)) = match format {
        Format::Yuyv | Format::Uyvy => ((&y[..], half * 2), (&u[..], half), (&v[..], half)),
        Format::Nv12 => ((first.data, first.stride), (&u[..], half), (&v[..], half)),
        Format::Yuv422 if down => ((first.data, first.stride), (&u[..], half), (&v[..], half)),
        _ => ((first.data, first.stride), (second.data, second.stride), (third.data, third.stride)),
    };
    YuvPlanesImage { y_plane, u_plane, v_plane, width, height: rows, y_stride, u_stride, v_stride, subsamp }
}

impl Planes {
    fn resize_chroma(&mut self, len: usize) {
        self.u.resize(len, 0);
        self.v.resize(len, 0);
    }

    /// `LUMA` is where the first luma byte is in a group of four: 0 for YUYV, 1 for UYVY. The strip has an even number
    /// of lines.
    fn unpack<const LUMA: usize>(&mut self, strip: Strip<'_>, half: usize, down: bool) {
        let rows = strip.data.len() / strip.stride;
        self.y.resize(half * 2 * rows, 0);
        for (line, y) in strip.data.chunks_exact(strip.stride).zip(self.y.chunks_exact_mut(half * 2)) {
            every_other::<LUMA>(line, y);
        }
        let together = if down { 2 } else { 1 };
        self.resize_chroma(half * rows / together);
        self.pairs.resize(half * 2, 0);
        self.mean.resize(strip.stride, 0);
        let chroma = self.u.chunks_exact_mut(half).zip(self.v.chunks_exact_mut(half));
        for (lines, (u, v)) in strip.data.chunks_exact(strip.stride * together).zip(chroma) {
            let line = if down {
                let (upper, lower) = lines.split_at(strip.stride);
                mean::<{ groups_of(4) }>(upper, lower, &mut self.mean);
                &self.mean[..]
            } else {
                lines
            };
            if LUMA == 0 {
                every_other::<1>(line, &mut self.pairs);
            } else {
                every_other::<0>(line, &mut self.pairs);
            }
            split(&self.pairs, u, v);
        }
    }

    /// Takes a plane of pairs U, V apart.
    fn split_pairs(&mut self, pairs: Strip<'_>, half: usize) {
        self.resize_chroma(pairs.data.len() / pairs.stride * half);
        let chroma = self.u.chunks_exact_mut(half).zip(self.v.chunks_exact_mut(half));
        for (line, (u, v)) in pairs.data.chunks_exact(pairs.stride).zip(chroma) {
            split(line, u, v);
        }
    }

    /// Makes one row of chroma of every two.
    fn halve(&mut self, u: Strip<'_>, v: Strip<'_>, half: usize) {
        self.resize_chroma(u.data.len() / u.stride / 2 * half);
        for (from, into) in [(u, &mut self.u), (v, &mut self.v)] {
            for (lines, into) in from.data.chunks_exact(from.stride * 2).zip(into.chunks_exact_mut(half)) {
                let (upper, lower) = lines.split_at(from.stride);
                mean::<{ groups_of(1) }>(upper, lower, into);
            }
        }
    }
}

/// Pairs U, V into a line of U and one of V.
fn split(pairs: &[u8], u: &mut [u8], v: &mut [u8]) {
    every_other::<0>(pairs, u);
    every_other::<1>(pairs, v);
}

/// The first (0) or second (1) byte of each pair. Written with shifts because byte by byte it does not become vector
/// code on x86.
fn every_other<const AT: usize>(pairs: &[u8], into: &mut [u8]) {
    for (byte, pair) in into.iter_mut().zip(pairs.as_chunks::<2>().0) {
        *byte = ((u16::from_le_bytes(*pair) >> (AT * 8)) & 0xFF) as u8;
    }
}

/// A one in each byte that is rounded up, for samples of which each is `bytes` apart from the next of its kind.
const fn groups_of(bytes: usize) -> u64 {
    let mut ones = 0;
    let mut byte = bytes;
    while byte < 8 {
        if (byte / bytes) % 2 == 1 {
            ones |= 1 << (byte * 8);
        }
        byte += 1;
    }
    ones
}

/// The mean of two lines, byte by byte, eight at a time. Halves are rounded down and up in turn (where `UP` has ones),
/// as libjpeg does when it halves chroma, so that the picture as a whole keeps its colour.
fn mean<const UP: u64>(upper: &[u8], lower: &[u8], into: &mut [u8]) {
    let of = |upper: u64, lower: u64| {
        let differ = upper ^ lower;
        let down = (upper & lower).wrapping_add((differ >> 1) & 0x7F7F_7F7F_7F7F_7F7F);
        down.wrapping_add(differ & UP) // no byte overflows; said so that no check keeps this from being vector code
    };
    let ((upper, upper_rest), (lower, lower_rest)) = (upper.as_chunks::<8>(), lower.as_chunks::<8>());
    let (into, into_rest) = into.as_chunks_mut::<8>();
    for ((upper, lower), into) in upper.iter().zip(lower).zip(into) {
        *into = of(u64::from_le_bytes(*upper), u64::from_le_bytes(*lower)).to_le_bytes();
    }
    let padded = |rest: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(bytes)
    };
    let rest = of(padded(upper_rest), padded(lower_rest)).to_le_bytes();
    into_rest.copy_from_slice(&rest[..into_rest.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_down_and_up_in_turn_pixel_by_pixel() {
        let (upper, lower) = ([3; 19], [4; 19]);
        let mut out = [0; 19];
        mean::<{ groups_of(1) }>(&upper, &lower, &mut out);
        assert_eq!(out, [3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3, 4, 3]);
        mean::<{ groups_of(4) }>(&upper, &lower, &mut out);
        assert_eq!(out, [3, 3, 3, 3, 4, 4, 4, 4, 3, 3, 3, 3, 4, 4, 4, 4, 3, 3, 3]);
    }

    #[test]
    fn the_mean_of_any_two_bytes_is_right_in_every_lane() {
        for upper in 0..=255_u8 {
            for lower in 0..=255_u8 {
                let mut out = [0; 8];
                mean::<{ groups_of(1) }>(&[upper; 8], &[lower; 8], &mut out);
                let down = u8::try_from((u16::from(upper) + u16::from(lower)) / 2).unwrap();
                let up = u8::try_from((u16::from(upper) + u16::from(lower)).div_ceil(2)).unwrap();
                assert_eq!(out, [down, up, down, up, down, up, down, up]);
            }
        }
    }
}
