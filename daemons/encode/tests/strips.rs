//! A picture whose strips were partly taken from the last one is the picture that a fresh encoder makes.

use encode::{Chroma, Format, Jpeg, View};
use proptest::prelude::*;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp, decompress};

/// Something that happens between two pictures.
#[derive(Debug, Clone)]
enum Step {
    /// Bytes from somewhere on get another value; picture and padding alike.
    Paint {
        at: usize,
        len: usize,
        value: u8,
    },
    /// One byte changes.
    Dot {
        at: usize,
    },
    Quality(u8),
    Chroma(Chroma),
    Size {
        format: Format,
        width: u32,
        height: u32,
        pad: usize,
    },
    /// A picture in between that is a JPEG already.
    PassedOn,
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    let raw = prop::sample::select(Format::RAW.to_vec());
    let chroma = prop::sample::select(vec![Chroma::Quarter, Chroma::Half, Chroma::Full]);
    prop_oneof![
        4 => (any::<usize>(), 1_usize..400, any::<u8>()).prop_map(|(at, len, value)| Step::Paint { at, len, value }),
        4 => any::<usize>().prop_map(|at| Step::Dot { at }),
        1 => (1_u8..=100).prop_map(Step::Quality),
        1 => chroma.prop_map(Step::Chroma),
        1 => (raw, 1_u32..80, 1_u32..200, 0_usize..9)
            .prop_map(|(format, width, height, pad)| Step::Size { format, width, height, pad }),
        1 => Just(Step::PassedOn),
        2 => Just(Step::Nothing),
    ]
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_a_fresh_encoder_whatever_went_before(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (mut format, mut width, mut height) = (Format::Yuyv, 50, 100);
        let mut stride = format.line_bytes(width);
        let mut data = noise(format.picture_bytes(height, stride));
        let mut quality = 80;
        let mut chroma = Chroma::default();
        let mut jpeg = Jpeg::new(quality).unwrap();
        for step in steps {
            match step {
                Step::Paint { at, len, value } => {
                    let at = at % data.len();
                    let end = (at + len).min(data.len());
                    data[at..end].fill(value);
                }
                Step::Dot { at } => {
                    let at = at % data.len();
                    data[at] ^= 0x40;
                }
                Step::Quality(new) => {
                    quality = new;
                    jpeg.set_quality(quality).unwrap();
                }
                Step::Chroma(new) => {
                    chroma = new;
                    jpeg.set_chroma(chroma);
                }
                Step::Size { format: new, width: w, height: h, pad } => {
                    (format, width, height, stride) = (new, w, h, new.line_bytes(w) + pad);
                    data = noise(format.picture_bytes(height, stride));
                }
                Step::PassedOn => {
                    let made = jpeg.last().to_vec();
                    if !made.is_empty() {
                        prop_assert_eq!(jpeg.encode(&View::jpeg(&made).unwrap()).unwrap(), &made[..]);
                    }
                }
                Step::Nothing => {}
            }
            let view = View::new(format, width, height, stride, &data).unwrap();
            let mut fresh = Jpeg::new(quality).unwrap();
            fresh.set_chroma(chroma);
            prop_assert!(jpeg.encode(&view).unwrap() == fresh.encode(&view).unwrap(), "{view:?}");
        }
    }

    #[test]
    fn strips_show_the_same_pixels_as_a_picture_encoded_in_one_piece(
        (width, height) in (1_u32..100, 1_u32..300), quality in 1_u8..=100,
        (chroma, subsamp) in prop::sample::select(vec![
            (Chroma::Quarter, Subsamp::Sub2x2), (Chroma::Half, Subsamp::Sub2x1), (Chroma::Full, Subsamp::None),
        ]),
    ) {
        let data = noise(Format::Bgrx.picture_bytes(height, Format::Bgrx.line_bytes(width)));
        let mut ours = Jpeg::new(quality).unwrap();
        ours.set_chroma(chroma);
        let ours = ours.encode(&View::packed(Format::Bgrx, width, height, &data).unwrap()).unwrap();

        let mut whole = Compressor::new().unwrap();
        whole.set_quality(quality.into()).unwrap();
        whole.set_subsamp(subsamp).unwrap();
        let (width, height) = (width as usize, height as usize);
        let image = Image { pixels: &data[..], width, pitch: width * 4, height, format: PixelFormat::BGRX };
        let whole = whole.compress_to_vec(image).unwrap();
        let (ours, whole) = (decompress(ours, PixelFormat::RGB).unwrap(), decompress(&whole, PixelFormat::RGB).unwrap());
        prop_assert!(ours.pixels == whole.pixels);
    }
}

#[test]
fn a_change_of_one_strip_leaves_the_bytes_of_all_others_where_they_are() {
    let (width, height) = (64_u32, 16 * 20_u32);
    let mut data = noise(Format::Yuyv.picture_bytes(height, Format::Yuyv.line_bytes(width)));
    let mut jpeg = Jpeg::new(80).unwrap();
    let before = jpeg.encode(&View::packed(Format::Yuyv, width, height, &data).unwrap()).unwrap().to_vec();
    let strip_bytes = Format::Yuyv.picture_bytes(16, Format::Yuyv.line_bytes(width));
    data[9 * strip_bytes..10 * strip_bytes].fill(77);
    let after = jpeg.encode(&View::packed(Format::Yuyv, width, height, &data).unwrap()).unwrap();
    let intervals = |jpeg: &[u8]| -> Vec<Vec<u8>> {
        let mut parts = vec![Vec::new()];
        for two in jpeg.windows(2) {
            match two {
                [0xFF, 0xD0..=0xD7] => parts.push(Vec::new()),
                [byte, _] => parts.last_mut().unwrap().push(*byte),
                _ => {}
            }
        }
        parts
    };
    let (before, after) = (intervals(&before), intervals(after));
    assert_eq!((before.len(), after.len()), (20, 20));
    let differ: Vec<usize> = (0..20).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(differ, [9]);
}

#[test]
fn whether_the_picture_is_another_one_is_known() {
    let mut data = noise(Format::Nv12.picture_bytes(50, 64));
    let mut jpeg = Jpeg::new(80).unwrap();
    let mut is_new = |data: &[u8], quality| {
        jpeg.set_quality(quality).unwrap();
        jpeg.encode(&View::new(Format::Nv12, 60, 50, 64, data).unwrap()).unwrap();
        jpeg.is_new()
    };
    assert!(is_new(&data, 80));
    assert!(!is_new(&data, 80));
    data[62] ^= 1; // padding
    assert!(!is_new(&data, 80));
    data[64 * 50 + 3] ^= 1; // colour
    assert!(is_new(&data, 80));
    assert!(is_new(&data, 81));
    let made = jpeg.last().to_vec();
    for expected in [false, false] {
        jpeg.encode(&View::jpeg(&made).unwrap()).unwrap();
        assert_eq!(jpeg.is_new(), expected);
    }
    let other = jpeg.encode(&View::new(Format::Nv12, 60, 50, 64, &data[..]).unwrap()).unwrap().to_vec();
    assert_eq!(other, made);
}

#[test]
fn a_source_of_half_the_colour_is_halved_further_without_a_shift() {
    // Chroma that alternates from row to row between 100 and 101 is 100.5 on the mean over the picture.
    let (width, height) = (32_u32, 32_u32);
    let line = |chroma: u8| [128, chroma].repeat(width as usize);
    let data: Vec<u8> = (0..height).flat_map(|row| line(if row % 2 == 0 { 100 } else { 101 })).collect();
    let mut jpeg = Jpeg::new(100).unwrap();
    let bytes = jpeg.encode(&View::packed(Format::Yuyv, width, height, &data).unwrap()).unwrap();
    let planes = turbojpeg::decompress_to_yuv(bytes).unwrap();
    assert_eq!(planes.subsamp, Subsamp::Sub2x2);
    let u: u32 = planes.pixels[32 * 32..32 * 32 + 16 * 16].iter().map(|value| u32::from(*value)).sum();
    assert!((100 * 256 + 100..=100 * 256 + 156).contains(&u), "{u}");
}

#[test]
fn the_rows_of_colour_are_kept_when_half_of_it_is_asked_for() {
    // Rows that differ in colour only: 4:2:0 blurs them, 4:2:2 does not.
    let (width, height) = (32_u32, 32_u32);
    for format in [Format::Yuyv, Format::Uyvy, Format::Yuv422] {
        let chroma = |row: u32| if row.is_multiple_of(2) { 60 } else { 200 };
        let data: Vec<u8> = match format {
            Format::Yuv422 => {
                let plane = |len: usize| (0..height).flat_map(move |row| vec![chroma(row); len]);
                vec![128; 32 * 32].into_iter().chain(plane(16)).chain(plane(16)).collect()
            }
            Format::Uyvy => (0..height).flat_map(|row| [chroma(row), 128].repeat(32)).collect(),
            _ => (0..height).flat_map(|row| [128, chroma(row)].repeat(32)).collect(),
        };
        let view = View::packed(format, width, height, &data).unwrap();
        let mut jpeg = Jpeg::new(95).unwrap();
        let mut swing = |chroma| {
            jpeg.set_chroma(chroma);
            let rgb = decompress(jpeg.encode(&view).unwrap(), PixelFormat::RGB).unwrap();
            let red = |row: usize| rgb.pixels[row * rgb.pitch + 48];
            red(15).abs_diff(red(16))
        };
        assert!(swing(Chroma::Quarter) < 20, "{format}");
        assert!(swing(Chroma::Half) > 100, "{format}");
        assert_eq!(swing(Chroma::Full), swing(Chroma::Half), "{format}");
    }
}
