//! The client against hand-made servers: golden handshakes, limits, split points, arbitrary bytes.

use proptest::prelude::*;
use rfb_wire::client::{Client, Error, Event, Limits};

const LIMITS: Limits = Limits { width: 64, height: 64, text_bytes: 100, cut_text_bytes: 1000 };

fn handshake(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"RFB 003.008\n".to_vec();
    bytes.extend_from_slice(&[2, 2, 1, 0, 0, 0, 0]);
    bytes.extend_from_slice(&width.to_be_bytes());
    bytes.extend_from_slice(&height.to_be_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&[0, 0, 0, 4]);
    bytes.extend_from_slice(b"QEMU");
    bytes
}

fn update(rects: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&u16::try_from(rects.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(rects.iter().flatten());
    bytes
}

fn rect(x: u16, y: u16, width: u16, height: u16, encoding: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in [x, y, width, height] {
        bytes.extend_from_slice(&n.to_be_bytes());
    }
    bytes.extend_from_slice(&encoding.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Feeds the chunks; events as text, the bytes sent, and the final result.
fn run(chunks: &[&[u8]]) -> (Vec<String>, Vec<u8>, Result<(), Error>) {
    let mut client = Client::new(LIMITS);
    let (mut events, mut sent, mut result) = (Vec::new(), Vec::new(), Ok(()));
    for chunk in chunks {
        result = client.feed(chunk, |event| events.push(format!("{event:?}")));
        sent.extend(client.take_output());
        if result.is_err() {
            break;
        }
    }
    (events, sent, result)
}

/// Why the server's bytes were refused, or a text that equals no error.
fn failure(server: &[u8]) -> Error {
    run(&[server]).2.err().unwrap_or(Error::Refused("accepted".into()))
}

#[test]
fn the_handshake_asks_for_bgrx_and_the_picture_on_request() {
    let (events, mut sent, result) = run(&[&handshake(10, 5)]);
    let mut client = Client::new(LIMITS);
    client.request_update(true);
    client.feed(&handshake(10, 5), |_| {}).unwrap();
    drop(client.take_output());
    client.request_update(false);
    sent.extend(client.take_output());
    assert_eq!(result, Ok(()));
    assert_eq!(events, [r#"Connected { width: 10, height: 5, name: "QEMU" }"#]);
    let mut expected = b"RFB 003.008\n\x01\x01".to_vec();
    expected.extend_from_slice(&[0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    expected.extend_from_slice(&[2, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21]);
    expected.extend_from_slice(&[0xff, 0xff, 0xfe, 0xfb, 0xff, 0xff, 0xfe, 0xfe]);
    expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 10, 0, 5]);
    assert_eq!(sent, expected);
}

#[test]
fn an_update_becomes_rows_copies_lights_and_an_end() {
    let mut bytes = handshake(10, 5);
    bytes.extend(update(&[
        rect(1, 2, 2, 2, 0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        rect(0, 0, 3, 1, 1, &[0, 7, 0, 4]),
        rect(0, 0, 0, 0, -261, &[5]),
        rect(0, 0, 0, 0, -258, &[]),
        rect(0, 0, 12, 7, -223, &[]),
    ]));
    bytes.push(2);
    let (events, _, result) = run(&[&bytes]);
    assert_eq!(result, Ok(()));
    assert_eq!(
        events[1..],
        [
            "Row { x: 1, y: 2, bgrx: [1, 2, 3, 4, 5, 6, 7, 8] }",
            "Row { x: 1, y: 3, bgrx: [9, 10, 11, 12, 13, 14, 15, 16] }",
            "Copy { from_x: 7, from_y: 4, to: Area { x: 0, y: 0, width: 3, height: 1 } }",
            "Leds(5)",
            "ExtendedKeys",
            "Resized { width: 12, height: 7 }",
            "UpdateDone",
            "Bell",
        ]
    );
}

#[test]
fn empty_updates_and_empty_rectangles_end_at_once() {
    let mut bytes = handshake(10, 5);
    bytes.extend(update(&[]));
    bytes.extend(update(&[rect(0, 0, 0, 5, 0, &[]), rect(10, 5, 0, 0, 0, &[])]));
    let (events, _, result) = run(&[&bytes]);
    assert_eq!(result, Ok(()));
    assert_eq!(events[1..], ["UpdateDone", "UpdateDone"]);
}

#[test]
fn palettes_and_clipboards_are_skipped_whatever_they_contain() {
    let mut bytes = handshake(10, 5);
    bytes.extend_from_slice(&[1, 0, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9]);
    bytes.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    bytes.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0]);
    bytes.push(2);
    assert_eq!(run(&[&bytes]).0[1..], ["Bell"]);
}

#[test]
fn servers_that_are_older_or_locked_or_say_no_are_refused() {
    assert_eq!(failure(b"RFB 003.003\n"), Error::Version);
    assert_eq!(failure(b"HTTP/1.1 200"), Error::Version);
    assert_eq!(failure(b"RFB 003.008\n\x01\x02"), Error::Security);
    assert_eq!(failure(b"RFB 003.008\n\x00\0\0\0\x04busy"), Error::Refused("busy".into()));
    assert_eq!(failure(b"RFB 003.008\n\x01\x01\0\0\0\x01\0\0\0\x02no"), Error::Refused("no".into()));
    assert_eq!(failure(b"RFB 003.008\n\x00\0\0\0\x65"), Error::TextTooLong(101));
}

#[test]
fn claims_over_the_limits_are_refused_before_anything_is_kept() {
    assert_eq!(failure(&handshake(65, 5)), Error::ScreenSize(65, 5));
    assert_eq!(failure(&handshake(0, 5)), Error::ScreenSize(0, 5));
    let after = |tail: Vec<u8>| failure(&[handshake(10, 5), tail].concat());
    assert!(matches!(after(update(&[rect(9, 0, 2, 1, 0, &[])])), Error::OutOfBounds(_)));
    assert!(matches!(after(update(&[rect(0, 0, 2, 1, 1, &[0, 9, 0, 0])])), Error::OutOfBounds(_)));
    assert_eq!(after(update(&[rect(0, 0, 0, 9, -223, &[])])), Error::ScreenSize(0, 9));
    assert_eq!(after(update(&[rect(0, 0, 1, 1, 7, &[])])), Error::Encoding(7));
    assert_eq!(after(vec![3, 0, 0, 0, 0xff, 0, 0, 0]), Error::TextTooLong(0xff00_0000));
    assert_eq!(after(vec![77]), Error::Message(77));
}

#[test]
fn a_shrunken_screen_bounds_the_rectangles_after_it() {
    let mut bytes = handshake(10, 5);
    bytes.extend(update(&[rect(0, 0, 4, 4, -223, &[]), rect(4, 0, 1, 1, 0, &[0; 4])]));
    assert!(matches!(failure(&bytes), Error::OutOfBounds(_)));
}

#[test]
fn a_failed_machine_stays_failed() {
    let mut client = Client::new(LIMITS);
    assert_eq!(client.feed(b"RFB 002.000\n", |_| {}), Err(Error::Version));
    assert_eq!(client.feed(b"RFB 003.008\n", |_| {}), Err(Error::Version));
    client.request_update(true);
    assert_eq!(client.take_output(), b"");
}

/// A server's bytes: a sound handshake, then messages that are mostly sound.
fn server_bytes() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        (0..6u16, 0..6u16, 0..6u16, 0..6u16, any::<u8>()).prop_map(|(x, y, w, h, fill)| {
            let body = vec![fill; usize::from(w) * usize::from(h) * 4];
            rect(x, y, w, h, 0, &body)
        }),
        (1..20u16, 1..20u16).prop_map(|(w, h)| rect(0, 0, w, h, -223, &[])),
        any::<u8>().prop_map(|leds| rect(0, 0, 0, 0, -261, &[leds])),
        (0..6u16, 0..6u16, 0..6u16, 0..6u16).prop_map(|(x, y, w, h)| rect(x, y, w, h, 1, &[0, 0, 0, 0])),
        (any::<i32>(), any::<u16>()).prop_map(|(encoding, x)| rect(x, 0, 1, 1, encoding, &[])),
    ];
    let message = prop_oneof![
        4 => proptest::collection::vec(one, 0..4).prop_map(|rects| update(&rects)),
        1 => Just(vec![2]),
        1 => proptest::collection::vec(any::<u8>(), 0..9).prop_map(|text| {
            let mut bytes = vec![3, 0, 0, 0, 0, 0, 0, u8::try_from(text.len()).unwrap_or(u8::MAX)];
            bytes.extend(text);
            bytes
        }),
    ];
    proptest::collection::vec(message, 0..6).prop_map(|messages| {
        let mut bytes = handshake(12, 12);
        bytes.extend(messages.into_iter().flatten());
        bytes
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = run(&[&bytes]);
        let _ = run(&[&[handshake(12, 12), bytes].concat()]);
    }

    #[test]
    fn split_points_do_not_matter(bytes in server_bytes(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(run(&chunks), run(&[&bytes]));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(run(&single), run(&[&bytes]));
    }

    #[test]
    fn every_row_and_copy_lies_on_the_screen(bytes in server_bytes()) {
        let mut client = Client::new(LIMITS);
        let mut size = (0u16, 0u16);
        let mut fault = None;
        let _ = client.feed(&bytes, |event| match event {
            Event::Connected { width, height, .. } | Event::Resized { width, height } => size = (width, height),
            Event::Row { x, y, bgrx }
                if y >= size.1 || usize::from(x) * 4 + bgrx.len() > usize::from(size.0) * 4 =>
            {
                fault = Some((x, y));
            }
            Event::Copy { from_x, from_y, to } => {
                let source = rfb_wire::message::Area { x: from_x, y: from_y, ..to };
                if !to.fits(size.0, size.1) || !source.fits(size.0, size.1) {
                    fault = Some((from_x, from_y));
                }
            }
            _ => {}
        });
        prop_assert_eq!(fault, None);
    }
}
