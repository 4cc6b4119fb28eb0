//! What clients see of the owner.

use std::sync::Arc;
use std::time::SystemTime;

use super::Owner;
use super::flow::Direction;
use crate::model::{DriveImage, DriveState, Image, State, Storage, Transfer};
use crate::scan::Scan;
use crate::selection::Selection;

impl Owner {
    pub(super) fn show(&self) {
        let state = self.state();
        self.publish.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
    }

    fn state(&self) -> State {
        let busy = self.working || self.active.is_some();
        let Ok(scan) = self.online() else {
            return State { enabled: true, busy, ..State::default() };
        };
        let transfer = |direction| {
            let active = self.active.as_ref().filter(|active| active.direction == direction)?;
            let (done, speed) = (active.progress.done(), active.speed.bytes_per_second());
            let left = active.speed.left(active.size.saturating_sub(done));
            Some(Transfer { name: active.name.clone(), size: active.size, done, speed, left })
        };
        let storage = Storage {
            images: Arc::clone(&scan.images),
            parts: scan.parts.clone(),
            downloading: transfer(Direction::Out),
            uploading: transfer(Direction::In),
        };
        let Selection { cdrom, rw, .. } = self.selection;
        let image = self.selection.image.as_deref().map(|name| self.drive_image(scan, name));
        let drive = DriveState { image, connected: self.connected(), cdrom, rw };
        State { enabled: true, online: true, busy, drive: Some(drive), storage: Some(storage) }
    }

    fn drive_image(&self, scan: &Scan, name: &str) -> DriveImage {
        let name = name.to_owned();
        if let Some(image) = scan.images.get(&name) {
            return DriveImage { name, in_storage: true, image: image.clone() };
        }
        // Put in by hand from elsewhere, or removed by hand while it is connected.
        let meta = std::fs::metadata(self.settings.root.join(&name)).ok();
        let image = Image {
            complete: true,
            removable: false,
            writable: self.selection.rw,
            size: meta.as_ref().map_or(0, std::fs::Metadata::len),
            modified: meta.and_then(|meta| meta.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH),
            written: None,
        };
        DriveImage { name, in_storage: false, image }
    }
}
