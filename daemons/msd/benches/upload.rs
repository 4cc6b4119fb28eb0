//! Uploads against plain writing with an fsync at the end (what `dd conv=fsync` does), side by side, in turns.
//!
//! `cargo bench -p msd --bench upload -- [DIRECTORY] [MIB]`; the directory decides which disk is measured.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measuring program, run by hand")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use msd::{Fake, Settings};
use tokio_util::sync::CancellationToken;

/// As large as what a TLS connection hands over at once, and as the reference's chunks.
const PIECES: [usize; 2] = [16 * 1024, 64 * 1024];
const MIB: usize = 1024 * 1024;
const TURNS: usize = 5;

#[tokio::main]
async fn main() {
    let args = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect::<Vec<_>>();
    let parent = args.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let mib = args.get(1).and_then(|mib| mib.parse().ok()).unwrap_or(256);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let data = Bytes::from((0..MIB).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect::<Vec<_>>());
    for piece in PIECES {
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            plain.push(rate(mib, || write_plainly(dir.path(), &data, mib)));
            let start = Instant::now();
            upload(dir.path(), &data, mib, piece).await;
            ours.push(per_second(mib, start));
        }
        plain.sort_by(f64::total_cmp);
        ours.sort_by(f64::total_cmp);
        let (plain, ours) = (plain[TURNS / 2], ours[TURNS / 2]);
        println!(
            "{mib} MiB in pieces of {} KiB: plain {plain:.0} MiB/s, upload {ours:.0} MiB/s, {:.0} % (medians of {TURNS})",
            piece / 1024,
            ours / plain * 100.0
        );
    }
}

fn rate(mib: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    per_second(mib, start)
}

fn per_second(mib: usize, start: Instant) -> f64 {
    f64::from(u32::try_from(mib).unwrap()) / start.elapsed().as_secs_f64()
}

fn write_plainly(dir: &Path, data: &[u8], mib: usize) {
    let path = dir.join("plain");
    let mut file = File::create(&path).unwrap();
    for _ in 0..mib {
        file.write_all(data).unwrap();
    }
    file.sync_all().unwrap();
    std::fs::remove_file(path).unwrap();
}

async fn upload(dir: &Path, data: &Bytes, mib: usize, piece: usize) {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let settings = Settings { root: dir.to_owned(), ..Settings::default() };
    let (msd, owner) = msd::spawn(settings, fake.drive(), fake.remount(), stop.clone());
    msd.subscribe().wait_for(|state| state.online).await.unwrap();
    let mut write = msd.begin_write("upload.img", (mib * MIB) as u64, false).await.unwrap();
    for _ in 0..mib {
        for at in (0..MIB).step_by(piece) {
            write.chunk(data.slice(at..at + piece)).await.unwrap();
        }
    }
    write.finish(None).await.unwrap();
    msd.remove("upload.img").await.unwrap();
    stop.cancel();
    owner.await.unwrap();
}
