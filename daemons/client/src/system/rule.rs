//! What may be a host name, a time zone, an SSH key, network settings. Pure, and the same for whoever asks: the API, a
//! shell, a file on a card.

use std::net::IpAddr;

use super::{Fixed, Interface, Network, Wifi};

/// A value that cannot be used: which, and what it should have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub struct Invalid {
    /// The key.
    pub field: &'static str,
    /// What would be right.
    pub expected: &'static str,
}

const fn invalid(field: &'static str, expected: &'static str) -> Invalid {
    Invalid { field, expected }
}

/// More SSH keys than this are not kept.
pub const SSH_KEYS: usize = 32;
/// The longest SSH key, in bytes.
const SSH_KEY_LONGEST: usize = 4096;
/// More interfaces than this have no settings.
const INTERFACES: usize = 16;
/// More servers than this no resolver asks.
const DNS: usize = 3;

/// A host name: one label of a name, in lower case.
///
/// # Errors
/// Any other text.
pub fn hostname(text: &str) -> Result<String, Invalid> {
    let bad =
        || invalid("hostname", "1 to 63 letters, digits and dashes (no dash at the ends, not localhost)");
    let name = text.trim().to_ascii_lowercase();
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name != "localhost";
    if fits { Ok(name) } else { Err(bad()) }
}

/// A time zone's name, such as `Europe/Berlin`: whether it can be one. Whether there is such a zone, the files say.
///
/// # Errors
/// Any other text.
pub fn timezone(text: &str) -> Result<&str, Invalid> {
    let name = text.trim();
    let part = |part: &str| {
        let first = part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        first && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    if name.len() <= 64 && name.split('/').count() <= 3 && name.split('/').all(part) {
        Ok(name)
    } else {
        Err(invalid("timezone", "a name of the time zone database, such as Europe/Berlin"))
    }
}

/// Key types that sshd takes.
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// One public key: `type base64 comment`, without options, which could run programs. Told with single blanks.
///
/// # Errors
/// Any other text.
pub fn ssh_key(text: &str) -> Result<String, Invalid> {
    let bad = || {
        invalid("ssh_keys", "public keys such as \"ssh-ed25519 AAAA... name\", one a line, without options")
    };
    let line = text.trim();
    if line.len() > SSH_KEY_LONGEST || line.chars().any(|letter| letter.is_control() && letter != '\t') {
        return Err(bad());
    }
    // sshd separates by any number of blanks and tabs.
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = line.splitn(3, ' ');
    let (kind, blob) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // The blob begins with the length (32 bits) and the text of its type.
    let length = u32::try_from(kind.len()).unwrap_or_default().to_be_bytes();
    let begin = [&length[..], kind.as_bytes()].concat();
    let right = KEY_TYPES.contains(&kind) && decode(blob).is_some_and(|blob| blob.starts_with(&begin));
    if right { Ok(line) } else { Err(bad()) }
}

/// Whether sshd takes a line of `authorized_keys` for a key without options, be it one that [`ssh_key`] takes or not.
#[must_use]
pub fn is_plain_ssh_key(line: &str) -> bool {
    // No option begins like any of its types, which it takes by their short names too, in either case.
    let kind = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let families = ["ssh-", "ecdsa", "sk-", "rsa", "ed25519", "dsa", "xmss", "webauthn-"];
    families.iter().any(|family| kind.starts_with(family))
}

/// The keys of a list, which may hold blank lines and comments.
///
/// # Errors
/// One that is no key, or too many.
pub fn ssh_keys<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Result<Vec<String>, Invalid> {
    let mut keys = Vec::new();
    for line in lines {
        let line = line.as_ref().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = ssh_key(line)?;
        if !keys.contains(&key) {
            keys.push(key);
        }
        if keys.len() > SSH_KEYS {
            return Err(invalid("ssh_keys", "at most 32 keys"));
        }
    }
    Ok(keys)
}

/// Base64 with padding; `None` for anything else.
fn decode(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    let padded = text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.len() >= 2;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut have) = (0_u32, 0_u32);
    for byte in body.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from((bits >> have) & 0xFF).unwrap_or_default());
        }
    }
    padded.then_some(bytes)
}

/// The whole network's settings.
///
/// # Errors
/// The first thing that cannot be used.
pub fn network(network: &Network) -> Result<(), Invalid> {
    if network.interfaces.len() > INTERFACES {
        return Err(invalid("network", "at most 16 interfaces"));
    }
    for (at, interface) in network.interfaces.iter().enumerate() {
        let before = network.interfaces.get(..at).unwrap_or_default();
        if before.iter().any(|other| other.name == interface.name) {
            return Err(invalid("network", "each interface once"));
        }
        self::interface(interface)?;
    }
    Ok(())
}

fn interface(interface: &Interface) -> Result<(), Invalid> {
    let name = &interface.name;
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !(first && name.len() <= 15 && name.bytes().all(inner)) || name == "lo" {
        return Err(invalid("interface", "an interface's name, such as eth0"));
    }
    interface.fixed.as_ref().map_or(Ok(()), fixed)?;
    interface.wifi.as_ref().map_or(Ok(()), wifi)
}

fn fixed(fixed: &Fixed) -> Result<(), Invalid> {
    let bits = if fixed.address.is_ipv4() { 32 } else { 128 };
    if fixed.prefix == 0 || fixed.prefix > bits {
        return Err(invalid(
            "address",
            "an address with the length of the network's part, such as 192.168.1.5/24",
        ));
    }
    if !is_host(fixed.address) || is_edge(fixed) {
        return Err(invalid("address", "an address that a machine may have"));
    }
    if let Some(gateway) = fixed.gateway {
        let same_kind = gateway.is_ipv4() == fixed.address.is_ipv4();
        let linked = same_network(gateway, fixed.address, fixed.prefix) || is_link_local(gateway);
        if !same_kind || !is_host(gateway) || gateway == fixed.address || !linked {
            return Err(invalid("gateway", "another address in the same network"));
        }
    }
    if fixed.dns.len() > DNS || !fixed.dns.iter().all(|server| is_host(*server)) {
        return Err(invalid("dns", "at most 3 addresses"));
    }
    Ok(())
}

fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback() && !broadcast
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    bits(one) & mask(prefix) == bits(other) & mask(prefix)
}

/// The network's own address, or its broadcast address.
fn is_edge(fixed: &Fixed) -> bool {
    if fixed.address.is_ipv6() || fixed.prefix > 30 {
        return false;
    }
    let host = bits(fixed.address) & !mask(fixed.prefix) & mask(32);
    host == 0 || host == !mask(fixed.prefix) & mask(32)
}

fn wifi(wifi: &Wifi) -> Result<(), Invalid> {
    if !(1..=32).contains(&wifi.ssid.len()) || wifi.ssid.chars().any(char::is_control) {
        return Err(invalid("ssid", "1 to 32 bytes"));
    }
    let psk = &wifi.psk.0;
    let phrase = (8..=63).contains(&psk.len()) && psk.bytes().all(|byte| (0x20..=0x7E).contains(&byte));
    let key = psk.len() == 64 && psk.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !(psk.is_empty() || phrase || key) {
        return Err(invalid("psk", "8 to 63 printable characters, or 64 hexadecimal digits"));
    }
    if wifi
        .country
        .as_ref()
        .is_some_and(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()))
    {
        return Err(invalid("country", "two capital letters"));
    }
    Ok(())
}

/// `192.168.1.5/24`.
///
/// # Errors
/// Any other text.
pub fn address(text: &str) -> Result<(IpAddr, u8), Invalid> {
    let bad =
        || invalid("address", "an address with the length of the network's part, such as 192.168.1.5/24");
    let (address, prefix) = text.trim().split_once('/').ok_or_else(bad)?;
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    match (address.parse(), prefix.parse()) {
        (Ok(address), Ok(prefix)) if digits => Ok((address, prefix)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Secret;
    use proptest::prelude::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDx1ymMWm9ZBVEjKJSm3rXGz1Z4FVMuq5Gf6D4xj3q1X someone@desk";

    #[test]
    fn a_host_name_is_one_label() {
        for (text, name) in [("kvm-1a2b", "kvm-1a2b"), (" KVM ", "kvm"), ("9", "9")] {
            assert_eq!(hostname(text).as_deref(), Ok(name));
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "a.b", "a b", "ä", "localhost", "a\nb", "a/../b", &long] {
            assert!(hostname(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_zone_leads_nowhere_else() {
        for good in
            ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5", "America/Port-au-Prince"]
        {
            assert_eq!(timezone(good), Ok(good));
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".a", "a b", "a\0", "a/b/c/d", "1"] {
            assert!(timezone(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_a_key_and_nothing_beside_it() {
        assert_eq!(ssh_key(&format!(" {KEY}\n")).as_deref(), Ok(KEY));
        let other_type = KEY.replace("ssh-ed25519", "ssh-rsa");
        let option = format!("command=\"sh\" {KEY}");
        let two = format!("{KEY}\n{KEY}");
        for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !!!!", &other_type, &option, &two] {
            assert!(ssh_key(bad).is_err(), "{bad:?}");
        }
        let spaced = format!("\t{}", KEY.replace(' ', " \t "));
        assert_eq!(ssh_key(&spaced).as_deref(), Ok(KEY));
        let short = KEY.replace("ssh-ed25519", "ED25519");
        assert!([KEY, &spaced, &other_type, &short].iter().all(|line| is_plain_ssh_key(line)));
        assert!(!["", "# mine", "restrict ssh-rsa A", &option].iter().any(|line| is_plain_ssh_key(line)));
        let list = format!("# mine\n\n{KEY}\n{KEY}\n");
        assert_eq!(ssh_keys(list.lines()), Ok(vec![KEY.to_owned()]));
    }

    fn fixed_at(address: &str, gateway: Option<&str>) -> Fixed {
        let (address, prefix) = super::address(address).unwrap();
        Fixed { address, prefix, gateway: gateway.map(|text| text.parse().unwrap()), dns: Vec::new() }
    }

    fn with(interface: Interface) -> Result<(), Invalid> {
        network(&Network { interfaces: vec![interface] })
    }

    fn at(address: &str, gateway: Option<&str>) -> Result<(), Invalid> {
        with(Interface { name: "eth0".into(), fixed: Some(fixed_at(address, gateway)), wifi: None })
    }

    #[test]
    fn an_address_is_a_machine_s_and_the_way_out_is_next_to_it() {
        for (address, gateway) in [
            ("192.168.1.5/24", Some("192.168.1.1")),
            ("10.0.0.1/31", Some("10.0.0.0")),
            ("10.0.0.1/32", None),
            ("2001:db8::5/64", Some("2001:db8::1")),
            ("2001:db8::5/64", Some("fe80::1")),
        ] {
            assert_eq!(at(address, gateway), Ok(()), "{address} {gateway:?}");
        }
        for (address, gateway) in [
            ("192.168.1.0/24", None),
            ("192.168.1.255/24", None),
            ("192.168.1.5/33", None),
            ("192.168.1.5/0", None),
            ("127.0.0.1/8", None),
            ("224.0.0.1/24", None),
            ("192.168.1.5/24", Some("192.168.2.1")),
            ("192.168.1.5/24", Some("192.168.1.5")),
            ("192.168.1.5/24", Some("fe80::1")),
        ] {
            assert!(at(address, gateway).is_err(), "{address} {gateway:?}");
        }
        for bad in ["", "192.168.1.5", "192.168.1.5/", "192.168.1.5/+4", "x/24", "192.168.1.5/999"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interface_is_named_once_and_cannot_leave_its_file() {
        let named = |name: &str| Interface { name: name.to_owned(), fixed: None, wifi: None };
        for bad in ["", "lo", "../x", "a/b", "a b", ".x", "abcdefghijklmnop", "e\nth"] {
            assert!(with(named(bad)).is_err(), "{bad:?}");
        }
        assert!(network(&Network { interfaces: vec![named("eth0"), named("eth0")] }).is_err());
        let many = (0..17).map(|number| named(&format!("eth{number}"))).collect();
        assert!(network(&Network { interfaces: many }).is_err());
    }

    #[test]
    fn a_wireless_network_has_a_name_and_a_password_of_its_kind() {
        let wifi = |ssid: &str, psk: &str, country: Option<&str>| {
            with(Interface {
                name: "wlan0".into(),
                fixed: None,
                wifi: Some(Wifi {
                    ssid: ssid.into(),
                    psk: Secret(psk.into()),
                    country: country.map(str::to_owned),
                    secured: false,
                }),
            })
        };
        let (hex, long) = ("a1".repeat(32), "x".repeat(33));
        for (ssid, psk, country) in
            [("n", "12345678", None), ("name with blanks", "", Some("DE")), ("网络", &hex, Some("CN"))]
        {
            assert_eq!(wifi(ssid, psk, country), Ok(()), "{ssid}");
        }
        for (ssid, psk, country) in [
            ("", "12345678", None),
            (&long, "12345678", None),
            ("a\nb", "12345678", None),
            ("n", "1234567", None),
            ("n", "1234567\n8", None),
            ("n", "12345678", Some("de")),
            ("n", "12345678", Some("DEU")),
        ] {
            assert!(wifi(ssid, psk, country).is_err(), "{ssid} {psk} {country:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_a_host_name_stays_one(text in "\\PC{0,70}") {
            if let Ok(name) = hostname(&text) {
                prop_assert_eq!(hostname(&name), Ok(name.clone()));
                prop_assert!(!name.contains(['.', '/', ' ', '\n']));
            }
        }

        #[test]
        fn no_time_zone_climbs(text in "[./a-z_+\\-]{0,20}") {
            if let Ok(name) = timezone(&text) {
                prop_assert!(!name.contains("..") && !name.starts_with('/') && !name.ends_with('/'));
            }
        }

        #[test]
        fn no_key_brings_a_second_line(text in "(?s:.{0,60})") {
            if let Ok(key) = ssh_key(&format!("{KEY} {text}")) {
                prop_assert!(!key.contains(['\n', '\r']));
            }
        }
    }
}
