//! `kvmctl atx` and `kvmctl gpio`: the target's front panel, and the appliance's other switches.

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use crate::desk::Desk;
use crate::face::Call;
use crate::gadget::Switch;
use crate::shown::{self, tame, word};
use crate::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Atx {
    /// Whether the target is on.
    State,
    /// Switches it on, if it is off.
    On(Wait),
    /// Asks it to switch off, if it is on: a short press.
    Off(Wait),
    /// Switches it off whatever it does: a long press.
    OffHard(Wait),
    /// Resets it, if it is on.
    ResetHard(Wait),
    /// Presses a button, whatever the target is.
    Click {
        /// Which.
        button: Button,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Wait {
    /// Comes back when the button is let go again.
    #[arg(short, long)]
    wait: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Button {
    Power,
    PowerLong,
    Reset,
}

impl Button {
    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::PowerLong => "power_long",
            Self::Reset => "reset",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Gpio {
    /// All channels and how they are.
    State,
    /// Switches an output on or off.
    Switch {
        /// Its name.
        channel: String,
        /// What it shall be.
        mode: Switch,
        #[command(flatten)]
        wait: Wait,
    },
    /// Switches an output on for a moment.
    Pulse {
        /// Its name.
        channel: String,
        /// For how many seconds; its own time when this is left out.
        #[arg(short, long, value_name = "SECONDS")]
        delay: Option<f64>,
        #[command(flatten)]
        wait: Wait,
    },
}

pub(crate) fn atx(desk: &mut Desk<'_, '_>, verb: &Atx) -> Result<Exit, Failure> {
    let power = |action: &str, wait: &Wait| {
        Call::post("/atx/power").with("action", action).with_flag("wait", wait.wait).patient()
    };
    match verb {
        Atx::State => desk.show(Call::get("/atx"), front),
        Atx::On(wait) => desk.order(power("on", wait)),
        Atx::Off(wait) => desk.order(power("off", wait)),
        Atx::OffHard(wait) => desk.order(power("off_hard", wait)),
        Atx::ResetHard(wait) => desk.order(power("reset_hard", wait)),
        Atx::Click { button, wait } => {
            let call = Call::post("/atx/click").with("button", button.name());
            desk.order(call.with_flag("wait", wait.wait).patient())
        }
    }
}

fn front(told: &Value) -> String {
    if told["enabled"] != true {
        return "no front panel is connected\n".to_owned();
    }
    let light = |name: &str| if told["leds"][name] == true { "on" } else { "off" };
    let pressed = if told["busy"] == true { ", a button is pressed" } else { "" };
    format!("power {}, disk light {}{pressed}\n", light("power"), light("hdd"))
}

pub(crate) fn gpio(desk: &mut Desk<'_, '_>, verb: Gpio) -> Result<Exit, Failure> {
    match verb {
        Gpio::State => desk.show(Call::get("/gpio"), channels),
        Gpio::Switch { channel, mode, wait } => {
            let call = Call::post("/gpio/switch").with("channel", channel).with("state", mode.digit());
            desk.order(call.with_flag("wait", wait.wait).patient())
        }
        Gpio::Pulse { channel, delay, wait } => {
            let call = Call::post("/gpio/pulse").with("channel", channel).with_some("delay", delay);
            desk.order(call.with_flag("wait", wait.wait).patient())
        }
    }
}

fn channels(told: &Value) -> String {
    let mut rows = vec![["CHANNEL", "KIND", "STATE", "DRIVER", "PIN"].map(str::to_owned)];
    for (kind, group) in [("input", "inputs"), ("output", "outputs")] {
        for (name, now) in told["state"][group].as_object().into_iter().flatten() {
            let hw = &told["model"]["scheme"][group][name]["hw"];
            let state = match (now["online"] == true, now["busy"] == true, now["state"] == true) {
                (false, ..) => "offline",
                (_, true, _) => "busy",
                (.., true) => "on",
                (.., false) => "off",
            };
            rows.push([tame(name), kind.to_owned(), state.to_owned(), word(&hw["driver"]), word(&hw["pin"])]);
        }
    }
    if rows.len() == 1 {
        return "there are no channels\n".to_owned();
    }
    let rows: Vec<[&str; 5]> = rows.iter().map(|row| row.each_ref().map(String::as_str)).collect();
    shown::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_front_panel_is_one_line() {
        let told = json!({"enabled": true, "busy": true, "leds": {"power": true, "hdd": false}});
        assert_eq!(front(&told), "power on, disk light off, a button is pressed\n");
        assert_eq!(front(&json!({"enabled": false})), "no front panel is connected\n");
    }

    #[test]
    fn a_channel_is_one_line() {
        let told = json!({
            "model": {"scheme": {"inputs": {"door": {"hw": {"driver": "gpio", "pin": "4"}}}}},
            "state": {"inputs": {"door": {"online": true, "state": true}},
                      "outputs": {"lamp": {"online": true, "state": false, "busy": true}}},
        });
        assert_eq!(
            channels(&told),
            "CHANNEL  KIND    STATE  DRIVER  PIN\ndoor     input   on     gpio    4\nlamp     output  busy   -       -\n"
        );
        assert_eq!(channels(&json!({})), "there are no channels\n");
    }
}
