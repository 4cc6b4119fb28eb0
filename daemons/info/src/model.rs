//! The shapes of what we know.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Value;

/// Temperatures in °C.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Temperature {
    /// The processor.
    pub cpu: Option<f64>,
    /// The graphics part, where the board measures it apart.
    pub gpu: Option<f64>,
}

/// The processor's load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// 0..=100, over the time since the last look. Unknown until there were two looks.
    pub percent: Option<u8>,
}

/// Memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Memory {
    /// In use, 0..=100 with one digit after the point.
    pub percent: Option<f64>,
    /// Bytes.
    pub total_bytes: Option<u64>,
    /// Bytes that programs could still have.
    pub available_bytes: Option<u64>,
}

/// Whether something is so, and whether it ever was since the board was switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NowPast {
    /// Now.
    pub now: bool,
    /// Ever since power-on.
    pub past: bool,
}

/// What the board's firmware says about its power supply and cooling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// The firmware's word: bits 0..=2 now, 16..=18 past.
    pub raw_flags: u32,
    /// The supply is too weak.
    pub undervoltage: NowPast,
    /// The clock is capped.
    pub freq_capped: NowPast,
    /// The clock is reduced.
    pub throttled: NowPast,
    /// The user does not want to be told of the past.
    pub ignore_past: bool,
}

impl Throttling {
    /// Takes the firmware's word apart.
    #[must_use]
    pub fn from_flags(raw_flags: u32, ignore_past: bool) -> Self {
        let bit = |n: u32| raw_flags >> n & 1 == 1;
        let pair = |n: u32| NowPast { now: bit(n), past: bit(n + 16) };
        Self { raw_flags, undervoltage: pair(0), freq_capped: pair(1), throttled: pair(2), ignore_past }
    }
}

/// How the machine feels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Health {
    /// Temperatures.
    pub temp: Temperature,
    /// Load.
    pub cpu: Cpu,
    /// Memory.
    pub mem: Memory,
    /// Power supply and cooling; `None` where the board cannot tell.
    pub throttling: Option<Throttling>,
}

/// What the board is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// The family; the contract knows only `rpi`.
    pub kind: &'static str,
    /// The board's own name for itself, from the device tree.
    pub base: Option<String>,
    /// Its serial number in capitals.
    pub serial: Option<String>,
    /// `PIKVM_MODEL`.
    pub model: Option<String>,
    /// `PIKVM_VIDEO`.
    pub video: Option<String>,
    /// `PIKVM_BOARD`.
    pub board: Option<String>,
}

/// Health and platform together, as old clients ask for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hw {
    /// How it feels.
    pub health: Health,
    /// What it is.
    pub platform: Platform,
}

/// The running kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `Linux`.
    pub system: String,
    /// `6.12.1`.
    pub release: String,
    /// The build's own words.
    pub version: String,
    /// `aarch64`.
    pub machine: String,
}

/// What a streamer was built with, by name.
pub type Features = BTreeMap<String, bool>;

/// The streamer program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streamer {
    /// Its name.
    pub app: String,
    /// Its version.
    pub version: String,
    /// What it can do.
    pub features: Features,
}

/// The software.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// The level of the contract we keep, `4.197`.
    pub kvmd_version: String,
    /// Our own release.
    pub release: String,
    /// The streamer.
    pub streamer: Streamer,
    /// The kernel.
    pub kernel: Kernel,
    /// The board.
    pub platform: Platform,
}

/// The machine's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The kernel's host name.
    pub host: String,
}

/// Time since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uptime(pub Duration);

impl Uptime {
    /// Whole seconds.
    #[must_use]
    pub fn total(self) -> u64 {
        self.0.as_secs()
    }

    /// Days.
    #[must_use]
    pub fn days(self) -> u64 {
        self.total() / 86_400
    }

    /// Hours of the day, 0..=23.
    #[must_use]
    pub fn hours(self) -> u64 {
        self.total() / 3600 % 24
    }

    /// Minutes of the hour, 0..=59.
    #[must_use]
    pub fn minutes(self) -> u64 {
        self.total() / 60 % 60
    }

    /// Seconds of the minute, 0..=59.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.total() % 60
    }
}

/// The fan daemon's view.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fan {
    /// There is a fan daemon.
    pub monitored: bool,
    /// What it says, passed through; `None` while it says nothing.
    pub state: Option<Value>,
}
