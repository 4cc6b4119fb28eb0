//! What is told of real boards, from what their kernels' files said: `tests/data`, one tree each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use info::{Hw, Info, NowPast, ServiceState, Services, Settings, Throttling};
use serde_json::json;
use tokio_util::sync::CancellationToken;

struct Nothing;

impl Services for Nothing {
    fn state(&self, _: &str) -> ServiceState {
        ServiceState { enabled: false, started: false }
    }
}

fn board(name: &str) -> Info {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let settings = Settings { platform: root.join("usr/lib/kvmd/platform"), root, ..Settings::default() };
    Info::spawn(settings, Arc::new(Nothing), Box::new(|_| None), &CancellationToken::new())
}

fn texts(hw: &Hw) -> [Option<&str>; 5] {
    let platform = &hw.platform;
    [&platform.base, &platform.serial, &platform.model, &platform.video, &platform.board]
        .map(Option::as_deref)
}

const NEVER: NowPast = NowPast { now: false, past: false };
const ONCE: NowPast = NowPast { now: false, past: true };

#[tokio::test]
async fn a_raspberry_pi_4_that_was_short_of_power_once() {
    let info = board("pi4");
    let hw = info.hw().await;
    let model = Some("Raspberry Pi 4 Model B Rev 1.5");
    assert_eq!(texts(&hw), [model, Some("100000003D1D1C36"), Some("v4plus"), Some("hdmi"), Some("rpi4")]);
    assert_eq!(hw.health.temp.cpu, Some(48.686));
    let wanted = Throttling {
        raw_flags: 0x50000,
        undervoltage: ONCE,
        freq_capped: NEVER,
        throttled: ONCE,
        ignore_past: false,
    };
    assert_eq!(hw.health.throttling, Some(wanted));
    assert_eq!((hw.health.cpu.percent, hw.health.mem.percent), (Some(5), Some(14.5)));
    assert_eq!(info.uptime().await.total(), 51_083);
    let fan = info.fan().await;
    assert_eq!((fan.monitored, fan.state), (false, None), "no fan of the kernel's");
}

#[tokio::test]
async fn a_raspberry_pi_5_with_its_fan() {
    let info = board("pi5");
    let hw = info.hw().await;
    let model = Some("Raspberry Pi 5 Model B Rev 1.0");
    assert_eq!(texts(&hw), [model, Some("8A3C0F5BE1D24790"), Some("v5"), Some("hdmi"), Some("rpi5")]);
    assert_eq!(hw.health.throttling.map(|throttling| throttling.raw_flags), Some(0));
    let fan = info.fan().await;
    assert!(fan.monitored);
    let state = fan.state.unwrap();
    assert_eq!(state["fan"]["speed"], json!(49.0));
    assert_eq!((&state["fan"]["ok"], &state["fan"]["last_fail_ts"]), (&json!(true), &json!(-1.0)));
    assert_eq!(state["hall"], json!({"available": true, "rpm": 3012}));
    assert_eq!(state["temp"], json!({"real": 55.35, "fixed": 55.35}));
    assert!(state["service"]["now_ts"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_raspberry_pi_4_under_debian_s_kernel_which_has_a_voltage_sensor_only() {
    let hw = board("pi4-mainline").hw().await;
    assert_eq!(texts(&hw)[1..3], [Some("10000000ABCDEF01"), None]);
    let throttling = hw.health.throttling.unwrap();
    assert_eq!((throttling.undervoltage, throttling.throttled), (NowPast { now: true, past: true }, NEVER));
}

#[tokio::test]
async fn a_pc_has_no_firmware_to_ask_and_its_case_fan_is_not_ours() {
    let info = board("x86");
    let hw = info.hw().await;
    assert_eq!(texts(&hw), [None; 5]);
    assert_eq!((hw.health.throttling, hw.health.temp.cpu, hw.health.temp.gpu), (None, Some(27.8), None));
    assert!(!info.fan().await.monitored);
}
