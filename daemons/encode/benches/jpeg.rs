//! Cost of one 1080p picture for each input format, on a screen-like picture (text-sized detail on flat ground).

#![expect(clippy::unwrap_used, missing_docs, reason = "a bench stops at the first error; criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use encode::{Format, Jpeg, View, preview};

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;

/// Flat areas, and blocks of characters of 8x16 with a pseudo-random pattern in them, in every format.
fn screen(format: Format) -> Vec<u8> {
    let luma = |x: u32, y: u32| {
        let cell = (x / 8).wrapping_mul(2_654_435_761) ^ (y / 16).wrapping_mul(40_503);
        let text = (x / 480 + y / 270).is_multiple_of(2) && !cell.is_multiple_of(5);
        let dot = (cell >> (x % 8 + y % 16)) & 1 == 1;
        if text && dot { 230 } else { 30 }
    };
    let stride = format.line_bytes(WIDTH);
    let mut data = vec![128; format.picture_bytes(HEIGHT, stride)];
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (line, x_at) = (y as usize * stride, x as usize);
            match format {
                Format::Bgrx => data[line + x_at * 4..][..4].fill(luma(x, y)),
                Format::Rgb24 | Format::Bgr24 => data[line + x_at * 3..][..3].fill(luma(x, y)),
                Format::Yuv420 | Format::Yuv422 | Format::Nv12 => data[line + x_at] = luma(x, y),
                Format::Yuyv => data[line + x_at * 2] = luma(x, y),
                Format::Uyvy => data[line + x_at * 2 + 1] = luma(x, y),
                Format::Jpeg => {}
            }
        }
    }
    data
}

fn encoders(c: &mut Criterion) {
    let mut group = c.benchmark_group("jpeg_1080p_q80");
    for format in Format::RAW {
        let data = screen(format);
        let view = View::packed(format, WIDTH, HEIGHT, &data).unwrap();
        let mut jpeg = Jpeg::new(80).unwrap();
        group.bench_function(format.name(), |b| b.iter(|| jpeg.encode(&view).unwrap().len()));
    }
    group.finish();
    let data = screen(Format::Yuv420);
    let full = {
        let mut jpeg = Jpeg::new(80).unwrap();
        jpeg.encode(&View::packed(Format::Yuv420, WIDTH, HEIGHT, &data).unwrap()).unwrap().to_vec()
    };
    c.bench_function("preview_fifth", |b| b.iter(|| preview(&full, 0, 0, 80).unwrap()));
}

criterion_group!(benches, encoders);
criterion_main!(benches);
