//! What is known of a connection before it says anything: the process behind a unix socket.

use actix_web::{dev::Extensions, rt::net::UnixStream};
use nix::sys::socket::{getsockopt, sockopt};
use std::any::Any;

/// The process at the other end of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPeer {
    /// Its user.
    pub uid: u32,
    /// Its groups.
    pub gids: Vec<u32>,
}

/// Remembers who connected to the unix socket.
pub fn on_unix_connect(connection: &dyn Any, data: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<UnixStream>()
        && let Ok(peer) = getsockopt(stream, sockopt::PeerCredentials)
    {
        data.insert(UnixPeer { uid: peer.uid(), gids: groups(peer.uid(), peer.gid()) });
    }
}

/// The main group of the process and those its user is a member of.
fn groups(uid: u32, gid: u32) -> Vec<u32> {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    let name = user.and_then(|user| std::ffi::CString::new(user.name).ok());
    let more = name.and_then(|name| nix::unistd::getgrouplist(&name, gid.into()).ok());
    let mut gids = vec![gid];
    gids.extend(more.into_iter().flatten().map(nix::unistd::Gid::as_raw));
    gids.dedup();
    gids
}
