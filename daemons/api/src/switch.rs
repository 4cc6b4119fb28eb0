//! `/switch`: the multi-port switch (sections 7.8 and 8.9).
//!
//! Nothing drives one yet, so there are no ports, and orders to them are taken and come to nothing, as with the
//! reference without hardware. What is set apart from ports is real and kept: monitor descriptions, colours, names.
//!
//! Spellings of one client (aiopikvm) that the reference does not know are understood, too: `edid_id` for `id`, a JSON body
//! for a new EDID, the list at `/switch/edids`.

mod check;
mod store;

use crate::{
    answer::{self, Answer},
    body,
    failure::Failure,
    query::Query,
    routes::Entry,
};
use actix_web::{
    HttpResponse,
    web::{self, Data},
};
use auth::Role;
use model::{
    ErrorClass, Event,
    check::{AtxAction, AtxButton, boolean, int},
    event,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub use store::{Color, Delays, Edid, Port, Settings, Switch, spawn};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/switch", || web::to(state)),
    Entry::post("/switch/set_active_prev", || web::to(step)),
    Entry::post("/switch/set_active_next", || web::to(step)),
    Entry::post("/switch/set_active", || web::to(set_active)),
    Entry::post("/switch/set_beacon", || web::to(set_beacon)),
    Entry::post("/switch/set_port_params", || web::to(set_port_params)),
    Entry::post("/switch/set_colors", || web::to(set_colors)),
    Entry::post("/switch/reset", || web::to(reset)).by(Role::Admin),
    Entry::get("/switch/edids", || web::to(edids)),
    Entry::post("/switch/edids/create", || web::to(create_edid)),
    Entry::post("/switch/edids/change", || web::to(change_edid)),
    Entry::post("/switch/edids/remove", || web::to(remove_edid)),
    Entry::post("/switch/atx/power", || web::to(atx_power)),
    Entry::post("/switch/atx/click", || web::to(atx_click)),
];

async fn state(switch: Data<Switch>) -> Answer {
    let mut shown = show(&switch.subscribe().borrow());
    // What aiopikvm reads.
    shown["active"] = json!("");
    shown["ports"] = json!({});
    Ok(answer::ok(&shown))
}

/// Without ports there is none before or behind the active one.
async fn step() -> Answer {
    Ok(answer::nothing())
}

async fn set_active(query: Query) -> Answer {
    query.required("port", check::port)?;
    Ok(answer::nothing())
}

async fn set_beacon(query: Query) -> Answer {
    query.required("state", boolean)?;
    let (port, uplink) = (query.optional("port", check::port)?, query.optional("uplink", int)?);
    let downlink = query.optional("downlink", int)?;
    if port.is_none() && uplink.is_none() && downlink.is_none() {
        return Err(Failure::invalid("downlink: missing"));
    }
    Ok(answer::nothing())
}

async fn set_port_params(switch: Data<Switch>, query: Query) -> Answer {
    let port = query.required("port", check::port)?;
    let wanted = Port {
        edid: query.optional("edid_id", check::edid_or_default)?,
        dummy: query.optional("dummy", boolean)?,
        name: query.optional("name", check::port_name)?,
        delays: Delays {
            power: query.optional("atx_click_power_delay", check::delay)?,
            power_long: query.optional("atx_click_power_long_delay", check::delay)?,
            reset: query.optional("atx_click_reset_delay", check::delay)?,
        },
    };
    if let Some(id) = &wanted.edid {
        known(&switch, id)?;
    }
    switch.change(|settings| settings.set_port(port, wanted));
    Ok(answer::nothing())
}

async fn set_colors(switch: Data<Switch>, query: Query) -> Answer {
    let mut wanted = BTreeMap::new();
    for (role, default) in store::COLORS {
        if let Some(color) = query.optional(role, |raw| check::color(raw, default))? {
            wanted.insert(role.to_owned(), color);
        }
    }
    switch.change(|settings| settings.colors.extend(wanted));
    Ok(answer::nothing())
}

async fn reset(query: Query) -> Answer {
    query.required("unit", int)?;
    query.flag("bootloader")?;
    Ok(answer::nothing())
}

async fn edids(switch: Data<Switch>) -> Answer {
    let settings = switch.subscribe().borrow().clone();
    let list: Vec<Value> = settings
        .edids
        .iter()
        .map(|(id, edid)| json!({"id": id, "data": edid.data, "description": edid.name}))
        .collect();
    Ok(answer::ok(&json!({"edids": list})))
}

async fn create_edid(
    switch: Data<Switch>,
    query: Query,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    let query = if query.get("data").is_some() { query } else { in_body(&body::read_form(payload).await?) };
    let name = query.required("name", check::edid_name)?;
    let data = query.required("data", check::edid_data)?;
    let id = store::new_id().map_err(Failure::internal)?;
    if !switch.try_change(|settings| settings.add_edid(&id, Edid { name, data })) {
        return Err(Failure::invalid("There are too many EDIDs already").into());
    }
    Ok(answer::ok(&json!({"id": id})))
}

/// What aiopikvm sends: a JSON object whose `id` is what people are to call it.
fn in_body(body: &[u8]) -> Query {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| object[name].as_str().map(str::to_owned);
    let name = text("name").or_else(|| text("id")).map(|name| ("name".to_owned(), name));
    let data = text("data").map(|data| ("data".to_owned(), data));
    Query::of(name.into_iter().chain(data).collect())
}

async fn change_edid(switch: Data<Switch>, query: Query) -> Answer {
    if query.get("id").is_none() && query.get("port").is_some() {
        return set_port_params(switch, query).await;
    }
    let id = query.required("id", check::edid)?;
    known(&switch, &id)?;
    let name = query.optional("name", check::edid_name)?;
    let data = query.optional("data", check::edid_data)?;
    switch.change(|settings| {
        if let Some(edid) = settings.edids.get_mut(&id) {
            edid.name = name.unwrap_or_else(|| std::mem::take(&mut edid.name));
            edid.data = data.unwrap_or_else(|| std::mem::take(&mut edid.data));
        }
    });
    Ok(answer::nothing())
}

async fn remove_edid(switch: Data<Switch>, query: Query) -> Answer {
    let name = if query.get("id").is_none() && query.get("edid_id").is_some() { "edid_id" } else { "id" };
    let id = query.required(name, check::edid)?;
    known(&switch, &id)?;
    switch.change(|settings| settings.remove_edid(&id));
    Ok(answer::nothing())
}

fn known(switch: &Switch, id: &str) -> Result<(), Failure> {
    if switch.subscribe().borrow().edids.contains_key(id) {
        return Ok(());
    }
    Err(Failure::new(ErrorClass::SwitchUnknownEdid, "There is no such EDID"))
}

async fn atx_power(query: Query) -> Answer {
    query.required("port", check::port)?;
    query.required("action", AtxAction::parse)?;
    Ok(answer::nothing())
}

async fn atx_click(query: Query) -> Answer {
    query.required("port", check::port)?;
    query.required("button", AtxButton::parse)?;
    Ok(answer::nothing())
}

/// The newest firmware that is known of.
const FIRMWARE: u32 = 9;

/// A switch without ports, as clients see it.
pub fn show(settings: &Settings) -> Value {
    let delay = |default: f64| json!({"default": default, "min": 0, "max": 10});
    let (power, power_long, reset) = (delay(0.5), delay(5.5), delay(0.5));
    json!({
        "model": {
            "firmware": {"version": FIRMWARE},
            "units": [],
            "ports": [],
            "limits": {"atx": {"click_delays": {"power": power, "power_long": power_long, "reset": reset}}},
        },
        "summary": {"active_port": -1, "active_id": "", "synced": true},
        "edids": show_edids(settings),
        "colors": settings.colors.iter().map(|(role, color)| (role.clone(), Value::from(*color))).collect::<Value>(),
        "video": {"links": []},
        "usb": {"links": []},
        "beacons": {"uplinks": [], "downlinks": [], "ports": []},
        "atx": {"busy": [], "leds": {"power": [], "hdd": []}},
    })
}

fn show_edids(settings: &Settings) -> Value {
    let all: BTreeMap<&String, Value> =
        settings.edids.iter().map(|(id, edid)| (id, show_edid(edid))).collect();
    json!({"all": all, "used": []})
}

/// What cannot be read as a monitor's description is shown without a reading.
fn show_edid(edid: &Edid) -> Value {
    let info = edid.data.parse::<::edid::Edid>().ok().map(|edid| edid.info());
    let parsed = info.map(|info| {
        json!({
            "mfc_id": info.maker,
            "product_id": info.product,
            "serial": info.serial,
            "monitor_name": info.name,
            "monitor_serial": info.serial_text,
            "audio": info.audio,
        })
    });
    json!({"name": edid.name, "data": edid.data, "parsed": parsed})
}

/// The event for a new client.
#[must_use]
pub fn full(state: &Value) -> Event {
    Event::new(event::SWITCH, state.clone())
}

/// The parts that have changed.
#[must_use]
pub fn diff(old: &Value, new: &Value) -> Option<Event> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return None };
    let changed: serde_json::Map<String, Value> = new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!changed.is_empty()).then(|| Event::new(event::SWITCH, Value::Object(changed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_edid_is_all_that_is_told_of_it() {
        let before = Settings::default();
        let mut after = before.clone();
        assert!(after.add_edid("x", Edid { name: "X".to_owned(), data: "00".to_owned() }));
        let change = diff(&show(&before), &show(&after)).unwrap();
        assert_eq!(change.payload.as_object().unwrap().keys().collect::<Vec<_>>(), ["edids"]);
        assert!(change.payload["edids"]["all"]["x"]["parsed"].is_null(), "two digits are no EDID");
        assert_eq!(diff(&show(&after), &show(&after)), None);
    }

    #[test]
    fn the_default_edid_can_be_read() {
        let shown = show(&Settings::default());
        let default = &shown["edids"]["all"]["default"];
        assert_eq!(default["parsed"]["monitor_name"], "KVM");
        assert_eq!(default["data"].as_str().unwrap().len(), 256);
    }
}
