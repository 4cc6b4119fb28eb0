//! The complete events of the old generation (`*_state`).
//!
//! Types are those of 3.291, plus the keys of 1.102 that do not collide with them, so that clients of both
//! ages find what they look for. Nothing here is partial. A switch in the settings turns the set off.

use crate::event::{self, Event};
use crate::info::{Field, Info};
use crate::{atx, gpio, hid, msd, ocr, streamer};
use serde_json::{Value, json};

/// `gpio_model_state`.
#[must_use]
pub fn gpio_model(model: &gpio::Model) -> Event {
    Event::of("gpio_model_state", model)
}

/// `gpio_state`.
#[must_use]
pub fn gpio(state: &gpio::IoState) -> Event {
    Event::of("gpio_state", state)
}

/// `hid_state`.
#[must_use]
pub fn hid(state: &hid::State) -> Event {
    let mut payload = event::to_value(state);
    if let Value::Object(map) = &mut payload {
        map.remove("enabled");
    }
    Event::new("hid_state", payload)
}

/// `hid_keymaps_state`.
#[must_use]
pub fn hid_keymaps(keymaps: &hid::Keymaps) -> Event {
    Event::new("hid_keymaps_state", keymaps.wrapped())
}

/// `atx_state`.
#[must_use]
pub fn atx(state: &atx::State) -> Event {
    Event::of("atx_state", state)
}

/// `msd_state`: images carry their names, the storage the size of its main part.
#[must_use]
pub fn msd(state: &msd::State) -> Event {
    let mut payload = event::to_value(state);
    payload["features"] = json!({"multi": true, "cdrom": true});
    if let (Some(storage), Value::Object(shown)) = (&state.storage, &mut payload["storage"]) {
        let main = storage.parts.get("");
        shown.insert("size".to_owned(), main.map_or(0, |part| part.size).into());
        shown.insert("free".to_owned(), main.map_or(0, |part| part.free).into());
        for name in storage.images.keys() {
            shown["images"][name]["name"] = name.as_str().into();
        }
    }
    Event::new("msd_state", payload)
}

/// `streamer_state`.
#[must_use]
pub fn streamer(state: &streamer::State) -> Event {
    let mut payload = event::to_value(state);
    payload["limits"]["max_fps"] = state.limits.desired_fps.max.into();
    // Our own additions are for the new generation.
    if let Value::Object(streamer) = &mut payload["streamer"] {
        streamer.remove("latency");
        if let Some(Value::Object(source)) = streamer.get_mut("source") {
            source.remove("state");
        }
    }
    Event::new("streamer_state", payload)
}

/// `streamer_ocr_state`.
#[must_use]
pub fn ocr(state: &ocr::State) -> Event {
    Event::new("streamer_ocr_state", ocr::wrapped(state))
}

/// The machine that can be woken. Waking it is a GPIO channel now, `__wol__`; 1.102 told of it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wol {
    /// Where the packet goes.
    pub ip: String,
    /// UDP port.
    pub port: u16,
    /// The network card's address, six pairs of hexadecimal digits with colons; empty when there is no such machine.
    pub mac: String,
}

impl Default for Wol {
    fn default() -> Self {
        Self { ip: "255.255.255.255".to_owned(), port: 9, mac: String::new() }
    }
}

/// `wol_state`.
#[must_use]
pub fn wol(wol: &Wol) -> Event {
    let target = json!({"ip": wol.ip, "port": wol.port, "mac": wol.mac});
    Event::new("wol_state", json!({"enabled": !wol.mac.is_empty(), "target": target}))
}

/// `info_<field>_state`, for the fields that had one: the payload is the field itself.
#[must_use]
pub fn info(info: &Info, field: Field) -> Option<Event> {
    let (name, payload) = match field {
        Field::Auth => ("info_auth_state", info.field(field)),
        Field::Extras => ("info_extras_state", info.field(field)),
        Field::Fan => ("info_fan_state", info.field(field)),
        Field::Health | Field::Hw => ("info_hw_state", info.field(Field::Hw)),
        Field::Meta => ("info_meta_state", info.field(field)),
        Field::System => ("info_system_state", info.field(field)),
        Field::Node | Field::Uptime => return None,
    };
    Some(Event::new(name, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_machine_to_wake_there_is_an_empty_target() {
        let none = json!({"enabled": false, "target": {"ip": "255.255.255.255", "port": 9, "mac": ""}});
        assert_eq!(wol(&Wol::default()).payload, none);
        let some = Wol { mac: "00:11:22:33:44:55".to_owned(), ..Wol::default() };
        assert_eq!(wol(&some).payload["enabled"], true);
    }

    #[test]
    fn an_offline_drive_has_no_storage_to_describe() {
        let event = msd(&msd::State::default());
        assert_eq!(event.payload["storage"], Value::Null);
        assert_eq!(event.payload["features"]["cdrom"], true);
    }

    #[test]
    fn an_image_carries_its_name() {
        let image = msd::Image {
            complete: true,
            removable: true,
            writable: false,
            size: 3,
            mod_ts: 0.0,
            written: None,
        };
        let part = msd::Part { size: 10, free: 7, writable: true };
        let storage = msd::Storage {
            images: [("a/b.iso".to_owned(), image)].into(),
            parts: [(String::new(), part)].into(),
            ..msd::Storage::default()
        };
        let event = msd(&msd::State { storage: Some(storage), ..msd::State::default() });
        assert_eq!(event.payload["storage"]["images"]["a/b.iso"]["name"], "a/b.iso");
        assert_eq!(event.payload["storage"]["free"], 7);
        assert_eq!(event.payload["storage"]["uploading"], Value::Null);
    }

    #[test]
    fn the_old_stream_state_has_nothing_of_ours() {
        let source = streamer::Source { state: Some(streamer::SourceState::Live), ..Default::default() };
        let running =
            streamer::Streamer { source, latency: Some(streamer::Latency::default()), ..Default::default() };
        let state = streamer::State {
            features: streamer::Features::default(),
            limits: streamer::Limits::default(),
            params: streamer::Params::default(),
            applied: streamer::Params::default(),
            streamer: Some(running),
            snapshot: streamer::Snapshot::default(),
        };
        let old = streamer(&state).payload;
        assert!(old["streamer"].get("latency").is_none() && old["streamer"]["source"].get("state").is_none());
        assert_eq!(old["streamer"]["source"]["online"], false);
        let stopped = streamer::State { streamer: None, ..state };
        assert_eq!(streamer(&stopped).payload["streamer"], Value::Null);
    }
}
