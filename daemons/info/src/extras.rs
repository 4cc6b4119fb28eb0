//! Extras: add-ons that announce themselves by a manifest in a directory.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Value;

/// Whether a daemon is meant to run, and does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// It is started with the machine or on request.
    pub enabled: bool,
    /// It runs now.
    pub started: bool,
}

/// Who knows what runs.
pub trait Services: Send + Sync {
    /// The state of a daemon, named without `.service`. One nobody knows is neither enabled nor started.
    fn state(&self, daemon: &str) -> ServiceState;
}

/// Knows the number behind a path like `vnc/server/port` of the configuration.
pub type PortResolver = Box<dyn Fn(&str) -> Option<u16> + Send + Sync>;

/// One add-on: its manifest, with what we computed put in.
pub type Extra = serde_json::Map<String, Value>;

/// Reads every manifest below `dir`. Unreadable ones are skipped and logged.
pub(crate) fn read(
    dir: &Path,
    services: &dyn Services,
    ports: &PortResolver,
) -> Option<BTreeMap<String, Extra>> {
    let _ = (dir, services, ports);
    None
}
