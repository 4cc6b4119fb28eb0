//! The case of the target, as far as it can be seen from outside: its power light.

use super::{Answer, resource, system};
use actix_web::web::Data;
use atx::Atx;
use serde_json::json;

const CHASSIS: &str = "/redfish/v1/Chassis";
/// The only one.
pub(super) const ONE: &str = "/redfish/v1/Chassis/1";

pub(super) async fn list() -> Answer {
    let members = ["1".to_owned()];
    Ok(resource::show(&resource::collection("ChassisCollection", "Chassis Collection", CHASSIS, &members)))
}

pub(super) async fn get(atx: Data<Atx>) -> Answer {
    let powered = atx.subscribe().borrow().leds.power;
    Ok(resource::show(&json!({
        "@odata.id": ONE,
        "@odata.type": "#Chassis.v1_10_0.Chassis",
        "Id": "1",
        "Name": "Case of the target",
        "ChassisType": "Other",
        "PowerState": system::power_state(powered),
        "Status": {"State": "Enabled"},
        "Links": {
            "ComputerSystems": [resource::link(system::MAIN)],
            "ManagedBy": [resource::link(super::manager::BMC)],
        },
    })))
}
