//! Addresses that images are not fetched from: this machine's own and link-local ones. Behind them are services that
//! trust whoever asks from here, and an operator reads what was fetched.
//!
//! Names are looked up here and nowhere else, so that what was looked at is what is connected to; redirects included.

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::net::lookup_host;

/// Whether images may be fetched from here all the same (`kvmd.msd.fetch_near`).
#[derive(Debug, Clone, Copy)]
pub struct Near(pub bool);

/// Nothing else was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is this machine itself or link-local (kvmd.msd.fetch_near)")]
pub(super) struct TooNear(String);

impl Near {
    /// Refuses an address that says so itself. Names are for [`Near::resolver`].
    pub(super) fn check(self, url: &Url) -> Result<(), TooNear> {
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        match address {
            Ok(address) if !self.0 && is_near(address, &own()) => Err(TooNear(host.to_owned())),
            _ => Ok(()),
        }
    }

    pub(super) fn resolver(self) -> Arc<Resolver> {
        Arc::new(Resolver(self))
    }

    fn choose(self, name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, TooNear> {
        let own = own();
        let far: Vec<SocketAddr> = found.filter(|address| self.0 || !is_near(address.ip(), &own)).collect();
        if far.is_empty() { Err(TooNear(name.to_owned())) } else { Ok(far) }
    }
}

/// The addresses that this machine has now: whatever listens on all of them is behind each.
fn own() -> Vec<IpAddr> {
    let ip = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let interfaces = getifaddrs().inspect_err(|error| log::error!("own addresses: {error}"));
    interfaces.into_iter().flatten().filter_map(|interface| interface.address.and_then(ip)).collect()
}

fn is_near(address: IpAddr, own: &[IpAddr]) -> bool {
    let address = address.to_canonical();
    if own.contains(&address) {
        return true;
    }
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

/// Looks names up, and keeps to itself what is too near.
pub(super) struct Resolver(Near);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let near = self.0;
        Box::pin(async move {
            let found = lookup_host((name.as_str(), 0)).await?;
            let far = near.choose(name.as_str(), found)?;
            Ok(Box::new(far.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_link_local_addresses_are_near_however_they_are_written() {
        for (url, near) in [
            ("http://127.0.0.1/x", true),
            ("http://127.255.0.9:8080/x", true),
            ("http://0x7f.1/x", true),
            ("http://0/x", true),
            ("http://169.254.169.254/x", true),
            ("http://[::1]/x", true),
            ("http://[::]/x", true),
            ("http://[fe80::1]/x", true),
            ("http://[::ffff:127.0.0.1]/x", true),
            // For documentation: nobody has them.
            ("http://192.0.2.1/x", false),
            ("http://[2001:db8::1]/x", false),
            ("http://files.example/x", false),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(Near(false).check(&url).is_err(), near, "{url}");
            assert!(Near(true).check(&url).is_ok());
        }
    }

    #[test]
    fn each_address_that_this_machine_has_is_near() {
        assert!(own().iter().any(IpAddr::is_loopback), "{:?}", own());
        let (lan, elsewhere) = ("192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap());
        assert!(is_near(lan, &[lan]) && !is_near(elsewhere, &[lan]));
        assert!(is_near("::ffff:192.0.2.7".parse().unwrap(), &[lan]));
    }

    #[test]
    fn of_a_name_only_far_addresses_are_taken() {
        let found =
            || ["127.0.0.1:0", "192.0.2.1:0", "[fe80::1]:0"].map(|text| text.parse().unwrap()).into_iter();
        assert_eq!(Near(false).choose("x", found()).unwrap(), ["192.0.2.1:0".parse().unwrap()]);
        assert_eq!(Near(true).choose("x", found()).unwrap().len(), 3);
        let nothing_far = found().filter(|address: &SocketAddr| address.ip().is_loopback());
        assert_eq!(Near(false).choose("localhost", nothing_far), Err(TooNear("localhost".into())));
    }

    #[tokio::test]
    async fn a_name_of_this_machine_leads_nowhere() {
        let resolved = |near: bool| Near(near).resolver().resolve("localhost".parse().unwrap());
        assert!(resolved(true).await.is_ok_and(|mut found| found.next().is_some()));
        assert!(resolved(false).await.is_err());
    }
}
