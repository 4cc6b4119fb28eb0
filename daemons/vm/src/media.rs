//! What is lent to the machine: a disc in the CD drive `cd0`, or a flash drive `flash0` on the USB controller.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::timeout;

use crate::qmp::{Error, Event, Qmp};

/// The CD drive, always there.
pub const CD: &str = "cd0";
/// The flash drive, there while plugged.
pub const FLASH: &str = "flash0";
/// Name of the image behind the flash drive.
const FLASH_IMAGE: &str = "flash0-image";
/// How long QEMU may take to take a device off the bus. USB needs no consent of the guest.
const UNPLUG_TIME: Duration = Duration::from_secs(5);

/// What is in the drives now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Media {
    /// Path of the disc in the CD drive.
    pub cd: Option<String>,
    /// The flash drive's image and whether it can be written.
    pub flash: Option<(String, bool)>,
    /// Whether the guest opened the tray of a drive that holds something: it wants it out.
    pub let_go: bool,
}

/// Puts a disc into the CD drive, in place of whatever is there and against a guest's lock. Read-only.
///
/// # Errors
/// See [`Error`]. The drive may be left open and empty when the image cannot be read.
pub async fn insert_cd(qmp: &Qmp, image: &Path) -> Result<(), Error> {
    let arguments = json!({
        "id": CD, "filename": text(image)?, "format": "raw", "read-only-mode": "read-only", "force": true,
    });
    qmp.execute::<Value>("blockdev-change-medium", arguments).await.map(drop)
}

/// Takes the disc out of the CD drive, against a guest's lock. An empty drive is fine.
///
/// # Errors
/// See [`Error`].
pub async fn eject_cd(qmp: &Qmp) -> Result<(), Error> {
    qmp.execute::<Value>("eject", json!({ "id": CD, "force": true })).await.map(drop)
}

/// Plugs a flash drive in. Firmware starts from it first.
///
/// # Errors
/// See [`Error`]; then nothing is plugged. One that is plugged already makes QEMU refuse.
pub async fn plug_flash(qmp: &Qmp, image: &Path, writable: bool) -> Result<(), Error> {
    let image = json!({
        "node-name": FLASH_IMAGE, "driver": "raw", "read-only": !writable,
        "file": { "driver": "file", "filename": text(image)? },
    });
    let device = json!({
        "driver": "usb-storage", "id": FLASH, "bus": "xhci.0", "drive": FLASH_IMAGE,
        "removable": true, "bootindex": 0,
    });
    qmp.execute::<Value>("blockdev-add", image).await?;
    if let Err(error) = qmp.execute::<Value>("device_add", device).await {
        // Without its device the image would stay locked, and the next attempt be refused.
        drop(qmp.execute::<Value>("blockdev-del", json!({ "node-name": FLASH_IMAGE })).await);
        return Err(error);
    }
    Ok(())
}

/// Unplugs the flash drive and lets go of its image; afterwards all that was written is in the file. None
/// plugged is fine.
///
/// # Errors
/// See [`Error`]. After a time-out the image is still in use.
pub async fn unplug_flash(qmp: &Qmp) -> Result<(), Error> {
    let events = qmp.events();
    match qmp.execute::<Value>("device_del", json!({ "id": FLASH })).await {
        Ok(_) => timeout(UNPLUG_TIME, deleted(events))
            .await
            .unwrap_or_else(|_| Err(Error::Timeout("device_del".into())))?,
        Err(error) if error.is_device_not_found() => {
            // A predecessor may have died between the two steps.
            if state(qmp).await?.flash.is_none() && !image_present(qmp).await? {
                return Ok(());
            }
        }
        Err(error) => return Err(error),
    }
    qmp.execute::<Value>("blockdev-del", json!({ "node-name": FLASH_IMAGE })).await.map(drop)
}

async fn deleted(mut events: Receiver<Event>) -> Result<(), Error> {
    loop {
        match events.recv().await {
            Ok(Event { name, data }) if name == "DEVICE_DELETED" && data["device"] == FLASH => return Ok(()),
            Ok(_) => {}
            // The event may be among the lost; deleting the image tells, it is refused while in use.
            Err(RecvError::Lagged(_)) => return Ok(()),
            Err(RecvError::Closed) => return Err(Error::Lost("device_del".into())),
        }
    }
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    qdev: String,
    #[serde(default)]
    tray_open: bool,
    inserted: Option<Inserted>,
}

#[derive(Deserialize)]
struct Inserted {
    #[serde(rename = "node-name", default)]
    node: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    ro: bool,
}

/// What is in the drives, as QEMU sees it: after a restart of ours, that is the truth.
///
/// # Errors
/// See [`Error`].
pub async fn state(qmp: &Qmp) -> Result<Media, Error> {
    let mut media = Media::default();
    for block in qmp.execute::<Vec<Block>>("query-block", Value::Null).await? {
        match block.inserted {
            Some(inserted) if block.qdev == CD => media.cd = Some(inserted.file),
            Some(inserted) if inserted.node == FLASH_IMAGE => {
                media.flash = Some((inserted.file, !inserted.ro));
            }
            _ => continue,
        }
        media.let_go |= block.tray_open;
    }
    Ok(media)
}

/// What tells a QEMU that was seen from one that was not: an object without effect, gone with the process.
const SEEN: &str = "kvmd-media-seen";

/// Whether [`mark_seen`] was called for this very process of QEMU, by whomever.
///
/// # Errors
/// See [`Error`].
pub async fn seen(qmp: &Qmp) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Object {
        name: String,
    }
    let objects: Vec<Object> = qmp.execute("qom-list", json!({ "path": "/objects" })).await?;
    Ok(objects.iter().any(|object| object.name == SEEN))
}

/// Leaves a mark in QEMU that lasts as long as its process.
///
/// # Errors
/// See [`Error`]. A second mark is refused.
pub async fn mark_seen(qmp: &Qmp) -> Result<(), Error> {
    let object = json!({ "qom-type": "throttle-group", "id": SEEN });
    qmp.execute::<Value>("object-add", object).await.map(drop)
}

async fn image_present(qmp: &Qmp) -> Result<bool, Error> {
    let nodes: Vec<Inserted> = qmp.execute("query-named-block-nodes", json!({ "flat": true })).await?;
    Ok(nodes.iter().any(|node| node.node == FLASH_IMAGE))
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| Error::Path(path.to_owned()))
}
