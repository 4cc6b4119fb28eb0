//! Where a client begins: versions, service root, OData document, registries.

use super::{Answer, error, resource};
use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Who this appliance is to clients that know several.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Of the machine, and only of it; none where the machine has no name of its own.
    pub uuid: Option<String>,
}

impl Identity {
    /// From the machine's own number, which is not told to anybody.
    #[must_use]
    pub fn of(machine_id: &str) -> Self {
        let machine_id = machine_id.trim();
        let uuid = (machine_id.len() == 32).then(|| uuid(machine_id));
        Self { uuid }
    }
}

/// Version 8 (of a hash) in RFC 9562's words.
fn uuid(machine_id: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("redfish service {machine_id}"))[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// What hangs from the root, in the order of the documents.
const CHILDREN: [&str; 6] =
    ["Systems", "Chassis", "Managers", "SessionService", "AccountService", "Registries"];

pub(super) async fn versions() -> Answer {
    Ok(plain(&json!({"v1": "/redfish/v1/"})))
}

pub(super) async fn service(identity: Data<Identity>) -> Answer {
    let mut root = json!({
        "@odata.id": "/redfish/v1",
        "@odata.type": "#ServiceRoot.v1_6_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "Product": "KVM over IP",
        "RedfishVersion": "1.6.0",
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false,
            "FilterQuery": false,
            "OnlyMemberQuery": false,
            "SelectQuery": false,
        },
        "Links": {"Sessions": resource::link(super::session::SESSIONS)},
    });
    for child in CHILDREN {
        root[child] = resource::link(&format!("/redfish/v1/{child}"));
    }
    if let Some(uuid) = &identity.uuid {
        root["UUID"] = json!(uuid);
    }
    Ok(resource::show(&root))
}

pub(super) async fn odata() -> Answer {
    let mut value = vec![json!({"name": "Service", "kind": "Singleton", "url": "/redfish/v1/"})];
    value.extend(
        CHILDREN
            .map(|child| json!({"name": child, "kind": "Singleton", "url": format!("/redfish/v1/{child}")})),
    );
    value.push(json!({"name": "Sessions", "kind": "Singleton", "url": super::session::SESSIONS}));
    Ok(plain(&json!({"@odata.context": "/redfish/v1/$metadata", "value": value})))
}

/// Documents that are no resources have no schema.
fn plain(document: &Value) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json; charset=utf-8").body(document.to_string())
}

const REGISTRIES: &str = "/redfish/v1/Registries";

pub(super) async fn registries() -> Answer {
    let members = ["Base".to_owned()];
    Ok(resource::show(&resource::collection(
        "MessageRegistryFileCollection",
        "Message Registries",
        REGISTRIES,
        &members,
    )))
}

pub(super) async fn registry(id: Path<String>) -> Answer {
    let uri = format!("{REGISTRIES}/{}", &*id);
    if *id != "Base" {
        return Err(error::Error::not_found(&uri));
    }
    Ok(resource::show(&json!({
        "@odata.id": uri,
        "@odata.type": "#MessageRegistryFile.v1_1_0.MessageRegistryFile",
        "Id": "Base",
        "Name": "Base Message Registry File",
        "Registry": error::REGISTRY,
        "Languages": ["en"],
        "Location": [{
            "Language": "en",
            "PublicationUri": format!("https://redfish.dmtf.org/registries/{}.0.json", error::REGISTRY),
        }],
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_machine_is_the_same_service_and_tells_nobody_its_number() {
        let number = "0123456789abcdef0123456789abcdef";
        let uuid = Identity::of(&format!("{number}\n")).uuid.unwrap();
        assert_eq!(Identity::of(number).uuid.as_ref(), Some(&uuid));
        assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'8');
        assert!(!number.contains(&uuid[..8]));
        assert_eq!(Identity::of("").uuid, None);
        assert_eq!(Identity::of("uninitialized").uuid, None);
    }
}
