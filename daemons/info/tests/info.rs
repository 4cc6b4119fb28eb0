//! Facts about a machine made of files.
#![expect(clippy::unwrap_used, reason = "a failed expectation fails the test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use info::{Info, ServiceState, Services, Settings};
use serde_json::json;
use tokio_util::sync::CancellationToken;

struct Runs(&'static str);

impl Services for Runs {
    fn state(&self, daemon: &str) -> ServiceState {
        ServiceState { enabled: daemon == self.0, started: false }
    }
}

fn info(root: &Path, change: impl FnOnce(&mut Settings)) -> Info {
    let mut settings = Settings {
        root: root.to_owned(),
        meta: root.join("meta.yaml"),
        extras: root.join("extras"),
        platform: root.join("platform"),
        ..Settings::default()
    };
    change(&mut settings);
    Info::spawn(settings, Arc::new(Runs("kvmd-fan")), Box::new(|_| None), &CancellationToken::new())
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn an_automatic_host_becomes_the_machines_name() {
    let root = tempfile::tempdir().unwrap();
    let info = info(root.path(), |_| ());
    assert_eq!(info.meta().await, None);
    write(root.path(), "meta.yaml", "server: {host: '@auto'}\nkvm: {}\n");
    let host = info.node().await.host;
    assert_eq!(info.meta().await, Some(json!({"server": {"host": host}, "kvm": {}})));
    write(root.path(), "meta.yaml", "server: {host: rack-7}\n");
    assert_eq!(info.meta().await, Some(json!({"server": {"host": "rack-7"}})));
    write(root.path(), "meta.yaml", "just words");
    assert_eq!(info.meta().await, Some(json!("just words")));
}

#[tokio::test]
async fn the_factory_meta_file_is_good() {
    let root = tempfile::tempdir().unwrap();
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/etc/kvmd/meta.yaml");
    let info = info(root.path(), |settings| settings.meta = overlay);
    let host = info.node().await.host;
    assert_eq!(info.meta().await, Some(json!({"server": {"host": host}, "kvm": {}})));
}

#[tokio::test]
async fn extras_without_their_directory_are_unknown() {
    let root = tempfile::tempdir().unwrap();
    let info = info(root.path(), |_| ());
    assert_eq!(info.extras().await, None);
    write(root.path(), "extras/a-b/manifest.yaml", "daemon: kvmd-fan\n");
    assert_eq!(info.extras().await.unwrap()["a_b"]["enabled"], true);
}

#[tokio::test]
async fn a_fan_is_monitored_where_it_has_a_socket_and_a_daemon() {
    let root = tempfile::tempdir().unwrap();
    assert!(!info(root.path(), |_| ()).fan().await.monitored);
    let socket = |settings: &mut Settings| settings.fan_socket = Some("/run/kvmd/fan.sock".into());
    assert!(info(root.path(), socket).fan().await.monitored);
    let other = |settings: &mut Settings| {
        socket(settings);
        settings.fan_daemon = "nobody".to_owned();
    };
    assert!(!info(root.path(), other).fan().await.monitored);
}

#[tokio::test]
async fn the_system_is_the_kernel_the_board_and_the_configured_streamer() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "platform", "PIKVM_MODEL=vm\n");
    let info = info(root.path(), |settings| settings.streamer.app = "kvmd-streamer".to_owned());
    let system = info.system().await;
    assert_eq!((system.kvmd_version.as_str(), system.streamer.app.as_str()), ("4.197", "kvmd-streamer"));
    assert_eq!(system.platform.model.as_deref(), Some("vm"));
    assert_eq!(info.hw().await.platform, system.platform);
    assert!(!system.kernel.machine.is_empty());
}

#[tokio::test]
async fn a_changed_health_is_told_to_watchers() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "sys/class/thermal/thermal_zone0/temp", "40000");
    let info = info(root.path(), |settings| settings.health_poll = Duration::from_millis(10));
    let mut watcher = info.watch_health();
    let mut at = async |degrees| {
        let seen = watcher.wait_for(|health| health.temp.cpu == Some(degrees));
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
    };
    at(40.0).await;
    write(root.path(), "sys/class/thermal/thermal_zone0/temp", "41000");
    at(41.0).await;
}
