//! What one event costs until its report is bytes.
#![expect(missing_docs, reason = "criterion's macro makes public functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hid_wire::{AbsoluteMouse, Key, Keyboard, Keymap, Strokes};

fn benches(c: &mut Criterion) {
    let mut keyboard = Keyboard::new();
    c.bench_function("key press and release to reports", |b| {
        b.iter(|| {
            let key = Key::from_name(black_box("KeyA"));
            for report in key.into_iter().flat_map(|key| keyboard.event(key, true, true)) {
                black_box(report.bytes());
            }
        });
    });

    let mut mouse = AbsoluteMouse::new();
    c.bench_function("absolute move to report", |b| {
        b.iter(|| black_box(mouse.move_to(black_box(-1234), black_box(4321))));
    });

    let text = "The quick brown fox jumps over the lazy dog. ".repeat(23);
    c.bench_function("1 KiB of text to strokes", |b| {
        b.iter(|| Strokes::new(black_box(&text), Keymap::builtin()).count());
    });
}

criterion_group!(all, benches);
criterion_main!(all);
