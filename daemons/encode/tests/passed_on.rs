//! Pictures that a capture device sends as JPEGs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first error")]

use encode::{Error, Format, Jpeg, View};
use proptest::prelude::*;
use turbojpeg::{PixelFormat, decompress};

fn picture(width: u32, height: u32) -> Vec<u8> {
    let data: Vec<u8> =
        (0..=255).cycle().take(Format::Yuyv.picture_bytes(height, Format::Yuyv.line_bytes(width))).collect();
    Jpeg::new(80)
        .unwrap()
        .encode(&View::packed(Format::Yuyv, width, height, &data).unwrap())
        .unwrap()
        .to_vec()
}

/// The same without its DHT segments, as many USB capture devices send it.
fn without_tables(jpeg: &[u8]) -> Vec<u8> {
    let mut out = jpeg[..2].to_vec();
    let mut at = 2;
    loop {
        let next = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        match jpeg[at + 1] {
            0xC4 => {}
            0xDA => break,
            _ => out.extend_from_slice(&jpeg[at..next]),
        }
        at = next;
    }
    out.extend_from_slice(&jpeg[at..]);
    out
}

#[test]
fn a_jpeg_is_published_as_it_came_without_the_padding_of_its_buffer() {
    let jpeg = picture(50, 40);
    for padding in [vec![], vec![0; 1000], vec![7; 3]] {
        let buffer = [&jpeg[..], &padding].concat();
        let view = View::jpeg(&buffer).unwrap();
        assert_eq!((view.format(), view.width(), view.height()), (Format::Jpeg, 50, 40));
        assert_eq!(view.data(), jpeg);
        assert_eq!(View::new(Format::Jpeg, 50, 40, 0, &buffer).unwrap(), view);
        assert_eq!(Jpeg::new(10).unwrap().encode(&view).unwrap(), jpeg);
    }
    assert!(matches!(View::new(Format::Jpeg, 51, 40, 0, &jpeg), Err(Error::Jpeg(_))));
}

#[test]
fn missing_huffman_tables_are_put_in_and_the_picture_is_the_same() {
    let jpeg = picture(50, 40);
    let bare = without_tables(&jpeg);
    assert!(bare.len() < jpeg.len() - 400);
    let mut encoder = Jpeg::new(10).unwrap();
    let passed = encoder.encode(&View::jpeg(&bare).unwrap()).unwrap();
    assert!(without_tables(passed) == bare);
    assert_eq!(
        decompress(passed, PixelFormat::RGB).unwrap().pixels,
        decompress(&jpeg, PixelFormat::RGB).unwrap().pixels
    );
}

#[test]
fn what_browsers_do_not_show_and_what_is_cut_off_is_refused() {
    let jpeg = picture(50, 40);
    let frame = jpeg.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
    let changed = |at: usize, value: u8| {
        let mut jpeg = jpeg.clone();
        jpeg[at] = value;
        jpeg
    };
    let lossless = changed(frame + 1, 0xC3);
    let twelve_bits = changed(frame + 4, 12);
    let four_colours = changed(frame + 9, 4);
    for bad in
        [&lossless[..], &twelve_bits, &four_colours, &jpeg[..jpeg.len() - 1], &jpeg[..300], &jpeg[1..], b""]
    {
        assert!(matches!(View::jpeg(bad), Err(Error::Jpeg(_))));
    }
    let flat = changed(frame + 6, 0);
    assert!(matches!(View::jpeg(&flat), Err(Error::Size { width: 50, height: 0 })));
}

proptest! {
    #[test]
    fn damage_is_refused_or_passed_on_but_nothing_worse(
        at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut jpeg = picture(33, 17);
        let at = at.index(jpeg.len());
        jpeg[at] = value;
        jpeg.truncate(cut.index(jpeg.len()) + 1);
        if let Ok(view) = View::jpeg(&jpeg) {
            let _ = Jpeg::new(80).unwrap().encode(&view).unwrap();
        }
    }

    #[test]
    fn random_bytes_are_looked_at_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), soi in any::<bool>()) {
        if soi && bytes.len() > 2 {
            bytes[..2].copy_from_slice(&[0xFF, 0xD8]);
        }
        let _ = View::jpeg(&bytes);
    }
}
