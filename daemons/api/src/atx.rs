//! `/atx`: the front panel (section 8.5).

use crate::{
    answer::{self, Answer},
    query::Query,
    routes::Entry,
};
use actix_web::web::{self, Data};
use atx::{Atx, Click, PowerAction};
use model::{atx as wire, check};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/atx", || web::to(state)),
    Entry::post("/atx/power", || web::to(power)),
    Entry::post("/atx/click", || web::to(click)),
];

async fn state(atx: Data<Atx>) -> Answer {
    Ok(answer::ok(&model::event::to_value(&show(&atx.subscribe().borrow()))))
}

async fn power(atx: Data<Atx>, query: Query) -> Answer {
    let action = match query.required("action", check::AtxAction::parse)? {
        check::AtxAction::On => PowerAction::On,
        check::AtxAction::Off => PowerAction::Off,
        check::AtxAction::OffHard => PowerAction::OffHard,
        check::AtxAction::ResetHard => PowerAction::ResetHard,
    };
    atx.power(action, query.flag("wait")?).await?;
    Ok(answer::nothing())
}

async fn click(atx: Data<Atx>, query: Query) -> Answer {
    let button = match query.required("button", check::AtxButton::parse)? {
        check::AtxButton::Power => Click::Power,
        check::AtxButton::PowerLong => Click::PowerLong,
        check::AtxButton::Reset => Click::Reset,
    };
    atx.click(button, query.flag("wait")?).await?;
    Ok(answer::nothing())
}

/// The front panel as clients see it.
pub fn show(state: &atx::State) -> wire::State {
    wire::State {
        enabled: state.enabled,
        busy: state.busy,
        acts: wire::Acts { power: state.acts.power, reset: state.acts.reset },
        leds: wire::Leds { power: state.leds.power, hdd: state.leds.hdd },
    }
}
