//! Packed 4:2:2 taken apart into planes, and planes of odd sizes filled up to whole blocks of two.

use turbojpeg::{Subsamp, YuvPlanesImage};

use crate::view::{Format, View};

/// Planes with an even width (and height, for 4:2:0), kept from picture to picture.
#[derive(Debug, Default)]
pub(crate) struct Planes {
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

/// The planes of a picture for the compressor: those of the picture itself where they are usable, else copies.
pub(crate) fn of<'a>(view: &View<'a>, scratch: &'a mut Planes) -> YuvPlanesImage<&'a [u8]> {
    let (width, height) = (view.width() as usize, view.height() as usize);
    let subsamp = if view.format() == Format::Yuv420 { Subsamp::Sub2x2 } else { Subsamp::Sub2x1 };
    let usable = match view.format() {
        Format::Yuv420 => width % 2 == 0 && height % 2 == 0,
        Format::Yuv422 => width % 2 == 0,
        Format::Bgrx | Format::Yuyv | Format::Uyvy => false,
    };
    if usable {
        let (y_plane, u_plane, v_plane) = split(view);
        let chroma = view.stride().div_ceil(2);
        let (y_stride, u_stride, v_stride) = (view.stride(), chroma, chroma);
        return YuvPlanesImage {
            y_plane,
            u_plane,
            v_plane,
            width,
            height,
            y_stride,
            u_stride,
            v_stride,
            subsamp,
        };
    }
    match view.format() {
        Format::Yuyv => scratch.unpack::<0>(view),
        Format::Uyvy => scratch.unpack::<1>(view),
        Format::Yuv420 | Format::Yuv422 | Format::Bgrx => scratch.fill_up(view),
    }
    let half = width.div_ceil(2);
    let Planes { y, u, v } = scratch;
    YuvPlanesImage {
        y_plane: y,
        u_plane: u,
        v_plane: v,
        width,
        height,
        y_stride: half * 2,
        u_stride: half,
        v_stride: half,
        subsamp,
    }
}

/// The three planes of a planar picture.
fn split<'a>(view: &View<'a>) -> (&'a [u8], &'a [u8], &'a [u8]) {
    let (y, chroma) = view.data().split_at(view.stride() * view.height() as usize);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    (y, u, v)
}

impl Planes {
    fn resize(&mut self, y: usize, chroma: usize) {
        self.y.resize(y, 0);
        self.u.resize(chroma, 0);
        self.v.resize(chroma, 0);
    }

    /// `LUMA` is where the first luma byte is in a group of four: 0 for YUYV, 1 for UYVY.
    fn unpack<const LUMA: usize>(&mut self, view: &View<'_>) {
        let half = (view.width() as usize).div_ceil(2);
        let rows = view.height() as usize;
        self.resize(half * 2 * rows, half * rows);
        let y_rows = self.y.chunks_exact_mut(half * 2);
        let chroma_rows = self.u.chunks_exact_mut(half).zip(self.v.chunks_exact_mut(half));
        for ((line, y), (u, v)) in view.data().chunks(view.stride()).zip(y_rows).zip(chroma_rows) {
            // Three plain loops over a line that is in the cache: each becomes vector code, one loop for all does not.
            let (pixels, _) = line[..half * 4].as_chunks::<2>();
            let (groups, _) = line[..half * 4].as_chunks::<4>();
            for (y, pixel) in y.iter_mut().zip(pixels) {
                *y = pixel[LUMA];
            }
            for (u, group) in u.iter_mut().zip(groups) {
                *u = group[1 - LUMA];
            }
            for (v, group) in v.iter_mut().zip(groups) {
                *v = group[3 - LUMA];
            }
        }
    }

    /// Copies planes and repeats the last column and row of luma, so that both are even where they must be.
    fn fill_up(&mut self, view: &View<'_>) {
        let (width, height) = (view.width() as usize, view.height() as usize);
        let half = width.div_ceil(2);
        let both_ways = view.format() == Format::Yuv420;
        let rows = if both_ways { height.div_ceil(2) * 2 } else { height };
        let chroma_rows = if both_ways { rows / 2 } else { rows };
        self.resize(half * 2 * rows, half * chroma_rows);
        let (y, u, v) = split(view);
        for (row, into) in self.y.chunks_exact_mut(half * 2).enumerate() {
            let from = &y[row.min(height - 1) * view.stride()..][..width];
            into[..width].copy_from_slice(from);
            into[width..].fill(from[width - 1]);
        }
        let stride = view.stride().div_ceil(2);
        for (from, into) in [(u, &mut self.u), (v, &mut self.v)] {
            for (line, into) in from.chunks(stride).zip(into.chunks_exact_mut(half)) {
                into.copy_from_slice(&line[..half]);
            }
        }
    }
}
