//! What the owner of updates needs: where things lie, and a machine to have things done outside.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::progress::Line;
use crate::{Bundle, Unfit};

/// Where things lie, and how long a release has to prove itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mounted partition with the boot choice.
    pub boot: PathBuf,
    /// What the kernel was started with.
    pub cmdline: PathBuf,
    /// What the release says of itself.
    pub release: PathBuf,
    /// The slots' settings, a directory each.
    pub etc: PathBuf,
    /// Ours: the history, and bundles on their way.
    pub dir: PathBuf,
    /// Where is said why a start failed: by the initramfs, or by whoever gave the release up in our place.
    pub failure: PathBuf,
    /// How long a new release has to prove itself, from its start.
    pub deadline: Duration,
    /// How long it runs by now.
    pub up: Duration,
}

/// A future on the heap.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What has to be done outside.
pub trait Machine: Send + Sync {
    /// Takes the uploaded bundle out of reach of whoever received it; `None` when there is none.
    fn take_upload(&self) -> Boxed<'_, Result<Option<PathBuf>, String>>;
    /// What a bundle says of itself, its signature checked.
    fn inspect<'a>(&'a self, bundle: &'a str) -> Boxed<'a, Result<Bundle, Unfit>>;
    /// Writes a bundle to the other slot, and tells how it gets on.
    fn install<'a>(&'a self, bundle: &'a str, progress: mpsc::Sender<Line>) -> Boxed<'a, Result<(), String>>;
    /// Stops whoever writes the other slot, for somebody who is gone.
    fn stop_install(&self) -> Boxed<'_, ()>;
    /// Whether the appliance can serve; why not.
    fn probe(&self) -> Boxed<'_, Result<(), String>>;
    /// Nobody probes any more: what was started for that alone is stopped.
    fn probed(&self) -> Boxed<'_, ()>;
    /// A trial goes on after a restart that is not ours: has a firmware that has to be asked try the same slot again.
    fn try_again(&self);
    /// The contrary: what was said for a restart that did not come must not be found by another.
    fn forget_try(&self);
    /// Restarts the machine orderly; `trial` asks a firmware that has to be asked for the slot that is to be tried.
    fn restart(&self, trial: bool) -> Boxed<'_, Result<(), String>>;
    /// Restarts it whatever the settings say and whoever does not stop.
    fn restart_by_force(&self) -> Boxed<'_, Result<(), String>>;
}
