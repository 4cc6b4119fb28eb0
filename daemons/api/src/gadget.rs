//! `/gadget`: the USB device the target sees. Our own, not PiKVM's. The supervisor holds the gadget and is asked.

use crate::{
    answer::{self, Answer},
    failure::Failure,
    query::Query,
    routes::Entry,
};
use actix_web::web::{self, Data};
use client::supervisor::{Error, Gadget, Supervisor};
use model::{ErrorClass, check};
use serde_json::{Value, json};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] =
    &[Entry::get("/gadget", || web::to(state)), Entry::post("/gadget/set_params", || web::to(set_params))];

async fn state(supervisor: Data<Supervisor>) -> Answer {
    let gadget = supervisor.gadget().await.map_err(failure)?;
    Ok(answer::ok(&show(gadget.as_ref())))
}

async fn set_params(supervisor: Data<Supervisor>, query: Query) -> Answer {
    if let Some(on) = query.optional("bios_safe", check::boolean)? {
        supervisor.set_bios_safe(on).await.map_err(failure)?;
    }
    Ok(answer::nothing())
}

/// What the supervisor could not do is told in its words; that it cannot be asked is our own fault.
fn failure(error: Error) -> Failure {
    match error {
        Error::Failed(reason) => Failure::new(ErrorClass::Unavailable, reason),
        other => Failure::internal(other),
    }
}

fn show(gadget: Option<&Gadget>) -> Value {
    let Some(gadget) = gadget else { return json!({"enabled": false}) };
    json!({
        "enabled": true,
        "name": gadget.name,
        "controller": gadget.controller,
        "state": gadget.state,
        "connected": gadget.connected,
        "bios_safe": gadget.bios_safe,
        "endpoints": {"total": gadget.endpoints, "used": gadget.used},
        "fault": gadget.fault,
        "functions": gadget.functions.iter().map(|function| json!({
            "name": function.name,
            "description": function.description,
            "endpoints": function.endpoints,
            "fate": function.fate,
            "turn_off": function.turn_off,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::supervisor::{GadgetFate, GadgetFunction};

    #[test]
    fn the_gadget_is_shown_whole_and_its_absence_too() {
        assert_eq!(show(None), json!({"enabled": false}));
        let gadget = Gadget {
            name: "kvmd".to_owned(),
            controller: None,
            state: "unbound".to_owned(),
            connected: true,
            bios_safe: false,
            endpoints: 9,
            used: 0,
            fault: Some("why".to_owned()),
            functions: vec![GadgetFunction {
                name: "acm.usb0".to_owned(),
                description: "Serial Port".to_owned(),
                endpoints: 3,
                fate: GadgetFate::DoesNotFit,
                turn_off: vec!["otg.devices.audio.start".to_owned()],
            }],
        };
        let shown = show(Some(&gadget));
        assert_eq!(shown["endpoints"], json!({"total": 9, "used": 0}));
        assert_eq!(
            shown["functions"][0],
            json!({
                "name": "acm.usb0", "description": "Serial Port", "endpoints": 3,
                "fate": "does_not_fit", "turn_off": ["otg.devices.audio.start"],
            })
        );
    }

    #[test]
    fn what_the_supervisor_cannot_do_is_told_and_its_absence_is_our_fault() {
        let told = failure(Error::Failed("there is no USB gadget here".to_owned()));
        assert_eq!(
            (told.class, told.message.as_str()),
            (ErrorClass::Unavailable, "there is no USB gadget here")
        );
        assert_eq!(failure(Error::NoAnswer).class, ErrorClass::Internal);
    }
}
