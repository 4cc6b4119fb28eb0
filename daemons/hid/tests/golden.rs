//! The reports of the owner against those a real host received from the reference, requests over HTTP included. The
//! data and what is left out of it are described in `hid-wire/tests/golden.rs`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the recording is part of the test")]

mod recorded;

use hid::Settings;
use hid::link::Recorder;
use hid_wire::Device;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn every_recorded_message_and_request_makes_the_recorded_reports() {
    let (link, host) = Recorder::new();
    let stop = CancellationToken::new();
    let (hid, task) = hid::spawn(Settings::default(), link, stop.clone()).unwrap();
    let mut compared = 0;
    for row in recorded::rows() {
        recorded::replay(&row, &hid).await;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let node = |device| match device {
            Device::Keyboard => "hidraw0",
            Device::AbsoluteMouse => "hidraw1",
            Device::RelativeMouse => "hidraw2",
        };
        let mut made: Vec<Value> = host
            .take()
            .iter()
            .map(|report| serde_json::json!([node(report.device()), hex(report.bytes())]))
            .collect();
        let mut seen = row["hid_reports"].as_array().unwrap().clone();
        if row["row"] == recorded::UNUSABLE {
            continue;
        }
        if recorded::is_session(&row) {
            made.sort_by_key(ToString::to_string);
            seen.sort_by_key(ToString::to_string);
        }
        assert_eq!(made, seen, "row {} {}", row["row"], row["name"]);
        compared += 1;
    }
    assert_eq!(compared, 84);
    stop.cancel();
    task.await.unwrap();
}
