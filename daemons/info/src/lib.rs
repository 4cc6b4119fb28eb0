//! What this machine is: platform, health, uptime, fan, extras (contract: sections 7.1, 8.1 and 20 of the API).
//!
//! Everything is read from the files the kernel and the administrator keep, never by starting a program. [`Info`] is the
//! handle: `system`, `meta`, `extras` are read on request; `health`, `node`, `uptime` and `fan` can also be watched.
//! A poller reads its source only while somebody watches it; an unwatched `Info` costs nothing.
//!
//! Of a Raspberry Pi: model and serial number of the device tree, the firmware's word on its power supply (the vendor
//! kernel's attribute or the mainline kernel's voltage sensor; the mailbox only where its node is readable, which the
//! appliance does not arrange), and the fan the kernel drives.
//!
//! What a board does not have is `None`, never a made-up value.
//!
//! Not done here: who may log in (`auth` of the contract), the legacy `hw` grouping beyond [`Info::hw`], JSON shapes of
//! our own. Free-form content of the administrator's files (meta, extras) passes through as [`serde_json::Value`].

mod extras;
mod fan;
mod handle;
mod health;
mod hwmon;
mod model;
mod system;
mod throttle;
mod watched;
mod yaml;

pub use extras::{Extra, PortResolver, Refresh, ServiceState, Services};
pub use handle::{Info, Settings};
pub use model::{
    Cpu, Fan, Features, Health, Hw, Kernel, Memory, Node, NowPast, Platform, Streamer, System, Temperature,
    Throttling, Uptime,
};

/// A value of a file somebody else words: meta.yaml, extras manifests.
pub type Value = serde_json::Value;
