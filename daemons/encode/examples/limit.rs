//! What encoding costs at least: `limit FRAMES.yuyv QUALITY COUNT` prints CPU seconds for 1,000 pictures of 1920x1080, in
//! one thread, of libjpeg-turbo alone on planes that are ready, of our encoder when all is new, and of our encoder when
//! the frames are played in a circle with a changing dot in the corner.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for the bench: prints its result, stops at the first error"
)]

use encode::{Format, Jpeg, View};
use turbojpeg::{Compressor, Subsamp, YuvPlanesImage, compressed_buf_len};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;

/// CPU time of this thread in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Seconds for 1,000 pictures.
fn measure(count: u32, mut encode: impl FnMut(usize)) -> f64 {
    encode(0);
    let began = cpu_ns();
    for number in 1..=count as usize {
        encode(number);
    }
    (cpu_ns() - began) as f64 / 1e6 / f64::from(count)
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (path, quality, count) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let (quality, count): (u8, u32) = (quality.parse().unwrap(), count.parse().unwrap());
    let mut data = std::fs::read(path).unwrap();
    let frame_bytes = WIDTH * HEIGHT * 2;
    let frames = data.len() / frame_bytes;

    let planes: Vec<[Vec<u8>; 3]> = data
        .chunks_exact(frame_bytes)
        .map(|frame| {
            let y = frame.iter().step_by(2).copied().collect();
            let chroma = |offset: usize| {
                let line =
                    |row: usize| frame[row * WIDTH * 2 + offset..][..WIDTH * 2 - offset].iter().step_by(4);
                (0..HEIGHT / 2).flat_map(|row| line(row * 2).copied()).collect()
            };
            [y, chroma(1), chroma(3)]
        })
        .collect();
    let mut compressor = Compressor::new().unwrap();
    compressor.set_quality(quality.into()).unwrap();
    let mut out = vec![0; compressed_buf_len(WIDTH, HEIGHT, Subsamp::Sub2x2).unwrap()];
    let library = measure(count, |number| {
        let [y_plane, u_plane, v_plane] = planes[number % frames].each_ref().map(Vec::as_slice);
        let (width, height, subsamp) = (WIDTH, HEIGHT, Subsamp::Sub2x2);
        let (y_stride, u_stride, v_stride) = (width, width / 2, width / 2);
        let image = YuvPlanesImage {
            y_plane,
            u_plane,
            v_plane,
            width,
            height,
            y_stride,
            u_stride,
            v_stride,
            subsamp,
        };
        compressor.compress_yuv_planes_to_slice(&image, &mut out).unwrap();
    });

    let mut jpeg = Jpeg::new(quality).unwrap();
    let mut encode = |frame: &mut [u8], number: usize| {
        frame[0] = if number.is_multiple_of(2) { 16 } else { 235 };
        let (width, height) = (WIDTH.try_into().unwrap(), HEIGHT.try_into().unwrap());
        jpeg.encode(&View::packed(Format::Yuyv, width, height, frame).unwrap()).unwrap();
    };
    let at = |number: usize| number % frames * frame_bytes..(number % frames + 1) * frame_bytes;
    let played = measure(count, |number| encode(&mut data[at(number)], number));
    // Every other picture is a negative, so that nothing stays.
    let mut negative: Vec<u8> = data.iter().map(|byte| !byte).collect();
    let anew = measure(count, |number| {
        let data = if number.is_multiple_of(2) { &mut data } else { &mut negative };
        encode(&mut data[at(number)], number);
    });
    println!("{library:.3} {anew:.3} {played:.3}");
}
