//! The appliance itself: owner, names, network, end, releases.

use crate::openapi::{
    doc::{BYTES, Doc, JSON, Param, TEXT, like, switch, text},
    shape::{self, Shape, nullable, object, optional, raw},
};
use client::system::{Network, State};
use model::{
    ErrorClass::{
        self, AlreadyClaimed, ClaimThrottled, Forbidden, NotImage, Unavailable, Update, UpdateBoard,
        UpdateBundle, UpdateIsBusy, UpdateNoSpace, UpdateNothing, UpdateSignature, UpdateVersion, Validator,
    },
    update as wire,
};
use serde_json::json;

pub(super) fn docs() -> Vec<Doc> {
    [claim(), system(), updates()].concat()
}

fn claim() -> Vec<Doc> {
    let languages = json!(crate::claim::LANGUAGES);
    let told = optional([
        ("claimed", shape::truth("There is an owner.")),
        ("hostname", shape::text("Its name.")),
        ("timezone", shape::text("Its time zone.")),
        ("image", shape::truth("It was started from an image.")),
        ("languages", shape::list(shape::text("One that pages speak."))),
        ("language", shape::text("The one that the owner chose.")),
    ]);
    let form = || {
        raw(json!({
            "type": "object",
            "required": ["code", "passwd"],
            "properties": {
                "code": {"type": "string", "description": "From the console."},
                "user": {"type": "string", "default": "admin"},
                "passwd": {"type": "string"},
                "hostname": {"type": "string"},
                "timezone": {"type": "string"},
                "language": {"type": "string", "enum": languages},
            },
        }))
    };
    vec![
        Doc::get("/system/claim", "Tells whether the appliance has an owner")
            .tells(told)
            .fails([Unavailable, NotImage]),
        Doc::post("/system/claim", "Names the first user, by the code on the console")
            .about("A session is opened for it: the cookie comes by Set-Cookie.")
            .body(
                "application/x-www-form-urlencoded",
                "Who it shall be, and what the machine shall be called.",
                form(),
            )
            .body("multipart/form-data", "", form())
            .body(JSON, "", form())
            .fails([Validator, Forbidden, AlreadyClaimed, ClaimThrottled, Unavailable, NotImage])
            .fails_plainly(400, "the body broke off")
            .fails_plainly(413, "The form is too long."),
        Doc::post("/system/language", "Sets the language of pages for whoever has chosen none").query(
            Param { schema: json!({"type": "string", "enum": languages}), ..text("name", "Which.", None) }
                .required(),
        ),
    ]
}

/// Something that only a system from an image has.
fn change(path: &'static str, summary: &'static str) -> Doc {
    Doc::post(path, summary).fails([NotImage])
}

fn system() -> Vec<Doc> {
    let name = |about| text("name", about, None).required();
    vec![
        Doc::get("/system", "Tells how the machine is").tells(shape::of::<State>()).fails([NotImage]),
        change("/system/hostname", "Calls the machine so")
            .query(name("Letters, digits and `-`, at most 63.")),
        change("/system/timezone", "Takes the clock to be read there")
            .query(name("As in the time zone database.").example("Europe/Berlin")),
        change("/system/ssh_keys", "Lets exactly these keys in by SSH")
            .body(TEXT, "Lines as in `authorized_keys`, 16 KiB at most.", shape::text("Lines."))
            .fails_plainly(400, "the body broke off")
            .fails_plainly(413, "The body is too long."),
        change("/system/ssh_password_login", "Lets passwords in by SSH, or not")
            .query(switch("enabled", "Let them in.").required()),
        change("/system/network", "Tries network settings for a minute")
            .body(
                JSON,
                "All interfaces that have settings; the others get an address by DHCP.",
                shape::of::<Network>(),
            )
            .fails_plainly(400, "the body broke off")
            .fails_plainly(413, "The body is too long."),
        change("/system/network/confirm", "Keeps the network settings that are on trial"),
        change("/system/network/undo", "Takes the network settings back that are on trial"),
        change("/system/reboot", "Restarts the machine"),
        change(
            "/system/factory_reset",
            "Restarts the machine as it came: settings, users, logs and keys are gone",
        )
        .query(switch("confirm", "Must be true.").required())
        .query(switch("drive", "The drive's images, too.").default(false)),
    ]
}

/// Why an update is refused.
const REFUSED: [ErrorClass; 8] = [
    NotImage,
    UpdateIsBusy,
    UpdateBundle,
    UpdateSignature,
    UpdateBoard,
    UpdateVersion,
    UpdateNothing,
    Update,
];

fn updates() -> Vec<Doc> {
    vec![
        Doc::get("/system/update", "Tells how updates stand")
            .tells(shape::of::<wire::State>())
            .fails(REFUSED),
        Doc::post("/system/update/upload", "Takes a bundle in")
            .query(like("sha256", "What it should be.", "^[0-9A-Fa-f]{64}$"))
            .body(BYTES, "A bundle of RAUC; Content-Length must say how long it is.", bytes())
            .tells(object([(
                "upload",
                object([("size", shape::whole("Bytes.")), ("sha256", shape::text("Of what arrived."))]),
            )]))
            .fails(REFUSED)
            .fails([UpdateNoSpace]),
        Doc::post("/system/update/install", "Installs the uploaded bundle, or one from elsewhere")
            .query(
                text("url", "Read from there while it is installed.", None)
                    .example("https://example.org/new.raucb"),
            )
            .fails(REFUSED),
        Doc::post("/system/update/reboot", "Restarts, into the new release where there is one")
            .fails(REFUSED),
        Doc::post(
            "/system/update/rollback",
            "Goes back to the release before, or to none that waits for its start",
        )
        .fails(REFUSED),
    ]
}

/// Any bytes.
pub(super) fn bytes() -> Shape {
    raw(json!({"type": "string", "contentMediaType": "application/octet-stream"}))
}

/// The gadget has a name, a state and functions; or is not enabled.
pub(super) fn gadget() -> Shape {
    let function = object([
        ("name", shape::text("Its name in configfs.")),
        ("description", shape::text("What it is, for people.")),
        ("endpoints", shape::whole("Endpoints it takes.")),
        (
            "fate",
            raw(
                json!({"type": "string", "enum": ["shown", "not_started", "bios_safe", "does_not_fit", "missing"]}),
            ),
        ),
        ("turn_off", shape::list(shape::text("A setting to switch off so that it fits."))),
    ]);
    let mut shown = optional([
        ("enabled", shape::truth("There is a gadget.")),
        ("name", shape::text("Its name in configfs.")),
        ("controller", nullable(shape::text("The controller it is on."))),
        ("state", shape::text("As the kernel says.")),
        ("connected", shape::truth("It shall be plugged in.")),
        ("bios_safe", shape::truth("The target is shown nothing but a boot keyboard.")),
        ("endpoints", object([("total", shape::whole("There are.")), ("used", shape::whole("Are taken."))])),
        ("fault", nullable(shape::text("Why it is not as it should be."))),
        ("functions", shape::list(function)),
    ]);
    shown.schema["required"] = json!(["enabled"]);
    shown
}
