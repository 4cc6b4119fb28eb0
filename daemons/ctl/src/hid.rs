//! `kvmctl hid` and `kvmctl holder`: the target's keyboard and mouse, and who has them.

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use crate::desk::{Desk, piped};
use crate::face::Call;
use crate::gadget::Switch;
use crate::shown::{self, tame, word};
use crate::{Exit, Failure};

/// The longest text that `kvmd` takes, in bytes.
const TEXT_BYTES: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How keyboard and mouse are.
    State,
    /// Types a text.
    Type(Text),
    /// Presses a key and lets it go.
    Key {
        /// Its name on the web: `KeyA`, `Enter`, `F2`, `ControlLeft`.
        name: String,
        /// Only presses it, or only lets it go.
        #[arg(long)]
        only: Option<Half>,
    },
    /// Presses keys in this order and lets them go in the other: `ControlLeft AltLeft Delete`.
    Shortcut {
        /// Their names on the web.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// The mouse.
    #[command(subcommand)]
    Mouse(Mouse),
    /// Lets everything go and starts keyboard and mouse anew.
    Reset,
    /// The layouts that texts can be typed with.
    Keymaps,
    /// For how many seconds nobody has typed or moved the mouse.
    Inactivity,
    /// Which keyboard and mouse the target is shown.
    Params {
        /// `usb`, `ps2`, `disabled`.
        #[arg(long, value_name = "OUTPUT")]
        keyboard: Option<String>,
        /// `usb`, `usb_rel`, `usb_win98`, `ps2`, `disabled`.
        #[arg(long, value_name = "OUTPUT")]
        mouse: Option<String>,
        /// Moves the mouse a little when nobody does, so that the target does not fall asleep.
        #[arg(long, value_name = "MODE")]
        jiggler: Option<Switch>,
    },
    /// Plugs keyboard and mouse in, where that can be switched.
    Connect,
    /// Pulls them.
    Disconnect,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Text {
    /// The text; `-`, or none, reads standard input.
    text: Option<String>,
    /// The layout that the target has set; `kvmctl hid keymaps` names them.
    #[arg(short, long)]
    keymap: Option<String>,
    /// Slowly, for targets that lose keys.
    #[arg(short, long)]
    slow: bool,
    /// Seconds between two keys.
    #[arg(short, long, value_name = "SECONDS")]
    delay: Option<f64>,
    /// Types nothing when the layout cannot type all of it. Otherwise what it cannot is left out.
    #[arg(long)]
    strict: bool,
    /// Types nothing, and tells what the layout cannot. Exit code 3 when there is something.
    #[arg(long, conflicts_with_all = ["slow", "delay", "strict"])]
    check: bool,
    /// Presses Enter behind it.
    #[arg(short, long)]
    enter: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Half {
    Press,
    Release,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mouse {
    /// Puts the pointer there: 0 0 is the middle, -32768 and 32767 are the edges.
    Move {
        /// From the left to the right.
        #[arg(allow_negative_numbers = true)]
        x: i64,
        /// From the top to the bottom.
        #[arg(allow_negative_numbers = true)]
        y: i64,
    },
    /// Moves the pointer by this, at most 127 each way.
    Relative {
        /// To the right.
        #[arg(allow_negative_numbers = true)]
        x: i64,
        /// To the bottom.
        #[arg(allow_negative_numbers = true)]
        y: i64,
    },
    /// Presses a button and lets it go.
    Click {
        /// `left`, `right`, `middle`, `up`, `down`.
        #[arg(default_value = "left")]
        button: String,
        /// Only presses it, or only lets it go.
        #[arg(long)]
        only: Option<Half>,
    },
    /// Turns the wheel, at most 127 each way.
    Wheel {
        /// Up; negative is down.
        #[arg(allow_negative_numbers = true)]
        y: i64,
        /// To the right.
        #[arg(allow_negative_numbers = true, default_value_t = 0)]
        x: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Holder {
    /// Who types, and who waits.
    Show,
    /// Puts a client in line.
    Request {
        /// Its number, as `show` tells it.
        client: u64,
    },
    /// Hands keyboard and mouse over.
    Give {
        /// To whom: a client's number.
        client: u64,
    },
    /// Takes them from whoever has them.
    Take {
        /// For whom: a client's number.
        client: u64,
    },
    /// Gives them to whoever waits first.
    Release,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::State => desk.show(Call::get("/hid"), shown::tree),
        Verb::Type(text) => write(desk, text),
        Verb::Key { name, only } => {
            desk.order(halved(Call::post("/hid/events/send_key").with("key", name), only))
        }
        Verb::Shortcut { keys } => {
            desk.order(Call::post("/hid/events/send_shortcut").with("keys", keys.join(",")).patient())
        }
        Verb::Mouse(verb) => mouse(desk, verb),
        Verb::Reset => desk.order(Call::post("/hid/reset")),
        Verb::Keymaps => desk.show(Call::get("/hid/keymaps"), keymaps),
        Verb::Inactivity => {
            desk.show(Call::get("/hid/inactivity"), |told| format!("{} s\n", word(&told["inactivity"])))
        }
        Verb::Params { keyboard, mouse, jiggler } => {
            let call = Call::post("/hid/set_params")
                .with_some("keyboard_output", keyboard)
                .with_some("mouse_output", mouse)
                .with_some("jiggler", jiggler.map(Switch::digit));
            desk.order_with(call, "nothing to set: --keyboard, --mouse or --jiggler")
        }
        Verb::Connect => desk.order(Call::post("/hid/set_connected").with("connected", 1)),
        Verb::Disconnect => desk.order(Call::post("/hid/set_connected").with("connected", 0)),
    }
}

fn halved(call: Call, only: Option<Half>) -> Call {
    call.with_some("state", only.map(|half| u8::from(matches!(half, Half::Press))))
}

fn mouse(desk: &mut Desk<'_, '_>, verb: Mouse) -> Result<Exit, Failure> {
    desk.order(match verb {
        Mouse::Move { x, y } => Call::post("/hid/events/send_mouse_move").with("to_x", x).with("to_y", y),
        Mouse::Relative { x, y } => {
            Call::post("/hid/events/send_mouse_relative").with("delta_x", x).with("delta_y", y)
        }
        Mouse::Click { button, only } => {
            halved(Call::post("/hid/events/send_mouse_button").with("button", button), only)
        }
        Mouse::Wheel { x, y } => {
            Call::post("/hid/events/send_mouse_wheel").with("delta_x", x).with("delta_y", y)
        }
    })
}

/// Types a text, or tells what of it cannot be typed.
fn write(desk: &mut Desk<'_, '_>, text: Text) -> Result<Exit, Failure> {
    let mut body = match text.text {
        Some(words) if words != "-" => words.into_bytes(),
        _ => piped(TEXT_BYTES)?,
    };
    if text.enter {
        body.push(b'\n');
    }
    let path = if text.check { "/hid/print/check" } else { "/hid/print" };
    let call = Call::post(path)
        .with("limit", 0)
        .with_some("keymap", text.keymap)
        .with_flag("slow", text.slow)
        .with_some("delay", text.delay)
        .with_flag("strict", text.strict)
        .body(body, "text/plain; charset=utf-8")
        .patient();
    if !text.check {
        return desk.order(call);
    }
    let told = desk.face.ask(call)?;
    desk.write(&told, untypable)?;
    Ok(if told["kinds"] == 0 { Exit::Good } else { Exit::NotReady })
}

fn untypable(told: &Value) -> String {
    let keymap = word(&told["keymap"]);
    if told["kinds"] == 0 {
        return format!("{keymap} types all of it\n");
    }
    let mut text = format!("{keymap} cannot type:\n");
    for one in told["untypable"].as_array().into_iter().flatten() {
        let (letter, code) = (word(&one["char"]), word(&one["code"]));
        text += &format!(
            "  {letter} ({code}), {} times, first at {}\n",
            word(&one["count"]),
            word(&one["first"])
        );
    }
    text
}

fn keymaps(told: &Value) -> String {
    let told = &told["keymaps"];
    let default = told["default"].as_str().unwrap_or("");
    let names = told["available"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let line = |name: &str| format!("{}{}\n", tame(name), if name == default { "  (default)" } else { "" });
    names.map(line).collect()
}

pub(crate) fn holder(desk: &mut Desk<'_, '_>, verb: &Holder) -> Result<Exit, Failure> {
    match verb {
        Holder::Show => desk.show(Call::get("/hid/holder"), holders),
        Holder::Request { client } => desk.order(Call::post("/hid/holder/request").with("client", client)),
        Holder::Give { client } => desk.order(Call::post("/hid/holder/give").with("to", client)),
        Holder::Take { client } => desk.order(Call::post("/hid/holder/take").with("client", client)),
        Holder::Release => desk.order(Call::post("/hid/holder/release")),
    }
}

fn holders(told: &Value) -> String {
    if told["enabled"] != true {
        return "everybody may type at once (kvmd.hid.one_holder is off)\n".to_owned();
    }
    let seat = |seat: &Value| {
        let name =
            seat["user"].as_str().or(seat["token"].as_str()).map_or_else(|| "somebody".to_owned(), tame);
        format!("{name}, client {}", word(&seat["client"]))
    };
    let mut text = match &told["holder"] {
        Value::Null => "nobody types\n".to_owned(),
        holder => format!("types  {}\n", seat(holder)),
    };
    for waiting in told["requests"].as_array().into_iter().flatten() {
        text += &format!("waits  {}\n", seat(waiting));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_types_and_who_waits_is_told_by_name() {
        assert!(holders(&json!({"enabled": false})).contains("everybody"));
        let told = json!({"enabled": true, "holder": {"client": 3, "user": "jane", "token": null},
            "requests": [{"client": 5, "user": null, "token": "ci"}]});
        assert_eq!(holders(&told), "types  jane, client 3\nwaits  ci, client 5\n");
        let free = json!({"enabled": true, "holder": null, "requests": []});
        assert_eq!(holders(&free), "nobody types\n");
    }

    #[test]
    fn what_cannot_be_typed_is_told_one_by_one() {
        let told = json!({"keymap": "en-us", "kinds": 1, "untypable": [{"char": "é", "code": "U+00E9", "first": 4, "count": 2}]});
        assert_eq!(untypable(&told), "en-us cannot type:\n  é (U+00E9), 2 times, first at 4\n");
        assert_eq!(untypable(&json!({"keymap": "fr", "kinds": 0})), "fr types all of it\n");
    }
}
