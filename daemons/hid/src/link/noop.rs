//! No cable: reports are accepted and forgotten.

use hid_wire::Report;

use super::{Error, Link};

/// Accepts and forgets every report; for trying out the rest without a target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noop;

impl Link for Noop {
    fn send(&mut self, _: &Report) -> Result<(), Error> {
        Ok(())
    }
}
