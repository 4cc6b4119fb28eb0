//! The network face with fake devices behind it, asked over loopback and a unix socket.

#[cfg(test)]
mod appliance;
#[cfg(test)]
mod drive;
#[cfg(test)]
mod http;
#[cfg(test)]
mod media;
#[cfg(test)]
mod page;
#[cfg(test)]
mod right;
#[cfg(test)]
mod socket;
