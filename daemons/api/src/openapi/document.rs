//! The document: every row of the table with what is said of it. What the table knows is not said twice.

use super::{
    doc::{Body, Doc, JSON, Param, TEXT},
    shape::{Parts, reference},
};
use crate::routes::{self, Entry, Need};
use model::ErrorClass;
use serde::Serialize as _;
use serde_json::{Map, Value, json, ser::PrettyFormatter};
use std::collections::BTreeMap;

/// What stands at the beginning.
const ABOUT: &str = "Everything that can be asked of this appliance: PiKVM's HTTP API and what is ours beyond it. \
    `x-role` is the role that a call needs (viewer, operator or admin; nobody: no login), `x-changes` whether it changes \
    something (then it is in the audit log, and a page of another site may not make it); `x-changes-with` names a switch \
    with which a call that otherwise only tells does. A tag is the first part of a path, which is also what the scope of an \
    API token names. Unknown parameters are ignored, of one given twice the first counts. Switches are true by `1`, `true` \
    or `yes` and false by `0`, `false` or `no`; numbers may be hexadecimal behind `0x`; blanks around a value are ignored, \
    and words may have capitals. An answer is JSON with `ok` and `result` unless it says otherwise; `result.error` of a \
    failed one is its class. On the unix socket everything below /api is there without a login, for users of the machine \
    that the settings name, but /api/auth/check and /api/auth/logout, which are about passwords and sessions.";

/// What the tags are about: the order of the page.
const TAGS: [(&str, &str); 20] = [
    ("auth", "Login, check, logout; who asks."),
    ("users", "Who there is."),
    ("tokens", "API tokens: what programs show instead of a password."),
    ("audit", "Who changed what."),
    ("info", "Facts about the appliance."),
    ("log", "The system journal."),
    ("hid", "Keyboard and mouse."),
    ("atx", "The front panel: power and reset."),
    ("msd", "The lent drive and its images."),
    ("streamer", "The picture: settings, snapshots, the MJPEG stream, the monitor that is shown."),
    ("media", "Frames over a WebSocket."),
    ("gpio", "Named switches and inputs."),
    ("switch", "The multi-port switch."),
    ("export", "Figures for Prometheus."),
    ("redfish", "The appliance as a management controller (DMTF Redfish)."),
    ("gadget", "The USB device that the target sees."),
    ("system", "The appliance itself: owner, names, network, restart, updates."),
    ("ws", "State out, keys and mouse in, over a WebSocket."),
    ("openapi.json", "This document."),
    ("", "Anything else."),
];

/// The whole document.
pub(super) fn document() -> Value {
    let docs = super::rows::all();
    let known: BTreeMap<(&str, &str, bool), &Doc> =
        docs.iter().map(|(below, doc)| ((doc.method, doc.path, *below), doc)).collect();
    let (mut paths, mut common) = (Map::new(), Common::default());
    for (path, row) in routes::everything() {
        let below = path.starts_with("/api/");
        // A row without words is in the document all the same; a test misses them.
        let nothing = Doc::of(row.method, row.path, "");
        let doc = known.get(&(row.method, row.path, below)).copied().unwrap_or(&nothing);
        paths.entry(path.clone()).or_insert_with(|| json!({}))[row.method.to_lowercase()] =
            common.operation(&path, row, doc);
    }
    let tags: Vec<Value> = TAGS
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, about)| json!({"name": name, "description": about}))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "KVM over IP",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This appliance."}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": common.schemas(),
            "responses": common.responses,
            "securitySchemes": schemes(),
        },
    })
}

/// The document as the file has it: keys sorted, one blank of indent.
pub(super) fn text() -> String {
    let mut text = Vec::new();
    let mut printer = serde_json::Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b" "));
    sorted(&document()).serialize(&mut printer).unwrap();
    String::from_utf8(text).unwrap() + "\n"
}

/// Whether maps keep an order of their own is a feature that any crate of the tree may switch on.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted_map: BTreeMap<&String, &Value> = map.iter().collect();
            sorted_map.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// What operations share.
#[derive(Default)]
struct Common {
    parts: Parts,
    responses: Map<String, Value>,
}

impl Common {
    fn operation(&mut self, path: &str, row: &Entry, doc: &Doc) -> Value {
        let role = if open(row) { "nobody" } else { row.role.name() };
        let mut operation = json!({
            "operationId": name_of(path, row),
            "tags": [row.subsystem()],
            "summary": doc.summary,
            "x-role": role,
            "x-changes": !row.is_safe(),
            "security": security(row),
            "responses": self.answers(row, doc),
        });
        if !doc.about.is_empty() {
            operation["description"] = doc.about.into();
        }
        if let Some(switch) = row.changes_with {
            operation["x-changes-with"] = switch.into();
        }
        let parameters = parameters(doc);
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = &doc.body {
            operation["requestBody"] = self.body(body);
        }
        operation
    }

    fn body(&mut self, body: &Body) -> Value {
        let mut content = Map::new();
        for (media, shape) in &body.content {
            self.parts.extend(shape.parts.clone());
            content.insert((*media).to_owned(), json!({"schema": shape.schema}));
        }
        json!({"description": body.about, "required": body.required, "content": content})
    }

    fn answers(&mut self, row: &Entry, doc: &Doc) -> Value {
        let mut answers = Map::new();
        for told in &doc.told {
            let entry = answers.entry(told.status.to_string()).or_insert_with(|| json!({}));
            entry["description"] = told.about.into();
            if let Some((media, shape)) = &told.content {
                self.parts.extend(shape.parts.clone());
                entry["content"][*media] = json!({"schema": shape.schema});
            }
        }
        if doc.told.is_empty() {
            answers.insert("200".to_owned(), self.nothing());
        }
        let mut failures: BTreeMap<u16, Vec<ErrorClass>> = BTreeMap::new();
        for class in ErrorClass::ALL.iter().filter(|class| can_fail(row, doc, **class)) {
            failures.entry(class.status()).or_default().push(*class);
        }
        let mut failures: Vec<(u16, Vec<ErrorClass>)> = failures.into_iter().collect();
        if row.subsystem() == "redfish" {
            failures.extend(super::redfish::statuses(doc).map(|status| (status, vec![ErrorClass::Http])));
        }
        for (status, classes) in failures {
            let plain = doc.plain.iter().find(|(at, _)| *at == status).map(|(_, about)| *about);
            let answer = self.failure(row, status, &classes, plain);
            let before = answers.insert(status.to_string(), answer);
            assert!(before.is_none(), "{row:?}: {status} is two things");
        }
        for (status, about) in &doc.plain {
            answers.entry(status.to_string()).or_insert_with(
                || json!({"description": about, "content": {TEXT: {"schema": {"type": "string"}}}}),
            );
        }
        answers.into()
    }

    /// Done, and nothing to say.
    fn nothing(&mut self) -> Value {
        self.responses.entry("Done").or_insert_with(|| {
            let empty = json!({
                "type": "object",
                "required": ["ok", "result"],
                "properties": {"ok": {"const": true}, "result": {"type": "object", "maxProperties": 0}},
            });
            json!({"description": "Done.", "content": {JSON: {"schema": empty}}})
        });
        json!({"$ref": "#/components/responses/Done"})
    }

    /// A failure, by its name: many operations fail in the same ways.
    fn failure(&mut self, row: &Entry, status: u16, classes: &[ErrorClass], plain: Option<&str>) -> Value {
        let envelope = if row.subsystem() == "redfish" { "RedfishFailure" } else { "Failure" };
        let names: Vec<&str> = classes.iter().map(|class| class.name()).collect();
        let mut schema = reference(envelope);
        schema["properties"] = json!({"result": {"properties": {"error": {"enum": names}}}});
        let mut answer = json!({"description": names.join(", "), "content": {JSON: {"schema": schema}}, "x-classes": names});
        if let Some(about) = plain {
            answer["description"] = format!("{}; as text: {about}", names.join(", ")).into();
            answer["content"][TEXT] = json!({"schema": {"type": "string"}});
            return answer;
        }
        let name = format!("{envelope}.{status}.{}", names.join("."));
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        self.responses.insert(name, answer);
        reference
    }

    fn schemas(&self) -> Value {
        let mut schemas: Map<String, Value> = self.parts.clone().into_iter().collect();
        let classes: Vec<&str> = ErrorClass::ALL.iter().map(|class| class.name()).collect();
        let result = json!({
            "type": "object",
            "required": ["error", "error_msg"],
            "properties": {
                "error": {"type": "string", "enum": classes, "description": "The class, for programs."},
                "error_msg": {"type": "string", "description": "One line for people."},
            },
        });
        schemas.insert(
            "Failure".to_owned(),
            json!({
                "type": "object",
                "required": ["ok", "result"],
                "properties": {"ok": {"const": false}, "result": result},
            }),
        );
        schemas.insert("RedfishFailure".to_owned(), super::redfish::failure());
        schemas.into()
    }
}

fn open(row: &Entry) -> bool {
    matches!(row.need, Need::Nothing | Need::NoOwner)
}

/// Whether a row can fail so: as is said of it, or as the gate and every handler can.
fn can_fail(row: &Entry, doc: &Doc, class: ErrorClass) -> bool {
    let everywhere = match class {
        ErrorClass::Internal => true,
        ErrorClass::NotClaimed => row.need != Need::NoOwner,
        // A name or a token that cannot be one; too many who log in at once.
        ErrorClass::Validator
        | ErrorClass::Unauthorized
        | ErrorClass::Forbidden
        | ErrorClass::Unavailable => !open(row),
        _ => false,
    };
    everywhere || doc.fails.contains(&class)
}

/// Any one of these opens a row.
fn security(row: &Entry) -> Value {
    if open(row) {
        // Whether the figures need a login is a setting.
        return if row.subsystem() == "export" {
            json!([{}, {"basic": []}, {"token": []}])
        } else {
            json!([])
        };
    }
    let mut ways = vec![
        json!({"user": [], "passwd": []}),
        json!({"basic": []}),
        json!({"session": []}),
        json!({"token": []}),
    ];
    if row.subsystem() == "redfish" {
        ways.push(json!({"redfish": []}));
    }
    ways.into()
}

fn schemes() -> Value {
    json!({
        "user": {"type": "apiKey", "in": "header", "name": "X-KVMD-User", "description": "The user, beside `passwd`."},
        "passwd": {
            "type": "apiKey", "in": "header", "name": "X-KVMD-Passwd",
            "description": "The password, the one-time code behind it where one is needed.",
        },
        "basic": {"type": "http", "scheme": "basic", "description": "The same two as HTTP has them."},
        "session": {"type": "apiKey", "in": "cookie", "name": "auth_token", "description": "From /api/auth/login."},
        "token": {"type": "http", "scheme": "bearer", "description": "An API token, `kvmt_…`, from /api/tokens."},
        "redfish": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A session of Redfish."},
    })
}

/// What programs call it: the method and the path, without `/api` where that does not make two the same.
fn name_of(path: &str, row: &Entry) -> String {
    let place = match path.strip_prefix("/api/") {
        Some(rest) if row.subsystem() != "redfish" => rest.to_owned(),
        None if row.subsystem() != "redfish" => format!("root{path}"),
        _ => path.trim_start_matches('/').to_owned(),
    };
    let place = if place.ends_with('/') { place + "index" } else { place };
    let word: String =
        place.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    let parts: Vec<&str> = word.split('_').filter(|part| !part.is_empty()).collect();
    format!("{}_{}", row.method.to_lowercase(), parts.join("_"))
}

fn parameters(doc: &Doc) -> Vec<Value> {
    let of = |param: &Param, place: &str| {
        let mut shown = json!({
            "name": param.name,
            "in": place,
            "required": param.required,
            "description": param.about,
            "schema": param.schema,
        });
        if param.schema["type"] == "array" {
            // With commas between.
            shown["style"] = "form".into();
            shown["explode"] = false.into();
        }
        shown
    };
    let places = doc.places.iter().map(|(name, about, example)| {
        json!({
            "name": name, "in": "path", "required": true, "description": about,
            "schema": {"type": "string"}, "example": example,
        })
    });
    let query = doc.query.iter().map(|param| of(param, "query"));
    places.chain(query).chain(doc.headers.iter().map(|param| of(param, "header"))).collect()
}
