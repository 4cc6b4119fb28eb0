//! `kvm.yaml` on the card: an appliance is set up before its first start, for those who have many.
//!
//! ```yaml
//! user: admin                     # the default
//! password_hash: "{SSHA512}..."   # claims the appliance: kvmctl passwd hash makes one
//! ssh_keys: ["ssh-ed25519 AAAA... name"]
//! ssh_password_login: false
//! hostname: rack-7
//! timezone: Europe/Berlin
//! network:
//!   eth0: dhcp
//!   eth1: {address: 192.168.1.5/24, gateway: 192.168.1.1, dns: [192.168.1.1]}
//!   wlan0: {ssid: Name, psk: password, country: DE}
//! ```
//!
//! Read strictly: with one thing wrong nothing is applied, and what is wrong stands in `kvm-error.txt` beside it. What was
//! applied is overwritten and removed: a card is read by whoever finds it. One that cannot be removed is not applied again
//! at each start: it would set back what was changed since.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use auth::htpasswd::Entries;
use client::system::{Fixed, Interface, Network, Secret, Wifi, rule};
use config::{Config, Kind, Layout, Plain, parse_plain};
use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};

use crate::account::Accounts;
use crate::system::System;
use crate::{claim, file, password};

/// The file.
pub const FILE: &str = "kvm.yaml";
/// Where it says what is wrong with it.
pub const ERROR_FILE: &str = "kvm-error.txt";
/// The hash of one that was applied and stays on the card.
const STAYS: &str = "kvm-yaml.applied";
/// Longer ones are not read.
const LONGEST: u64 = 64 * 1024;

/// What a card asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The first user and the hash of their password.
    pub owner: Option<(String, Secret)>,
    /// Who may come by SSH.
    pub ssh_keys: Option<Vec<String>>,
    /// Whether passwords are let in by SSH.
    pub ssh_password_login: Option<bool>,
    /// What the machine is called.
    pub hostname: Option<String>,
    /// Where its clock is read.
    pub timezone: Option<String>,
    /// Its network.
    pub network: Option<Network>,
}

/// Applies the card's wishes, if there are any. Before `kvmd` starts, and before the certificate is made.
pub fn apply(system: &System, layout: &Layout, config: &Config, accounts: &Accounts) {
    let Some(card) = system.card(layout) else { return };
    let path = card.join(FILE);
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return remember(layout, None),
        Err(error) => return refuse(&card, &format!("{FILE}: {error}"), system),
    };
    let hash = hex::encode(Sha256::digest(&text));
    if !text.is_empty() && text.bytes().all(|byte| byte == 0) {
        log::warn!("{FILE} on the card is overwritten already, or was never written to the end");
        return wipe(&card, layout, &hash);
    }
    if fs::read_to_string(layout.var.join(STAYS)).is_ok_and(|applied| applied == hash) {
        log::warn!("{FILE} on the card was applied already");
        return wipe(&card, layout, &hash);
    }
    log::info!("{FILE} is on the card");
    let wish = parse(&text).and_then(|wish| fits(system, wish));
    let wish = match wish {
        Ok(wish) => wish,
        Err(why) => return refuse(&card, &why, system),
    };
    // The password first: with the rest undone somebody can still come in and do it.
    if let Some((user, hash)) = &wish.owner
        && let Err(error) = own(config, layout, accounts, user, hash)
    {
        return refuse(&card, &format!("{FILE}: the user cannot be written: {error}"), system);
    }
    system.carry_out(&wish);
    wipe(&card, layout, &hash);
}

/// Removes what was applied; what cannot be removed is remembered.
fn wipe(card: &Path, layout: &Layout, hash: &str) {
    match scrub(card) {
        Ok(()) => {
            log::info!("{FILE} is applied and removed");
            remember(layout, None);
        }
        Err(error) => {
            log::error!("{FILE} is applied but stays on the card: {error}");
            remember(layout, Some(hash));
        }
    }
}

/// The same file again, once it was removed, is a wish again.
fn remember(layout: &Layout, applied: Option<&str>) {
    let path = layout.var.join(STAYS);
    let kept = match applied {
        Some(hash) => file::directory_if_missing(&layout.var, 0o755)
            .and_then(|()| file::replace(&path, hash.as_bytes(), 0o600)),
        None => fs::remove_file(&path),
    };
    match kept {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::error!("{}: {error}", path.display());
        }
        _ => {}
    }
}

/// Removes the card's wishes, applied or not, and what was said about them.
///
/// # Errors
///
/// The kernel's words.
pub fn forget(card: &Path) -> io::Result<()> {
    if fs::symlink_metadata(card.join(FILE)).is_ok() {
        return scrub(card);
    }
    Ok(())
}

/// What only an image has cannot be asked for elsewhere.
fn fits(system: &System, wish: Wish) -> Result<Wish, String> {
    let only_owner = Wish { owner: wish.owner.clone(), ..Wish::default() };
    if !system.is_image() && wish != only_owner {
        return Err(format!(
            "{FILE}: this is not a system that was started from an appliance image: only a password can be set"
        ));
    }
    match &wish.timezone {
        Some(name) if !system.knows_timezone(name) => {
            Err(format!("{FILE}: timezone: there is no {name} here"))
        }
        _ => Ok(wish),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    // Nobody is waited for, and nothing is followed.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    Ok(text)
}

/// Says what is wrong on the card, on the console and in the log.
fn refuse(card: &Path, why: &str, system: &System) {
    log::error!("nothing of {FILE} is applied: {why}");
    let text = format!("Nothing of {FILE} is applied.\r\n{why}\r\n");
    let written = sys::sel::Writable::open(card).and_then(|open| {
        file::replace(&card.join(ERROR_FILE), text.as_bytes(), 0o600)?;
        open.close()
    });
    if let Err(error) = written {
        log::warn!("{ERROR_FILE}: {error}");
    }
    if let Some(console) = system.console()
        && let Err(error) = claim::say(&console, &format!("Nothing of {FILE} is applied: {why}"))
    {
        log::warn!("{}: {error}", console.display());
    }
}

/// Makes the user, or gives the one who is there that password.
fn own(
    config: &Config,
    layout: &Layout,
    accounts: &Accounts,
    user: &str,
    hash: &Secret,
) -> anyhow::Result<()> {
    let path = &config.kvmd.auth.internal.file;
    let state = layout.kvmd_state();
    file::directory(&layout.var, 0o755)?;
    file::directory(&state, 0o700)?;
    accounts.give(&state, accounts.kvmd.uid, accounts.kvmd.gid)?;
    // What a first start makes beside the users, it makes only while there is no file of them.
    password::first(layout, config, accounts)?;
    let mut entries = Entries::read_or_new(path)?;
    entries.put(user, &hash.0);
    file::replace(path, entries.text().as_bytes(), 0o600)?;
    accounts.give(path, accounts.kvmd.uid, accounts.kvmd.gid)?;
    log::info!("the card names {user} the owner of this appliance");
    Ok(())
}

/// Overwrites the file with nothing, and removes it and what was said about it.
fn scrub(card: &Path) -> io::Result<()> {
    let open = sys::sel::Writable::open(card)?;
    let path = card.join(FILE);
    let mut file = OpenOptions::new().write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(1 << 20);
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    // Nothing may be open for writing when the card becomes read-only again.
    drop(file);
    fs::remove_file(&path)?;
    match fs::remove_file(card.join(ERROR_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::open(card)?.sync_all()?;
    open.close()
}

/// Reads what a card asks for.
///
/// # Errors
///
/// The first thing that is wrong, with its line. Never the text of a secret.
pub fn parse(text: &str) -> Result<Wish, String> {
    let plain = parse_plain(text, Path::new(FILE))?;
    let mut wish = Wish::default();
    let (mut user, mut hash) = (None, None);
    for (key, line, value) in keys(plain, "the file")? {
        let at = |why: String| format!("{FILE}:{line}: {why}");
        match key.as_str() {
            "user" => {
                let name = text_of(value, "user")?;
                user = Some(auth::syntax::user(&name).map_err(|bad| at(bad.to_string()))?.to_owned());
            }
            "password_hash" => {
                let text = text_of(value, "password_hash")?;
                let sound = auth::hash::is_known(&text)
                    && text.is_ascii()
                    && !text.contains([':', ' ', '\t', '\r', '\n']);
                if !sound || text.len() > 512 {
                    return Err(at(
                        "password_hash: expected a hash such as {SSHA512}... or $6$..., found something else"
                            .into(),
                    ));
                }
                hash = Some(Secret(text));
            }
            "ssh_keys" => wish.ssh_keys = Some(ssh_keys(value, line)?),
            "ssh_password_login" => wish.ssh_password_login = Some(boolean(value, "ssh_password_login")?),
            "ssh" => {
                for (key, line, value) in keys(value, "ssh")? {
                    match key.as_str() {
                        "keys" if wish.ssh_keys.is_none() => wish.ssh_keys = Some(ssh_keys(value, line)?),
                        "password_login" if wish.ssh_password_login.is_none() => {
                            wish.ssh_password_login = Some(boolean(value, "ssh.password_login")?);
                        }
                        _ => return Err(unknown(line, &key, "keys, password_login, each once")),
                    }
                }
            }
            "hostname" => {
                wish.hostname =
                    Some(rule::hostname(&text_of(value, "hostname")?).map_err(|bad| at(bad.to_string()))?);
            }
            "timezone" => {
                let name = text_of(value, "timezone")?;
                wish.timezone = Some(rule::timezone(&name).map_err(|bad| at(bad.to_string()))?.to_owned());
            }
            "network" => wish.network = Some(network(value, line)?),
            _ => {
                let known = "user, password_hash, ssh_keys, ssh_password_login, hostname, timezone, network";
                return Err(unknown(line, &key, known));
            }
        }
    }
    wish.owner = match (user, hash) {
        (user, Some(hash)) => Some((user.unwrap_or_else(|| "admin".to_owned()), hash)),
        (Some(_), None) => return Err(format!("{FILE}: user: expected a password_hash beside it")),
        (None, None) => None,
    };
    Ok(wish)
}

fn unknown(line: usize, key: &str, known: &str) -> String {
    let key: String = key.chars().filter(|letter| !letter.is_control()).take(40).collect();
    format!("{FILE}:{line}: {key}: unknown key; expected {known}")
}

fn keys(plain: Plain, what: &str) -> Result<Vec<(String, usize, Plain)>, String> {
    match plain.kind {
        Kind::Map(keys) => Ok(keys),
        Kind::Nothing => Ok(Vec::new()),
        _ => Err(format!("{FILE}:{}: {what}: expected keys with values", plain.line)),
    }
}

fn text_of(plain: Plain, what: &str) -> Result<String, String> {
    match plain.kind {
        Kind::Text(text) => Ok(text),
        _ => Err(format!("{FILE}:{}: {what}: expected a text", plain.line)),
    }
}

fn boolean(plain: Plain, what: &str) -> Result<bool, String> {
    match plain.kind {
        Kind::Text(text) if text == "true" => Ok(true),
        Kind::Text(text) if text == "false" => Ok(false),
        _ => Err(format!("{FILE}:{}: {what}: expected true or false", plain.line)),
    }
}

/// A list of texts, or one.
fn texts(plain: Plain, what: &str) -> Result<Vec<String>, String> {
    match plain.kind {
        Kind::List(items) => items.into_iter().map(|item| text_of(item, what)).collect(),
        Kind::Text(text) => Ok(vec![text]),
        _ => Err(format!("{FILE}:{}: {what}: expected a list", plain.line)),
    }
}

fn ssh_keys(value: Plain, line: usize) -> Result<Vec<String>, String> {
    let listed = texts(value, "ssh_keys")?;
    let lines: Vec<&str> = listed.iter().flat_map(|text| text.lines()).collect();
    rule::ssh_keys(lines).map_err(|bad| format!("{FILE}:{line}: {bad}"))
}

fn network(value: Plain, line: usize) -> Result<Network, String> {
    let mut network = Network::default();
    for (name, line, value) in keys(value, "network")? {
        network.interfaces.push(interface(name, line, value)?);
    }
    rule::network(&network).map_err(|bad| format!("{FILE}:{line}: {bad}"))?;
    Ok(network)
}

fn interface(name: String, line: usize, value: Plain) -> Result<Interface, String> {
    let mut interface = Interface { name, fixed: None, wifi: None };
    if let Kind::Text(text) = &value.kind {
        return match text.as_str() {
            "dhcp" => Ok(interface),
            _ => Err(format!("{FILE}:{}: network: expected dhcp, or keys with values", value.line)),
        };
    }
    let (mut address, mut gateway, mut dns) = (None, None, Vec::new());
    let (mut ssid, mut psk, mut country) = (None, None, None);
    for (key, line, value) in keys(value, "network")? {
        let host = |text: &str| {
            text.parse().map_err(|_| format!("{FILE}:{line}: {key}: expected an address such as 192.168.1.1"))
        };
        match key.as_str() {
            "address" => {
                let text = text_of(value, "address")?;
                if text != "dhcp" {
                    address = Some(rule::address(&text).map_err(|bad| format!("{FILE}:{line}: {bad}"))?);
                }
            }
            "gateway" => gateway = Some(host(&text_of(value, "gateway")?)?),
            "dns" => dns = texts(value, "dns")?.iter().map(|text| host(text)).collect::<Result<_, _>>()?,
            "ssid" => ssid = Some(text_of(value, "ssid")?),
            "psk" => psk = Some(Secret(text_of(value, "psk")?)),
            "country" => country = Some(text_of(value, "country")?),
            _ => return Err(unknown(line, &key, "address, gateway, dns, ssid, psk, country")),
        }
    }
    interface.fixed = match address {
        Some((address, prefix)) => Some(Fixed { address, prefix, gateway, dns }),
        None if gateway.is_some() || !dns.is_empty() => {
            return Err(format!("{FILE}:{line}: network: gateway and dns need an address beside them"));
        }
        None => None,
    };
    interface.wifi = match ssid {
        Some(ssid) => {
            let psk = psk.unwrap_or_else(|| Secret(String::new()));
            Some(Wifi { ssid, secured: !psk.0.is_empty(), psk, country })
        }
        None if psk.is_some() || country.is_some() => {
            return Err(format!("{FILE}:{line}: network: psk and country need an ssid beside them"));
        }
        None => None,
    };
    Ok(interface)
}

#[cfg(test)]
#[path = "preseed_tests.rs"]
mod tests;
