//! `kvmctl gadget`: the USB gadget, as the supervisor tells and does.

use clap::{Subcommand, ValueEnum};
use client::supervisor::{Gadget, GadgetFate, GadgetFunction};

use crate::service::ask;
use crate::{Console, Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What the target is shown, and what is not shown and why. Exit code 3 when something is wrong.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows the target nothing but a boot keyboard, for firmware that trips over more. Remembered.
    BiosSafe {
        /// Nothing but a keyboard, or everything.
        mode: Switch,
    },
    /// Plugs the gadget in.
    Connect,
    /// Pulls it, as if the cable were taken out.
    Disconnect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    /// As a parameter of the API.
    pub(crate) fn digit(self) -> u8 {
        u8::from(self == Self::On)
    }
}

pub(crate) fn run(config: &config::Config, verb: &Verb, console: &mut Console<'_>) -> Result<Exit, Failure> {
    match verb {
        Verb::Status { json } => return status(config, *json, console),
        Verb::BiosSafe { mode } => {
            ask(config, async |supervisor| supervisor.set_bios_safe(*mode == Switch::On).await)?;
        }
        Verb::Connect => ask(config, async |supervisor| supervisor.connect_gadget(true).await)?,
        Verb::Disconnect => ask(config, async |supervisor| supervisor.connect_gadget(false).await)?,
    }
    Ok(Exit::Good)
}

fn status(config: &config::Config, json: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Some(gadget) = ask(config, async |supervisor| supervisor.gadget().await)? else {
        writeln!(console.out, "{}", if json { "null" } else { "there is no USB gadget here" })?;
        return Ok(Exit::Good);
    };
    if json {
        writeln!(console.out, "{:#}", serde_json::to_value(&gadget)?)?;
    } else {
        write!(console.out, "{}", table(&gadget))?;
    }
    Ok(if gadget.fault.is_none() { Exit::Good } else { Exit::NotReady })
}

fn table(gadget: &Gadget) -> String {
    let controller = gadget.controller.as_deref().unwrap_or("no controller");
    let mut text = format!("{} on {controller}: {}", gadget.name, gadget.state);
    for (is, what) in [(!gadget.connected, "pulled"), (gadget.bios_safe, "BIOS-safe")] {
        if is {
            text.push_str(&format!(", {what}"));
        }
    }
    text.push_str(&format!("\n{} of {} endpoints taken\n", gadget.used, gadget.endpoints));
    if let Some(fault) = &gadget.fault {
        text.push_str(&format!("fault: {fault}\n"));
    }
    let rows: Vec<[String; 4]> =
        std::iter::once(["FUNCTION", "WHAT", "ENDPOINTS", "SHOWN"].map(str::to_owned))
            .chain(gadget.functions.iter().map(row))
            .collect();
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in rows {
        let line: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(function: &GadgetFunction) -> [String; 4] {
    let fate = match function.fate {
        GadgetFate::Shown => "yes".to_owned(),
        GadgetFate::NotStarted => "no: not started".to_owned(),
        GadgetFate::BiosSafe => "no: BIOS-safe".to_owned(),
        GadgetFate::Missing => "no: not in this kernel".to_owned(),
        GadgetFate::DoesNotFit if function.turn_off.is_empty() => "no: never fits this controller".to_owned(),
        GadgetFate::DoesNotFit => {
            format!("no: does not fit; set to false: {}", function.turn_off.join(", "))
        }
    };
    [function.name.clone(), function.description.clone(), function.endpoints.to_string(), fate]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_not_shown_and_why() {
        let function = |name: &str, fate, turn_off: &[&str]| GadgetFunction {
            name: name.to_owned(),
            description: "Thing".to_owned(),
            endpoints: 2,
            fate,
            turn_off: turn_off.iter().map(|key| (*key).to_owned()).collect(),
        };
        let gadget = Gadget {
            name: "kvmd".to_owned(),
            controller: Some("fe980000.usb".to_owned()),
            state: "unbound".to_owned(),
            connected: false,
            bios_safe: true,
            endpoints: 9,
            used: 2,
            fault: Some("no such device".to_owned()),
            functions: vec![
                function("hid.usb0", GadgetFate::Shown, &[]),
                function("acm.usb0", GadgetFate::DoesNotFit, &["otg.devices.audio.start"]),
            ],
        };
        assert_eq!(
            table(&gadget),
            "kvmd on fe980000.usb: unbound, pulled, BIOS-safe\n\
             2 of 9 endpoints taken\n\
             fault: no such device\n\
             FUNCTION  WHAT   ENDPOINTS  SHOWN\n\
             hid.usb0  Thing  2          yes\n\
             acm.usb0  Thing  2          no: does not fit; set to false: otg.devices.audio.start\n"
        );
    }
}
