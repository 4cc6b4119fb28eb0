//! The network's settings: files for systemd-networkd and wpa_supplicant, made from what was wished.
//!
//! ```text
//!              try                    confirm
//!   kept ─────────────▶ on trial ───────────────▶ kept (the new ones)
//!    ▲                     │
//!    └── undo, 60 s, or the next start: kept (the old ones)
//! ```
//!
//! The wish is kept whole in `/etc/kvmd/network.json`, and during a trial the one before beside it: a wrong address locks
//! nobody out for longer than the trial, whatever happens to us or the power meanwhile. An interface without settings gets
//! its address by DHCP, as the image has it.

use std::fs;
use std::io;
use std::path::Path;

use client::system::{Fixed, Interface, Link, Network, Secret, Wifi};

use super::Root;
use crate::file;

const KEPT: &str = "/etc/kvmd/network.json";
const BEFORE: &str = "/etc/kvmd/network-before.json";
const FILES: &str = "/etc/systemd/network";
const PREFIX: &str = "10-kvmd-";
const WIFI: &str = "/etc/wpa_supplicant";
const WIFI_PREFIX: &str = "wpa_supplicant-";
/// More interfaces than this are not shown.
const SHOWN: usize = 16;

/// The settings in force.
#[must_use]
pub fn kept(root: &Root) -> Network {
    parse(root, KEPT).unwrap_or_default()
}

fn parse(root: &Root, path: &str) -> Option<Network> {
    let text = root.text(path)?;
    serde_json::from_str(&text).inspect_err(|error| log::error!("{path}: {error}")).ok()
}

/// Whether a trial is under way, or was when we ended.
#[must_use]
pub fn on_trial(root: &Root) -> bool {
    root.path(BEFORE).exists()
}

/// Writes new settings; with `trial`, those before are kept beside them until [`keep`] or [`undo`].
///
/// # Errors
///
/// The kernel's words; [`undo`] then brings back those before.
pub fn write(root: &Root, wish: &Network, trial: bool) -> io::Result<()> {
    if let Some(dir) = root.path(KEPT).parent() {
        file::directory_if_missing(dir, 0o755)?;
    }
    let before = kept(root);
    if trial && !on_trial(root) {
        // First of all: from here on the next start goes back.
        store(root, BEFORE, &before)?;
    }
    let wish = with_passwords(wish, &before);
    store(root, KEPT, &wish)?;
    render(root, &wish)
}

/// Keeps what is on trial.
///
/// # Errors
///
/// The kernel's words.
pub fn keep(root: &Root) -> io::Result<()> {
    fs::remove_file(root.path(BEFORE))?;
    fs::File::open(root.path("/etc/kvmd"))?.sync_all()
}

/// Takes back what is on trial. Says whether there was a trial.
///
/// # Errors
///
/// The kernel's words; it is then tried again at the next start.
pub fn undo(root: &Root) -> io::Result<bool> {
    if !on_trial(root) {
        return Ok(false);
    }
    // One that cannot be read is no reason to stay unreachable: DHCP everywhere.
    let before = parse(root, BEFORE).unwrap_or_default();
    store(root, KEPT, &before)?;
    render(root, &before)?;
    keep(root)?;
    Ok(true)
}

fn store(root: &Root, path: &str, network: &Network) -> io::Result<()> {
    file::replace(&root.path(path), &serde_json::to_vec(network)?, 0o600)
}

/// The first network of a wish that has a password which we are to know, and do not.
#[must_use]
pub fn unknown_password(root: &Root, wish: &Network) -> Option<String> {
    let kept = kept(root);
    let wifi = wish.interfaces.iter().filter_map(|interface| interface.wifi.as_ref());
    let mut asked = wifi.filter(|wifi| wifi.secured && wifi.psk.0.is_empty());
    let is_known = |ssid: &str| {
        let mut known = kept.interfaces.iter().filter_map(|interface| interface.wifi.as_ref());
        known.any(|wifi| wifi.ssid == ssid && !wifi.psk.0.is_empty())
    };
    asked.find(|wifi| !is_known(&wifi.ssid)).map(|wifi| wifi.ssid.clone())
}

/// A wish without a password for a network that we know means the password that we know.
fn with_passwords(wish: &Network, before: &Network) -> Network {
    let known = |ssid: &str| {
        let wifi = before.interfaces.iter().filter_map(|interface| interface.wifi.as_ref());
        wifi.filter(|wifi| wifi.ssid == ssid).map(|wifi| wifi.psk.clone()).next()
    };
    let mut wish = wish.clone();
    for wifi in wish.interfaces.iter_mut().filter_map(|interface| interface.wifi.as_mut()) {
        if wifi.psk.0.is_empty() && wifi.secured {
            wifi.psk = known(&wifi.ssid).unwrap_or_else(|| Secret(String::new()));
        }
        wifi.secured = !wifi.psk.0.is_empty();
    }
    wish
}

/// The wireless interfaces that have settings (true), or had and have none any more.
#[must_use]
pub fn wireless(root: &Root) -> Vec<(String, bool)> {
    let kept = kept(root);
    let wanted: Vec<String> = kept
        .interfaces
        .iter()
        .filter(|interface| interface.wifi.is_some())
        .map(|interface| interface.name.clone())
        .collect();
    let units = fs::read_dir(root.path("/etc/systemd/system/multi-user.target.wants"))
        .into_iter()
        .flatten()
        .flatten();
    let had = units.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Some(name.strip_prefix("wpa_supplicant@")?.strip_suffix(".service")?.to_owned())
    });
    let gone = had.filter(|name| !wanted.contains(name)).map(|name| (name, false)).collect::<Vec<_>>();
    wanted.iter().map(|name| (name.clone(), true)).chain(gone).collect()
}

/// What may be told: everything but passwords.
#[must_use]
pub fn told(network: &Network) -> Network {
    let mut told = network.clone();
    for wifi in told.interfaces.iter_mut().filter_map(|interface| interface.wifi.as_mut()) {
        wifi.psk = Secret(String::new());
    }
    told
}

/// Makes the files what the settings say; those of interfaces without settings go.
fn render(root: &Root, network: &Network) -> io::Result<()> {
    let (files, wifi) = (root.path(FILES), root.path(WIFI));
    for dir in [&files, &wifi] {
        file::directory_if_missing(dir, 0o755)?;
    }
    let mut wanted = Vec::new();
    for interface in &network.interfaces {
        let name = format!("{PREFIX}{}.network", interface.name);
        file::replace(&files.join(&name), networkd(interface).as_bytes(), 0o644)?;
        wanted.push(name);
        if let Some(wireless) = &interface.wifi {
            let name = format!("{WIFI_PREFIX}{}.conf", interface.name);
            file::replace(&wifi.join(&name), supplicant(wireless).as_bytes(), 0o600)?;
            wanted.push(name);
        }
    }
    sweep(&files, PREFIX, &wanted)?;
    sweep(&wifi, WIFI_PREFIX, &wanted)
}

fn sweep(dir: &Path, prefix: &str, wanted: &[String]) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(prefix) && !wanted.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The file of one interface for systemd-networkd.
fn networkd(interface: &Interface) -> String {
    let mut text = format!(
        "# Written by kvmd-supervisor.\n[Match]\nName={}\n\n[Network]\nLinkLocalAddressing=yes\nMulticastDNS=yes\n",
        interface.name
    );
    match &interface.fixed {
        None => text.push_str("DHCP=yes\n"),
        Some(Fixed { address, prefix, gateway, dns }) => {
            text.push_str(&format!("DHCP=no\nAddress={address}/{prefix}\n"));
            if let Some(gateway) = gateway {
                text.push_str(&format!("Gateway={gateway}\n"));
            }
            for server in dns {
                text.push_str(&format!("DNS={server}\n"));
            }
        }
    }
    // A cable is preferred.
    if interface.wifi.is_some() {
        text.push_str("IgnoreCarrierLoss=3s\n\n[DHCPv4]\nClientIdentifier=mac\nRouteMetric=2048\n\n[IPv6AcceptRA]\nRouteMetric=2048\n");
    } else {
        text.push_str("\n[DHCPv4]\nClientIdentifier=mac\n");
    }
    text
}

/// The file of one interface for wpa_supplicant. A name may hold any byte, so it is written as digits.
///
/// Where a network speaks WPA2 that is taken, also when it speaks WPA3 beside it: drivers do that best. The second entry,
/// of a lower priority, is for one of WPA3 alone, by either way of deriving its password's element (`sae_pwe`).
fn supplicant(wifi: &Wifi) -> String {
    let mut text = "# Written by kvmd-supervisor.\n".to_owned();
    if let Some(country) = &wifi.country {
        text.push_str(&format!("country={country}\n"));
    }
    let psk = &wifi.psk.0;
    let keys = match psk.len() {
        0 => vec!["key_mgmt=NONE".to_owned()],
        64 => vec![format!("key_mgmt=WPA-PSK\n\tpsk={psk}")],
        _ => vec![
            format!("priority=1\n\tkey_mgmt=WPA-PSK WPA-PSK-SHA256\n\tpsk=\"{psk}\""),
            format!("key_mgmt=SAE\n\tieee80211w=2\n\tsae_password=\"{psk}\""),
        ],
    };
    if keys.len() > 1 {
        text.push_str("sae_pwe=2\n");
    }
    let ssid = hex::encode(&wifi.ssid);
    for key in keys {
        text.push_str(&format!("network={{\n\tssid={ssid}\n\tscan_ssid=1\n\t{key}\n}}\n"));
    }
    text
}

/// The interfaces that hardware stands behind.
#[must_use]
pub fn links(root: &Root) -> Vec<Link> {
    let class = root.path("/sys/class/net");
    let mut links: Vec<Link> = fs::read_dir(&class)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .take(SHOWN)
        .map(|entry| {
            let text = |file: &str| {
                fs::read_to_string(entry.path().join(file)).unwrap_or_default().trim().to_owned()
            };
            let wireless = entry.path().join("wireless").exists() || entry.path().join("phy80211").exists();
            Link {
                name: entry.file_name().to_string_lossy().into_owned(),
                mac: text("address"),
                wireless,
                up: text("carrier") == "1",
                addresses: Vec::new(),
            }
        })
        .collect();
    links.sort_by(|one, other| one.name.cmp(&other.name));
    for found in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let Some(link) = links.iter_mut().find(|link| link.name == found.interface_name) else { continue };
        let v4 = found.address.as_ref().and_then(|address| address.as_sockaddr_in());
        let v6 = found.address.as_ref().and_then(|address| address.as_sockaddr_in6());
        if let Some(address) = v4 {
            let mask = found.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in());
            let prefix = mask.map_or(32, |mask| u32::from(mask.ip()).count_ones());
            link.addresses.push(format!("{}/{prefix}", address.ip()));
        } else if let Some(address) = v6 {
            let mask = found.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in6());
            let prefix = mask.map_or(128, |mask| u128::from(mask.ip()).count_ones());
            link.addresses.push(format!("{}/{prefix}", address.ip()));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        (dir, root)
    }

    fn fixed(name: &str, address: &str) -> Network {
        let fixed = Fixed {
            address: address.parse().unwrap(),
            prefix: 24,
            gateway: Some("192.168.1.1".parse().unwrap()),
            dns: vec!["1.1.1.1".parse().unwrap(), "2620:fe::fe".parse().unwrap()],
        };
        Network { interfaces: vec![Interface { name: name.into(), fixed: Some(fixed), wifi: None }] }
    }

    fn wireless(psk: &str, secured: bool) -> Network {
        let wifi =
            Wifi { ssid: "Büro".into(), psk: Secret(psk.into()), country: Some("DE".into()), secured };
        Network { interfaces: vec![Interface { name: "wlan0".into(), fixed: None, wifi: Some(wifi) }] }
    }

    #[test]
    fn a_fixed_address_becomes_a_file_of_networkd_s() {
        let (_dir, root) = root();
        write(&root, &fixed("eth0", "192.168.1.5"), false).unwrap();
        let text = root.text("/etc/systemd/network/10-kvmd-eth0.network").unwrap();
        for line in [
            "Name=eth0",
            "DHCP=no",
            "Address=192.168.1.5/24",
            "Gateway=192.168.1.1",
            "DNS=1.1.1.1",
            "DNS=2620:fe::fe",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} in {text}");
        }
        fs::write(root.path(FILES).join("50-own.network"), "mine").unwrap();
        write(&root, &Network::default(), false).unwrap();
        let left: Vec<_> =
            fs::read_dir(root.path(FILES)).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["50-own.network"], "what a person put there stays");
    }

    #[test]
    fn a_wireless_network_is_written_for_root_alone_and_told_without_its_password() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, root) = root();
        write(&root, &wireless("pass \"word\" #1", false), false).unwrap();
        let path = "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf";
        let text = root.text(path).unwrap();
        assert!(
            text.contains("\tssid=42c3bc726f\n") && text.contains("\tpsk=\"pass \"word\" #1\"\n"),
            "{text}"
        );
        assert!(text.contains("country=DE\n"));
        let entries: Vec<&str> = text.split("network={").skip(1).collect();
        assert!(entries[0].contains("priority=1\n") && entries[0].contains("key_mgmt=WPA-PSK "), "{text}");
        assert!(entries[1].contains("key_mgmt=SAE\n") && !entries[1].contains("priority"), "{text}");
        for secret in [path, KEPT] {
            assert_eq!(
                fs::metadata(root.path(secret)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{secret}"
            );
        }
        let shown = told(&kept(&root));
        assert_eq!(shown, wireless("", true));
        assert_eq!(unknown_password(&root, &shown), None);
        let mut other = shown.clone();
        if let Some(wifi) = &mut other.interfaces[0].wifi {
            wifi.ssid = "Other".to_owned();
        }
        assert_eq!(unknown_password(&root, &other).as_deref(), Some("Other"));
        // Sent back as it was told, the password stays; without the word that there is one, the network is open.
        write(&root, &shown, false).unwrap();
        assert_eq!(kept(&root), wireless("pass \"word\" #1", true));
        write(&root, &wireless("", false), false).unwrap();
        assert!(root.text(path).unwrap().contains("key_mgmt=NONE"));
    }

    #[test]
    fn a_trial_goes_back_unless_it_is_confirmed() {
        let (_dir, root) = root();
        write(&root, &fixed("eth0", "192.168.1.5"), false).unwrap();
        assert!(!undo(&root).unwrap(), "nothing is on trial");
        // A second try in a trial goes back to what was before the first.
        for address in ["192.168.1.6", "192.168.1.7"] {
            write(&root, &fixed("eth0", address), true).unwrap();
            assert!(on_trial(&root));
        }
        assert_eq!(kept(&root), fixed("eth0", "192.168.1.7"));
        assert!(undo(&root).unwrap() && !on_trial(&root));
        assert_eq!(kept(&root), fixed("eth0", "192.168.1.5"));
        assert!(root.text("/etc/systemd/network/10-kvmd-eth0.network").unwrap().contains("192.168.1.5"));

        write(&root, &fixed("eth1", "192.168.1.8"), true).unwrap();
        keep(&root).unwrap();
        assert!(!undo(&root).unwrap());
        assert_eq!(kept(&root), fixed("eth1", "192.168.1.8"));
        assert_eq!(root.text("/etc/systemd/network/10-kvmd-eth0.network"), None);
    }

    #[test]
    fn a_trial_whose_memory_is_damaged_ends_reachable() {
        let (_dir, root) = root();
        write(&root, &fixed("eth0", "192.168.1.5"), true).unwrap();
        fs::write(root.path(BEFORE), "{").unwrap();
        assert!(undo(&root).unwrap());
        assert_eq!(kept(&root), Network::default(), "DHCP everywhere");
    }
}
