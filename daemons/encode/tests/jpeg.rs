//! What comes out of the encoder, seen by a decoder.

use encode::{Error, Format, Jpeg, View, dimensions, preview};
use proptest::prelude::*;
use turbojpeg::{PixelFormat, decompress};

/// A picture of one colour, given as RGB and as the same colour in YUV (BT.601, full range).
fn plain(format: Format, height: u32, stride: usize) -> Vec<u8> {
    // RGB (200, 100, 50): Y 124, U 86, V 182.
    let (y, u, v) = (124, 86, 182);
    let mut data = vec![0; format.picture_bytes(height, stride)];
    let luma = stride * height as usize;
    match format {
        Format::Bgrx => data.as_chunks_mut::<4>().0.fill([50, 100, 200, 7]),
        Format::Yuyv => data.as_chunks_mut::<4>().0.fill([y, u, y, v]),
        Format::Uyvy => data.as_chunks_mut::<4>().0.fill([u, y, v, y]),
        Format::Rgb24 => {
            for line in data.chunks_mut(stride) {
                line.as_chunks_mut::<3>().0.fill([200, 100, 50]);
            }
        }
        Format::Bgr24 => {
            for line in data.chunks_mut(stride) {
                line.as_chunks_mut::<3>().0.fill([50, 100, 200]);
            }
        }
        Format::Nv12 => {
            data[..luma].fill(y);
            data[luma..].as_chunks_mut::<2>().0.fill([u, v]);
        }
        Format::Jpeg => {}
        Format::Yuv420 | Format::Yuv422 => {
            let chroma = (data.len() - luma) / 2;
            data[..luma].fill(y);
            data[luma..luma + chroma].fill(u);
            data[luma + chroma..].fill(v);
        }
    }
    data
}

#[expect(clippy::unwrap_used, reason = "called by tests only")]
fn assert_plain(jpeg: &[u8], width: u32, height: u32) {
    let image = decompress(jpeg, PixelFormat::RGB).unwrap();
    assert_eq!((image.width, image.height), (width as usize, height as usize));
    for pixel in image.pixels.as_chunks::<3>().0 {
        for (value, expected) in pixel.iter().zip([200_u8, 100, 50]) {
            assert!(value.abs_diff(expected) <= 4, "{pixel:?}");
        }
    }
}

proptest! {
    #[test]
    fn every_format_keeps_its_colour_at_every_size(
        format in prop::sample::select(Format::RAW.to_vec()), width in 1_u32..70, height in 1_u32..50, pad in 0_usize..9,
    ) {
        let stride = format.line_bytes(width) + pad * 4;
        let data = plain(format, height, stride);
        let mut jpeg = Jpeg::new(90).unwrap();
        assert_plain(jpeg.encode(&View::new(format, width, height, stride, &data).unwrap()).unwrap(), width, height);
    }

    #[test]
    fn the_worst_noise_at_the_best_quality_fits_the_buffer(
        format in prop::sample::select(Format::RAW.to_vec()), width in 1_u32..40, height in 1_u32..40, seed in any::<u32>(),
    ) {
        let mut state = seed | 1;
        let data: Vec<u8> = (0..format.picture_bytes(height, format.line_bytes(width)))
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 31 == 0 { 0 } else { 255 }
            })
            .collect();
        let mut jpeg = Jpeg::new(100).unwrap();
        let bytes = jpeg.encode(&View::packed(format, width, height, &data).unwrap()).unwrap();
        prop_assert_eq!(dimensions(bytes).unwrap(), (width, height));
    }

    #[test]
    fn what_is_no_jpeg_has_no_preview(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..400) {
        prop_assert!(preview(&bytes, 0, 0, 80).is_err());
        let data = plain(Format::Bgrx, 64, 256);
        let mut jpeg = Jpeg::new(80).unwrap();
        let whole = jpeg.encode(&View::packed(Format::Bgrx, 64, 64, &data).unwrap()).unwrap();
        let _ = preview(&whole[..cut.min(whole.len())], 10, 10, 80);
    }
}

#[test]
fn a_pixel_stays_where_it_was() {
    // Left half black, right half white, as YUYV of an odd width: a mix-up of planes or strides would show.
    let (width, height) = (33_u32, 16_u32);
    let line: Vec<u8> = (0..34).flat_map(|x| [if x < 16 { 0 } else { 255 }, 128]).collect();
    let data = line.repeat(16);
    let mut jpeg = Jpeg::new(95).unwrap();
    let bytes = jpeg.encode(&View::packed(Format::Yuyv, width, height, &data).unwrap()).unwrap();
    let image = decompress(bytes, PixelFormat::GRAY).unwrap();
    for line in image.pixels.chunks(image.pitch) {
        assert!(
            line[..12].iter().all(|value| *value < 12) && line[20..33].iter().all(|value| *value > 243),
            "{line:?}"
        );
    }
}

#[test]
fn the_buffers_stay_where_they_are_from_frame_to_frame() {
    let data = plain(Format::Yuyv, 48, 128);
    let view = View::packed(Format::Yuyv, 64, 48, &data).unwrap();
    let mut jpeg = Jpeg::new(80).unwrap();
    assert!(jpeg.last().is_empty());
    let first = jpeg.encode(&view).unwrap().as_ptr();
    assert_eq!(jpeg.encode(&view).unwrap().as_ptr(), first);
    assert_eq!(jpeg.last().as_ptr(), first);
}

#[test]
fn a_higher_quality_makes_a_larger_file_and_nonsense_is_taken_to_the_nearest() {
    let data: Vec<u8> = (0..64 * 64 * 4_u32).map(|at| u8::try_from(at * at % 251).unwrap()).collect();
    let view = View::packed(Format::Bgrx, 64, 64, &data).unwrap();
    let mut jpeg = Jpeg::new(0).unwrap();
    assert_eq!(jpeg.quality(), 1);
    let small = jpeg.encode(&view).unwrap().len();
    jpeg.set_quality(200).unwrap();
    assert_eq!(jpeg.quality(), 100);
    assert!(jpeg.encode(&view).unwrap().len() > small);
}

#[test]
fn a_preview_shows_the_same_colour_in_the_size_asked_for() {
    let data = plain(Format::Yuv420, 360, 640);
    let mut jpeg = Jpeg::new(90).unwrap();
    let full = jpeg.encode(&View::packed(Format::Yuv420, 640, 360, &data).unwrap()).unwrap();
    for (max, expected) in
        [((0, 0), (128, 72)), ((320, 0), (320, 180)), ((100, 100), (100, 56)), ((639, 0), (639, 359))]
    {
        let small = preview(full, max.0, max.1, 80).unwrap().unwrap();
        assert_plain(&small, expected.0, expected.1);
    }
}

#[test]
fn a_preview_as_large_as_the_picture_is_the_picture() {
    let data = plain(Format::Yuv420, 64, 64);
    let mut jpeg = Jpeg::new(90).unwrap();
    let full = jpeg.encode(&View::packed(Format::Yuv420, 64, 64, &data).unwrap()).unwrap();
    assert!(preview(full, 64, 64, 80).unwrap().is_none());
    assert!(preview(full, 5000, 0, 80).unwrap().is_none());
    assert!(matches!(preview(b"no JPEG", 0, 0, 80), Err(Error::Library(_))));
}
