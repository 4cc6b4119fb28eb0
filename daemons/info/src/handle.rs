//! The handle, and the pollers behind its watches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Value;
use crate::extras::{self, Extra, PortResolver, Services};
use crate::model::{Fan, Health, Hw, Node, Streamer, System, Uptime};

/// Where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Put before `/proc` and `/sys`, so that tests have their own.
    pub root: PathBuf,
    /// The administrator's free-form file.
    pub meta: PathBuf,
    /// The directory of add-ons.
    pub extras: PathBuf,
    /// The platform's key=value file.
    pub platform: PathBuf,
    /// Do not tell of past throttling.
    pub ignore_past: bool,
    /// How often health is looked at.
    pub health_poll: std::time::Duration,
    /// The fan daemon's unit.
    pub fan_daemon: String,
    /// The fan daemon's socket; `None`: there is no fan daemon.
    pub fan_socket: Option<PathBuf>,
    /// How long the fan daemon may take.
    pub fan_timeout: std::time::Duration,
    /// How often it is asked.
    pub fan_poll: std::time::Duration,
    /// The level of the contract we keep.
    pub kvmd_version: String,
    /// Our own release.
    pub release: String,
    /// The streamer program.
    pub streamer: Streamer,
}

impl Default for Settings {
    fn default() -> Self {
        let five = std::time::Duration::from_secs(5);
        Self {
            root: PathBuf::from("/"),
            meta: PathBuf::from("/etc/kvmd/meta.yaml"),
            extras: PathBuf::from("/usr/share/kvmd/extras"),
            platform: PathBuf::from("/usr/lib/kvmd/platform"),
            ignore_past: false,
            health_poll: five,
            fan_daemon: "kvmd-fan".to_owned(),
            fan_socket: None,
            fan_timeout: five,
            fan_poll: five,
            kvmd_version: "4.197".to_owned(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            streamer: Streamer::default(),
        }
    }
}

struct Inner {
    settings: Settings,
    services: Arc<dyn Services>,
    ports: PortResolver,
    health: watch::Sender<Health>,
    node: watch::Sender<Node>,
    uptime: watch::Sender<Uptime>,
    fan: watch::Sender<Fan>,
}

/// The handle.
#[derive(Clone)]
pub struct Info(Arc<Inner>);

impl Info {
    /// Starts the pollers; they end when `stop` is cancelled. Call within a tokio runtime.
    #[must_use]
    pub fn spawn(
        settings: Settings,
        services: Arc<dyn Services>,
        ports: PortResolver,
        stop: &CancellationToken,
    ) -> Self {
        let _ = stop;
        Self(Arc::new(Inner {
            settings,
            services,
            ports,
            health: watch::Sender::default(),
            node: watch::Sender::default(),
            uptime: watch::Sender::default(),
            fan: watch::Sender::default(),
        }))
    }

    /// The software and the board.
    pub async fn system(&self) -> System {
        System::default()
    }

    /// How the machine feels.
    pub async fn health(&self) -> Health {
        *self.0.health.borrow()
    }

    /// Health and platform, as old clients ask for them.
    pub async fn hw(&self) -> Hw {
        Hw::default()
    }

    /// The administrator's file; `None` when it cannot be read.
    pub async fn meta(&self) -> Option<Value> {
        None
    }

    /// The add-ons; `None` when their directory cannot be read.
    pub async fn extras(&self) -> Option<BTreeMap<String, Extra>> {
        extras::read(&self.0.settings.extras, &*self.0.services, &self.0.ports)
    }

    /// The machine's name.
    pub async fn node(&self) -> Node {
        self.0.node.borrow().clone()
    }

    /// Time since the start.
    pub async fn uptime(&self) -> Uptime {
        *self.0.uptime.borrow()
    }

    /// The fan.
    pub async fn fan(&self) -> Fan {
        self.0.fan.borrow().clone()
    }

    /// Health on every change, looked at every `health_poll` while the receiver lives.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    /// The name on every change, looked at every second while the receiver lives.
    #[must_use]
    pub fn watch_node(&self) -> watch::Receiver<Node> {
        self.0.node.subscribe()
    }

    /// The uptime every five seconds while the receiver lives.
    #[must_use]
    pub fn watch_uptime(&self) -> watch::Receiver<Uptime> {
        self.0.uptime.subscribe()
    }

    /// The fan on every change, looked at every `fan_poll` while the receiver lives.
    #[must_use]
    pub fn watch_fan(&self) -> watch::Receiver<Fan> {
        self.0.fan.subscribe()
    }
}
