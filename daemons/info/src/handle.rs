//! The handle, and the pollers behind its watches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::extras::{self, Extra, PortResolver, Services};
use crate::fan;
use crate::health::{self, Doctor};
use crate::model::{Fan, Health, Hw, Node, Platform, Streamer, System, Uptime};
use crate::watched::{Tell, Watched};
use crate::{Value, system, yaml};

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
    pub health_poll: Duration,
    /// The fan daemon's unit.
    pub fan_daemon: String,
    /// The fan daemon's socket; `None`: there is no fan daemon.
    pub fan_socket: Option<PathBuf>,
    /// How long the fan daemon may take.
    pub fan_timeout: Duration,
    /// How often it is asked.
    pub fan_poll: Duration,
    /// The level of the contract we keep.
    pub kvmd_version: String,
    /// Our own release.
    pub release: String,
    /// The streamer program.
    pub streamer: Streamer,
}

impl Default for Settings {
    fn default() -> Self {
        let five = Duration::from_secs(5);
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

/// How often the name is looked at.
const NODE_POLL: Duration = Duration::from_secs(1);
/// How often the uptime is told.
const UPTIME_POLL: Duration = Duration::from_secs(5);
/// What stands for the machine's own name in meta.yaml.
const AUTO: &str = "@auto";

struct Inner {
    settings: Settings,
    services: Arc<dyn Services>,
    ports: PortResolver,
    doctor: Mutex<Doctor>,
    health: Watched<Health>,
    node: Watched<Node>,
    uptime: Watched<Uptime>,
    fan: Watched<Fan>,
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
        let (health_poll, fan_poll) = (settings.health_poll, settings.fan_poll);
        let doctor = Mutex::new(Doctor::new(settings.root.clone(), settings.ignore_past));
        let inner = Inner {
            settings,
            services,
            ports,
            doctor,
            health: Watched::default(),
            node: Watched::default(),
            uptime: Watched::default(),
            fan: Watched::default(),
        };
        let info = Self(Arc::new(inner));
        let own = info.clone();
        let pollers = async move {
            tokio::join!(
                own.0.health.poll(health_poll, Tell::Changes, || own.health()),
                own.0.node.poll(NODE_POLL, Tell::Changes, || own.node()),
                own.0.uptime.poll(UPTIME_POLL, Tell::Always, || own.uptime()),
                own.0.fan.poll(fan_poll, Tell::Changes, || own.fan()),
            )
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(pollers));
        info
    }

    /// The software and the board.
    pub async fn system(&self) -> System {
        self.blocking(|inner| System {
            kvmd_version: inner.settings.kvmd_version.clone(),
            release: inner.settings.release.clone(),
            streamer: inner.settings.streamer.clone(),
            kernel: system::kernel(),
            platform: inner.platform(),
        })
        .await
    }

    /// How the machine feels, at most a second ago.
    pub async fn health(&self) -> Health {
        self.blocking(Inner::examine).await
    }

    /// Health and platform, as old clients ask for them.
    pub async fn hw(&self) -> Hw {
        self.blocking(|inner| Hw { health: inner.examine(), platform: inner.platform() }).await
    }

    /// The administrator's file; `None` when it cannot be read.
    pub async fn meta(&self) -> Option<Value> {
        self.blocking(|inner| match yaml::read(&inner.settings.meta) {
            Ok(mut meta) => {
                if let Some(host) = meta.pointer_mut("/server/host").filter(|host| *host == AUTO) {
                    *host = Value::String(system::node().host);
                }
                Some(meta)
            }
            Err(error) => {
                log::warn!("{}: {error}", inner.settings.meta.display());
                None
            }
        })
        .await
    }

    /// The add-ons; `None` when their directory cannot be read.
    pub async fn extras(&self) -> Option<BTreeMap<String, Extra>> {
        self.0.services.refresh().await;
        self.blocking(|inner| {
            let read = extras::read(&inner.settings.extras, &*inner.services, &inner.ports);
            read.map_err(|error| log::warn!("{}: {error}", inner.settings.extras.display())).ok()
        })
        .await
    }

    /// The machine's name.
    pub async fn node(&self) -> Node {
        // One system call: not worth a thread.
        system::node()
    }

    /// Time since the start.
    pub async fn uptime(&self) -> Uptime {
        self.blocking(|inner| health::uptime(&inner.settings.root)).await
    }

    /// The fan: what the fan daemon says where one is configured, else the fan the kernel drives itself.
    pub async fn fan(&self) -> Fan {
        let inner = &self.0;
        let Some(socket) = &inner.settings.fan_socket else {
            let state = self.blocking(|inner| fan::of_kernel(&inner.settings.root)).await;
            return Fan { monitored: state.is_some(), state };
        };
        inner.services.refresh().await;
        let service = inner.services.state(&inner.settings.fan_daemon);
        if !service.enabled && !service.started {
            return Fan::default();
        }
        let said = fan::ask(socket, inner.settings.fan_timeout).await;
        // A daemon that is enabled and not up yet is no news every few seconds.
        let state = said.inspect_err(|error| log::debug!("{}: {error}", socket.display())).ok();
        Fan { monitored: true, state }
    }

    /// Changes of health, looked for every `health_poll` while the receiver lives. What is now, [`Info::health`] says.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.0.health.subscribe()
    }

    /// Changes of the name, looked for every second while the receiver lives. What is now, [`Info::node`] says.
    #[must_use]
    pub fn watch_node(&self) -> watch::Receiver<Node> {
        self.0.node.subscribe()
    }

    /// The uptime every five seconds while the receiver lives.
    #[must_use]
    pub fn watch_uptime(&self) -> watch::Receiver<Uptime> {
        self.0.uptime.subscribe()
    }

    /// Changes of the fan, looked for every `fan_poll` while the receiver lives. What is now, [`Info::fan`] says.
    #[must_use]
    pub fn watch_fan(&self) -> watch::Receiver<Fan> {
        self.0.fan.subscribe()
    }

    /// Files may be on a slow card, and a firmware takes its time.
    async fn blocking<T: Default + Send + 'static>(
        &self,
        read: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> T {
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || read(&inner)).await.unwrap_or_else(|error| {
            log::error!("reading about this machine failed: {error}");
            T::default()
        })
    }
}

impl Inner {
    fn examine(&self) -> Health {
        self.doctor.lock().unwrap_or_else(PoisonError::into_inner).look(Instant::now())
    }

    fn platform(&self) -> Platform {
        system::platform(&self.settings.root, &self.settings.platform)
    }
}
