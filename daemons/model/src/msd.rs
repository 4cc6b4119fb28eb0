//! The lent drive and the images on its storage (section 7.5).

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The drive as clients see it.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::State))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// A drive is fitted.
    pub enabled: bool,
    /// Storage and drive work; both are null when not.
    pub online: bool,
    /// An operation is going on.
    pub busy: bool,
    /// What is, or would be, in the drive.
    pub drive: Option<Drive>,
    /// What lies on the storage.
    pub storage: Option<Storage>,
}

/// The drive lent to the target.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Drive))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drive {
    /// The chosen medium.
    pub image: Option<DriveImage>,
    /// The target sees it.
    pub connected: bool,
    /// It is an optical drive.
    pub cdrom: bool,
    /// The target may write.
    pub rw: bool,
}

/// The medium in the drive.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::DriveImage))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriveImage {
    /// Path relative to the storage.
    pub name: String,
    /// It lies on the storage.
    pub in_storage: bool,
    /// The rest.
    #[serde(flatten)]
    pub image: Image,
}

/// A file that can be lent.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Image))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Wholly uploaded.
    pub complete: bool,
    /// It may be deleted.
    pub removable: bool,
    /// The target may be allowed to write.
    pub writable: bool,
    /// Bytes.
    pub size: u64,
    /// Last change, Unix seconds.
    pub mod_ts: f64,
    /// Our own addition: bytes of an unfinished upload that are here; it can go on there. Absent when it cannot.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub written: Option<u64>,
}

/// The storage.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Storage))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// Images by path.
    pub images: BTreeMap<String, Image>,
    /// Partitions; the empty name is the main one.
    pub parts: BTreeMap<String, Part>,
    /// An image being read out.
    pub downloading: Option<Download>,
    /// An image being written.
    pub uploading: Option<Upload>,
}

/// A partition of the storage.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Part))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes in all.
    pub size: u64,
    /// Bytes not used.
    pub free: u64,
    /// Images can be put there.
    pub writable: bool,
}

/// An image being read by a client.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Download))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Download {
    /// Path relative to the storage.
    pub name: String,
    /// Bytes in all.
    pub size: u64,
    /// Bytes given out; the key is spelled as clients know it.
    pub readed: u64,
    /// Our own addition.
    #[serde(flatten)]
    pub pace: Pace,
}

/// An image being written.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Upload))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Path relative to the storage.
    pub name: String,
    /// Bytes promised.
    pub size: u64,
    /// Bytes taken.
    pub written: u64,
    /// Our own addition.
    #[serde(flatten)]
    pub pace: Pace,
}

/// How fast a transfer goes. Our own: clients of the contract do not know these keys.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = msd::Pace))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Bytes a second of late; 0 until that is known.
    pub speed: u64,
    /// Seconds until it is done at that speed; null while that cannot be said.
    pub eta: Option<u64>,
}

/// Only the keys that changed, those of the storage one level deeper; none when nothing did.
#[must_use]
pub fn diff(old: &State, new: &State) -> Option<Event> {
    if old.enabled != new.enabled {
        return Some(full(new));
    }
    let mut payload = Map::new();
    let mut put = |key: &str, value: Value| drop(payload.insert(key.to_owned(), value));
    if old.online != new.online {
        put("online", new.online.into());
    }
    if old.busy != new.busy {
        put("busy", new.busy.into());
    }
    if old.drive != new.drive {
        put("drive", event::to_value(&new.drive));
    }
    match (&old.storage, &new.storage) {
        (Some(old), Some(new)) if old != new => put("storage", storage_diff(old, new).into()),
        (Some(_), Some(_)) | (None, None) => {}
        _ => put("storage", event::to_value(&new.storage)),
    }
    (!payload.is_empty()).then(|| Event::new(event::MSD, payload.into()))
}

fn storage_diff(old: &Storage, new: &Storage) -> Map<String, Value> {
    let mut storage = Map::new();
    let mut put = |key: &str, value: Value| drop(storage.insert(key.to_owned(), value));
    if old.images != new.images {
        put("images", event::to_value(&new.images));
    }
    if old.parts != new.parts {
        put("parts", event::to_value(&new.parts));
    }
    if old.downloading != new.downloading {
        put("downloading", event::to_value(&new.downloading));
    }
    if old.uploading != new.uploading {
        put("uploading", event::to_value(&new.uploading));
    }
    storage
}

/// The event for a new client.
#[must_use]
pub fn full(state: &State) -> Event {
    Event::of(event::MSD, state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_changed_keys_are_sent() {
        let drive = |rw| Some(Drive { image: None, connected: false, cdrom: false, rw });
        let old = State { enabled: true, online: true, drive: drive(false), ..State::default() };
        let new = State { drive: drive(true), ..old.clone() };
        assert_eq!(
            diff(&old, &new).map(|event| event.payload),
            Some(json!({"drive": {"image": null, "connected": false, "cdrom": false, "rw": true}}))
        );
        let busy = State { busy: true, ..old.clone() };
        assert_eq!(diff(&old, &busy).map(|event| event.payload), Some(json!({"busy": true})));
        assert_eq!(diff(&old, &old), None);
    }

    #[test]
    fn upload_progress_leaves_the_list_of_images_out() {
        let old = State { enabled: true, storage: Some(Storage::default()), ..State::default() };
        let upload = Upload { name: "a".to_owned(), size: 2, written: 1, pace: Pace::default() };
        let storage = Storage { uploading: Some(upload), ..Storage::default() };
        let new = State { storage: Some(storage), ..old.clone() };
        assert_eq!(
            diff(&old, &new).map(|event| event.payload),
            Some(
                json!({"storage": {"uploading": {"name": "a", "size": 2, "written": 1, "speed": 0, "eta": null}}})
            )
        );
    }

    #[test]
    fn a_lost_storage_is_null() {
        let old =
            State { enabled: true, online: true, storage: Some(Storage::default()), ..State::default() };
        let new = State { online: false, storage: None, ..old.clone() };
        assert_eq!(
            diff(&old, &new).map(|event| event.payload),
            Some(json!({"online": false, "storage": null}))
        );
    }
}
