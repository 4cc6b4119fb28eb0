//! The ring as its users see it: through descriptors.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use frames::{Error, Format, Meta, Reader, SourceState, Writer, create, now_ns, read_only};
use proptest::prelude::*;

const LONG: Duration = Duration::from_secs(3600);

fn meta() -> Meta {
    Meta {
        format: Format::Jpeg,
        width: 640,
        height: 480,
        online: true,
        key: true,
        captured: 1,
        encode_begin: 2,
        encode_end: 3,
        state: SourceState::Live,
    }
}

#[test]
fn a_published_frame_is_read_back_with_all_that_was_said_of_it() {
    let ring = create(8, 1000).unwrap();
    let reader = Reader::attach(read_only(&ring).unwrap()).unwrap();
    assert_eq!(reader.latest(), None);
    let mut writer = Writer::attach(&ring).unwrap();
    let before = now_ns();
    assert_eq!(writer.publish(&meta(), b"first").unwrap().0, 1);
    writer.publish(&Meta { online: false, state: SourceState::NoCable, ..meta() }, b"second").unwrap();
    let frame = reader.latest().unwrap();
    assert_eq!((frame.seq, frame.data.as_slice()), (2, b"second".as_slice()));
    assert_eq!(frame.meta, Meta { online: false, state: SourceState::NoCable, ..meta() });
    assert!((before..=now_ns()).contains(&frame.published_ns));
}

#[test]
fn a_reader_that_saw_nothing_gets_the_newest_at_once_and_skips_the_rest() {
    let ring = create(2, 100).unwrap();
    let reader = Reader::attach(&ring).unwrap();
    let mut writer = Writer::attach(&ring).unwrap();
    for number in 0..20_u8 {
        writer.publish(&meta(), &[number; 100]).unwrap();
    }
    let frame = reader.wait_newer(0, LONG).unwrap();
    assert_eq!((frame.seq, frame.data), (20, vec![19; 100]));
    assert_eq!(reader.wait_newer(20, Duration::ZERO), None);
}

#[test]
fn a_frame_larger_than_a_slot_is_refused_and_the_last_one_stays() {
    let ring = create(8, 10).unwrap();
    let mut writer = Writer::attach(&ring).unwrap();
    writer.publish(&meta(), &[1; 10]).unwrap();
    let refused = writer.publish(&meta(), &[2; 11]);
    assert!(matches!(refused, Err(Error::TooLarge { len_bytes: 11, slot_bytes: 10 })));
    assert_eq!(Reader::attach(&ring).unwrap().latest().unwrap().data, [1; 10]);
}

#[test]
fn a_waiting_reader_is_woken_by_the_next_frame() {
    let ring = create(8, 100).unwrap();
    let reader = Reader::attach(read_only(&ring).unwrap()).unwrap();
    let mut writer = Writer::attach(&ring).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || reader.wait_newer(0, LONG).map(|frame| frame.data));
        writer.publish(&meta(), b"here").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), b"here");
    });
}

#[test]
fn a_new_writer_goes_on_with_the_numbers() {
    let ring = create(8, 100).unwrap();
    let mut first = Writer::attach(&ring).unwrap();
    for _ in 0..11 {
        first.publish(&meta(), b"old").unwrap();
    }
    drop(first);
    let mut second = Writer::attach(&ring).unwrap();
    assert_eq!(second.newest(), 11);
    assert_eq!(second.publish(&meta(), b"new").unwrap().0, 12);
    assert_eq!(Reader::attach(&ring).unwrap().wait_newer(11, LONG).unwrap().seq, 12);
}

/// Offset of a slot of a ring whose slots hold up to 4032 bytes: the head is a page, each slot another.
fn slot_at(seq: u64, slots: u64) -> u64 {
    4096 * (1 + seq % slots)
}

#[test]
fn a_slot_left_half_written_shows_no_frame_and_is_used_again() {
    let ring = create(2, 100).unwrap();
    let mut writer = Writer::attach(&ring).unwrap();
    writer.publish(&meta(), b"one").unwrap();
    writer.publish(&meta(), b"two").unwrap();
    // The writer died while it put frame 3 where frame 1 was: the generation is odd.
    let file = File::from(ring.try_clone().unwrap());
    file.write_all_at(&7_u32.to_ne_bytes(), slot_at(3, 2)).unwrap();
    let reader = Reader::attach(&ring).unwrap();
    assert_eq!(reader.latest().unwrap().data, b"two");
    let mut writer = Writer::attach(&ring).unwrap();
    assert_eq!(writer.newest(), 2);
    writer.publish(&meta(), b"three").unwrap();
    let frame = reader.latest().unwrap();
    assert_eq!((frame.seq, frame.data.as_slice()), (3, b"three".as_slice()));
}

#[test]
fn a_length_beyond_the_slot_is_not_followed() {
    let ring = create(2, 100).unwrap();
    Writer::attach(&ring).unwrap().publish(&meta(), b"one").unwrap();
    let file = File::from(ring.try_clone().unwrap());
    for len in [101_u32, 4096, u32::MAX] {
        file.write_all_at(&len.to_ne_bytes(), slot_at(1, 2) + 12).unwrap();
        assert_eq!(Reader::attach(&ring).unwrap().latest(), None, "{len}");
    }
}

#[test]
fn what_is_no_ring_is_refused() {
    assert!(matches!(create(3, 100), Err(Error::Geometry { .. })));
    assert!(matches!(Reader::attach(tempfile::tempfile().unwrap()), Err(Error::Kernel(..))));
    let ring = create(2, 100).unwrap();
    File::from(ring.try_clone().unwrap()).write_all_at(&[0xff; 4], 8).unwrap();
    assert!(matches!(Reader::attach(&ring), Err(Error::NotARing(_))));
    assert!(matches!(Writer::attach(&ring), Err(Error::NotARing(_))));
}

#[test]
fn a_read_only_descriptor_cannot_become_a_writer() {
    let ring = create(2, 100).unwrap();
    assert!(matches!(Writer::attach(read_only(&ring).unwrap()), Err(Error::Kernel(..))));
}

#[test]
fn no_reader_ever_sees_a_torn_frame() {
    let ring = create(2, 9000).unwrap();
    let mut writer = Writer::attach(&ring).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (reader, done) = (Reader::attach(read_only(&ring).unwrap()).unwrap(), &done);
                scope.spawn(move || {
                    let (mut last, mut seen) = (0, 0_u32);
                    while !done.load(Ordering::Relaxed) {
                        let Some(frame) = reader.wait_newer(last, Duration::from_millis(1)) else { continue };
                        assert!(frame.seq > last);
                        let expected = u8::try_from(frame.seq % 251).unwrap();
                        assert!(frame.data.iter().all(|byte| *byte == expected), "torn at {}", frame.seq);
                        assert_eq!(frame.data.len() as u64, 1 + frame.seq * 37 % 9000);
                        assert_eq!(frame.meta.captured, frame.seq);
                        (last, seen) = (frame.seq, seen + 1);
                    }
                    seen
                })
            })
            .collect();
        for seq in 1..=20_000_u64 {
            let data = vec![u8::try_from(seq % 251).unwrap(); usize::try_from(1 + seq * 37 % 9000).unwrap()];
            writer.publish(&Meta { captured: seq, ..meta() }, &data).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let seen: u32 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(seen > 0, "the readers saw nothing, so nothing was proven");
    });
}

proptest! {
    /// A writer that was taken over may write anything anywhere; readers and the next writer must live with it.
    #[test]
    fn garbage_in_the_ring_harms_neither_a_reader_nor_the_next_writer(
        garbage in proptest::collection::vec((16_u64..12_288, any::<u32>()), 0..40),
    ) {
        let ring = create(2, 100).unwrap();
        let reader = Reader::attach(&ring).unwrap();
        Writer::attach(&ring).unwrap().publish(&meta(), b"one").unwrap();
        let file = File::from(ring.try_clone().unwrap());
        for (at, word) in garbage {
            file.write_all_at(&word.to_ne_bytes(), (at & !3).min(12_284)).unwrap();
        }
        if let Some(frame) = reader.latest() {
            prop_assert!(frame.data.len() <= 100);
        }
        let _ = reader.wait_newer(0, Duration::ZERO);
        let mut writer = Writer::attach(&ring).unwrap();
        writer.publish(&meta(), b"sound again").unwrap();
        prop_assert_eq!(reader.latest().unwrap().data, b"sound again");
    }
}
