//! The last picture, kept to see which strips of the next one are new.
//!
//! A strip's JPEG bytes depend on nothing but its pixels and the settings, so a strip that is the same byte for byte
//! need not be encoded again. Each line of the source is read once where that is possible: capture buffers may lie in
//! memory that the processor does not cache, and then reading is what costs most. So a line is compared until one
//! differs; from there to the end of the strip lines are only copied, and encoding reads the copy.

use std::ops::Range;

use crate::view::{Format, Plane, View};

/// Rows of a strip. A multiple of the height of every kind of block group (16 for 4:2:0, 8 otherwise).
pub(crate) const STRIP_ROWS: usize = 16;

/// The last picture, plane by plane, its lines without padding.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    planes: Vec<Lines>,
}

/// Lines of one plane that lie one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip<'a> {
    pub(crate) data: &'a [u8],
    /// Bytes from line to line.
    pub(crate) stride: usize,
}

#[derive(Debug)]
struct Lines {
    data: Vec<u8>,
    /// Bytes of a line that are pixels of the source.
    line_bytes: usize,
    /// Bytes from line to line: `line_bytes`, made even where the line is luma alone. The last pixel is repeated.
    stride: usize,
    /// Rows of the source.
    rows: usize,
    /// Rows there are here: `rows`, made even where chroma is shared by pairs of rows. The last row is repeated.
    filled_rows: usize,
    /// Rows of this plane in a strip.
    strip_rows: usize,
}

impl Kept {
    /// Makes room for pictures like this one. What it holds then is no picture: the first answers of
    /// [`Kept::update`] are to be ignored.
    pub(crate) fn resize(&mut self, view: &View<'_>) {
        self.planes.clear();
        let lines = |(index, plane): (usize, Plane<'_>)| Lines::new(view, index, &plane);
        self.planes.extend(view.planes().enumerate().map(lines));
    }

    /// Takes over a strip of a picture like the one [`Kept::resize`] was told of, and says whether it differs from
    /// what was there.
    pub(crate) fn update(&mut self, view: &View<'_>, strip: usize) -> bool {
        let mut new = false;
        for (kept, plane) in self.planes.iter_mut().zip(view.planes()) {
            new |= kept.update(&plane, strip);
        }
        new
    }

    /// A strip, plane by plane.
    pub(crate) fn strip(&self, strip: usize) -> [Strip<'_>; 3] {
        let mut planes = self.planes.iter().map(|lines| lines.strip(strip));
        std::array::from_fn(|_| planes.next().unwrap_or(Strip { data: &[], stride: 0 }))
    }
}

impl Lines {
    fn new(view: &View<'_>, index: usize, plane: &Plane<'_>) -> Self {
        let luma_alone = index == 0 && matches!(view.format(), Format::Yuv420 | Format::Yuv422);
        let colours = matches!(view.format(), Format::Bgrx | Format::Rgb24 | Format::Bgr24);
        let stride = if luma_alone { plane.line_bytes.next_multiple_of(2) } else { plane.line_bytes };
        // A plane of half the rows has one for every pair already.
        let whole = plane.rows == view.height() as usize || index == 0;
        let filled_rows = if whole && !colours { plane.rows.next_multiple_of(2) } else { plane.rows };
        Self {
            data: vec![0; stride * filled_rows],
            line_bytes: plane.line_bytes,
            stride,
            rows: plane.rows,
            filled_rows,
            strip_rows: if whole { STRIP_ROWS } else { STRIP_ROWS / 2 },
        }
    }

    /// Rows of a strip, within those of the source.
    fn range(&self, strip: usize) -> Range<usize> {
        let at = |strip: usize| (strip * self.strip_rows).min(self.rows);
        at(strip)..at(strip + 1)
    }

    fn update(&mut self, plane: &Plane<'_>, strip: usize) -> bool {
        let rows = self.range(strip);
        let lines = plane.data[rows.start * plane.stride..rows.end * plane.stride].chunks_exact(plane.stride);
        let kept = self.data[rows.start * self.stride..].chunks_exact_mut(self.stride);
        let mut new = false;
        for (line, kept) in lines.zip(kept) {
            let (line, (kept, fill)) = (&line[..self.line_bytes], kept.split_at_mut(self.line_bytes));
            new = new || line != kept;
            if new {
                kept.copy_from_slice(line);
                fill.fill(line[self.line_bytes - 1]);
            }
        }
        if new && rows.end == self.rows && self.filled_rows > self.rows {
            self.data
                .copy_within((self.rows - 1) * self.stride..self.rows * self.stride, self.rows * self.stride);
        }
        new
    }

    fn strip(&self, strip: usize) -> Strip<'_> {
        let rows = self.range(strip);
        let end = if rows.end == self.rows { self.filled_rows } else { rows.end };
        Strip { data: &self.data[rows.start * self.stride..end * self.stride], stride: self.stride }
    }
}
