//! Roles: what the appliance's own three are in Redfish's words. Accounts are the owner's file and are not shown.

use super::{Answer, error::Error, resource};
use actix_web::web::{Data, Path};
use auth::{Auth, Role};
use serde_json::{Value, json};

const SERVICE: &str = "/redfish/v1/AccountService";
const ROLES: &str = "/redfish/v1/AccountService/Roles";

pub(super) async fn service(auth: Data<Auth>) -> Answer {
    Ok(resource::show(&json!({
        "@odata.id": SERVICE,
        "@odata.type": "#AccountService.v1_5_0.AccountService",
        "Id": "AccountService",
        "Name": "Account Service",
        "ServiceEnabled": auth.enabled(),
        "Status": {"State": if auth.enabled() { "Enabled" } else { "Disabled" }, "Health": "OK"},
        "Roles": resource::link(ROLES),
    })))
}

pub(super) async fn list() -> Answer {
    let members = Role::ALL.map(|role| name(role).to_owned());
    Ok(resource::show(&resource::collection("RoleCollection", "Roles", ROLES, &members)))
}

pub(super) async fn get(id: Path<String>) -> Answer {
    let role = Role::ALL.into_iter().find(|role| name(*role) == *id);
    let role = role.ok_or_else(|| Error::not_found(&format!("{ROLES}/{}", &*id)))?;
    Ok(resource::show(&show(role)))
}

fn show(role: Role) -> Value {
    let name = name(role);
    json!({
        "@odata.id": format!("{ROLES}/{name}"),
        "@odata.type": "#Role.v1_2_4.Role",
        "Id": name,
        "RoleId": name,
        "Name": format!("{name} ({role})"),
        "IsPredefined": true,
        "AssignedPrivileges": privileges(role),
    })
}

const fn name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "ReadOnly",
        Role::Operator => "Operator",
        Role::Admin => "Administrator",
    }
}

const fn privileges(role: Role) -> &'static [&'static str] {
    match role {
        Role::Viewer => &["Login", "ConfigureSelf"],
        Role::Operator => &["Login", "ConfigureComponents", "ConfigureSelf"],
        Role::Admin => {
            &["Login", "ConfigureManager", "ConfigureUsers", "ConfigureComponents", "ConfigureSelf"]
        }
    }
}
