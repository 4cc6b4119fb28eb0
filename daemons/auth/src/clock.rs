//! Two clocks, always read together, so that everything else takes the time as an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since this boot, suspend included. Never steps; what lifetimes and locks are measured with.
    pub boot: Duration,
    /// Since 1970. May step, and may be years off on a board without a battery; needed by TOTP and across reboots.
    pub wall: Duration,
}

impl Now {
    /// Milliseconds since boot. Signed, because things that survived a reboot happened before zero.
    #[must_use]
    pub fn boot_ms(&self) -> i64 {
        millis(self.boot)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        millis(self.wall)
    }
}

/// A duration as signed milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Both clocks, now.
    fn now(&self) -> Now;
    /// Which boot `Now::boot` counts from.
    fn boot_id(&self) -> String;
}

/// The kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Now {
        use nix::time::{ClockId, clock_gettime};
        // Neither clock can fail on Linux with a valid id; zero would only make things expire.
        let read = |id| clock_gettime(id).map(Duration::from).unwrap_or_default();
        Now { boot: read(ClockId::CLOCK_BOOTTIME), wall: read(ClockId::CLOCK_REALTIME) }
    }

    fn boot_id(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    }
}

/// When a state file was written, in both clocks: everything in the file is relative to it.
///
/// Within one boot the boot clock says how long ago that was, whatever happened to the wall clock meanwhile.
/// After a reboot only the wall clock can tell; where it went backwards, no time has passed.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Epoch {
    boot_id: String,
    boot_ms: i64,
    wall_ms: i64,
}

impl Epoch {
    pub(crate) fn new(now: Now, boot_id: String) -> Self {
        Self { boot_id, boot_ms: now.boot_ms(), wall_ms: now.wall_ms() }
    }

    pub(crate) fn same_boot(&self, boot_id: &str) -> bool {
        !boot_id.is_empty() && self.boot_id == boot_id
    }

    /// Milliseconds from then to `now`, never negative.
    pub(crate) fn elapsed_ms(&self, now: Now, boot_id: &str) -> i64 {
        let elapsed = if self.same_boot(boot_id) {
            now.boot_ms().saturating_sub(self.boot_ms)
        } else {
            now.wall_ms().saturating_sub(self.wall_ms)
        };
        elapsed.max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_s: u64, wall_s: u64) -> Now {
        Now { boot: Duration::from_secs(boot_s), wall: Duration::from_secs(wall_s) }
    }

    #[test]
    fn within_a_boot_a_wall_clock_step_does_not_count() {
        let epoch = Epoch::new(at(100, 5_000), "a".into());
        assert_eq!(epoch.elapsed_ms(at(130, 1_700_000_000), "a"), 30_000);
        assert_eq!(epoch.elapsed_ms(at(130, 0), "a"), 30_000);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_counts_but_never_backwards() {
        let epoch = Epoch::new(at(100, 5_000), "a".into());
        assert_eq!(epoch.elapsed_ms(at(3, 5_060), "b"), 60_000);
        assert_eq!(epoch.elapsed_ms(at(3, 10), "b"), 0);
        assert_eq!(Epoch::new(at(9, 9), String::new()).elapsed_ms(at(5, 19), ""), 10_000);
    }

    #[test]
    fn the_kernel_tells_both_times() {
        let now = System.now();
        assert!(now.boot > Duration::ZERO && now.wall > now.boot);
        assert!(!System.boot_id().is_empty());
    }
}
