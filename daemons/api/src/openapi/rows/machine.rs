//! Facts, the log, figures, the WebSocket, this document.

use crate::openapi::{
    doc::{Doc, JSON, TEXT, list, switch, whole},
    shape::{self, Shape, anything, object, optional, raw},
};
use model::{
    ErrorClass::{Forbidden, LogReaderDisabled, Unauthorized, Unavailable, Validator},
    info as wire,
};
use serde_json::json;

pub(super) fn docs() -> Vec<Doc> {
    [facts(), sockets()].concat()
}

fn info() -> Shape {
    let hw = object([("health", shape::of::<wire::Health>()), ("platform", shape::of::<wire::Platform>())]);
    optional([
        ("auth", shape::of::<wire::Auth>()),
        (
            "extras",
            shape::nullable(shape::map(anything("What the manifest says, with `enabled` and `started`."))),
        ),
        ("fan", shape::of::<wire::Fan>()),
        ("health", shape::of::<wire::Health>()),
        ("hw", hw),
        ("meta", raw(json!({"description": "The owner's own words, whatever they are."}))),
        ("node", shape::of::<wire::Node>()),
        ("system", system()),
        ("uptime", shape::of::<wire::Uptime>()),
    ])
}

/// Without the platform where `hw` has it.
fn system() -> Shape {
    let mut system = object([
        ("kvmd", shape::of::<wire::Version>()),
        ("streamer", shape::of::<wire::StreamerVersion>()),
        ("kernel", shape::of::<wire::Kernel>()),
    ]);
    let more =
        optional([("release", shape::text("Our own release.")), ("platform", shape::of::<wire::Platform>())]);
    if let (Some(all), Some(more)) =
        (system.schema["properties"].as_object_mut(), more.schema["properties"].as_object())
    {
        all.extend(more.clone());
    }
    system.parts.extend(more.parts);
    system
}

fn facts() -> Vec<Doc> {
    let fields = wire::Field::CURRENT.iter().chain(&[wire::Field::Hw]).map(|field| field.name());
    let fields: Vec<&str> = fields.collect();
    vec![
        Doc::get("/info", "Tells facts about the appliance")
            .query(list(
                "fields",
                "Which; nothing: all. `hw` only with `legacy`.",
                &json!({"type": "string", "enum": fields}),
            ))
            .query(
                switch(
                    "legacy",
                    "In the form of older releases: `hw` in place of `health` and the platform.",
                )
                .default(true),
            )
            .tells(info()),
        Doc::get("/log", "Tells the system journal")
            .query(
                whole("seek", "Only lines of the last so many seconds; 0: all.", 0, super::LARGEST)
                    .default(0),
            )
            .query(switch("follow", "And every new line, until somebody hangs up.").default(false))
            .answers(200, "Lines of time, unit and message.", TEXT, shape::text("Lines."))
            .fails([LogReaderDisabled]),
        Doc::get("/export/prometheus/metrics", "Tells figures for Prometheus")
            .about("Whether that needs a login is a setting (`prometheus.auth.enabled`).")
            .answers(200, "One gauge a value.", TEXT, shape::text("Prometheus' text format."))
            .fails([Validator, Unauthorized, Forbidden, Unavailable]),
        Doc::get("/openapi.json", "Tells this document").answers(
            200,
            "OpenAPI 3.1.",
            JSON,
            anything("The document."),
        ),
    ]
}

fn sockets() -> Vec<Doc> {
    vec![
        Doc::get("/ws", "Opens the WebSocket: state out, keys and mouse in")
            .about("A message is `{\"event_type\": …, \"event\": {…}}`. Everything is told at the beginning and at each change. Clients send \
                `ping`, `key`, `mouse_button`, `mouse_move`, `mouse_relative` and `mouse_wheel`, as text or in binary; but for \
                `ping` that needs an operator, and a token for `hid`.")
            .query(switch("stream", "This client wants pictures: the streamer runs for it.").default(true))
            .answers_empty(101, "The WebSocket is open.")
            .fails_plainly(400, "no WebSocket was asked for"),
        Doc::get("/media", "Tells which pictures the media WebSocket has")
            .tells(object([("media", object([("video", shape::map(anything("What is known of the format.")))]))])),
        Doc::get("/media/ws", "Opens the WebSocket of pictures")
            .query(crate::openapi::doc::word(
                "video",
                "Send bare frames of this format at once; without, a client sends `start` as text.",
                &["jpeg", "h264"],
            ))
            .answers_empty(101, "The WebSocket is open.")
            .fails_plainly(400, "no WebSocket was asked for"),
    ]
}
