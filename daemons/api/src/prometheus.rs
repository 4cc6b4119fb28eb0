//! `/export/prometheus/metrics`: figures for Prometheus (section 19).
//!
//! The names of the reference (`pikvm_…`), one gauge a value, and figures of our own beside them (`kvmd_…`): how long a
//! picture takes by stage, who watches. Gathered when asked for, at most every five seconds.

use crate::{
    answer, atx as atx_api,
    failure::Failure,
    gate, gpio as gpio_api, info as info_api,
    routes::{Entry, Need},
    streamer::owner::Streamer,
    ws::hub::Hub,
};
use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data},
};
use auth::Role;
use model::{event::to_value, streamer as wire};
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write as _, time::Duration};
use tokio::{sync::Mutex, time::Instant};

/// Rows of this subsystem. Whether the figures need a login is a setting, which the handler asks.
pub const ROUTES: &[Entry] =
    &[Entry::get("/export/prometheus/metrics", || web::to(metrics)).needs(Need::Nothing)];

/// Figures younger than this are good enough.
const FRESH: Duration = Duration::from_secs(5);

/// Where the figures come from.
pub struct Sources {
    /// Front panel.
    pub atx: atx::Atx,
    /// Named switches.
    pub gpio: gpio::Gpio,
    /// Facts about the appliance.
    pub info: info::Info,
    /// Video.
    pub streamer: Streamer,
    /// WebSocket clients.
    pub hub: Hub,
}

/// All there is to count.
pub struct Figures {
    sources: Sources,
    login_needed: bool,
    last: Mutex<Option<(Instant, String)>>,
}

impl Figures {
    /// Figures of these sources. `login_needed` is `prometheus.auth.enabled`.
    #[must_use]
    pub fn new(sources: Sources, login_needed: bool) -> Self {
        Self { sources, login_needed, last: Mutex::default() }
    }

    async fn text(&self) -> String {
        // Held while counting, so that whoever comes meanwhile gets the same figures.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return text.clone();
        }
        let text = self.sources.count().await;
        *last = Some((Instant::now(), text.clone()));
        text
    }
}

async fn metrics(request: HttpRequest, figures: Data<Figures>) -> Result<HttpResponse, Failure> {
    if figures.login_needed {
        let access = gate::authorize(&request, Need::Anyone).await?;
        gate::allow(&request, &access, Role::Viewer, "export")?;
    }
    Ok(HttpResponse::Ok().insert_header(answer::text_plain()).body(figures.text().await))
}

impl Sources {
    async fn count(&self) -> String {
        let mut page = Page::default();
        let atx = atx_api::show(&self.atx.subscribe().borrow());
        page.add("pikvm_atx_enabled", &Value::Bool(atx.enabled));
        page.add("pikvm_atx_power", &Value::Bool(atx.leds.power));
        let gpio = gpio_api::show(&self.gpio.subscribe().borrow());
        for (channel, state) in &gpio.inputs {
            page.channel("input", channel, state.online, state.state);
        }
        for (channel, state) in &gpio.outputs {
            page.channel("output", channel, state.online, state.state);
        }
        let (health, fan) = tokio::join!(self.info.health(), self.info.fan());
        page.walk("pikvm_hw", &to_value(&info_api::show_health(&health)));
        page.walk("pikvm_fan", &to_value(&info_api::show_fan(&fan)));
        page.add("kvmd_websocket_clients", &(*self.hub.population().borrow()).into());
        page.add("kvmd_websocket_viewers", &(*self.hub.viewers().borrow()).into());
        let streamer = self.streamer.subscribe().borrow().streamer.clone();
        page.streamer(streamer.as_ref());
        page.text
    }
}

/// What is told, each name once.
#[derive(Default)]
struct Page {
    text: String,
    names: BTreeSet<String>,
}

impl Page {
    /// One gauge. What is neither number nor yes or no is left out, and so is a name that is there already.
    fn add(&mut self, name: &str, value: &Value) {
        let Some(value) = number(value) else { return };
        if self.begin(name) {
            let _ = writeln!(self.text, "{name} {value}\n");
        }
    }

    /// False when the name is there already.
    fn begin(&mut self, name: &str) -> bool {
        let new = self.names.insert(name.to_owned());
        if new {
            // Prometheus' own linter wants that name for counters only; the reference has it for the size of the memory.
            let kind = if name.ends_with("_total") { "untyped" } else { "gauge" };
            let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", help(name));
        }
        new
    }

    fn channel(&mut self, kind: &str, channel: &str, online: bool, state: bool) {
        // Names that begin so are the platform's own.
        if !channel.starts_with("__") {
            let channel = word(channel);
            self.add(&format!("pikvm_gpio_{kind}_online_{channel}"), &Value::Bool(online));
            self.add(&format!("pikvm_gpio_{kind}_state_{channel}"), &Value::Bool(state));
        }
    }

    /// Every value below, named by the way to it.
    fn walk(&mut self, name: &str, value: &Value) {
        let Value::Object(map) = value else { return self.add(name, value) };
        for (key, value) in map {
            if key == "parsed_flags" {
                self.walk(name, value);
            } else {
                self.walk(&format!("{name}_{}", word(key)), value);
            }
        }
    }

    fn streamer(&mut self, streamer: Option<&wire::Streamer>) {
        self.add("kvmd_streamer_running", &Value::Bool(streamer.is_some()));
        let Some(streamer) = streamer else { return };
        self.add("kvmd_streamer_online", &Value::Bool(streamer.source.online));
        self.add("kvmd_streamer_captured_fps", &streamer.source.captured_fps.into());
        self.add("kvmd_streamer_clients", &streamer.stream.clients.into());
        if let Some(latency) = &streamer.latency {
            self.latency(latency);
        }
    }

    /// One gauge with labels: how long the last pictures took.
    fn latency(&mut self, latency: &wire::Latency) {
        let name = "kvmd_streamer_latency_seconds";
        self.begin(name);
        for (stage, spread) in [
            ("capture", &latency.capture),
            ("encode", &latency.encode),
            ("publish", &latency.publish),
            ("total", &latency.total),
        ] {
            for (of, micros) in [("p50", spread.p50_us), ("p99", spread.p99_us), ("max", spread.max_us)] {
                let seconds = Duration::from_micros(micros).as_secs_f64();
                let _ = writeln!(self.text, "{name}{{stage=\"{stage}\",of=\"{of}\"}} {seconds}");
            }
        }
        self.text.push('\n');
    }
}

/// A value as Prometheus reads it.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::Bool(yes) => Some(u8::from(*yes).to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A part of a name: whatever is no letter or digit becomes `_`.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn help(name: &str) -> &'static str {
    const HELP: [(&str, &str); 16] = [
        ("pikvm_atx_enabled", "Whether a front panel is fitted."),
        ("pikvm_atx_power", "Whether the power light is on."),
        ("pikvm_gpio_input", "A named input: whether it can be read, and its level."),
        ("pikvm_gpio_output", "A named output: whether it can be driven, and its level."),
        ("pikvm_hw_temp", "Temperature of a part of the appliance in degrees Celsius."),
        ("pikvm_hw_cpu", "Load of the appliance's processors in percent."),
        ("pikvm_hw_mem", "Memory of the appliance in bytes, or used in percent."),
        ("pikvm_hw_throttling", "What the board's firmware says of its power supply."),
        ("pikvm_fan", "The fan, as far as it is watched."),
        ("kvmd_websocket_clients", "Clients of the WebSocket."),
        ("kvmd_websocket_viewers", "Clients of the WebSocket that want pictures."),
        ("kvmd_streamer_running", "Whether the streamer runs."),
        ("kvmd_streamer_online", "Whether the source gives pictures."),
        ("kvmd_streamer_captured", "Pictures captured in a second."),
        ("kvmd_streamer_clients", "Readers of the stream."),
        (
            "kvmd_streamer_latency",
            "Time of a picture by stage, of the last second: median, 99 of 100, longest.",
        ),
    ];
    HELP.iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map_or("A figure of the appliance.", |(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_value_is_named_by_the_way_to_it() {
        let mut page = Page::default();
        let health = json!({
            "temp": {"cpu": 36.5, "gpu": null}, "cpu": {"percent": 7},
            "throttling": {"raw_flags": 1, "parsed_flags": {"undervoltage": {"now": true, "past": false}}},
        });
        page.walk("pikvm_hw", &health);
        let values: Vec<&str> =
            page.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(
            values,
            [
                "pikvm_hw_cpu_percent 7",
                "pikvm_hw_temp_cpu 36.5",
                "pikvm_hw_throttling_undervoltage_now 1",
                "pikvm_hw_throttling_undervoltage_past 0",
                "pikvm_hw_throttling_raw_flags 1",
            ]
        );
        assert!(page.text.contains("# TYPE pikvm_hw_temp_cpu gauge\npikvm_hw_temp_cpu 36.5\n\n"));
    }

    #[test]
    fn a_platform_s_own_channels_are_hidden_and_no_name_comes_twice() {
        let mut page = Page::default();
        page.channel("output", "__v3_usb_breaker__", true, true);
        assert_eq!(page.text, "");
        page.channel("input", "a.b", true, false);
        page.channel("input", "a-b", false, true);
        assert_eq!(page.text.matches("\npikvm_gpio_input_online_a_b ").count(), 1);
        assert!(page.text.contains("pikvm_gpio_input_online_a_b 1\n"));
    }

    #[test]
    fn every_stage_of_a_picture_has_its_times_in_seconds() {
        let mut page = Page::default();
        let spread = wire::Spread { p50_us: 1_500, p99_us: 2_000, max_us: 1_000_000 };
        page.latency(&wire::Latency { encode: spread, ..wire::Latency::default() });
        assert!(page.text.contains("{stage=\"encode\",of=\"p50\"} 0.0015\n"));
        assert!(page.text.contains("{stage=\"encode\",of=\"max\"} 1\n"));
        assert_eq!(page.text.matches("# TYPE").count(), 1);
    }

    proptest! {
        #[test]
        fn any_fan_s_state_makes_valid_lines(key in ".{0,12}", value in any::<f64>()) {
            let mut page = Page::default();
            page.walk("pikvm_fan", &json!({"state": {key: {"x": value}}}));
            for line in page.text.lines().filter(|line| !line.is_empty()) {
                let name = line.split(' ').nth(usize::from(line.starts_with('#')) * 2).unwrap();
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{}", line);
            }
        }
    }
}
