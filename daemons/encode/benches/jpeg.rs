//! Cost of one 1080p picture for each input format, on a screen-like picture (text-sized detail on flat ground), when
//! all of it is new, one strip of it, and nothing; beside it libjpeg-turbo alone on planes that are ready.

#![expect(clippy::unwrap_used, missing_docs, reason = "a bench stops at the first error; criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use encode::{Chroma, Format, Jpeg, View, preview};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp, YuvPlanesImage, compressed_buf_len};

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;

/// Flat areas, and blocks of characters of 8x16 with a pseudo-random pattern in them, in every format. `seed` makes
/// other characters, so that every strip differs.
fn screen(format: Format, seed: u32) -> Vec<u8> {
    let luma = |x: u32, y: u32| {
        let cell = (x / 8).wrapping_mul(2_654_435_761) ^ (y / 16).wrapping_mul(40_503) ^ seed;
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
    for format in Format::RAW {
        let mut group = c.benchmark_group(format!("{format}_1080p_q80"));
        let (first, second) = (screen(format, 0), screen(format, 99));
        let mut dotted = first.clone();
        dotted[100] ^= 0x80;
        let [first, second, dotted] =
            [&first, &second, &dotted].map(|data| View::packed(format, WIDTH, HEIGHT, data).unwrap());
        let mut run = |name: &str, chroma: Chroma, pictures: [View<'_>; 2]| {
            let mut jpeg = Jpeg::new(80).unwrap();
            jpeg.set_chroma(chroma);
            let mut turn = 0;
            group.bench_function(name, |b| {
                b.iter(|| {
                    turn ^= 1;
                    jpeg.encode(&pictures[turn]).unwrap().len()
                });
            });
        };
        run("all_new", Chroma::Quarter, [first, second]);
        if !matches!(format, Format::Yuv420 | Format::Nv12) {
            run("all_new_422", Chroma::Half, [first, second]);
        }
        run("one_strip_new", Chroma::Quarter, [first, dotted]);
        run("still", Chroma::Quarter, [first, first]);
        group.finish();
    }
    let data = screen(Format::Yuv420, 0);
    let full = {
        let mut jpeg = Jpeg::new(80).unwrap();
        jpeg.encode(&View::packed(Format::Yuv420, WIDTH, HEIGHT, &data).unwrap()).unwrap().to_vec()
    };
    c.bench_function("preview_fifth", |b| b.iter(|| preview(&full, 0, 0, 80).unwrap()));
}

/// The limit: libjpeg-turbo in one call for the whole picture, without any copying, comparing or joining of ours.
fn library(c: &mut Criterion) {
    let mut group = c.benchmark_group("libjpeg_turbo_alone_1080p_q80");
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(80).unwrap();
    let mut out = vec![0; compressed_buf_len(width, height, Subsamp::None).unwrap()];
    for (name, subsamp, format) in
        [("planes_420", Subsamp::Sub2x2, Format::Yuv420), ("planes_422", Subsamp::Sub2x1, Format::Yuv422)]
    {
        let pictures = [screen(format, 0), screen(format, 99)];
        let images = pictures.each_ref().map(|data| {
            let (y_plane, chroma) = data.split_at(width * height);
            let (u_plane, v_plane) = chroma.split_at(chroma.len() / 2);
            let (y_stride, u_stride, v_stride) = (width, width / 2, width / 2);
            YuvPlanesImage { y_plane, u_plane, v_plane, width, height, y_stride, u_stride, v_stride, subsamp }
        });
        let mut turn = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                turn ^= 1;
                compressor.compress_yuv_planes_to_slice(&images[turn], &mut out).unwrap()
            });
        });
    }
    compressor.set_subsamp(Subsamp::Sub2x2).unwrap();
    let pictures = [screen(Format::Bgrx, 0), screen(Format::Bgrx, 99)];
    let images = pictures.each_ref().map(|data| Image {
        pixels: &data[..],
        width,
        pitch: width * 4,
        height,
        format: PixelFormat::BGRX,
    });
    let mut turn = 0;
    group.bench_function("bgrx_to_420", |b| {
        b.iter(|| {
            turn ^= 1;
            compressor.compress_to_slice(images[turn], &mut out).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, library, encoders);
criterion_main!(benches);
