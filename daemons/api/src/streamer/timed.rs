//! Pictures taken by the clock and remembered (`kvmd.snapshot`): what `snapshot?load=1` shows while nobody watches.
//!
//! While somebody watches, every `live_interval` the picture of the moment is remembered. While nobody does, every
//! `idle_interval` the target is woken by a key or a movement of the mouse, the streamer started for it, and after
//! `online_delay` a picture tried, up to `retries` times. An interval of 0 takes none.

use super::{owner::Streamer, snapshot};
use hid::{Event, Hid};
use hid_wire::Key;
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long the streamer is kept beyond a step: the next one renews it.
const MARGIN: Duration = Duration::from_secs(5);

/// When pictures are taken, and how the target is woken for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Between two while nobody watches; zero for none.
    pub idle: Duration,
    /// Between two while somebody watches; zero for none.
    pub live: Duration,
    /// Pressed and released to wake the target.
    pub wakeup_key: Option<Key>,
    /// Where the pointer is moved, or how far, to wake the target; 0 leaves it.
    pub wakeup_move: i16,
    /// From waking to the first try.
    pub online_delay: Duration,
    /// Tries.
    pub retries: u32,
    /// Between two tries.
    pub retries_delay: Duration,
}

impl Settings {
    /// Whether any picture is ever taken.
    #[must_use]
    pub fn wanted(&self) -> bool {
        !self.idle.is_zero() || !self.live.is_zero()
    }

    fn interval(&self, watched: bool) -> Option<Duration> {
        Some(if watched { self.live } else { self.idle }).filter(|interval| !interval.is_zero())
    }
}

/// Takes pictures until `stop`. `viewers` is how many clients want them.
pub async fn run(
    settings: Settings,
    streamer: Streamer,
    hid: Hid,
    viewers: watch::Receiver<usize>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = take(&settings, &streamer, &hid, viewers) => {}
    }
}

async fn take(settings: &Settings, streamer: &Streamer, hid: &Hid, mut viewers: watch::Receiver<usize>) {
    let mut last = Instant::now();
    loop {
        let watched = *viewers.borrow_and_update() > 0;
        let due = settings.interval(watched).map(|interval| last + interval);
        tokio::select! {
            // Somebody came or left: the other interval counts from the last picture on.
            changed = viewers.changed() => if changed.is_err() { return },
            () = sleep_until(due.unwrap_or(last)), if due.is_some() => {
                last = Instant::now();
                let taken = if watched { remember(streamer).await } else { wake_and_take(settings, streamer, hid).await };
                if !taken {
                    log::info!("no picture to remember: the target shows none");
                }
            }
        }
    }
}

async fn wake_and_take(settings: &Settings, streamer: &Streamer, hid: &Hid) -> bool {
    streamer.hold(settings.online_delay + MARGIN).await;
    wake(settings, hid).await;
    sleep(settings.online_delay).await;
    for _ in 0..settings.retries {
        streamer.hold(streamer.settings().snapshot_timeout + settings.retries_delay + MARGIN).await;
        if remember(streamer).await {
            return true;
        }
        sleep(settings.retries_delay).await;
    }
    false
}

async fn wake(settings: &Settings, hid: &Hid) {
    if let Some(key) = settings.wakeup_key {
        hid.click_key(key).await;
    }
    let distance = settings.wakeup_move;
    if distance != 0 {
        // One of the two is not what the mouse does now: it is left out there.
        hid.inject(Event::Move { x: distance, y: distance });
        let step = model::check::clamp_delta(i64::from(distance));
        hid.inject(Event::Relative { deltas: vec![(step, step)], squash: false });
    }
}

async fn remember(streamer: &Streamer) -> bool {
    let shot = snapshot::fresh(streamer).await.filter(|shot| shot.meta.online);
    let taken = shot.is_some();
    if taken {
        streamer.remember(shot).await;
    }
    taken
}
