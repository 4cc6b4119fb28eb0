//! The lent drive as virtual media.
//!
//! An image is named as it lies in storage. Addresses elsewhere are refused: fetching an image is a call of its own
//! (`/msd/write_remote`), which can say how far it has come.

use super::{
    Answer,
    error::{self, Error},
    object, resource,
};
use crate::{body, failure::Failure};
use actix_web::{
    HttpRequest,
    web::{self, Data},
};
use model::check;
use msd::Msd;
use serde_json::{Map, Value, json};

/// The collection.
pub(super) const MEDIA: &str = "/redfish/v1/Managers/BMC/VirtualMedia";
const MSD: &str = "/redfish/v1/Managers/BMC/VirtualMedia/MSD";

pub(super) async fn list() -> Answer {
    let members = ["MSD".to_owned()];
    let kind = "VirtualMediaCollection";
    Ok(resource::show(&resource::collection(kind, "Virtual Media Collection", MEDIA, &members)))
}

pub(super) async fn get(msd: Data<Msd>) -> Answer {
    Ok(resource::show(&show(&msd.subscribe().borrow())))
}

fn show(state: &msd::State) -> Value {
    let drive = state.drive.as_ref();
    let image = drive.and_then(|drive| drive.image.as_ref()).map(|image| image.name.as_str());
    let actions = format!("{MSD}/Actions/VirtualMedia");
    json!({
        "@odata.id": MSD,
        "@odata.type": "#VirtualMedia.v1_4_0.VirtualMedia",
        "Id": "MSD",
        "Name": "Virtual CD/DVD/Flash Drive",
        "Description": "PiKVM Virtual CD/DVD/Flash Drive",
        "MediaTypes": ["USBStick", "CD", "DVD"],
        "Image": image,
        "ImageName": image.map(|name| name.rsplit('/').next().unwrap_or(name)),
        "ConnectedVia": drive.map(|_| if image.is_some() { "Oem" } else { "NotConnected" }),
        "Inserted": drive.map(|drive| drive.connected),
        "WriteProtected": drive.map(|drive| !drive.rw),
        "Oem": {"PiKVM": {
            "@odata.context": "/redfish/v1/$metadata#PiKVMVirtualMedia.PiKVMVirtualMedia",
            "@odata.type": "#PiKVMVirtualMedia.v1_0_0.PiKVMVirtualMedia",
            "MsdEnabled": state.enabled,
            "MsdOnline": state.online,
            "MsdBusy": state.busy,
            "DriveOptical": drive.map(|drive| drive.cdrom),
        }},
        "Actions": {
            "#VirtualMedia.InsertMedia": {
                "target": format!("{actions}.InsertMedia"),
                "Image@Redfish.AllowableValues": ["URI"],
            },
            "#VirtualMedia.EjectMedia": {"target": format!("{actions}.EjectMedia")},
        },
    })
}

/// What is to be inserted, and how.
#[derive(Debug, PartialEq, Eq)]
struct Insert {
    image: String,
    connect: bool,
    write_protected: bool,
}

impl Insert {
    fn parse(wanted: &Map<String, Value>) -> Result<Self, Error> {
        let image = wanted.get("Image").and_then(Value::as_str);
        let image = image.ok_or_else(|| Failure::invalid("Image: missing"))?;
        if is_remote(image) {
            return Err(msd::Error::RemoteDisabled.into());
        }
        Ok(Self {
            image: check::image_name(image).map_err(Failure::from)?,
            connect: flag(wanted, "Inserted")?,
            write_protected: flag(wanted, "WriteProtected")?,
        })
    }

    /// By its name, as there is nothing else to go by.
    fn is_disc(&self) -> bool {
        self.image.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("iso"))
    }
}

/// Something of the form `scheme://place` lies elsewhere.
fn is_remote(image: &str) -> bool {
    image.trim().split_once("://").is_some_and(|(scheme, place)| {
        !place.is_empty() && !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// True unless said otherwise, natively or in the API's words.
fn flag(wanted: &Map<String, Value>, name: &str) -> Result<bool, Error> {
    Ok(match wanted.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => check::boolean(text).map_err(Failure::from)?,
        Some(other) => check::boolean(&other.to_string()).map_err(Failure::from)?,
    })
}

pub(super) async fn insert(request: HttpRequest, msd: Data<Msd>, payload: web::Payload) -> Answer {
    let wanted = Insert::parse(&object(&body::read_form(payload).await?)?)?;
    let connected = msd.subscribe().borrow().drive.as_ref().is_some_and(|drive| drive.connected);
    if connected {
        msd.set_connected(false).await?;
    }
    // A disc is never written to.
    let (disc, rw) = (wanted.is_disc(), !wanted.write_protected && !wanted.is_disc());
    msd.set_params(Some(Some(wanted.image)), Some(disc), Some(rw)).await?;
    if wanted.connect {
        msd.set_connected(true).await?;
    }
    Ok(resource::done(&request, &error::success()))
}

pub(super) async fn eject(request: HttpRequest, msd: Data<Msd>) -> Answer {
    msd.set_connected(false).await?;
    Ok(resource::done(&request, &error::success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Insert, Error> {
        Insert::parse(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap())
    }

    #[test]
    fn an_image_is_connected_and_protected_unless_said_otherwise() {
        let plain = parse(r#"{"Image": "os/a.ISO"}"#).unwrap();
        assert_eq!(plain, Insert { image: "os/a.ISO".to_owned(), connect: true, write_protected: true });
        assert!(plain.is_disc());
        let other = parse(r#"{"Image": "iso.img", "Inserted": false, "WriteProtected": "no"}"#).unwrap();
        assert!(!other.is_disc() && !other.connect && !other.write_protected);
    }

    #[test]
    fn no_image_a_bad_name_and_an_address_are_refused() {
        for (text, class) in [
            ("{}", "ValidatorError"),
            (r#"{"Image": null}"#, "ValidatorError"),
            (r#"{"Image": ".."}"#, "ValidatorError"),
            (r#"{"Image": "a.iso", "Inserted": "perhaps"}"#, "ValidatorError"),
            (r#"{"Image": "http://x/a.iso"}"#, "MsdRemoteDisabledError"),
        ] {
            let Err(Error::Failure(failure)) = parse(text) else { panic!("{text}") };
            assert_eq!(failure.class.name(), class, "{text}");
        }
    }

    #[test]
    fn a_drive_that_is_not_there_is_null_not_empty() {
        let shown = show(&msd::State::default());
        for name in ["Image", "ConnectedVia", "Inserted", "WriteProtected"] {
            assert!(shown[name].is_null(), "{name}");
        }
        assert!(shown["Oem"]["PiKVM"]["DriveOptical"].is_null());
    }
}
