//! The target: one system with the front panel's power, and the ports of a switch.

use super::{
    Answer,
    error::{self, Error},
    object, resource,
};
use crate::body;
use actix_web::{
    HttpRequest,
    web::{self, Data, Path},
};
use atx::{Atx, Click, PowerAction};
use info::Info;
use serde_json::{Map, Value, json};

/// The collection.
pub(super) const SYSTEMS: &str = "/redfish/v1/Systems";
/// The target of the front panel.
pub(super) const MAIN: &str = "/redfish/v1/Systems/0";

/// Which system an address means.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The one that the front panel belongs to.
    Main,
    /// A port of a switch.
    Port,
}

impl Target {
    fn parse(id: &str) -> Result<Self, Error> {
        if id == "0" {
            return Ok(Self::Main);
        }
        match id.strip_prefix("SwitchPort") {
            Some(port) if matches!(port.len(), 1..=3) && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self::Port)
            }
            _ => Err(Error::no_system(id)),
        }
    }
}

pub(super) async fn list(atx: Data<Atx>) -> Answer {
    let members: Vec<String> = atx.subscribe().borrow().enabled.then(|| "0".to_owned()).into_iter().collect();
    let kind = "ComputerSystemCollection";
    Ok(resource::show(&resource::collection(kind, "Computer System Collection", SYSTEMS, &members)))
}

pub(super) async fn get(id: Path<String>, atx: Data<Atx>, info: Data<Info>) -> Answer {
    Ok(resource::show(&show(&id, &atx, &info).await?))
}

/// No switch is fitted: a port has nothing to show.
async fn show(id: &str, atx: &Atx, info: &Info) -> Result<Value, Error> {
    if Target::parse(id)? == Target::Port {
        return Err(Error::no_system(id));
    }
    let powered = atx.subscribe().borrow().leds.power;
    let actions = format!("{MAIN}/Actions/ComputerSystem");
    Ok(json!({
        "@odata.id": MAIN,
        "@odata.type": "#ComputerSystem.v1_10_0.ComputerSystem",
        "Id": "0",
        "Name": "Target",
        "HostName": host_name(info).await,
        "PowerState": power_state(powered),
        "Status": {"State": if powered { "Enabled" } else { "StandbyOffline" }},
        "Links": {
            "Chassis": [resource::link(super::chassis::ONE)],
            "ManagedBy": [resource::link(super::manager::BMC)],
        },
        "Actions": {
            "#ComputerSystem.Reset": {
                "target": format!("{actions}.Reset"),
                "ResetType@Redfish.AllowableValues": RESETS,
            },
            "#ComputerSystem.SetDefaultBootOrder": {"target": format!("{actions}.SetDefaultBootOrder")},
        },
        // Nothing here reaches the target's firmware: these are all the values there can be.
        "Boot": {
            "BootSourceOverrideEnabled": "Disabled",
            "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled"],
            "BootSourceOverrideTarget": null,
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None"],
        },
    }))
}

/// The power light in Redfish's words.
pub(super) fn power_state(powered: bool) -> &'static str {
    if powered { "On" } else { "Off" }
}

/// What the administrator calls it, else the machine's own name; as letters, digits, dots and `_`.
async fn host_name(info: &Info) -> String {
    let meta = info.meta().await;
    let named =
        meta.as_ref().and_then(|meta| meta["server"]["host"].as_str()).filter(|host| !host.is_empty());
    let host = match named {
        Some(host) => host.to_owned(),
        None => info.node().await.host,
    };
    plain_name(&host)
}

fn plain_name(host: &str) -> String {
    host.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' }).collect()
}

pub(super) async fn patch(
    request: HttpRequest,
    id: Path<String>,
    atx: Data<Atx>,
    info: Data<Info>,
    payload: web::Payload,
) -> Answer {
    let system = show(&id, &atx, &info).await?;
    resource::unchanged(&request, &system)?;
    settable(&object(&body::read_form(payload).await?)?)?;
    Ok(resource::done(&request, &system))
}

/// Whether all of this is as it is anyway, which is the most that can be asked for.
fn settable(wanted: &Map<String, Value>) -> Result<(), Error> {
    for (name, value) in wanted.iter().filter(|(name, _)| !name.starts_with("@odata.")) {
        match (name.as_str(), value) {
            ("Boot", Value::Object(boot)) => {
                boot.iter().try_for_each(|(name, value)| boot_value(name, value))?;
            }
            ("Boot", other) => return Err(Error::value("Boot", other)),
            _ => return Err(Error::property(name)),
        }
    }
    Ok(())
}

fn boot_value(name: &str, value: &Value) -> Result<(), Error> {
    let allowed = match name {
        "BootSourceOverrideEnabled" => "Disabled",
        "BootSourceOverrideTarget" => "None",
        _ => return Err(Error::property(name)),
    };
    if value.is_null() || value == allowed { Ok(()) } else { Err(Error::value(name, value)) }
}

/// What the buttons of the front panel come to.
const RESETS: [&str; 6] =
    ["On", "ForceOff", "GracefulShutdown", "ForceRestart", "ForceOn", "PushPowerButton"];

const RESET: &str = "ComputerSystem.Reset";

pub(super) async fn reset(
    request: HttpRequest,
    id: Path<String>,
    atx: Data<Atx>,
    payload: web::Payload,
) -> Answer {
    let wanted = object(&body::read_form(payload).await?)?;
    let kind = wanted.get("ResetType").ok_or_else(|| Error::missing(RESET, "ResetType"))?;
    let kind = kind.as_str().filter(|kind| RESETS.contains(kind));
    let kind = kind.ok_or_else(|| Error::parameter(RESET, "ResetType", &wanted["ResetType"].to_string()))?;
    // Orders to a switch are queued, also where none is fitted.
    if Target::parse(&id)? == Target::Main {
        press(&atx, kind).await?;
    }
    Ok(resource::done(&request, &error::success()))
}

/// Where there is no front panel nothing is pressed, and nobody is told, as with the reference.
async fn press(atx: &Atx, kind: &str) -> Result<(), Error> {
    let pressed = match kind {
        "ForceOff" => atx.power(PowerAction::OffHard, false).await,
        "GracefulShutdown" => atx.power(PowerAction::Off, false).await,
        "ForceRestart" => atx.power(PowerAction::ResetHard, false).await,
        "PushPowerButton" => atx.click(Click::Power, false).await,
        _ => atx.power(PowerAction::On, false).await,
    };
    match pressed {
        Err(atx::Error::Disabled) => Ok(()),
        other => Ok(other?),
    }
}

pub(super) async fn default_boot_order(id: Path<String>) -> Answer {
    Target::parse(&id)?;
    Err(Error::action("ComputerSystem.SetDefaultBootOrder"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(text: &str) -> bool {
        settable(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap()).is_ok()
    }

    #[test]
    fn only_what_is_so_anyway_can_be_set() {
        for good in [
            "{}",
            r#"{"Boot": {}}"#,
            r#"{"@odata.id": "/x", "Boot": {"BootSourceOverrideEnabled": "Disabled"}}"#,
            r#"{"Boot": {"BootSourceOverrideTarget": "None"}}"#,
        ] {
            assert!(set(good), "{good}");
        }
        for bad in [
            r#"{"Boot": 1}"#,
            r#"{"Boot": {"BootSourceOverrideTarget": "Cd"}}"#,
            r#"{"Boot": {"BootSourceOverrideEnabled": "Once"}}"#,
            r#"{"Boot": {"BootOrder": []}}"#,
            r#"{"HostName": "x"}"#,
        ] {
            assert!(!set(bad), "{bad}");
        }
    }

    #[test]
    fn systems_are_the_target_and_the_ports_of_a_switch() {
        assert_eq!(Target::parse("0").unwrap(), Target::Main);
        assert_eq!(Target::parse("SwitchPort19").unwrap(), Target::Port);
        for bad in ["", "1", "00", "abc", "SwitchPort", "SwitchPortX", "switchport0", "SwitchPort0000"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_host_name_has_plain_letters_only(host in ".{0,40}") {
            let plain = plain_name(&host);
            prop_assert!(plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.'));
            prop_assert_eq!(plain.len(), host.chars().count());
        }
    }
}
