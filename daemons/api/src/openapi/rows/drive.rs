//! The lent drive and its images.

use super::updates::bytes;
use crate::openapi::{
    doc::{BYTES, Doc, Param, like, number, switch, text, word},
    shape::{self, Shape, both, object, optional, raw},
};
use model::{
    ErrorClass::{
        self, Client, ClientConnector, ClientPayload, ClientResponse, Msd, MsdConnected, MsdDisabled,
        MsdDisconnected, MsdImageExists, MsdImageNotSelected, MsdImageStatic, MsdIsBusy, MsdLocked,
        MsdOffline, MsdOffset, MsdPermissions, MsdRemoteDisabled, MsdUnknownImage,
    },
    msd as wire,
};
use serde_json::json;

/// Why nothing can be done with the drive.
const OFF: [ErrorClass; 5] = [MsdDisabled, MsdOffline, MsdIsBusy, MsdLocked, Msd];
/// Why an image cannot be written.
const WRITE: [ErrorClass; 5] =
    [MsdImageExists, MsdImageStatic, MsdPermissions, MsdConnected, MsdUnknownImage];

pub(super) fn docs() -> Vec<Doc> {
    [drive(), transfers()].concat()
}

fn image(about: &str) -> Param {
    text("image", about, 4096).example("debian.iso")
}

fn drive() -> Vec<Doc> {
    let room = optional([(
        "storage",
        shape::nullable(object([
            ("size", shape::whole("Bytes of the main part.")),
            ("free", shape::whole("Free bytes of the main part.")),
        ])),
    )]);
    vec![
        Doc::get("/msd", "Tells what is in the drive and on its storage")
            .tells(both(shape::of::<wire::State>(), room)),
        Doc::post("/msd/set_params", "Chooses an image and what the drive is")
            .query(image("Its name in the storage; empty: none."))
            .query(switch("cdrom", "An optical drive."))
            .query(switch("rw", "The target may write."))
            .fails(OFF)
            .fails([MsdConnected, MsdUnknownImage, MsdRemoteDisabled, MsdImageNotSelected, MsdPermissions]),
        Doc::post("/msd/set_connected", "Lends the drive to the target, or takes it back")
            .query(switch("connected", "Lend it.").required())
            .fails(OFF)
            .fails([MsdConnected, MsdDisconnected, MsdImageNotSelected, MsdUnknownImage, MsdPermissions]),
        Doc::post("/msd/remove", "Deletes an image")
            .query(image("Its name in the storage.").required())
            .fails(OFF)
            .fails([MsdConnected, MsdUnknownImage, MsdImageStatic, MsdPermissions]),
        Doc::post("/msd/reset", "Takes the drive back and reads the storage anew").fails([
            MsdDisabled,
            MsdIsBusy,
            MsdLocked,
            Msd,
        ]),
    ]
}

/// What a write came to.
fn written() -> Shape {
    let mut image = object([
        ("name", shape::text("In the storage.")),
        ("size", shape::whole("Bytes of the whole image.")),
        ("written", shape::whole("Bytes that are there.")),
    ]);
    image.schema["properties"]["sha256"] =
        json!({"type": "string", "description": "Of the whole image, when it is there."});
    object([("image", image)])
}

fn transfers() -> Vec<Doc> {
    let url = || {
        text("url", "An address of http or https.", 4096).example("https://example.org/debian.iso").required()
    };
    let insecure = || switch("insecure", "Do not ask whose certificate it is.").default(false);
    let prefix = || text("prefix", "A directory of the storage.", 4096);
    let remove =
        || switch("remove_incomplete", "Delete what has come where not all of it comes.").default(false);
    let remote = object([
        ("url", shape::text("Where the answer came from in the end.")),
        ("status", shape::whole("Its status.")),
        ("size", shape::nullable(shape::whole("Bytes of the image."))),
        ("ranges", shape::truth("A broken transfer could go on.")),
        ("name", shape::nullable(shape::text("What it would be called."))),
    ]);
    vec![
        Doc::get("/msd/read", "Gives an image out")
            .query(image("Its name in the storage.").required())
            .query(word("compress", "How it is packed on the way.", &["", "none", "lzma", "zstd"]).default(""))
            .answers(200, "The image, as a file to keep.", BYTES, bytes())
            .fails(OFF)
            .fails([MsdConnected, MsdUnknownImage, MsdPermissions]),
        Doc::post("/msd/write", "Takes an image in, or the rest of one")
            .about("An upload that broke off is marked incomplete, with `written` in the state; the same call with Content-Range goes on there.")
            .query(image("Its name in the storage.").required())
            .query(prefix())
            .query(remove())
            .query(like("sha256", "What the whole image should be.", "^[0-9A-Fa-f]{64}$"))
            .header(like("Content-Range", "Which part it is: at most `written` bytes are before it.", "^bytes [0-9]+-[0-9]+/[0-9]+$"))
            .header(text("Repr-Digest", "What the whole image should be: `sha-256=:BASE64:` (RFC 9530).", None))
            .body(BYTES, "The image, or a part of it; Content-Length must say how long it is.", bytes())
            .tells(written())
            .fails(OFF)
            .fails(WRITE)
            .fails([MsdOffset]),
        Doc::post("/msd/write_remote", "Fetches an image from elsewhere")
            .about("A line at the beginning, one every two seconds, one at the end; what fails under way is a line, too, after which the answer breaks off. \
                A client that hangs up ends the transfer.")
            .query(url())
            .query(image("Its name in the storage; nothing: as the source calls it."))
            .query(prefix())
            .query(insecure())
            .query(number("timeout", "Seconds until the source must have answered, 60 at most.", 0.1, None).default(10))
            .query(remove())
            .query(like("sha256", "What the whole image should be.", "^[0-9A-Fa-f]{64}$"))
            .answers(200, "Progress, a line each.", "application/x-ndjson", raw(json!({"type": "string"})))
            .fails(OFF)
            .fails(WRITE)
            .fails([Client, ClientConnector, ClientResponse, ClientPayload]),
        Doc::post("/msd/probe_remote", "Says whether an image could be fetched")
            .query(url())
            .query(insecure())
            .tells(object([("remote", remote)]))
            .fails([Client, ClientConnector, ClientPayload]),
    ]
}
