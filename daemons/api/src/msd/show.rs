//! The drive as clients see it (section 7.5).

use model::msd as wire;
use std::time::{SystemTime, UNIX_EPOCH};

/// The drive as clients see it.
pub fn show(state: &msd::State) -> wire::State {
    wire::State {
        enabled: state.enabled,
        online: state.online,
        busy: state.busy,
        drive: state.drive.as_ref().map(|drive| wire::Drive {
            image: drive.image.as_ref().map(|chosen| wire::DriveImage {
                name: chosen.name.clone(),
                in_storage: chosen.in_storage,
                image: show_image(&chosen.image),
            }),
            connected: drive.connected,
            cdrom: drive.cdrom,
            rw: drive.rw,
        }),
        storage: state.storage.as_ref().map(show_storage),
    }
}

fn show_storage(storage: &msd::Storage) -> wire::Storage {
    let part = |part: &msd::Part| wire::Part { size: part.size, free: part.free, writable: part.writable };
    wire::Storage {
        images: storage.images.iter().map(|(name, image)| (name.clone(), show_image(image))).collect(),
        parts: storage.parts.iter().map(|(name, of)| (name.clone(), part(of))).collect(),
        downloading: storage.downloading.as_ref().map(|transfer| wire::Download {
            name: transfer.name.clone(),
            size: transfer.size,
            readed: transfer.done,
            pace: pace(transfer),
        }),
        uploading: storage.uploading.as_ref().map(|transfer| wire::Upload {
            name: transfer.name.clone(),
            size: transfer.size,
            written: transfer.done,
            pace: pace(transfer),
        }),
    }
}

fn pace(transfer: &msd::Transfer) -> wire::Pace {
    wire::Pace { speed: transfer.speed, eta: transfer.left.map(|left| left.as_secs()) }
}

fn show_image(image: &msd::Image) -> wire::Image {
    wire::Image {
        complete: image.complete,
        removable: image.removable,
        writable: image.writable,
        size: image.size,
        mod_ts: unix_seconds(image.modified),
        written: image.written,
    }
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
