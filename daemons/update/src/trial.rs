//! Whether a new release is good: asked again and again until it is, for so long and no longer.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::Machine;

/// How often is asked.
const PAUSE: Duration = Duration::from_secs(2);
/// How long it has to stay good: what falls over at its first request is not.
const STEADY: Duration = Duration::from_secs(6);

/// How long it has at least from the start of whoever judges it: checking a disk, or a slow machine, may have taken the
/// rest. That a judge who is started again and again comes to an end is seen to by somebody else (`kvmd-trial.timer`).
const LEAST: Duration = Duration::from_secs(90);

/// Ends when the machine has been good for a while, or at the deadline (counted from its start, `up` ago) with what was
/// wrong last.
pub(crate) async fn judge(machine: &dyn Machine, deadline: Duration, up: Duration) -> Result<(), String> {
    let end = Instant::now() + deadline.saturating_sub(up).max(deadline.min(LEAST));
    let mut good_since: Option<Instant> = None;
    let mut wrong = "nothing could be asked in time".to_owned();
    loop {
        match timeout_at(end, machine.probe()).await {
            Ok(Ok(())) => {
                let since = *good_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STEADY {
                    return Ok(());
                }
            }
            Ok(Err(why)) => {
                if why != wrong {
                    log::info!("the new release is not good yet: {why}");
                }
                (good_since, wrong) = (None, why);
            }
            Err(_) => return Err(format!("not good within {} s: {wrong}", deadline.as_secs())),
        }
        let next = Instant::now() + PAUSE;
        if next >= end {
            // Good, though not for long: a slow board needs its time.
            if good_since.is_some() {
                return Ok(());
            }
            return Err(format!("not good within {} s: {wrong}", deadline.as_secs()));
        }
        sleep_until(next).await;
    }
}
