//! Who makes the storage writable.

use client::supervisor::Supervisor;

use crate::drive::{Doing, Remount};

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
