//! The recorded answers of the reference, read into our objects and written again: nothing may be lost,
//! added or renamed on the way.

#[cfg(test)]
mod recorded {
    use model::{Event, atx, gpio, hid, info, msd, streamer};
    use serde::{Serialize, de::DeserializeOwned};
    use serde_json::{Value, json};

    fn state(name: &str) -> Value {
        let all: Value = serde_json::from_str(include_str!("data/states.json")).unwrap();
        all[name].clone()
    }

    fn survives<T: DeserializeOwned + Serialize>(name: &str, recorded: &Value) -> T {
        let object: T =
            serde_json::from_value(recorded.clone()).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(serde_json::to_value(&object).unwrap(), *recorded, "{name}");
        object
    }

    #[test]
    fn every_recorded_state_survives_a_round_trip() {
        survives::<hid::State>("hid", &state("hid.state"));
        survives::<atx::State>("atx", &state("atx.state"));
        survives::<gpio::Model>("gpio model", &state("gpio.state")["model"]);
        survives::<gpio::IoState>("gpio state", &state("gpio.state")["state"]);
        survives::<msd::State>("msd", &state("msd.state.hw.connected"));
        survives::<streamer::State>("streamer stopped", &state("streamer.state.stopped"));
        survives::<streamer::State>("streamer live", &state("streamer.live.state.saved"));
        survives::<hid::Keymaps>("keymaps", &state("hid.keymaps")["keymaps"]);
    }

    #[test]
    fn the_current_view_of_info_is_all_fields() {
        let recorded = state("info.legacy_false");
        let info: info::Info = survives("info", &recorded);
        assert_eq!(info.select(info::Field::CURRENT), recorded);
    }

    #[test]
    fn the_old_view_of_info_moves_health_and_platform_under_hw() {
        let info: info::Info = survives("info", &state("info.legacy_false"));
        let shown = info.select(info::Field::LEGACY_DEFAULT);
        let recorded = state("info.legacy1");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&shown), keys(&recorded));
        assert_eq!(keys(&shown["hw"]), keys(&recorded["hw"]));
        assert_eq!(shown["system"], recorded["system"]);
        assert_eq!(
            info.select(&[info::Field::Hw])["hw"]["platform"],
            state("info.fields_hw")["hw"]["platform"]
        );
    }

    #[test]
    fn our_full_events_have_the_recorded_names_and_shapes() {
        let recorded: Vec<Value> = serde_json::from_str(include_str!("data/connect.json")).unwrap();
        let of = |name: &str| recorded.iter().find(|event| event["event_type"] == name).unwrap();
        let same =
            |ours: Event| assert_eq!(serde_json::from_str::<Value>(&ours.text()).unwrap(), *of(ours.name));
        same(model::event::hello());
        same(hid::full(&survives("hid", &of("hid")["event"])));
        same(atx::full(&survives("atx", &of("atx")["event"])));
        same(msd::full(&survives("msd", &of("msd")["event"])));
        same(streamer::full(&survives("streamer", &of("streamer")["event"])));
        same(model::ocr::full(&survives("ocr", &of("ocr")["event"])));
        let gpio = &of("gpio")["event"];
        same(gpio::full(&survives("model", &gpio["model"]), &survives("state", &gpio["state"])));
        let keymaps: hid::Keymaps = survives("keymaps", &of("hid_keymaps")["event"]["keymaps"]);
        same(Event::new("hid_keymaps", keymaps.wrapped()));
        same(model::event::clients(1));
    }

    #[test]
    fn a_new_client_gets_one_info_event_a_field() {
        let info: info::Info = survives("info", &state("info.legacy_false"));
        let mut fields: Vec<String> = info
            .full()
            .iter()
            .map(|event| event.payload.as_object().unwrap().keys().next().unwrap().clone())
            .collect();
        fields.sort();
        assert_eq!(fields, ["auth", "extras", "fan", "health", "meta", "node", "system", "uptime"]);
        assert_eq!(
            info.event(info::Field::Node).payload,
            json!({"node": state("info.legacy_false")["node"]})
        );
    }
}
