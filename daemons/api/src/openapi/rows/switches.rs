//! The front panel, named switches, the multi-port switch.

use super::wait;
use crate::openapi::{
    doc::{Doc, JSON, Param, like, number, switch, text, whole, word},
    shape::{self, Shape, anything, object, raw},
};
use model::{
    ErrorClass::{
        AtxDisabled, AtxIsBusy, GpioChannelIsBusy, GpioChannelNotFound, GpioDriverOffline,
        GpioPulseNotSupported, GpioSwitchNotSupported, SwitchUnknownEdid,
    },
    atx, gpio,
};
use serde_json::json;

const ACTIONS: [&str; 4] = ["on", "off", "off_hard", "reset_hard"];
const BUTTONS: [&str; 3] = ["power", "power_long", "reset"];

pub(super) fn docs() -> Vec<Doc> {
    [panel(), named(), ports(), edids()].concat()
}

fn action() -> Param {
    word("action", "`off` asks the target's system, `off_hard` cuts the power.", &ACTIONS).required()
}

fn button() -> Param {
    word("button", "Which; `power_long` holds it.", &BUTTONS).required()
}

fn panel() -> Vec<Doc> {
    vec![
        Doc::get("/atx", "Tells how the front panel is").tells(shape::of::<atx::State>()),
        Doc::post("/atx/power", "Switches the target on or off")
            .about("Nothing is pressed where the target is so already.")
            .query(action())
            .query(wait())
            .fails([AtxDisabled, AtxIsBusy]),
        Doc::post("/atx/click", "Presses a button of the front panel")
            .query(button())
            .query(wait())
            .fails([AtxDisabled, AtxIsBusy]),
    ]
}

fn named() -> Vec<Doc> {
    let channel =
        || like("channel", "Its name in the settings.", "^[A-Za-z_][A-Za-z0-9_.-]{0,254}$").required();
    let levels = shape::of::<gpio::IoState>();
    let inputs = shape::map(shape::of::<gpio::InputState>());
    let outputs = shape::map(shape::of::<gpio::OutputState>());
    let told = object([
        ("model", shape::of::<gpio::Model>()),
        ("state", levels),
        ("inputs", inputs),
        ("outputs", outputs),
    ]);
    vec![
        Doc::get("/gpio", "Tells which switches and inputs there are and how they are").tells(told),
        Doc::post("/gpio/switch", "Switches a channel")
            .query(channel())
            .query(switch("state", "On.").required())
            .query(wait())
            .fails([GpioChannelNotFound, GpioSwitchNotSupported, GpioDriverOffline, GpioChannelIsBusy]),
        Doc::post("/gpio/pulse", "Switches a channel on and off again")
            .query(channel())
            .query(
                number(
                    "delay",
                    "Seconds between, brought to the limits of the channel; 0: as the settings say.",
                    0.0,
                    None,
                )
                .default(0),
            )
            .query(wait())
            .fails([GpioChannelNotFound, GpioPulseNotSupported, GpioDriverOffline, GpioChannelIsBusy]),
    ]
}

fn port() -> Param {
    number("port", "Counted from 0 over all units; `U.C`: unit and channel, counted from 1.", 0.0, None)
}

fn ports() -> Vec<Doc> {
    let color = |name| {
        text(
            name,
            "`RRGGBB:BB:MMMM` in hexadecimal digits (colour, brightness, blinking in milliseconds), or `default`.",
            None,
        )
    };
    let delay = |name| number(name, "Seconds of a press; 0: the usual.", 0.0, 10.0);
    let told = object([
        ("model", anything("Units, ports, limits.")),
        ("summary", anything("The active port.")),
        ("edids", object([("all", shape::map(edid())), ("used", shape::list(raw(json!({}))))])),
        ("colors", anything("Lights by what they say.")),
        ("video", anything("Links of ports.")),
        ("usb", anything("Links of ports.")),
        ("beacons", anything("Which blink.")),
        ("atx", anything("Power lights of ports.")),
    ]);
    let mut set_colors = Doc::post("/switch/set_colors", "Sets colours of lights");
    for light in ["inactive", "active", "flashing", "beacon", "bootloader"] {
        set_colors = set_colors.query(color(light));
    }
    vec![
        Doc::get("/switch", "Tells how the switch is").tells(told),
        Doc::post("/switch/set_active_prev", "Goes to the port before"),
        Doc::post("/switch/set_active_next", "Goes to the next port"),
        Doc::post("/switch/set_active", "Goes to a port").query(port().required()),
        Doc::post("/switch/set_beacon", "Has a light blink")
            .about("Of a port, else of an uplink, else of a downlink: one of the three must be there.")
            .query(switch("state", "On.").required())
            .query(port())
            .query(whole("uplink", "The unit.", None, None))
            .query(whole("downlink", "The unit.", None, None)),
        set_port_params(port, delay),
        set_colors,
        Doc::post("/switch/reset", "Restarts a unit")
            .query(whole("unit", "Which.", None, None).required())
            .query(switch("bootloader", "Into its boot loader.").default(false)),
        Doc::post("/switch/atx/power", "Switches the target at a port on or off")
            .query(port().required())
            .query(action()),
        Doc::post("/switch/atx/click", "Presses a button at a port").query(port().required()).query(button()),
    ]
}

const EDID_ID: &str = "^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$";

fn set_port_params(port: fn() -> Param, delay: impl Fn(&'static str) -> Param) -> Doc {
    Doc::post("/switch/set_port_params", "Sets name, monitor and presses of a port")
        .query(port().required())
        .query(text("edid_id", "The monitor it shows: an id, or `default`.", None))
        .query(switch("dummy", "Show the monitor also where there is none."))
        .query(text("name", "What people call it.", 512))
        .query(delay("atx_click_power_delay"))
        .query(delay("atx_click_power_long_delay"))
        .query(delay("atx_click_reset_delay"))
        .fails([SwitchUnknownEdid])
}

fn edid() -> Shape {
    object([
        ("name", shape::text("What people call it.")),
        ("data", shape::text("In hexadecimal.")),
        ("parsed", shape::nullable(shape::of::<model::streamer::ParsedEdid>())),
    ])
}

fn edids() -> Vec<Doc> {
    let data = || {
        like(
            "data",
            "128 or 256 bytes in hexadecimal digits.",
            r"^\s*([0-9A-Fa-f]\s*){256}(([0-9A-Fa-f]\s*){256})?$",
        )
    };
    let name = || text("name", "What people call it.", 512);
    let id = || like("id", "Which.", EDID_ID);
    let known = object([
        ("id", shape::text("What it is called in calls.")),
        ("data", shape::text("In hexadecimal.")),
        ("description", shape::text("What people call it.")),
    ]);
    vec![
        Doc::get("/switch/edids", "Lists the monitors that ports can show")
            .tells(object([("edids", shape::list(known))])),
        Doc::post("/switch/edids/create", "Takes a monitor in")
            .about("In the query, or in a JSON body, where `id` may stand for `name`.")
            .query(name())
            .query(data())
            .body_if_any(
                JSON,
                "Where the query has no `data`: an object with the same two.",
                raw(json!({"properties": {"name": {"type": "string"}, "id": {"type": "string"}, "data": {"type": "string"}}})),
            )
            .tells(object([("id", shape::text("What it is called in calls."))]))
            .fails_plainly(400, "the body broke off")
            .fails_plainly(413, "The body is too long."),
        Doc::post("/switch/edids/change", "Changes a monitor")
            .about("With `port` and no `id` it is /api/switch/set_port_params.")
            .query(id())
            .query(name())
            .query(data())
            .query(port())
            .query(text("edid_id", "The monitor it shows: an id, or `default`.", None))
            .query(switch("dummy", "Show the monitor also where there is none."))
            .query(number("atx_click_power_delay", "Seconds of a press; 0: the usual.", 0.0, 10.0))
            .query(number("atx_click_power_long_delay", "Seconds of a press; 0: the usual.", 0.0, 10.0))
            .query(number("atx_click_reset_delay", "Seconds of a press; 0: the usual.", 0.0, 10.0))
            .fails([SwitchUnknownEdid]),
        Doc::post("/switch/edids/remove", "Forgets a monitor")
            .query(id())
            .query(like("edid_id", "The same, as one client calls it.", EDID_ID))
            .fails([SwitchUnknownEdid]),
    ]
}
