//! How slow a sender may be: who sends a byte a minute is never silent, and would hold the drive for ever.
//!
//! The floor is so low that no line that anybody uses is below it. What broke off for it can be gone on with.

use std::time::Duration;
use tokio::time::Instant;

/// The time that is looked at as a whole.
const SPELL: Duration = Duration::from_secs(300);
/// Bytes that have to come in it.
const FLOOR: u64 = 64 << 10;

/// Fewer bytes came than must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow;

/// Counts what comes.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    /// So many bytes more have come.
    ///
    /// # Errors
    /// [`TooSlow`], once a spell is over in which there were fewer than must be.
    pub(super) fn passed(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.bytes += bytes as u64;
        if self.since.elapsed() < SPELL {
            return Ok(());
        }
        let enough = self.bytes >= FLOOR;
        *self = Self::new();
        if enough { Ok(()) } else { Err(TooSlow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_modem_is_quick_enough_and_a_drip_is_not() {
        let mut pace = Pace::new();
        for _ in 0..3600 {
            advance(Duration::from_secs(1)).await;
            assert_eq!(pace.passed(300), Ok(()));
        }
        let mut pace = Pace::new();
        for _ in 0..5 {
            advance(Duration::from_secs(50)).await;
            assert_eq!(pace.passed(1), Ok(()), "nobody is judged by a moment");
        }
        advance(Duration::from_secs(50)).await;
        assert_eq!(pace.passed(1), Err(TooSlow));
    }
}
