//! The appliance's certificate: made at first start, renewed in time, a person's own never touched.
//!
//! `server.crt` and `server.key` lie in one directory with `made.json`, which holds the fingerprints of what we
//! made, and the names in it. A certificate whose fingerprint is not there is a person's. The order of writing (marker with old and
//! new, key, certificate, marker with new) leaves at every point a state that the next start repairs.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::file;

const DAY: u64 = 86_400;
/// 2025-01-01: a clock before this is wrong, for this program is younger.
const OLDEST_CREDIBLE: u64 = 1_735_689_600;
/// What a certificate made under a wrong clock lasts to, in years after [`OLDEST_CREDIBLE`]: nobody knows when
/// the clock will be right. It is replaced by an ordinary one as soon as it is.
const PROVISIONAL_DAYS: u64 = 20 * 365;

/// What can go wrong with it. Reasons stand in the text and are no `source`: they would be said twice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// The kernel's words.
        reason: io::Error,
    },
    /// A person's certificate lies there without its key, or the other way round.
    #[error("{path} is missing, and what is beside it is not ours to replace")]
    Incomplete {
        /// The file missing.
        path: PathBuf,
    },
    /// The certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(rcgen::Error),
}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error)
    }
}

/// What [`ensure`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was none; there is one now.
    Made,
    /// Ours was about to expire (or provisional) and was replaced.
    Renewed,
    /// Ours lacked a name or an address that the machine has by now, and was replaced.
    Extended,
    /// Ours is good.
    Kept,
    /// A person's, not looked at any further.
    Foreign,
}

/// One pair that we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    certificate: String,
    key: String,
    /// Unix time.
    expires: u64,
    /// Made under a wrong clock.
    provisional: bool,
    /// Names and addresses in it; none where an earlier release made it.
    #[serde(default)]
    alternatives: Vec<String>,
}

/// What the certificate shall say, and how long.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Names, the host's first.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Days it is good for; some clients refuse more than 825.
    pub days: u64,
    /// Renewed when fewer days than this are left.
    pub renew_days: u64,
    /// Whether one that lacks a name or an address may be replaced: each time, clients ask their users again.
    pub extend: bool,
}

impl Wish {
    fn alternatives(&self) -> Vec<String> {
        self.names.iter().cloned().chain(self.addresses.iter().map(ToString::to_string)).collect()
    }

    /// Whether a certificate for these lacks something that people type. A link-local address is not: it is
    /// there before the real ones are, and would use up the one chance.
    fn misses(&self, alternatives: &[String]) -> bool {
        let typed = self.addresses.iter().filter(|address| !is_link_local(address)).map(ToString::to_string);
        self.names.iter().cloned().chain(typed).any(|one| !alternatives.contains(&one))
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The two files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    marker: PathBuf,
}

impl Pair {
    /// At these paths; the marker lies beside the certificate.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        let marker = certificate.with_file_name("made.json");
        Self { certificate, key, marker }
    }
}

/// What to do about the files that are there.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Make,
    Renew,
    Extend,
    Keep,
    Foreign,
    Incomplete,
}

/// Fingerprints of the files present, the marker, the time (Unix seconds).
fn plan(certificate: Option<&str>, key: Option<&str>, made: &[Made], wish: &Wish, now: u64) -> Plan {
    let ours = |print: &str| made.iter().any(|made| made.certificate == print || made.key == print);
    match (certificate, key) {
        (None, None) => Plan::Make,
        (Some(certificate), Some(key)) => {
            let pair = made.iter().find(|made| made.certificate == certificate && made.key == key);
            match pair {
                Some(made)
                    if now >= OLDEST_CREDIBLE
                        && (made.provisional || now + wish.renew_days * DAY > made.expires) =>
                {
                    Plan::Renew
                }
                Some(made) if wish.extend && wish.misses(&made.alternatives) => Plan::Extend,
                Some(_) => Plan::Keep,
                // Both ours, but of different pairs: the power went between the two writes.
                None if ours(certificate) && ours(key) => Plan::Make,
                None => Plan::Foreign,
            }
        }
        (Some(one), None) | (None, Some(one)) if ours(one) => Plan::Make,
        _ => Plan::Incomplete,
    }
}

/// Sees to it that there is a certificate that will last a while.
///
/// # Errors
///
/// See [`Error`]. With an error nothing of a person's has been touched.
pub fn ensure(pair: &Pair, wish: &Wish, now: Duration) -> Result<Outcome, Error> {
    let read = |path: &Path| match fs::read(path) {
        Ok(content) => Ok(Some(hex::encode(Sha256::digest(content)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(Error::File { path: path.to_owned(), reason }),
    };
    let (certificate, key) = (read(&pair.certificate)?, read(&pair.key)?);
    // An unreadable marker means that we do not know what is ours, so nothing is.
    let made: Vec<Made> =
        fs::read(&pair.marker).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    match plan(certificate.as_deref(), key.as_deref(), &made, wish, now.as_secs()) {
        Plan::Keep => Ok(Outcome::Kept),
        Plan::Foreign => Ok(Outcome::Foreign),
        Plan::Incomplete => {
            let path = if certificate.is_none() { &pair.certificate } else { &pair.key };
            Err(Error::Incomplete { path: path.clone() })
        }
        Plan::Make => make(pair, &made, wish, now).map(|()| Outcome::Made),
        Plan::Renew => make(pair, &made, wish, now).map(|()| Outcome::Renewed),
        Plan::Extend => make(pair, &made, wish, now).map(|()| Outcome::Extended),
    }
}

fn make(pair: &Pair, old: &[Made], wish: &Wish, now: Duration) -> Result<(), Error> {
    let provisional = now.as_secs() < OLDEST_CREDIBLE;
    let (from, to) = if provisional {
        (OLDEST_CREDIBLE, OLDEST_CREDIBLE + PROVISIONAL_DAYS * DAY)
    } else {
        // A day early: the client's clock may be a little behind ours.
        (now.as_secs() - DAY, now.as_secs() + wish.days * DAY)
    };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let alternatives = wish.alternatives();
    let mut params = CertificateParams::new(alternatives.clone())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, wish.names.first().map_or("kvmd", String::as_str));
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date(from);
    params.not_after = date(to);
    let certificate = params.self_signed(&key)?.pem();
    let key = key.serialize_pem();
    let new = Made {
        certificate: hex::encode(Sha256::digest(&certificate)),
        key: hex::encode(Sha256::digest(&key)),
        expires: to - to % DAY,
        provisional,
        alternatives,
    };
    let both: Vec<Made> = old.iter().cloned().chain([new.clone()]).collect();
    mark(pair, &both)?;
    write(&pair.key, key.as_bytes(), 0o600)?;
    write(&pair.certificate, certificate.as_bytes(), 0o644)?;
    mark(pair, &[new])
}

fn mark(pair: &Pair, made: &[Made]) -> Result<(), Error> {
    let text = serde_json::to_vec(made).map_err(io::Error::from);
    let text = text.map_err(|reason| Error::File { path: pair.marker.clone(), reason })?;
    write(&pair.marker, &text, 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    file::replace(path, content, mode).map_err(|reason| Error::File { path: path.to_owned(), reason })
}

/// Midnight (UTC) of that Unix time's day, as rcgen wants it.
fn date(seconds: u64) -> time::OffsetDateTime {
    let days = i64::try_from(seconds / DAY).unwrap_or(0);
    time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(days)
}

/// The names a client may know us by: the host's, the host's in mDNS, localhost; in that order, valid ones only.
#[must_use]
pub fn names(host: &str) -> Vec<String> {
    let short = host.split('.').next().unwrap_or_default();
    let mut names = Vec::new();
    for name in [host.to_owned(), format!("{short}.local"), "localhost".to_owned()] {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let valid = name.len() <= 253 && name.split('.').all(label);
        if valid && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Every address of every interface; link-local IPv6 ones too, for a cable straight to the board.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
