//! `kvmctl switch`: the multi-port switch.

use std::path::PathBuf;

use clap::Subcommand;

use crate::desk::Desk;
use crate::face::Call;
use crate::gadget::Switch;
use crate::panel::Button;
use crate::shown;
use crate::{Exit, Failure, reach::usage};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Units, ports, and which port is active.
    State,
    /// Goes to the port before.
    Prev,
    /// Goes to the next port.
    Next,
    /// Goes to a port.
    Port {
        /// Its number; `1.2` is the third port of the second unit.
        port: String,
    },
    /// Switches a light on that shows which one it is.
    Beacon {
        /// Whether it is on.
        mode: Switch,
        /// Of a port.
        #[arg(long, conflicts_with_all = ["uplink", "downlink"])]
        port: Option<String>,
        /// Of a unit's uplink.
        #[arg(long, value_name = "UNIT", conflicts_with = "downlink")]
        uplink: Option<u32>,
        /// Of a unit's downlink.
        #[arg(long, value_name = "UNIT")]
        downlink: Option<u32>,
    },
    /// How a port is called and what it is shown.
    PortParams(Port),
    /// The colors of the lights, as RRGGBB:BRIGHTNESS:BLINK in hexadecimal, or `default`.
    Colors {
        /// Such as `active=FF0000:40:0000`; roles are `inactive`, `active`, `flashing`, `beacon`, `bootloader`.
        #[arg(required = true, value_name = "ROLE=COLOR")]
        colors: Vec<String>,
    },
    /// Restarts a unit.
    Reset {
        /// Which.
        unit: u32,
        /// Into the loader of its firmware.
        #[arg(long)]
        bootloader: bool,
    },
    /// The monitors that ports can be shown.
    #[command(subcommand)]
    Edids(Edids),
    /// The power of a port's target.
    Power {
        /// Its port.
        port: String,
        /// What is done.
        action: Action,
    },
    /// Presses a button of a port's target.
    Click {
        /// Its port.
        port: String,
        /// Which.
        button: Button,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Action {
    On,
    Off,
    OffHard,
    ResetHard,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    /// Which.
    port: String,
    /// How it is called.
    #[arg(long)]
    name: Option<String>,
    /// The number of its EDID (`kvmctl switch edids list`), or `default`.
    #[arg(long, value_name = "ID")]
    edid: Option<String>,
    /// Shows its target a monitor also while another port is active.
    #[arg(long, value_name = "MODE")]
    dummy: Option<Switch>,
    /// Seconds of a short press of its power button.
    #[arg(long, value_name = "SECONDS")]
    power_delay: Option<f64>,
    /// Seconds of a long one.
    #[arg(long, value_name = "SECONDS")]
    power_long_delay: Option<f64>,
    /// Seconds of a press of its reset button.
    #[arg(long, value_name = "SECONDS")]
    reset_delay: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Edids {
    /// All.
    List,
    /// Takes one from a file.
    Create {
        /// How it is called.
        name: String,
        /// Hexadecimal digits, or the bytes themselves; `-` reads standard input.
        file: PathBuf,
    },
    /// Changes one.
    Change {
        /// Its number.
        id: String,
        /// How it is called.
        #[arg(long)]
        name: Option<String>,
        /// The file it is taken from.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Forgets one.
    Remove {
        /// Its number.
        id: String,
    },
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: Verb) -> Result<Exit, Failure> {
    let call = match verb {
        Verb::State => return desk.show(Call::get("/switch"), shown::tree),
        Verb::Edids(verb) => return edids(desk, verb),
        Verb::Prev => Call::post("/switch/set_active_prev"),
        Verb::Next => Call::post("/switch/set_active_next"),
        Verb::Port { port } => Call::post("/switch/set_active").with("port", port),
        Verb::Beacon { mode, port, uplink, downlink } => {
            if port.is_none() && uplink.is_none() && downlink.is_none() {
                return Err(usage("which light? --port, --uplink or --downlink"));
            }
            let call = Call::post("/switch/set_beacon").with("state", mode.digit()).with_some("port", port);
            call.with_some("uplink", uplink).with_some("downlink", downlink)
        }
        Verb::PortParams(port) => Call::post("/switch/set_port_params")
            .with("port", port.port)
            .with_some("name", port.name)
            .with_some("edid_id", port.edid)
            .with_some("dummy", port.dummy.map(Switch::digit))
            .with_some("atx_click_power_delay", port.power_delay)
            .with_some("atx_click_power_long_delay", port.power_long_delay)
            .with_some("atx_click_reset_delay", port.reset_delay),
        Verb::Colors { colors } => {
            let mut call = Call::post("/switch/set_colors");
            for color in &colors {
                let (role, color) =
                    color.split_once('=').ok_or_else(|| usage(format!("{color}: expected ROLE=COLOR")))?;
                call = call.with(role, color);
            }
            call
        }
        Verb::Reset { unit, bootloader } => {
            Call::post("/switch/reset").with("unit", unit).with_flag("bootloader", bootloader)
        }
        Verb::Power { port, action } => {
            let action = match action {
                Action::On => "on",
                Action::Off => "off",
                Action::OffHard => "off_hard",
                Action::ResetHard => "reset_hard",
            };
            Call::post("/switch/atx/power").with("port", port).with("action", action)
        }
        Verb::Click { port, button } => {
            Call::post("/switch/atx/click").with("port", port).with("button", button.name())
        }
    };
    desk.order(call.patient())
}

fn edids(desk: &mut Desk<'_, '_>, verb: Edids) -> Result<Exit, Failure> {
    let digits = |file: &PathBuf| crate::edid::read(file).map(|edid| edid.to_hex());
    match verb {
        Edids::List => desk.show(Call::get("/switch/edids"), |told| {
            let edids = told["edids"].as_array().into_iter().flatten();
            edids
                .map(|edid| format!("{}  {}\n", shown::word(&edid["id"]), shown::word(&edid["description"])))
                .collect()
        }),
        Edids::Create { name, file } => {
            let call = Call::post("/switch/edids/create").with("name", name).with("data", digits(&file)?);
            desk.show(call, |told| format!("{}\n", shown::word(&told["id"])))
        }
        Edids::Change { id, name, file } => {
            if name.is_none() && file.is_none() {
                return Err(usage("nothing to change: --name or --file"));
            }
            let data = file.as_ref().map(digits).transpose()?;
            let call = Call::post("/switch/edids/change").with("id", id).with_some("name", name);
            desk.order(call.with_some("data", data))
        }
        Edids::Remove { id } => desk.order(Call::post("/switch/edids/remove").with("id", id)),
    }
}
