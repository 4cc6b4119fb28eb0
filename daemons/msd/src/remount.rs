//! What only the supervisor may do for us: make the storage writable, pull the cable.

use client::supervisor::Supervisor;

use crate::drive::{Doing, Remount};
use crate::replug::Cable;

/// A storage that always is as it is: a plain directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Remount for Plain {
    fn remount(&mut self, _rw: bool) -> Doing<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// The supervisor remounts: only it may.
impl Remount for Supervisor {
    fn remount(&mut self, rw: bool) -> Doing<'_, Result<(), String>> {
        Box::pin(async move { self.remount_msd(rw).await.map_err(|error| error.to_string()) })
    }
}

impl Cable for Supervisor {
    fn replug(&mut self) -> Doing<'_, Result<(), String>> {
        Box::pin(async move { self.replug_gadget().await.map_err(|error| error.to_string()) })
    }
}
