//! `/gpio`: named switches and inputs (section 8.8).

use crate::{
    answer::{self, Answer},
    query::Query,
    routes::Entry,
};
use actix_web::web::{self, Data};
use gpio::Gpio;
use model::{check, gpio as wire};
use serde_json::json;
use std::time::Duration;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/gpio", || web::to(state)),
    Entry::post("/gpio/switch", || web::to(switch)),
    Entry::post("/gpio/pulse", || web::to(pulse)),
];

async fn state(gpio: Data<Gpio>) -> Answer {
    let state = show(&gpio.subscribe().borrow());
    // The levels once more at the top, where 1.102 had them and some clients still look.
    let (inputs, outputs) = (&state.inputs, &state.outputs);
    Ok(answer::ok(&json!({
        "model": show_model(gpio.model()), "state": state, "inputs": inputs, "outputs": outputs,
    })))
}

async fn switch(gpio: Data<Gpio>, query: Query) -> Answer {
    let channel = query.required("channel", check::channel)?;
    let state = query.required("state", check::boolean)?;
    gpio.switch(&channel, state, query.flag("wait")?).await?;
    Ok(answer::nothing())
}

async fn pulse(gpio: Data<Gpio>, query: Query) -> Answer {
    let channel = query.required("channel", check::channel)?;
    let delay = query.optional("delay", |raw| check::float_at_least(raw, 0.0))?.unwrap_or(0.0);
    // Longer than any channel allows; the channel clamps it to its own limits.
    let delay = Duration::from_secs_f64(delay.min(86_400.0));
    gpio.pulse(&channel, delay, query.flag("wait")?).await?;
    Ok(answer::nothing())
}

/// The levels as clients see them.
pub fn show(state: &gpio::IoState) -> wire::IoState {
    let input = |s: &gpio::InputState| wire::InputState { online: s.online, state: s.state };
    let output = |s: &gpio::OutputState| wire::OutputState { online: s.online, state: s.state, busy: s.busy };
    wire::IoState {
        inputs: state.inputs.iter().map(|(name, state)| (name.clone(), input(state))).collect(),
        outputs: state.outputs.iter().map(|(name, state)| (name.clone(), output(state))).collect(),
    }
}

/// The channels and the menu as clients see them.
pub fn show_model(model: &gpio::Model) -> wire::Model {
    let hw = |hw: &gpio::Hw| wire::Hardware { driver: hw.driver.clone(), pin: hw.pin.clone() };
    let inputs = model.scheme.inputs.iter().map(|(name, at)| (name.clone(), wire::Input { hw: hw(at) }));
    let outputs = model.scheme.outputs.iter().map(|(name, output)| {
        let pulse = wire::Pulse {
            delay: output.pulse.delay.as_secs_f64(),
            min_delay: output.pulse.min_delay.as_secs_f64(),
            max_delay: output.pulse.max_delay.as_secs_f64(),
        };
        (name.clone(), wire::Output { switch: output.switch, pulse, hw: hw(&output.hw) })
    });
    let row = |row: &Vec<gpio::Item>| row.iter().map(show_item).collect();
    wire::Model {
        scheme: wire::Scheme { inputs: inputs.collect(), outputs: outputs.collect() },
        view: wire::View {
            header: wire::Header { title: model.view.title.iter().map(show_item).collect() },
            table: model.view.table.iter().map(|line| line.as_ref().map(row)).collect(),
        },
    }
}

fn show_item(item: &gpio::Item) -> wire::Item {
    match item {
        gpio::Item::Label { text } => wire::Item::Label { text: text.clone() },
        gpio::Item::Input { channel, color } => {
            wire::Item::Input { channel: channel.clone(), color: color.name().to_owned() }
        }
        gpio::Item::Output { channel, text, confirm, hide } => wire::Item::Output {
            channel: channel.clone(),
            text: text.clone(),
            confirm: *confirm,
            hide: *hide,
        },
    }
}
