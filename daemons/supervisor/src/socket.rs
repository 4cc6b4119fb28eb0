//! The listening sockets: bound here, as root, once; children borrow them, so that no restart closes one.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use crate::account::Accounts;

/// What a socket could not be bound to, and why. The reason is part of the text, so it is not also a `source`:
/// whoever prints the chain of causes would say it twice.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {place}: {reason}")]
pub struct Error {
    /// The address or path.
    pub place: String,
    /// The kernel's words.
    pub reason: io::Error,
}

/// Listens at that port of each address, in their order.
///
/// `::` serves IPv4 too, so that `0.0.0.0` beside it is one socket less. An IPv6 address that this machine does
/// not have (IPv6 may be switched off) is left out while there is another one. Port 0 is the same free port for all.
///
/// # Errors
///
/// With the address, so that a person knows which port is taken.
pub fn tcp(addresses: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, Error> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let both = addresses.contains(&Ipv6Addr::UNSPECIFIED.into());
    let v6_first = addresses.iter().filter(|address| address.is_ipv6());
    let mut port = port;
    let mut unspecified = false;
    let order: Vec<&IpAddr> = if both {
        v6_first.chain(addresses.iter().filter(|address| address.is_ipv4())).collect()
    } else {
        addresses.iter().collect()
    };
    for (at, address) in order.iter().enumerate() {
        if unspecified && **address == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            continue;
        }
        let place = SocketAddr::new(**address, port);
        // std sets SO_REUSEADDR: a port whose last connections linger can be bound again at once.
        match TcpListener::bind(place) {
            Ok(listener) => {
                unspecified |= **address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
                port = listener.local_addr().map_or(port, |bound| bound.port());
                listeners.push(listener);
            }
            Err(error) if address.is_ipv6() && is_missing(&error) && (at + 1 < order.len() || at > 0) => {
                log::info!("no IPv6 here: not listening at {place}");
            }
            Err(reason) => return Err(Error { place: place.to_string(), reason }),
        }
    }
    Ok(listeners)
}

/// The machine does not have that address, or no addresses of that kind.
fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
        || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Who may connect to a unix socket.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The mode; connecting needs the write bit.
    pub mode: u32,
}

/// Listens at that path. A socket left over by a killed predecessor is replaced; anything else is not.
///
/// # Errors
///
/// With the path.
pub fn unix(path: &Path, owner: Owner, accounts: &Accounts) -> Result<UnixListener, Error> {
    let bind = || {
        clear(path)?;
        let listener = UnixListener::bind(path)?;
        own(path, owner, accounts)?;
        Ok(listener)
    };
    bind().map_err(|reason| Error { place: path.display().to_string(), reason })
}

/// A datagram socket at that path, likewise.
///
/// # Errors
///
/// With the path.
pub fn datagram(path: &Path, owner: Owner, accounts: &Accounts) -> Result<UnixDatagram, Error> {
    let bind = || {
        clear(path)?;
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        own(path, owner, accounts)?;
        Ok(socket)
    };
    bind().map_err(|reason| Error { place: path.display().to_string(), reason })
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn own(path: &Path, owner: Owner, accounts: &Accounts) -> io::Result<()> {
    accounts.give(path, owner.uid, owner.gid)?;
    fs::set_permissions(path, fs::Permissions::from_mode(owner.mode))
}

/// A copy of a listening socket for a child.
///
/// # Errors
///
/// When there are no descriptors left.
pub fn copy(socket: impl AsFd) -> io::Result<OwnedFd> {
    socket.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { uid: 0, gid: 0, mode: 0o660 }
    }

    #[test]
    fn a_socket_left_over_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let accounts = crate::account::tests::found();
        drop(unix(&path, owner(), &accounts).unwrap());
        assert!(path.exists());
        let listener = unix(&path, owner(), &accounts).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(listener);
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        let error = unix(&file, owner(), &accounts).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn a_free_port_is_the_same_for_every_address() {
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let ports: Vec<u16> =
            tcp(&addresses, 0).unwrap().iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    }

    #[test]
    fn a_port_in_use_is_named_in_the_error() {
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let first = tcp(&loopback, 0).unwrap();
        let port = first[0].local_addr().unwrap().port();
        let error = tcp(&loopback, port).unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(chain.matches("os error").count(), 1, "{chain}");
    }
}
