//! Keyboard and mouse, who has them, and the USB device that carries them.

use super::updates;
use crate::openapi::{
    doc::{Doc, Param, TEXT, list, number, switch, text, whole, word},
    shape::{self, Shape, both, list as items, nullable, object},
};
use hid_wire::{Button, Key};
use model::hid as wire;
use serde_json::{Value, json};

pub(super) fn docs() -> Vec<Doc> {
    [state(), typing(), events(), holder(), gadget()].concat()
}

fn state() -> Vec<Doc> {
    let online =
        || object([("connected", shape::truth("The same as `online`, as some clients look for it."))]);
    let shown = both(shape::of::<wire::State>(), object([("keyboard", online()), ("mouse", online())]));
    vec![
        Doc::get("/hid", "Tells how keyboard and mouse are").tells(shown),
        Doc::post("/hid/set_params", "Chooses where keyboard and mouse go, and starts the jiggler")
            .query(word(
                "keyboard_output",
                "One that is not available is ignored.",
                &["usb", "ps2", "disabled"],
            ))
            .query(word(
                "mouse_output",
                "One that is not available is ignored.",
                &["usb", "usb_win98", "usb_rel", "ps2", "disabled"],
            ))
            .query(switch("jiggler", "Small moves keep the target awake.")),
        Doc::post("/hid/set_connected", "Plugs keyboard and mouse in, or out")
            .query(switch("connected", "In.").required()),
        Doc::post("/hid/reset", "Lets all keys go and sets the devices up anew"),
        Doc::get("/hid/inactivity", "Tells since when nobody has typed or moved")
            .tells(object([("inactivity", shape::whole("Seconds."))])),
        Doc::get("/hid/keymaps", "Lists the layouts that text can be typed in")
            .tells(object([("keymaps", shape::of::<wire::Keymaps>())])),
    ]
}

/// A text in the body, and how it is read.
fn paste(path: &'static str, summary: &'static str) -> Doc {
    Doc::post(path, summary)
        .query(
            whole("limit", "Characters of the text that are taken; 0: all.", 0, super::LARGEST).default(1024),
        )
        .query(text("keymap", "The target's layout, of /api/hid/keymaps; nothing: the settings'.", 512))
        .body_if_any(
            TEXT,
            "The text, in the charset of its content type, 1 MiB at most.",
            shape::text("What is typed."),
        )
        .fails_plainly(400, "the body broke off")
        .fails_plainly(413, "The text is too long.")
}

fn typing() -> Vec<Doc> {
    let untypable = object([
        ("char", shape::text("The character.")),
        ("code", shape::text("`U+` and its number.")),
        ("first", shape::whole("Where it first is.")),
        ("count", shape::whole("How often it is there.")),
    ]);
    vec![
        paste("/hid/print", "Types a text")
            .query(switch("slow", "0.02 seconds between two strokes.").default(false))
            .query(number("delay", "Seconds between two strokes.", 0.0, 5.0))
            .query(switch("strict", "Type nothing where the layout cannot type all of it.").default(false)),
        paste("/hid/print/check", "Tells which characters of a text a layout cannot type").tells(object([
            ("keymap", shape::text("The layout.")),
            ("length", shape::whole("Characters of the text.")),
            ("kinds", shape::whole("Characters that cannot be typed, each once.")),
            ("untypable", items(untypable)),
        ])),
    ]
}

/// A key's name, by its own name in the document: there are many.
fn key() -> Value {
    let names: Vec<&str> = Key::all().map(Key::name).collect();
    json!({"type": "string", "enum": names})
}

fn events() -> Vec<Doc> {
    let buttons = Button::ALL.map(Button::name);
    let held = || switch("state", "Down, or up; without: one after the other.");
    // Beyond what the device can be told they are brought to the nearest that it can.
    let side = |name| {
        whole(name, "-32768 to 32767, 0 is the middle; beyond counts as the edge.", -9_999_999, 99_999_999)
            .required()
    };
    let step = |name| whole(name, "-127 to 127; beyond counts as that.", -9_999_999, 99_999_999).required();
    vec![
        Doc::post("/hid/events/send_shortcut", "Presses keys together").query(
            list("keys", "Their names on the web (`KeyboardEvent.code`), in this order.", &key())
                .required()
                .example(json!(["ControlLeft", "AltLeft", "Delete"])),
        ),
        Doc::post("/hid/events/send_key", "Presses a key")
            .query(
                Param { schema: key(), ..text("key", "Its name on the web (`KeyboardEvent.code`).", None) }
                    .required(),
            )
            .query(held())
            .query(switch("finish", "Let it go at once, unless it is a modifier.").default(false)),
        Doc::post("/hid/events/send_mouse_button", "Presses a button of the mouse")
            .query(word("button", "Which.", &buttons).required())
            .query(held()),
        Doc::post("/hid/events/send_mouse_move", "Moves the pointer there")
            .query(side("to_x"))
            .query(side("to_y")),
        Doc::post("/hid/events/send_mouse_relative", "Moves the pointer by so much")
            .query(step("delta_x"))
            .query(step("delta_y")),
        Doc::post("/hid/events/send_mouse_wheel", "Turns the wheel by so much")
            .query(step("delta_x"))
            .query(step("delta_y")),
    ]
}

/// A client and whose it is.
fn seat() -> Shape {
    object([
        ("client", shape::whole("Its number.")),
        ("user", nullable(shape::text("Whose it is."))),
        ("token", nullable(shape::text("The token it came by."))),
    ])
}

fn holder() -> Vec<Doc> {
    let client = |about| whole("client", about, 0, super::LARGEST).required();
    let off =
        "Only where `kvmd.hid.one_holder` is set. A client learns its number by the event `hid_client`.";
    vec![
        Doc::get("/hid/holder", "Tells who has keyboard and mouse").tells(object([
            ("enabled", shape::truth("One at a time has them.")),
            ("holder", nullable(seat())),
            ("requests", items(seat())),
        ])),
        Doc::post("/hid/holder/request", "Waits in line for keyboard and mouse")
            .about(off)
            .query(client("Who wants them: a client of one's own.")),
        Doc::post("/hid/holder/give", "Gives keyboard and mouse to another one")
            .about(off)
            .query(whole("to", "Who gets them.", 0, super::LARGEST).required()),
        Doc::post("/hid/holder/take", "Takes keyboard and mouse")
            .about(off)
            .query(client("Who gets them: a client of one's own.")),
        Doc::post("/hid/holder/release", "Lets keyboard and mouse go").about(off),
    ]
}

fn gadget() -> Vec<Doc> {
    vec![
        Doc::get("/gadget", "Tells of the USB device that the target sees").tells(updates::gadget()),
        Doc::post("/gadget/set_params", "Shows the target nothing but a boot keyboard, or all")
            .query(switch("bios_safe", "Nothing but a boot keyboard.")),
    ]
}
