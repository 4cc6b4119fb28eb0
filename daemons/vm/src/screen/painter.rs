//! Paints events, and publishes the picture when an update is complete.

use std::ops::Range;
use std::sync::Arc;

use rfb_wire::Event;
use tokio::sync::watch;

use super::{PIXEL_BYTES, Shared, Status};

/// The picture being painted. Dropping it releases blocked readers.
pub(super) struct Painter {
    shared: Arc<Shared>,
    status: watch::Sender<Status>,
    size: (u16, u16),
    bgrx: Vec<u8>,
    /// Rows changed since the last publication.
    dirty: Range<usize>,
    /// The size, and so everything, changed since the last publication.
    all: bool,
}

impl Painter {
    pub(super) fn new(shared: Arc<Shared>, status: watch::Sender<Status>) -> Self {
        Self { shared, status, size: (0, 0), bgrx: Vec::new(), dirty: 0..0, all: false }
    }

    /// Starts anew with a black picture of this size, not published before an update is complete.
    pub(super) fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        self.bgrx.clear();
        self.bgrx.resize(usize::from(size.0) * usize::from(size.1) * PIXEL_BYTES, 0);
        self.all = true;
    }

    pub(super) fn paint(&mut self, event: &Event<'_>) {
        match *event {
            Event::Resized { width, height } => self.resize((width, height)),
            Event::Row { x, y, bgrx } => self.row(usize::from(x) * PIXEL_BYTES, usize::from(y), bgrx),
            Event::Copy { from_x, from_y, to } => {
                let (rows, len) = (usize::from(to.height), usize::from(to.width) * PIXEL_BYTES);
                let (from_y, to_y) = (usize::from(from_y), usize::from(to.y));
                for row in 0..rows {
                    // Source and destination may overlap: go away from the destination's side.
                    let row = if to_y > from_y { rows - 1 - row } else { row };
                    let from = (from_y + row) * self.stride() + usize::from(from_x) * PIXEL_BYTES;
                    let to = (to_y + row) * self.stride() + usize::from(to.x) * PIXEL_BYTES;
                    if from + len <= self.bgrx.len() && to + len <= self.bgrx.len() {
                        self.bgrx.copy_within(from..from + len, to);
                        self.touch(to_y + row);
                    }
                }
            }
            Event::UpdateDone => self.publish(),
            Event::Connected { .. } | Event::Leds(_) | Event::ExtendedKeys | Event::Bell => {}
        }
    }

    /// Tells readers that there is no picture now.
    pub(super) fn disconnected(&mut self) {
        let mut picture = self.shared.lock();
        picture.status = Status { generation: picture.status.generation + 1, size: None };
        let status = picture.status;
        drop(picture);
        self.announce(status);
    }

    fn stride(&self) -> usize {
        usize::from(self.size.0) * PIXEL_BYTES
    }

    fn row(&mut self, x_bytes: usize, y: usize, bgrx: &[u8]) {
        let start = y * self.stride() + x_bytes;
        let Some(place) = self.bgrx.get_mut(start..start + bgrx.len()) else { return };
        // QEMU sends more than what changed, a nudge's pixel for one. Unchanged is not news.
        if place != bgrx {
            place.copy_from_slice(bgrx);
            self.touch(y);
        }
    }

    fn touch(&mut self, y: usize) {
        self.dirty =
            if self.dirty.is_empty() { y..y + 1 } else { self.dirty.start.min(y)..self.dirty.end.max(y + 1) };
    }

    fn publish(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        if !self.all && dirty.is_empty() {
            return;
        }
        let mut picture = self.shared.lock();
        let rows = dirty.start * self.stride()..dirty.end * self.stride();
        if self.all || picture.bgrx.len() != self.bgrx.len() {
            picture.bgrx.clone_from(&self.bgrx);
        } else if let (Some(to), Some(from)) = (picture.bgrx.get_mut(rows.clone()), self.bgrx.get(rows)) {
            to.copy_from_slice(from);
        }
        self.all = false;
        picture.status = Status { generation: picture.status.generation + 1, size: Some(self.size) };
        let status = picture.status;
        drop(picture);
        self.announce(status);
    }

    fn announce(&self, status: Status) {
        self.shared.changed.notify_all();
        self.status.send_replace(status);
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.disconnected();
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rfb_wire::message::Area;

    fn painter(width: u16, height: u16) -> (Painter, Arc<Shared>) {
        let shared = Arc::new(Shared::default());
        let mut painter = Painter::new(Arc::clone(&shared), watch::channel(Status::default()).0);
        painter.resize((width, height));
        painter.paint(&Event::UpdateDone);
        (painter, shared)
    }

    #[test]
    fn a_row_that_says_nothing_new_does_not_make_a_new_generation() {
        let (mut painter, shared) = painter(2, 2);
        let before = shared.lock().status;
        painter.paint(&Event::Row { x: 0, y: 0, bgrx: &[0; 4] });
        painter.paint(&Event::UpdateDone);
        assert_eq!(shared.lock().status, before);
        painter.paint(&Event::Row { x: 0, y: 0, bgrx: &[1; 4] });
        assert_eq!(shared.lock().status, before, "half an update is not shown");
        painter.paint(&Event::UpdateDone);
        assert_eq!(shared.lock().status.generation, before.generation + 1);
    }

    #[test]
    fn ending_the_owner_says_no_picture_and_wakes_readers() {
        let (painter, shared) = painter(2, 2);
        drop(painter);
        assert_eq!(shared.lock().status.size, None);
        assert!(shared.lock().closed);
    }

    proptest! {
        /// Copies as if through a second picture, where overlapping cannot matter.
        #[test]
        fn overlapping_copies_move_what_was_there_before(
            fx in 0..6u16, fy in 0..6u16, tx in 0..6u16, ty in 0..6u16, w in 1..3u16, h in 1..3u16,
        ) {
            let (mut painter, shared) = painter(8, 8);
            let bytes: Vec<u8> = (0..=255).collect();
            for (y, row) in (0..).zip(bytes.chunks(32)) {
                painter.paint(&Event::Row { x: 0, y, bgrx: row });
            }
            let at = |x: u16, y: u16| (usize::from(y) * 8 + usize::from(x)) * 4;
            let mut expected = painter.bgrx.clone();
            for (x, y) in (0..w).flat_map(|x| (0..h).map(move |y| (x, y))) {
                let (from, to) = (at(fx + x, fy + y), at(tx + x, ty + y));
                let pixel = painter.bgrx[from..from + 4].to_vec();
                expected[to..to + 4].copy_from_slice(&pixel);
            }
            painter.paint(&Event::Copy { from_x: fx, from_y: fy, to: Area { x: tx, y: ty, width: w, height: h } });
            painter.paint(&Event::UpdateDone);
            prop_assert_eq!(&shared.lock().bgrx, &expected);
        }
    }
}
