//! Extras: add-ons that announce themselves by a manifest in a directory (contract: section 20).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::pin::Pin;

use serde_json::{Map, json};

use crate::{Value, yaml};

/// At most this many add-ons are listed.
const EXTRAS: usize = 64;

/// Whether a daemon is meant to run, and does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// It is started with the machine or on request.
    pub enabled: bool,
    /// It runs now.
    pub started: bool,
}

/// The end of a refresh.
pub type Refresh<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Who knows what runs.
pub trait Services: Send + Sync {
    /// The state of a daemon, named without `.service`, as of the last refresh; never blocks. One nobody knows is neither
    /// enabled nor started.
    fn state(&self, daemon: &str) -> ServiceState;

    /// Comes before states are asked for. Must not take long, whatever is the matter.
    fn refresh(&self) -> Refresh<'_> {
        Box::pin(std::future::ready(()))
    }
}

/// Knows the number behind a path like `vnc/server/port` of the configuration.
pub type PortResolver = Box<dyn Fn(&str) -> Option<u16> + Send + Sync>;

/// One add-on: its manifest, with what we computed put in.
pub type Extra = Map<String, Value>;

/// Reads every manifest below `dir`. Unreadable ones are skipped and logged.
pub(crate) fn read(
    dir: &Path,
    services: &dyn Services,
    ports: &PortResolver,
) -> io::Result<BTreeMap<String, Extra>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)?.take(EXTRAS) {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && entry.path().is_dir()
        {
            names.push(name);
        }
    }
    // Two names may become one key: the later name wins, whatever order the directory has.
    names.sort();
    let mut extras = BTreeMap::new();
    for name in names {
        let path = dir.join(&name).join("manifest.yaml");
        match yaml::read(&path) {
            Ok(Value::Object(manifest)) => {
                extras.insert(key(&name), complete(manifest, services, ports));
            }
            Ok(_) => log::warn!("{}: not a mapping", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("{}: {error}", path.display()),
        }
    }
    Ok(extras)
}

/// Every run of other characters becomes one `_`.
fn key(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    let mut in_run = false;
    for c in name.chars() {
        let plain = c.is_ascii_alphanumeric() || c == '_';
        if plain || !in_run {
            key.push(if plain { c } else { '_' });
        }
        in_run = !plain;
    }
    key
}

fn complete(mut manifest: Extra, services: &dyn Services, ports: &PortResolver) -> Extra {
    let daemon = manifest.get("daemon").and_then(Value::as_str).unwrap_or_default().trim();
    let daemon = daemon.strip_suffix(".service").unwrap_or(daemon);
    if !daemon.is_empty() {
        let ServiceState { enabled, started } = services.state(daemon);
        manifest.insert("enabled".to_owned(), json!(enabled));
        manifest.insert("started".to_owned(), json!(started));
    }
    if let Some(Value::String(path)) = manifest.get("port") {
        let port = ports(path).unwrap_or(0);
        manifest.insert("port".to_owned(), json!(port));
    }
    manifest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct OnlyVnc;

    impl Services for OnlyVnc {
        fn state(&self, daemon: &str) -> ServiceState {
            let known = daemon == "kvmd-vnc";
            ServiceState { enabled: known, started: known }
        }
    }

    fn ports() -> PortResolver {
        Box::new(|path| (path == "vnc/server/port").then_some(5900))
    }

    fn extras(manifests: &[(&str, &str)]) -> BTreeMap<String, Extra> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in manifests {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("manifest.yaml"), text).unwrap();
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        read(dir.path(), &OnlyVnc, &ports()).unwrap()
    }

    #[test]
    fn a_daemon_and_a_port_are_looked_up_and_the_rest_passes_through() {
        let text = "name: VNC\ndaemon: kvmd-vnc.service\nplace: 20\nport: vnc/server/port\nown: [1, two]\n";
        let found = extras(&[("vnc", text)]);
        let wanted = json!({
            "name": "VNC", "daemon": "kvmd-vnc.service", "place": 20, "port": 5900, "own": [1, "two"],
            "enabled": true, "started": true,
        });
        assert_eq!(Value::Object(found["vnc"].clone()), wanted);
    }

    #[test]
    fn a_daemon_nobody_knows_is_off_and_a_port_nobody_knows_is_zero() {
        let found = extras(&[("x", "daemon: kvmd-x\nport: no/such\nenabled: true\n")]);
        assert_eq!(
            Value::Object(found["x"].clone()),
            json!({"daemon": "kvmd-x", "port": 0, "enabled": false, "started": false})
        );
    }

    #[test]
    fn without_a_daemon_the_manifest_speaks_for_itself() {
        let found = extras(&[("x", "enabled: true\nport: 80\ndaemon: ''\n")]);
        assert_eq!(Value::Object(found["x"].clone()), json!({"enabled": true, "port": 80, "daemon": ""}));
    }

    #[test]
    fn hidden_broken_and_missing_manifests_are_skipped() {
        let found =
            extras(&[(".hidden", "a: 1"), ("broken", "a: ["), ("list", "[1]"), ("janus-static", "a: 1")]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["janus_static"]);
        assert!(read(Path::new("/nowhere"), &OnlyVnc, &ports()).is_err());
    }

    #[test]
    fn our_own_manifests_are_whole() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/usr/share/kvmd/extras");
        let found = read(&dir, &OnlyVnc, &ports()).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["ipmi", "janus", "janus_static", "vnc", "webterm"]);
        for (name, extra) in &found {
            for field in ["name", "description", "path", "daemon"] {
                assert!(extra[field].as_str().is_some_and(|text| !text.is_empty()), "{name}.{field}");
            }
            assert!(extra["place"].is_i64(), "{name}.place");
            assert_eq!(extra["started"], name == "vnc", "{name}.started");
        }
        assert_eq!(found["vnc"]["port"], 5900);
    }

    proptest! {
        #[test]
        fn a_key_has_only_letters_digits_and_single_runs(name in ".{0,20}") {
            let key = key(&name);
            prop_assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            if !name.contains('_') {
                prop_assert!(!key.contains("__"));
            }
        }
    }
}
