//! The picture: settings, snapshots, text on it, the stream, the monitor that the target sees.

use crate::openapi::{
    doc::{Doc, Param, TEXT, like, list, switch, text, whole},
    shape::{self, nullable, object, raw},
};
use model::{
    ErrorClass::{
        Ocr, StreamerEdidNotSupported, StreamerH264NotSupported, StreamerQualityNotSupported,
        StreamerResolutionNotSupported,
    },
    ocr, streamer as wire,
};
use serde_json::json;

const JPEG: &str = "image/jpeg";

fn picture(doc: Doc) -> Doc {
    doc.answers(200, "The picture; with `ocr` the text on it.", JPEG, super::updates::bytes())
}

pub(super) fn docs() -> Vec<Doc> {
    [settings(), snapshots(), monitor()].concat()
}

fn settings() -> Vec<Doc> {
    // Empty is as if it were not there.
    vec![
        Doc::get("/streamer", "Tells how the picture is made").tells(shape::of::<wire::State>()),
        Doc::post("/streamer/set_params", "Sets how the picture is made")
            .about("What lies outside of the limits that /api/streamer tells is left as it is.")
            .query(whole("quality", "Of JPEGs.", 1, 100))
            .query(whole("desired_fps", "Pictures a second; 0: as many as there are.", 0, 120))
            .query(
                like("resolution", "Width and height.", "^([1-9][0-9]{0,8}x[1-9][0-9]{0,8})?$")
                    .example("1920x1080"),
            )
            .query(whole("h264_bitrate", "kbit/s.", 25, 20_000))
            .query(whole("h264_gop", "Pictures between two key frames.", 0, 60))
            .fails([StreamerQualityNotSupported, StreamerResolutionNotSupported, StreamerH264NotSupported]),
        Doc::post("/streamer/reset", "Starts the streamer anew"),
        Doc::get("/streamer/ocr", "Tells whether text on the picture can be read, and in which languages")
            .tells(object([("ocr", shape::of::<ocr::State>())])),
    ]
}

fn snapshots() -> Vec<Doc> {
    let edge = |name| {
        whole(
            name,
            "Edge of what is read, in pixels; negative: the picture's own.",
            -999_999_999,
            super::LARGEST,
        )
    };
    let side = |name| whole(name, "Pixels, at most; 0: as many as it has.", 0, 65535).default(0);
    vec![
        picture(Doc::get("/streamer/snapshot", "Tells one picture, or the text on it"))
            .answers(200, "The picture; with `ocr` the text on it.", TEXT, shape::text("The text."))
            .query(switch("save", "Remember it.").default(false))
            .query(switch("load", "The remembered one.").default(false))
            .query(switch("allow_offline", "Also a placeholder, where there is no signal.").default(false))
            .query(switch("ocr", "Read the text on it.").default(false))
            .query(list(
                "ocr_langs",
                "Languages, of /api/streamer/ocr; nothing: the settings'.",
                &json!({"type": "string"}),
            ))
            .query(edge("ocr_left"))
            .query(edge("ocr_top"))
            .query(edge("ocr_right"))
            .query(edge("ocr_bottom"))
            .query(switch("preview", "A smaller one.").default(false))
            .query(side("preview_max_width"))
            .query(side("preview_max_height"))
            .query(whole("preview_quality", "Of the smaller JPEG.", 1, 100).default(80))
            .fails([Ocr]),
        Doc::of("DELETE", "/streamer/snapshot", "Forgets the remembered picture"),
    ]
}

fn monitor() -> Vec<Doc> {
    let edid = || shape::of::<wire::Edid>();
    vec![
        Doc::get("/streamer/edid", "Tells which monitor the target sees")
            .tells(edid())
            .fails([StreamerEdidNotSupported]),
        Doc::post(
            "/streamer/set_edid",
            "Shows the target another monitor, for half a minute unless confirmed",
        )
        .query(text("data", "The EDID in hexadecimal digits.", None).required())
        .tells(edid())
        .fails([StreamerEdidNotSupported]),
        Doc::post("/streamer/confirm_edid", "Keeps the monitor that is on trial")
            .tells(edid())
            .fails([StreamerEdidNotSupported]),
        Doc::post("/streamer/undo_edid", "Takes the monitor back that is on trial")
            .tells(edid())
            .fails([StreamerEdidNotSupported]),
    ]
}

/// Rows that are not below `/api`, as the streamer itself would serve them.
pub(super) fn beside() -> Vec<Doc> {
    let flags = |doc: Doc| {
        let flag =
            |name, about| -> Param { Param { schema: json!({"type": "string"}), ..text(name, about, None) } };
        doc.query(text(
            "key",
            "The client's own tag, 64 characters at most, in its cookie and in the state.",
            None,
        ))
        .query(flag("extra_headers", "`1`, `true` or `yes`: say of each picture when it was made."))
        .query(flag(
            "advance_headers",
            "`1`, `true` or `yes`: the head of a picture goes out before the picture is there.",
        ))
        .query(flag("dual_final_frames", "`1`, `true` or `yes`: a still picture is sent twice."))
        .query(flag("zero_data", "`1`, `true` or `yes`: heads without pictures."))
    };
    let index = |path| {
        flags(Doc::get(path, "Leads to the stream, as other programs' streams are asked for"))
            .query(text(
                "action",
                "`stream` or `snapshot`: at once; anything else: a page that leads there.",
                None,
            ))
            .answers(200, "A page, the stream or a picture.", "text/html", raw(json!({"type": "string"})))
            .answers(200, "A page, the stream or a picture.", JPEG, super::updates::bytes())
            .answers(200, "A page, the stream or a picture.", STREAM, super::updates::bytes())
    };
    let mut docs =
        vec![
            index("/streamer"),
            index("/streamer/"),
            flags(Doc::get("/streamer/stream", "The screen as JPEGs in one endless answer")).answers(
                200,
                "Pictures until somebody hangs up.",
                STREAM,
                super::updates::bytes(),
            ),
            Doc::get("/streamer/snapshot", "Tells one picture, a placeholder where there is no signal")
                .answers(200, "The picture.", JPEG, super::updates::bytes()),
            Doc::get("/streamer/state", "Tells the streamer's own state, while it runs")
                .tells(nullable(shape::of::<wire::Streamer>())),
        ];
    for path in ["/streamer/stream", "/streamer/snapshot", "/streamer/state"] {
        docs.push(Doc::of("HEAD", path, "Says that it is there").answers_empty(200, "It is."));
        docs.push(Doc::of("OPTIONS", path, "Says that it is there").answers_empty(200, "It is."));
    }
    docs
}

const STREAM: &str = "multipart/x-mixed-replace";
