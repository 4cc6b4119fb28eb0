//! What is said of Redfish: its shapes are DMTF's, published at redfish.dmtf.org, so a resource here is an object with an
//! address.

use super::{
    doc::{Doc, JSON, Param, text, word},
    shape::{Shape, object, raw},
};
use model::ErrorClass::{
    AtxIsBusy, Forbidden, Http, Msd, MsdConnected, MsdDisabled, MsdDisconnected, MsdImageNotSelected,
    MsdIsBusy, MsdLocked, MsdOffline, MsdPermissions, MsdRemoteDisabled, MsdUnknownImage, Unauthorized,
    Unavailable, Validator,
};
use serde_json::{Value, json};

/// A failure: the API's own words, and beside them Redfish's.
pub(super) fn failure() -> Value {
    json!({
        "type": "object",
        "required": ["ok", "result", "error"],
        "properties": {
            "ok": {"const": false},
            "result": {"$ref": "#/components/schemas/Failure/properties/result"},
            "error": {
                "type": "object",
                "required": ["code", "message", "@Message.ExtendedInfo"],
                "properties": {
                    "code": {"type": "string", "description": "A message of DMTF's Base registry."},
                    "message": {"type": "string"},
                    "@Message.ExtendedInfo": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                },
            },
        },
    })
}

/// How any of its rows can fail with `HttpError`, beside the class's own status.
pub(super) fn statuses(doc: &Doc) -> impl Iterator<Item = u16> {
    let body = doc.body.is_some();
    let place = doc.path.contains("{id}");
    [(404, place), (412, true), (413, body), (501, true)]
        .into_iter()
        .filter_map(|(status, can)| can.then_some(status))
}

fn resource(about: &'static str) -> Shape {
    let mut shape = object([
        ("@odata.id", raw(json!({"type": "string"}))),
        ("@odata.type", raw(json!({"type": "string"}))),
    ]);
    shape.schema["description"] = about.into();
    shape
}

/// The entity tag of an earlier answer, and the version of the protocol.
fn headers(doc: Doc) -> Doc {
    doc.header(version())
}

fn version() -> Param {
    word("OData-Version", "The only one spoken here.", &["4.0"])
}

fn get(path: &'static str, summary: &'static str) -> Doc {
    headers(Doc::get(path, summary))
        .header(text("If-None-Match", "The entity tag of an earlier answer.", None))
        .answers(200, "The resource.", JSON, resource("As in DMTF's schema of its type."))
        .answers_empty(304, "It is as it was.")
}

/// A document that is no resource.
fn plain(path: &'static str, summary: &'static str, media: &'static str) -> Doc {
    let shape = raw(if media == JSON { json!({"type": "object"}) } else { json!({"type": "string"}) });
    headers(Doc::get(path, summary)).answers(200, "The document.", media, shape)
}

/// A change that is made: clients of the API, who come below `/api`, are told.
fn done(doc: Doc, below: bool) -> Doc {
    let doc = headers(doc).fails([Http]);
    if below {
        doc.answers(200, "Done.", JSON, raw(json!({"type": "object"})))
    } else {
        doc.answers_empty(204, "Done.")
    }
}

fn at(doc: Doc, about: &'static str, example: &'static str) -> Doc {
    doc.place("id", about, example)
}

/// What is said of the rows, which exist at `/redfish` and `below` `/api`.
pub(super) fn docs(below: bool) -> Vec<Doc> {
    [root(), systems(below), managers(below), sessions()].concat()
}

fn root() -> Vec<Doc> {
    vec![
        plain("/redfish", "Tells where the service is", JSON),
        get("/redfish/v1", "Tells the service root"),
        plain("/redfish/v1/odata", "Tells the OData service document", JSON),
        plain("/redfish/v1/$metadata", "Tells the OData metadata", "application/xml"),
        plain(
            "/redfish/v1/Schemas/PiKVMVirtualMedia_v1.xml",
            "Tells the schema of the OEM part",
            "application/xml",
        ),
        get("/redfish/v1/Registries", "Lists message registries"),
        at(get("/redfish/v1/Registries/{id}", "Tells where a message registry is"), "Its name.", "Base"),
    ]
}

fn systems(below: bool) -> Vec<Doc> {
    let reset = object([(
        "ResetType",
        raw(
            json!({"type": "string", "enum": ["On", "ForceOff", "GracefulShutdown", "ForceRestart", "ForceOn", "PushPowerButton"]}),
        ),
    )]);
    let system = |doc| at(doc, "`0` for the target; `SwitchPortN` for one at a switch.", "0").fails([Http]);
    vec![
        get("/redfish/v1/Systems", "Lists systems"),
        system(get("/redfish/v1/Systems/{id}", "Tells of the target")),
        system(done(
            Doc::of(
                "PATCH",
                "/redfish/v1/Systems/{id}",
                "Sets what cannot be set: boot overrides as they are anyway",
            ),
            below,
        ))
        .header(text("If-Match", "The entity tag of what is changed.", None))
        .body(JSON, "Properties.", raw(json!({"type": "object"}))),
        system(done(
            Doc::post(
                "/redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset",
                "Presses buttons of the front panel",
            ),
            below,
        ))
        .body(JSON, "What it comes to.", reset)
        .fails([AtxIsBusy]),
        // The contract has the address; there is no answer but a refusal.
        system(headers(Doc::post(
            "/redfish/v1/Systems/{id}/Actions/ComputerSystem.SetDefaultBootOrder",
            "Cannot be done: answers 501",
        )))
        .answers_empty(204, "Never."),
        get("/redfish/v1/Chassis", "Lists chassis"),
        get("/redfish/v1/Chassis/1", "Tells of the case of the target"),
    ]
}

fn managers(below: bool) -> Vec<Doc> {
    let insert = raw(json!({
        "type": "object",
        "required": ["Image"],
        "properties": {
            "Image": {"type": "string", "description": "Its name in the storage."},
            "Inserted": {"type": "boolean"},
            "WriteProtected": {"type": "boolean"},
        },
    }));
    let drive = |doc: Doc| {
        doc.fails([MsdDisabled, MsdOffline, MsdIsBusy, MsdLocked, MsdConnected, MsdPermissions, Msd])
    };
    vec![
        get("/redfish/v1/Managers", "Lists managers"),
        get("/redfish/v1/Managers/BMC", "Tells of the appliance"),
        get("/redfish/v1/Managers/BMC/VirtualMedia", "Lists virtual media"),
        get("/redfish/v1/Managers/BMC/VirtualMedia/MSD", "Tells of the lent drive"),
        drive(done(
            Doc::post(
                "/redfish/v1/Managers/BMC/VirtualMedia/MSD/Actions/VirtualMedia.InsertMedia",
                "Lends an image",
            ),
            below,
        ))
        .body(JSON, "Which, and how.", insert)
        .fails([MsdUnknownImage, MsdImageNotSelected, MsdRemoteDisabled]),
        drive(done(
            Doc::post(
                "/redfish/v1/Managers/BMC/VirtualMedia/MSD/Actions/VirtualMedia.EjectMedia",
                "Takes the drive back",
            ),
            below,
        ))
        .body_if_any(JSON, "Nothing.", raw(json!({"type": "object"})))
        .fails([MsdDisconnected]),
    ]
}

fn sessions() -> Vec<Doc> {
    let create = |path| {
        let wanted = raw(json!({
            "type": "object",
            "required": ["UserName", "Password"],
            "properties": {"UserName": {"type": "string"}, "Password": {"type": "string"}},
        }));
        headers(Doc::post(path, "Opens a session"))
            .about("Its token comes in X-Auth-Token, its address in Location.")
            .body(JSON, "Who it is.", wanted)
            .answers(201, "The session.", JSON, resource("The session."))
            .fails([Http, Validator, Unauthorized, Forbidden, Unavailable])
    };
    let session = |doc| at(doc, "Its name.", "0");
    let role = |doc| at(doc, "Its name.", "ReadOnly");
    vec![
        get("/redfish/v1/SessionService", "Tells of sessions"),
        get(
            "/redfish/v1/SessionService/Sessions",
            "Lists one's own sessions; an administrator's list has all",
        ),
        create("/redfish/v1/SessionService/Sessions"),
        create("/redfish/v1/SessionService/Sessions/Members"),
        session(get("/redfish/v1/SessionService/Sessions/{id}", "Tells of a session")),
        session(headers(Doc::of("DELETE", "/redfish/v1/SessionService/Sessions/{id}", "Ends a session")))
            .answers_empty(204, "It is over."),
        get("/redfish/v1/AccountService", "Tells of accounts"),
        get("/redfish/v1/AccountService/Roles", "Lists roles"),
        role(get("/redfish/v1/AccountService/Roles/{id}", "Tells of a role")),
    ]
}
