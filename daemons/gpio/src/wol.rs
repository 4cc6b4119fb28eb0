//! `wol`: wakes a machine by its network card. Any pin; switching it on sends a packet, and that is all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::{Driver, Offline, PinUse, Wake};

/// Bytes of a magic packet.
const LEN: usize = 6 + 16 * 6;

/// Whom to wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the packet goes; usually everybody in the network.
    pub ip: IpAddr,
    /// To which UDP port.
    pub port: u16,
    /// The address of the network card.
    pub mac: [u8; 6],
}

impl Settings {
    /// The card of that address, called by a broadcast to port 9.
    #[must_use]
    pub fn new(mac: [u8; 6]) -> Self {
        Self { ip: Ipv4Addr::BROADCAST.into(), port: 9, mac }
    }
}

/// Six times FF, then the address sixteen times.
#[must_use]
pub fn magic_packet(mac: [u8; 6]) -> [u8; LEN] {
    let mut packet = [0xFF; LEN];
    for copy in packet.as_chunks_mut::<6>().0.iter_mut().skip(1) {
        *copy = mac;
    }
    packet
}

/// The driver.
#[derive(Debug)]
pub struct Wol {
    settings: Settings,
}

impl Wol {
    /// The driver.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn send(&self) -> io::Result<()> {
        let Settings { ip, port, mac } = self.settings;
        let own: IpAddr = match ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_nonblocking(true)?;
        if ip.is_ipv4() {
            socket.set_broadcast(true)?;
        }
        socket.send_to(&magic_packet(mac), SocketAddr::new(ip, port)).map(drop)
    }
}

impl Driver for Wol {
    fn attach(&mut self, _: &[PinUse], _: Wake) -> Result<(), Offline> {
        Ok(())
    }

    fn read(&mut self, _: &str) -> Result<bool, Offline> {
        Ok(false)
    }

    fn write(&mut self, _: &str, level: bool) -> Result<(), Offline> {
        if !level {
            return Ok(());
        }
        let Settings { ip, port, .. } = self.settings;
        self.send().map_err(|error| Offline(format!("nothing can be sent to {ip} port {port}: {error}")))?;
        log::info!("sent a wake-on-LAN packet to {ip} port {port}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn switching_on_sends_one_magic_packet_and_off_sends_none() {
        let target = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        target.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mac = [0x02, 0xAB, 0, 1, 2, 3];
        let at = target.local_addr().unwrap();
        let mut wol = Wol::new(Settings { ip: at.ip(), port: at.port(), mac });
        wol.write("0", false).unwrap();
        wol.write("0", true).unwrap();
        wol.write("0", false).unwrap();
        let mut buffer = [0; 200];
        let len = target.recv(&mut buffer).unwrap();
        assert_eq!(len, 102);
        assert_eq!(buffer[..6], [0xFF; 6]);
        assert!(buffer[6..102].chunks(6).all(|copy| copy == mac));
        target.set_nonblocking(true).unwrap();
        assert_eq!(target.recv(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(wol.read("0"), Ok(false));
    }
}
