//! Facts about the appliance (section 7.1), one event a field.

use crate::event::{self, Event};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Everything `GET /info` can show.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Info))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// Whether people must log in.
    pub auth: Auth,
    /// What else runs here, by identifier; null when unknown.
    pub extras: Option<BTreeMap<String, Value>>,
    /// The fan.
    pub fan: Fan,
    /// Temperatures and load.
    pub health: Health,
    /// The owner's own words; null when unreadable.
    pub meta: Option<Value>,
    /// The host's name.
    pub node: Node,
    /// Versions and the board.
    pub system: System,
    /// Time since boot.
    pub uptime: Uptime,
}

/// Whether people must log in.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Auth))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auth {
    /// They must.
    pub enabled: bool,
}

/// The fan.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Fan))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fan {
    /// A fan daemon runs.
    pub monitored: bool,
    /// What it says.
    pub state: Option<Value>,
}

/// Temperatures and load.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Health))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Degrees Celsius.
    pub temp: Temperature,
    /// Processor load.
    pub cpu: Cpu,
    /// Memory.
    pub mem: Memory,
    /// Supply faults; null on boards without the sensor.
    pub throttling: Option<Throttling>,
}

/// Degrees Celsius.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Temperature))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Temperature {
    /// The processor's.
    pub cpu: Option<f64>,
    /// The graphics processor's, where the board has such a sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<f64>,
}

/// Processor load.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Cpu))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Of all cores together.
    pub percent: Option<u32>,
}

/// Memory.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Memory))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// In use.
    pub percent: Option<f64>,
    /// Bytes.
    pub total: Option<u64>,
    /// Bytes.
    pub available: Option<u64>,
}

/// Supply faults of a Raspberry Pi.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Throttling))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// As the firmware says it.
    pub raw_flags: u32,
    /// The same by name.
    pub parsed_flags: ThrottlingFlags,
    /// What is over shall not be shown.
    pub ignore_past: bool,
}

/// Supply faults by name.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::ThrottlingFlags))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottlingFlags {
    /// Too little voltage.
    pub undervoltage: NowPast,
    /// The clock is capped.
    pub freq_capped: NowPast,
    /// The processor is slowed down.
    pub throttled: NowPast,
}

/// A fault now, or since boot.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::NowPast))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NowPast {
    /// At this moment.
    pub now: bool,
    /// At any time since boot.
    pub past: bool,
}

/// The host's name.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Node))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The kernel's host name.
    pub host: String,
}

/// Versions and the board.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::System))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// The level of the contract.
    pub kvmd: Version,
    /// Our own release, beside the contract's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The program that captures.
    pub streamer: StreamerVersion,
    /// The kernel.
    pub kernel: Kernel,
    /// The board.
    pub platform: Platform,
}

/// A version.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Version))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// `major.minor`.
    pub version: String,
}

/// The program that captures.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::StreamerVersion))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamerVersion {
    /// Its name.
    pub app: String,
    /// Its version.
    pub version: String,
    /// What it was built with.
    pub features: BTreeMap<String, bool>,
}

/// The kernel, as `uname` says it.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Kernel))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// `Linux`.
    pub system: String,
    /// Release.
    pub release: String,
    /// Build.
    pub version: String,
    /// Architecture.
    pub machine: String,
}

/// The board.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Platform))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `rpi` always: clients know no other word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The board's own name.
    pub base: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The appliance's model.
    pub model: Option<String>,
    /// The capture device's kind.
    pub video: Option<String>,
    /// The board's short name.
    pub board: Option<String>,
}

/// Time since boot.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::Uptime))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// Seconds.
    pub total: u64,
    /// The same for reading.
    pub parts: UptimeParts,
}

/// Time since boot in parts.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = info::UptimeParts))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UptimeParts {
    /// Days.
    pub days: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 59.
    pub seconds: u64,
}

impl Uptime {
    /// `total` seconds, also in parts.
    #[must_use]
    pub const fn from_secs(total: u64) -> Self {
        let parts = UptimeParts {
            days: total / 86_400,
            hours: total / 3600 % 24,
            minutes: total / 60 % 60,
            seconds: total % 60,
        };
        Self { total, parts }
    }
}

/// A part of [`Info`] that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// [`Info::auth`]
    Auth,
    /// [`Info::extras`]
    Extras,
    /// [`Info::fan`]
    Fan,
    /// [`Info::health`]
    Health,
    /// Health and platform together, as older clients know them.
    Hw,
    /// [`Info::meta`]
    Meta,
    /// [`Info::node`]
    Node,
    /// [`Info::system`]
    System,
    /// [`Info::uptime`]
    Uptime,
}

impl Field {
    /// What exists in the current view.
    pub const CURRENT: &[Self] = &[
        Self::Auth,
        Self::Extras,
        Self::Fan,
        Self::Health,
        Self::Meta,
        Self::Node,
        Self::System,
        Self::Uptime,
    ];

    /// What the old view shows when nothing is asked for: `hw` stands in for `health`.
    pub const LEGACY_DEFAULT: &[Self] =
        &[Self::Auth, Self::Extras, Self::Fan, Self::Hw, Self::Meta, Self::Node, Self::System, Self::Uptime];

    /// The key on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Extras => "extras",
            Self::Fan => "fan",
            Self::Health => "health",
            Self::Hw => "hw",
            Self::Meta => "meta",
            Self::Node => "node",
            Self::System => "system",
            Self::Uptime => "uptime",
        }
    }

    /// The field of that name in any case; `hw` only in the old view.
    #[must_use]
    pub fn parse(raw: &str, legacy: bool) -> Option<Self> {
        let name = raw.trim().to_ascii_lowercase();
        Self::CURRENT.iter().chain(legacy.then_some(&Self::Hw)).find(|field| field.name() == name).copied()
    }
}

impl Info {
    /// One field as JSON.
    #[must_use]
    pub fn field(&self, field: Field) -> Value {
        match field {
            Field::Auth => event::to_value(&self.auth),
            Field::Extras => event::to_value(&self.extras),
            Field::Fan => event::to_value(&self.fan),
            Field::Health => event::to_value(&self.health),
            Field::Hw => json!({"health": self.health, "platform": self.system.platform}),
            Field::Meta => event::to_value(&self.meta),
            Field::Node => event::to_value(&self.node),
            Field::System => event::to_value(&self.system),
            Field::Uptime => event::to_value(&self.uptime),
        }
    }

    /// The asked-for fields, as `GET /info` answers. Where `hw` is among them, it takes `health` and the
    /// system's `platform` over.
    #[must_use]
    pub fn select(&self, fields: &[Field]) -> Value {
        let mut result: Map<String, Value> =
            fields.iter().map(|field| (field.name().to_owned(), self.field(*field))).collect();
        if fields.contains(&Field::Hw) {
            result.remove("health");
            if let Some(Value::Object(system)) = result.get_mut("system") {
                system.remove("platform");
            }
        }
        Value::Object(result)
    }

    /// One event a field, for a new client.
    #[must_use]
    pub fn full(&self) -> Vec<Event> {
        Field::CURRENT.iter().map(|field| self.event(*field)).collect()
    }

    /// The event of one field.
    #[must_use]
    pub fn event(&self, field: Field) -> Event {
        Event::new(event::INFO, json!({field.name(): self.field(field)}))
    }
}

/// The fields that differ and are worth an event. The uptime always differs and is sent on its own clock.
#[must_use]
pub fn changed(old: &Info, new: &Info) -> Vec<Field> {
    let pairs = [
        (Field::Auth, old.auth != new.auth),
        (Field::Extras, old.extras != new.extras),
        (Field::Fan, old.fan != new.fan),
        (Field::Health, old.health != new.health),
        (Field::Meta, old.meta != new.meta),
        (Field::Node, old.node != new.node),
        (Field::System, old.system != new.system),
    ];
    pairs.into_iter().filter_map(|(field, differs)| differs.then_some(field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hw_exists_in_the_old_view_only() {
        assert_eq!(Field::parse("HW", true), Some(Field::Hw));
        assert_eq!(Field::parse("hw", false), None);
        assert_eq!(Field::parse(" meta ", false), Some(Field::Meta));
        assert_eq!(Field::parse(";", true), None);
    }

    #[test]
    fn uptime_parts_add_up() {
        assert_eq!(
            Uptime::from_secs(90_061).parts,
            UptimeParts { days: 1, hours: 1, minutes: 1, seconds: 1 }
        );
    }
}
