//! What may be asked of the supervisor about the system itself: its owner, its names, its network, its end.
//!
//! One verb of the control socket, [`Request::System`](crate::supervisor::Request::System), carries one [`Ask`] and is
//! answered by one [`Told`]. What only a system that was started from an image has is refused elsewhere with
//! [`Told::NotImage`]. The rules for names, addresses and keys are in [`rule`].

pub mod rule;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Text that never shows in a log: what is asked is logged, what is secret is not.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Secret))]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(secret)")
    }
}

/// One question or wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How everything is: [`Told::State`].
    Show,
    /// Whether this is the code on the console: [`Told::Claim`].
    CheckClaim {
        /// As it was typed.
        code: Secret,
    },
    /// There is a user now: the code is taken from the console.
    Claimed,
    /// Calls the machine so.
    SetHostname {
        /// One label.
        name: String,
    },
    /// Takes the clock to be read there.
    SetTimezone {
        /// A name of the time zone database.
        name: String,
    },
    /// Lets exactly these keys in by SSH, beside those with options.
    SetSshKeys {
        /// One line each, as in `authorized_keys`.
        keys: Vec<String>,
    },
    /// Lets passwords in by SSH, or not.
    AllowSshPassword {
        /// Lets them in.
        on: bool,
    },
    /// Tries other network settings: they are taken back after [`NETWORK_TRIAL_S`] unless confirmed.
    TryNetwork {
        /// All interfaces that have settings; one that is not there gets an address by DHCP.
        network: Network,
    },
    /// Keeps the network settings that are on trial.
    ConfirmNetwork,
    /// Takes the network settings back that are on trial.
    UndoNetwork,
    /// Restarts the machine.
    Reboot,
    /// Restarts the machine as it came: settings, users, logs and keys are gone.
    FactoryReset {
        /// The drive's images too.
        drive: bool,
    },
}

impl Ask {
    /// Whether it only looks.
    #[must_use]
    pub fn looks(&self) -> bool {
        matches!(self, Self::Show)
    }

    /// Whether it says who comes in as root.
    #[must_use]
    pub fn opens_ssh(&self) -> bool {
        matches!(self, Self::SetSshKeys { .. } | Self::AllowSshPassword { .. })
    }

    /// Whether asking it is worth no line of the log: anybody in the network may have it asked.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Show | Self::CheckClaim { .. })
    }
}

/// How long network settings are on trial, in seconds.
pub const NETWORK_TRIAL_S: u64 = 60;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "snake_case")]
pub enum Told {
    /// Done, or on its way.
    Done,
    /// How everything is.
    State {
        /// The whole of it.
        state: Box<State>,
    },
    /// What became of a code.
    Claim {
        /// That.
        check: ClaimCheck,
    },
    /// This is no system that was started from an image.
    NotImage,
    /// The wish makes no sense.
    Invalid {
        /// Why, in one line for people.
        reason: String,
    },
}

/// What became of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ClaimCheck {
    /// It is the one on the console.
    Right,
    /// It is not.
    Wrong,
    /// It is not, and there were too many: another one is on the console now.
    Renewed,
    /// Not looked at: too many wrong ones.
    Throttled {
        /// When to come again, in milliseconds.
        wait_ms: u64,
    },
    /// There is an owner already.
    Claimed,
}

/// How the system is.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::State))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Whether it was started from an image.
    pub image: bool,
    /// The release it was started from.
    pub release: Option<Release>,
    /// The slot it was started from: `a` or `b`.
    pub slot: Option<String>,
    /// Its name.
    pub hostname: String,
    /// Its time zone.
    pub timezone: String,
    /// Whether it has an owner.
    pub claimed: bool,
    /// Whether what it had kept was lost, and it runs without keeping anything.
    pub data_lost: bool,
    /// When the stages of the start began, by the kernel's clock: `initramfs`, `systemd`, `supervisor`, `kvmd`, and `ready`, when
    /// all services answered for the first time. What firmware and boot loader took is in none of them.
    pub stages: Vec<Stage>,
    /// Who may come by SSH.
    pub ssh: Ssh,
    /// The network settings.
    pub network: Network,
    /// While they are on trial: how long they still are, in milliseconds.
    pub network_trial_ms: Option<u64>,
    /// The interfaces there are.
    pub interfaces: Vec<Link>,
}

/// The release of an image.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Release))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// The board it is for.
    pub board: String,
    /// What it was built from.
    pub build: String,
}

/// A stage of the start.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Stage))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Which.
    pub name: String,
    /// When it began, in milliseconds of the kernel's clock.
    pub at_ms: u64,
}

/// Who may come by SSH.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Ssh))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// The keys that are let in.
    pub keys: Vec<String>,
    /// Other lines, keys with options mostly: they are let in as well, and a shell alone changes them.
    #[serde(default)]
    pub others: usize,
    /// Whether passwords are.
    pub password_login: bool,
    /// Whether the settings leave this to a shell.
    #[serde(default)]
    pub shell_only: bool,
}

/// Network settings: what differs from an address by DHCP.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Network))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// By interface, each once.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
}

/// The settings of one interface.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Interface))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name: `eth0`.
    pub name: String,
    /// A fixed address; `None` = DHCP.
    #[serde(default)]
    pub fixed: Option<Fixed>,
    /// For a wireless one: which network.
    #[serde(default)]
    pub wifi: Option<Wifi>,
}

/// A fixed address.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Fixed))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// The address.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpAddr,
    /// How many of its bits name the network.
    pub prefix: u8,
    /// The way out.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub gateway: Option<IpAddr>,
    /// Who knows names.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub dns: Vec<IpAddr>,
}

/// A wireless network.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Wifi))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wifi {
    /// Its name.
    pub ssid: String,
    /// Its password. Not told back; empty in a wish: the one that is kept for this network, or none for an open one.
    #[serde(default = "no_secret")]
    pub psk: Secret,
    /// Whose rules for radio hold: two letters.
    #[serde(default)]
    pub country: Option<String>,
    /// Told back: whether there is a password.
    #[serde(default)]
    pub secured: bool,
}

fn no_secret() -> Secret {
    Secret(String::new())
}

/// An interface as it is now.
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = system::Link))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Whether it is wireless.
    pub wireless: bool,
    /// Whether there is somebody at the other end.
    pub up: bool,
    /// Its addresses, with the length of the network's part.
    pub addresses: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_shows_in_no_log() {
        let wifi = Wifi {
            ssid: "net".to_owned(),
            psk: Secret("hush-hush".to_owned()),
            country: None,
            secured: true,
        };
        let interface = Interface { name: "wlan0".to_owned(), fixed: None, wifi: Some(wifi) };
        let asks = [
            Ask::CheckClaim { code: Secret("hush-hush".to_owned()) },
            Ask::TryNetwork { network: Network { interfaces: vec![interface] } },
        ];
        for ask in asks {
            assert!(!format!("{ask:?}").contains("hush"), "{ask:?}");
            let text = serde_json::to_string(&ask).unwrap();
            assert!(text.contains("hush-hush"), "but it arrives");
            assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask);
        }
    }

    #[test]
    fn asks_keep_their_spelling() {
        for (ask, text) in [
            (Ask::Show, r#"{"do":"show"}"#),
            (Ask::Claimed, r#"{"do":"claimed"}"#),
            (Ask::SetHostname { name: "kvm".into() }, r#"{"do":"set_hostname","name":"kvm"}"#),
            (Ask::AllowSshPassword { on: true }, r#"{"do":"allow_ssh_password","on":true}"#),
            (Ask::FactoryReset { drive: false }, r#"{"do":"factory_reset","drive":false}"#),
        ] {
            assert_eq!(serde_json::to_string(&ask).unwrap(), text);
            assert_eq!(serde_json::from_str::<Ask>(text).unwrap(), ask);
        }
    }
}
