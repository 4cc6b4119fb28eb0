//! Frames for everybody in this process: one thread reads the ring, and only while somebody looks.
//!
//! A viewer sees the newest frame whenever it is ready for one; what came in between is skipped. Frames are shared,
//! never copied for a viewer.

mod turns;

use bytes::Bytes;
use std::{
    os::fd::OwnedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// How long the thread waits for a frame before it looks whether anybody still watches.
const PATIENCE: Duration = Duration::from_millis(500);
/// What lies in the ring longer than this was left there by a streamer that has stopped.
const STALE_NS: u64 = 3_000_000_000;

/// A frame that is shared by all who send it.
#[derive(Debug)]
pub struct Shot {
    /// Number of the frame.
    pub seq: u64,
    /// What the streamer said of it.
    pub meta: frames::Meta,
    /// When it was published, on the monotonic clock.
    pub published_ns: u64,
    /// The JPEG.
    pub data: Bytes,
}

impl From<frames::Frame> for Shot {
    fn from(frame: frames::Frame) -> Self {
        Self { seq: frame.seq, meta: frame.meta, published_ns: frame.published_ns, data: frame.data.into() }
    }
}

/// The ring as this process sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frames {
    newest: watch::Receiver<Option<Arc<Shot>>>,
    demand: Arc<Demand>,
}

/// How many watch, and whether the thread should end.
#[derive(Debug, Default)]
struct Demand {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, (usize, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until somebody watches; false when it is time to end.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.0 == 0 && !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.1
    }
}

/// Somebody who watches. Dropping it lets the thread rest again.
#[derive(Debug)]
pub struct Viewer {
    newest: watch::Receiver<Option<Arc<Shot>>>,
    /// There is one it has not seen, and only waits for its turn.
    is_next: bool,
    demand: Arc<Demand>,
}

impl Frames {
    /// Without a ring there are no frames, ever.
    #[must_use]
    pub fn none() -> Self {
        Self { newest: watch::channel(None).1, demand: Arc::default() }
    }

    /// Starts the thread that reads this ring.
    pub fn start(ring: &OwnedFd) -> anyhow::Result<(Self, FramesThread)> {
        let reader = frames::Reader::attach(ring)?;
        let (sender, newest) = watch::channel(None);
        let demand = Arc::new(Demand::default());
        let work = Arc::clone(&demand);
        std::thread::Builder::new().name("frames".to_owned()).spawn(move || read(&reader, &work, &sender))?;
        Ok((Self { newest, demand: Arc::clone(&demand) }, FramesThread(demand)))
    }

    /// Begins to watch.
    #[must_use]
    pub fn watch(&self) -> Viewer {
        let mut newest = self.newest.clone();
        let mut state = self.demand.lock();
        state.0 += 1;
        if state.0 == 1 {
            newest.mark_unchanged(); // whatever is there now is from before the thread went to sleep
        } else {
            newest.mark_changed();
        }
        self.demand.changed.notify_one();
        drop(state);
        Viewer { newest, is_next: false, demand: Arc::clone(&self.demand) }
    }
}

impl Viewer {
    /// The newest frame this viewer has not seen. Waits for it; none when there will be no more. Who gives up waiting
    /// misses nothing.
    pub async fn next(&mut self) -> Option<Arc<Shot>> {
        loop {
            if !self.is_next {
                self.newest.changed().await.ok()?;
                self.is_next = true;
            }
            turns::take().await;
            self.is_next = false;
            if let Some(shot) = self.newest.borrow_and_update().clone() {
                return Some(shot);
            }
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut state = self.demand.lock();
        state.0 = state.0.saturating_sub(1);
    }
}

/// Ends the thread when dropped.
#[derive(Debug)]
pub struct FramesThread(Arc<Demand>);

impl Drop for FramesThread {
    fn drop(&mut self) {
        self.0.lock().1 = true;
        self.0.changed.notify_all();
    }
}

fn read(reader: &frames::Reader, demand: &Demand, newest: &watch::Sender<Option<Arc<Shot>>>) {
    while demand.wait() {
        let mut seq = 0;
        while demand.lock().0 > 0 && !demand.lock().1 {
            let Some(frame) = reader.wait_newer(seq, PATIENCE) else { continue };
            seq = frame.seq;
            if frames::now_ns().saturating_sub(frame.published_ns) < STALE_NS {
                newest.send_replace(Some(Arc::new(frame.into())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::bench, *};

    #[tokio::test(flavor = "multi_thread")]
    async fn every_viewer_gets_the_newest_frame() {
        let ring = frames::create(2, 64).unwrap();
        let mut writer = frames::Writer::attach(&ring).unwrap();
        let (frames, _thread) = Frames::start(&ring).unwrap();
        writer.publish(&bench::meta(true), b"one").unwrap();
        let (mut first, mut second) = (frames.watch(), frames.watch());
        assert_eq!(first.next().await.unwrap().data, "one");
        assert_eq!(second.next().await.unwrap().data, "one");
        writer.publish(&bench::meta(true), b"two").unwrap();
        assert_eq!(first.next().await.unwrap().data, "two");
        assert_eq!(second.next().await.unwrap().data, "two");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_viewer_after_a_pause_does_not_get_what_was_there_before() {
        let ring = frames::create(2, 64).unwrap();
        let mut writer = frames::Writer::attach(&ring).unwrap();
        let (frames, _thread) = Frames::start(&ring).unwrap();
        writer.publish(&bench::meta(true), b"old").unwrap();
        assert_eq!(frames.watch().next().await.unwrap().data, "old");
        writer.publish(&bench::meta(true), b"new").unwrap();
        assert_eq!(frames.watch().next().await.unwrap().data, "new");
    }

    #[tokio::test]
    async fn without_a_ring_there_are_no_frames() {
        assert!(Frames::none().watch().next().await.is_none());
    }
}
