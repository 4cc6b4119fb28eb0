//! `/redfish/v1`: the appliance as a management controller for fleet tools (section 18).
//!
//! The reference has systems, managers and virtual media, bodies without an envelope. All of that is here with its
//! fields; what DMTF's protocol (DSP0266) wants beyond it stands beside: sessions, `$metadata`, the OData document,
//! chassis, roles, registries, extended errors. Every resource exists at `/redfish/v1` and `/api/redfish/v1`; links inside
//! bodies always say the first.
//!
//! ```text
//! face (headers, extended errors, X-Auth-Token) ─▶ gate (who, which role) ─▶ checked (OData-Version, $queries) ─▶ handler
//! ```
//!
//! What it does not do: boot overrides (nothing here reaches the target's firmware; allowable values say so), tasks,
//! events, accounts (users are the owner's file).

mod account;
mod chassis;
mod error;
mod face;
mod manager;
mod media;
mod metadata;
mod resource;
mod root;
mod session;
mod system;

use crate::routes::{Entry, Need};
use actix_web::{
    HttpRequest, HttpResponse, ResponseError, Route,
    http::{Method, StatusCode, header},
    middleware::from_fn,
    web,
};
use auth::Role;
use serde_json::Value;

pub use face::face;
pub use root::Identity;

/// What handlers answer.
type Answer = Result<HttpResponse, error::Error>;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/redfish", || checked(web::to(root::versions))).needs(Need::Nothing),
    Entry::get("/redfish/v1", || checked(web::to(root::service))).needs(Need::Nothing),
    Entry::get("/redfish/v1/odata", || checked(web::to(root::odata))).needs(Need::Nothing),
    Entry::get("/redfish/v1/$metadata", || checked(web::to(metadata::document))).needs(Need::Nothing),
    Entry::get("/redfish/v1/Schemas/PiKVMVirtualMedia_v1.xml", || checked(web::to(metadata::own_schema))),
    Entry::get("/redfish/v1/Registries", || checked(web::to(root::registries))),
    Entry::get("/redfish/v1/Registries/{id}", || checked(web::to(root::registry))),
    Entry::get("/redfish/v1/Systems", || checked(web::to(system::list))),
    Entry::get("/redfish/v1/Systems/{id}", || checked(web::to(system::get))),
    Entry::patch("/redfish/v1/Systems/{id}", || checked(web::to(system::patch))),
    Entry::post("/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset", || checked(web::to(system::reset))),
    Entry::post("/redfish/v1/Systems/{id}/Actions/ComputerSystem.SetDefaultBootOrder", || {
        checked(web::to(system::default_boot_order))
    }),
    Entry::get("/redfish/v1/Chassis", || checked(web::to(chassis::list))),
    Entry::get("/redfish/v1/Chassis/1", || checked(web::to(chassis::get))),
    Entry::get("/redfish/v1/Managers", || checked(web::to(manager::list))),
    Entry::get("/redfish/v1/Managers/BMC", || checked(web::to(manager::get))),
    Entry::get("/redfish/v1/Managers/BMC/VirtualMedia", || checked(web::to(media::list))),
    Entry::get("/redfish/v1/Managers/BMC/VirtualMedia/MSD", || checked(web::to(media::get))),
    Entry::post("/redfish/v1/Managers/BMC/VirtualMedia/MSD/Actions/VirtualMedia.InsertMedia", || {
        checked(web::to(media::insert))
    }),
    Entry::post("/redfish/v1/Managers/BMC/VirtualMedia/MSD/Actions/VirtualMedia.EjectMedia", || {
        checked(web::to(media::eject))
    }),
    Entry::get("/redfish/v1/SessionService", || checked(web::to(session::service))),
    Entry::get("/redfish/v1/SessionService/Sessions", || checked(web::to(session::list))),
    Entry::post("/redfish/v1/SessionService/Sessions", || checked(web::to(session::create)))
        .needs(Need::Nothing),
    Entry::post("/redfish/v1/SessionService/Sessions/Members", || checked(web::to(session::create)))
        .needs(Need::Nothing),
    Entry::get("/redfish/v1/SessionService/Sessions/{id}", || checked(web::to(session::get))),
    // Everybody may end sessions of their own.
    Entry::delete("/redfish/v1/SessionService/Sessions/{id}", || checked(web::to(session::end)))
        .by(Role::Viewer),
    Entry::get("/redfish/v1/AccountService", || checked(web::to(account::service))),
    Entry::get("/redfish/v1/AccountService/Roles", || checked(web::to(account::list))),
    Entry::get("/redfish/v1/AccountService/Roles/{id}", || checked(web::to(account::get))),
];

/// What answers for any other path below `/redfish`, where pages would otherwise.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::resource("/redfish/{rest:.*}").wrap(from_fn(face)).default_service(web::to(elsewhere)));
}

/// An untidy path leads to its tidy form, as everywhere. Nobody follows who asks for the head: that is told at once what
/// it would be told there.
async fn elsewhere(request: HttpRequest) -> HttpResponse {
    let answer = crate::routes::unknown(request.clone()).await;
    match answer.status() {
        StatusCode::NOT_FOUND => error::Error::not_found(request.path()).error_response(),
        StatusCode::PERMANENT_REDIRECT if request.method() == Method::HEAD => {
            HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, "GET")).finish()
        }
        _ => answer,
    }
}

/// What comes after the question who asks: headers and queries that change the answer.
fn checked(route: Route) -> Route {
    route.wrap(from_fn(face::checked))
}

/// The JSON object of a request.
fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, error::Error> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(error::Error::malformed()),
    }
}
