//! One function: a report at a time, and what became of it.

use std::io;
use std::time::Duration;

use super::node::{Node, Open};
use crate::link::Error;

/// A node that is opened when it is needed, and again when it was replaced.
#[derive(Debug)]
pub(super) struct Port<O: Open> {
    place: O,
    node: Option<O::Node>,
    patience: Duration,
    flight: Flight,
}

/// The report that was handed over last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    /// Taken by the host, or lost with its connection.
    Landed,
    /// The kernel has it.
    Aloft,
    /// The kernel has it, and has had it for longer than anybody should wait.
    Stalled,
}

impl<O: Open> Port<O> {
    /// `patience` is for the host to poll.
    pub(super) fn new(place: O, patience: Duration) -> Self {
        Self { place, node: None, patience, flight: Flight::Landed }
    }

    /// Hands over a report and waits until the host has taken it.
    pub(super) fn send(&mut self, report: &[u8]) -> Result<(), Error> {
        if !self.lands() {
            return Err(Error::NoHost("it has not taken an earlier report".to_owned()));
        }
        self.write(report)?;
        self.flight = Flight::Aloft;
        self.taken()
    }

    /// What became of the last report.
    pub(super) fn taken(&mut self) -> Result<(), Error> {
        if self.lands() { Ok(()) } else { Err(Error::Untaken) }
    }

    /// Whether nothing is in flight any more. Waits for it, but not twice for the same report.
    fn lands(&mut self) -> bool {
        let patience = match self.flight {
            Flight::Landed => return true,
            Flight::Aloft => self.patience,
            Flight::Stalled => Duration::ZERO,
        };
        let free = match &mut self.node {
            // A node that cannot even be asked has lost it.
            Some(node) => node.wait_free(patience).unwrap_or(true),
            None => true,
        };
        let landed = free || self.reopen();
        self.flight = if landed { Flight::Landed } else { Flight::Stalled };
        landed
    }

    /// Opens what took the place of our node. A report in the old one will never arrive.
    fn reopen(&mut self) -> bool {
        let replaced = self.node.as_ref().is_none_or(|node| self.place.is_replaced(node));
        match replaced.then(|| self.place.open()) {
            Some(Ok(node)) => {
                self.node = Some(node);
                true
            }
            Some(Err(_)) | None => false,
        }
    }

    fn write(&mut self, report: &[u8]) -> Result<(), Error> {
        if self.node.is_none() {
            self.node = Some(self.place.open().map_err(|error| no_host(&error))?);
        }
        match self.try_write(report) {
            // Somebody else's report (the supervisor's, when our predecessor died) is in it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.flight = Flight::Aloft;
                if !self.lands() {
                    return Err(Error::NoHost("it has not taken somebody else's report".to_owned()));
                }
                self.try_write(report)
            }
            Err(_) if self.reopen() => self.try_write(report),
            other => other,
        }
        .map_err(|error| no_host(&error))
    }

    fn try_write(&mut self, report: &[u8]) -> io::Result<()> {
        self.node.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), |node| node.write(report))
    }
}

fn no_host(error: &io::Error) -> Error {
    Error::NoHost(error.to_string())
}

#[cfg(test)]
mod tests;
