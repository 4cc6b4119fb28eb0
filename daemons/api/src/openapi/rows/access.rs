//! Who may come in, and who changed what.

use crate::openapi::{
    doc::{Doc, TEXT, list, switch, text, whole, word},
    shape::{self, Shape, anything, nullable, object, raw},
};
use model::ErrorClass::{Forbidden, Unavailable, Validator};
use serde_json::json;

const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

pub(super) fn docs() -> Vec<Doc> {
    [login(), tokens(), audit()].concat()
}

fn login() -> Vec<Doc> {
    let form = || {
        raw(json!({
            "type": "object",
            "required": ["user", "passwd"],
            "properties": {
                "user": {"type": "string"},
                "passwd": {"type": "string", "description": "The password, the one-time code behind it where one is needed."},
                "expire": {
                    "type": "string", "pattern": "^[0-9]{1,16}$", "default": "0",
                    "description": "Seconds until the session ends; 0: as the settings say.",
                },
                "redirect": {"type": "string", "description": "Where the answer sends the browser: an address that the settings allow."},
            },
        }))
    };
    vec![
        Doc::post("/auth/login", "Opens a session: a password for a cookie")
            .body("application/x-www-form-urlencoded", "Who it is. The longest is 16 KiB.", form())
            .body("multipart/form-data", "", form())
            .body("application/json", "", form())
            .about("The cookie `auth_token` comes by Set-Cookie.")
            .tells(anything("Nothing."))
            .answers(302, "With `redirect`: there.", TEXT, raw(json!({"type": "string"})))
            .fails([Validator, Forbidden, Unavailable])
            .fails_plainly(400, "the body broke off")
            .fails_plainly(413, "The form is too long."),
        Doc::post("/auth/logout", "Ends all sessions of the user whose cookie is shown"),
        Doc::get("/auth/check", "Says whether the session, password or token is good"),
        Doc::get("/auth/who", "Tells who asks, and what they may do").tells(object([
            ("user", nullable(shape::text("Whose session or password it is."))),
            ("token", nullable(shape::text("The name of the API token."))),
            ("by", raw(json!({"type": "string", "enum": ["session", "password", "token", "unix", "open", "unknown"]}))),
            ("role", role()),
            ("login", shape::truth("Whether anybody has to log in here.")),
        ])),
        Doc::get("/users", "Lists who may come in").tells(object([(
            "users",
            shape::list(object([
                ("user", shape::text("The name.")),
                ("role", role()),
                ("given", shape::truth("The role was given to this user; else it is that of the settings.")),
                ("code", raw(json!({"type": "string", "enum": ["own", "shared", "none"]}))),
            ])),
        )])),
    ]
}

fn role() -> Shape {
    raw(json!({"type": "string", "enum": ROLES}))
}

fn token() -> Shape {
    let mut token = object([
        ("id", shape::text("What it is called in calls.")),
        ("name", shape::text("What it is for.")),
        ("role", role()),
        ("scopes", shape::list(shape::text("A subsystem; none: all."))),
        ("created", shape::whole("Seconds since 1970.")),
        ("expires", nullable(shape::whole("Seconds since 1970."))),
        ("last_used", nullable(shape::whole("Seconds since 1970."))),
        ("by", shape::text("Who made it.")),
        ("expired", shape::truth("It has ended.")),
    ]);
    let schema = std::mem::replace(&mut token.schema, shape::reference("tokens.Token"));
    token.parts.insert("tokens.Token".to_owned(), schema);
    token
}

fn tokens() -> Vec<Doc> {
    vec![
        Doc::get("/tokens", "Lists all API tokens, without their secrets").tells(object([
            ("tokens", shape::list(token())),
            ("scopes", shape::list(shape::text("What a token can be for."))),
        ])),
        Doc::post("/tokens", "Makes an API token")
            .about("The secret is in the answer, this once. A token makes no token.")
            .query(
                text(
                    "name",
                    "What it is for: 1 to 64 letters, digits, blanks and `._@-`, unlike any other.",
                    64,
                )
                .required(),
            )
            .query(word("role", "What it may do, at most what its maker may.", &ROLES).required())
            .query(whole("expire", "Seconds until it ends; 0: never.", 0, super::LARGEST).default(0))
            .query(list(
                "scopes",
                "What it is for: tags of this document; nothing: all of them.",
                &json!({"type": "string"}),
            ))
            .tells(object([("token", token()), ("secret", shape::text("`kvmt_` and 64 digits."))])),
        Doc::of("DELETE", "/tokens", "Revokes an API token").query(text("id", "Which.", None).required()),
    ]
}

fn audit() -> Vec<Doc> {
    let record = || {
        anything(
            "`seq`, `time` (Unix seconds), who (`user`, `token`, `by`, `address`), `kind` and what belongs to that.",
        )
    };
    let page = object([
        ("ok", raw(json!({"const": true}))),
        (
            "result",
            object([
                ("records", shape::list(record())),
                ("next", shape::whole("The number to go on `after`.")),
            ]),
        ),
    ]);
    vec![
        Doc::get("/audit", "Tells who changed what")
            .query(whole("seek", "Only lines of the last so many seconds.", 0, super::LARGEST))
            .query(whole(
                "after",
                "Only lines with a higher number: the `next` of the page before.",
                0,
                super::LARGEST,
            ))
            .query(
                whole("limit", "So many lines: the first after `after`, else the last.", 1, 1000)
                    .default(100),
            )
            .query(
                switch("follow", "No page but a line each, and every new one, until somebody hangs up.")
                    .default(false),
            )
            .answers(200, "A page; with `follow`, lines.", "application/json", page)
            .answers(
                200,
                "A page; with `follow`, lines.",
                "application/x-ndjson",
                raw(json!({"type": "string"})),
            ),
    ]
}
