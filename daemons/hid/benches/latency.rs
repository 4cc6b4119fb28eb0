//! From an event handed in to its report at the link, thread switch included.

#![expect(missing_docs, reason = "criterion's macro makes public functions")]

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use criterion::{Criterion, criterion_group, criterion_main};
use hid::{Error, Event, Hid, Key, Link, Settings};
use hid_wire::Report;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Hands every report to the one who measures.
struct Wire(SyncSender<Report>);

impl Link for Wire {
    fn send(&mut self, report: &Report) -> Result<(), Error> {
        // Full only when nobody reads any more, at the end.
        let _ = self.0.try_send(*report);
        Ok(())
    }
}

struct Rig {
    hid: Hid,
    reports: Receiver<Report>,
    _runtime: Runtime,
}

impl Rig {
    fn start() -> Option<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
        let (sender, reports) = sync_channel(64);
        let guard = runtime.enter();
        let (hid, _) = hid::spawn(Settings::default(), Wire(sender), CancellationToken::new()).ok()?;
        drop(guard);
        Some(Self { hid, reports, _runtime: runtime })
    }
}

fn benches(c: &mut Criterion) {
    let Some(rig) = Rig::start() else { return };
    c.bench_function("key event to report at the link", |b| {
        b.iter(|| {
            rig.hid.inject(Event::Key { key: Key::KEY_A, pressed: true, finish: true });
            (rig.reports.recv(), rig.reports.recv())
        });
    });
    c.bench_function("absolute move to report at the link", |b| {
        b.iter(|| {
            rig.hid.inject(Event::Move { x: 1, y: 2 });
            rig.reports.recv()
        });
    });
}

criterion_group!(all, benches);
criterion_main!(all);
