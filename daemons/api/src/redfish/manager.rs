//! The appliance itself as a management controller.

use super::{Answer, resource, root::Identity};
use crate::ws::hub;
use actix_web::web::Data;
use info::Info;
use serde_json::json;

const MANAGERS: &str = "/redfish/v1/Managers";
/// The only one.
pub(super) const BMC: &str = "/redfish/v1/Managers/BMC";

pub(super) async fn list() -> Answer {
    let members = ["BMC".to_owned()];
    Ok(resource::show(&resource::collection("ManagerCollection", "Manager Collection", MANAGERS, &members)))
}

pub(super) async fn get(info: Data<Info>, identity: Data<Identity>) -> Answer {
    let system = info.system().await;
    let mut manager = json!({
        "@odata.id": BMC,
        "@odata.type": "#Manager.v1_15_0.Manager",
        "Id": "BMC",
        "Name": "PiKVM Manager",
        "Description": "PiKVM Baseboard Management Controller",
        "ManagerType": "BMC",
        "FirmwareVersion": system.release,
        "Model": system.platform.base,
        "PowerState": "On",
        "Status": {"State": "Enabled", "Health": "OK"},
        "GraphicalConsole": {
            "ServiceEnabled": true,
            "MaxConcurrentSessions": hub::CLIENTS_LIMIT,
            "ConnectTypesSupported": ["KVMIP"],
        },
        "Links": {
            "ManagerForServers": [resource::link(super::system::MAIN)],
            "ManagerForChassis": [resource::link(super::chassis::ONE)],
        },
        "VirtualMedia": resource::link(super::media::MEDIA),
    });
    if let Some(uuid) = &identity.uuid {
        manager["UUID"] = json!(uuid);
        manager["ServiceEntryPointUUID"] = json!(uuid);
    }
    Ok(resource::show(&manager))
}
