//! The machine on a device made of a script ([`fake`]).

mod fake;

use std::time::Duration;

use encode::Format;
use frames::SourceState;
use proptest::prelude::*;

use self::fake::{BUFFERS, Fake, Happening};
use super::follow::{Follow, PAUSE, STALL};
use super::node::{Node, Reading};
use crate::{News, Signal};

fn colour(machine: &Follow<Fake>) -> Option<u8> {
    machine.picture().map(|picture| picture.view.data()[0])
}

fn absent(state: SourceState) -> Result<News, Signal> {
    Err(Signal::Absent(state))
}

#[test]
fn the_newest_picture_is_taken_and_older_ones_go_back_at_once() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    for (millis, colour) in [(10, 1), (20, 2), (30, 3)] {
        fake.after(millis, Happening::Picture(colour));
    }
    assert_eq!(machine.wait(fake.now_plus(5)), Ok(News::Same));
    assert!(machine.picture().is_none());
    fake.pass(Duration::from_millis(100_030));
    assert_eq!(machine.wait(fake.now_plus(5)), Ok(News::New));
    assert_eq!(colour(&machine), Some(3));
    let captured = machine.picture().unwrap().captured;
    assert_eq!(captured, 100_030_000_000, "the driver's time, not ours");
    assert_eq!(fake.world().driver.len(), 3, "all but the one that is shown");
}

#[test]
fn when_the_driver_ran_out_of_buffers_the_next_picture_is_awaited() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    assert_eq!(machine.wait(fake.now()), Ok(News::Same));
    for number in 0..20_u8 {
        fake.after(16 * u64::from(number), Happening::Picture(number));
    }
    fake.after(16 * 20, Happening::Picture(200));
    fake.pass(Duration::from_millis(100_000 + 16 * 20 - 6));
    assert!(fake.world().dropped > 10);
    assert_eq!(machine.wait(fake.now_plus(50)), Ok(News::New));
    assert_eq!(colour(&machine), Some(200));
    assert_eq!(fake.world().driver.len(), 3);
}

#[test]
fn an_old_picture_is_better_than_none_if_no_other_comes() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    assert_eq!(machine.wait(fake.now()), Ok(News::Same));
    for number in 0..4 {
        fake.after(1, Happening::Picture(number));
    }
    fake.pass(Duration::from_millis(100_500));
    let began = fake.now();
    assert_eq!(machine.wait(fake.now_plus(900)), Ok(News::New));
    assert_eq!(colour(&machine), Some(3));
    assert_eq!((fake.now() - began).as_millis(), 100);
}

#[test]
fn a_damaged_picture_is_none_at_all() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    assert_eq!(machine.wait(fake.now()), Ok(News::Same));
    fake.after(1, Happening::Picture(7));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    fake.after(1, Happening::Damaged);
    fake.after(2, Happening::Short);
    let deadline = fake.now_plus(10);
    assert_eq!(machine.wait(deadline), Ok(News::Same));
    assert_eq!((fake.now(), colour(&machine)), (deadline, Some(7)));
    assert_eq!(fake.world().driver.len(), 3);
}

#[test]
fn each_reading_is_a_state_told_once_at_once_and_then_at_the_deadline() {
    for state in [SourceState::NoCable, SourceState::NoSync, SourceState::UnsupportedMode] {
        let fake = Fake::new(true);
        fake.world().reading = Ok(Reading::Absent(state));
        let mut machine = fake.machine();
        let began = fake.now();
        assert_eq!(machine.wait(fake.now_plus(200)), absent(state));
        assert_eq!(fake.now(), began);
        assert_eq!(machine.wait(fake.now_plus(200)), absent(state));
        assert_eq!((fake.now() - began).as_millis(), 200);
        assert!(!fake.world().capturing);
    }
}

#[test]
fn a_form_of_pixels_nobody_knows_is_an_unsupported_mode() {
    let fake = Fake::new(true);
    fake.world().starts = Ok(None);
    let mut machine = fake.machine();
    assert_eq!(machine.wait(fake.now_plus(1)), absent(SourceState::UnsupportedMode));
}

#[test]
fn a_change_that_the_device_tells_is_followed_at_once() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    fake.after(5, Happening::Event(Ok(Reading::Absent(SourceState::NoSync))));
    fake.after(20, Happening::Event(Ok(Reading::Signal(2))));
    fake.after(25, Happening::Picture(2));
    let began = fake.now();
    assert_eq!(machine.wait(fake.now_plus(100)), absent(SourceState::NoSync));
    assert!(machine.picture().is_none());
    assert_eq!(machine.wait(fake.now_plus(100)), Ok(News::New));
    assert_eq!(((fake.now() - began).as_millis(), colour(&machine)), (25, Some(2)));
    let timings: Vec<_> = fake.world().started.iter().map(|(timings, _)| *timings).collect();
    assert_eq!(timings, [Some(1), Some(2)]);
}

#[test]
fn a_change_is_seen_even_while_pictures_come_without_a_pause() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    assert_eq!(machine.wait(fake.now()), Ok(News::Same));
    fake.world().happen(Happening::Picture(1));
    assert_eq!(machine.wait(fake.now()), Ok(News::New));
    fake.world().happen(Happening::Picture(2));
    fake.world().happen(Happening::Event(Ok(Reading::Signal(2))));
    let _ = machine.wait(fake.now());
    assert_eq!(fake.world().started.len(), 2);
}

#[test]
fn a_device_that_tells_nothing_is_asked_twice_a_second() {
    let fake = Fake::new(false);
    let mut machine = fake.machine();
    for millis in (10..5000).step_by(10) {
        fake.after(millis, Happening::Picture(u8::try_from(millis / 10 % 200).unwrap()));
    }
    assert_eq!(machine.wait(fake.now_plus(20)), Ok(News::New));
    fake.after(5, Happening::Signal(Ok(Reading::Absent(SourceState::NoCable))));
    let began = fake.now();
    let mut said = machine.wait(fake.now_plus(10));
    while said.is_ok() {
        said = machine.wait(fake.now_plus(10));
    }
    assert_eq!(said, absent(SourceState::NoCable));
    assert!(fake.now() - began <= PAUSE + Duration::from_millis(10));
    fake.after(5, Happening::Signal(Ok(Reading::Signal(3))));
    let began = fake.now();
    while machine.wait(fake.now_plus(10)) != Ok(News::New) {}
    assert!(fake.now() - began <= PAUSE + Duration::from_millis(20));
}

#[test]
fn a_device_without_timings_is_captured_from_as_it_is_and_takes_a_size() {
    let fake = Fake::new(false);
    fake.world().reading = Ok(Reading::Free);
    let mut machine = fake.machine();
    assert!(machine.set_size(640, 480), "it may have a choice");
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    assert!(machine.set_size(1280, 720));
    assert!(machine.picture().is_none(), "it is started anew");
    assert_eq!(machine.wait(fake.now_plus(1)), Ok(News::Same));
    assert!(machine.set_size(1280, 720));
    let sizes: Vec<_> = fake.world().started.iter().map(|(timings, wish)| (*timings, wish.size)).collect();
    assert_eq!(sizes, [(None, Some((640, 480))), (None, Some((1280, 720)))]);
}

#[test]
fn a_device_with_timings_takes_no_size() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    assert!(!machine.set_size(640, 480));
    assert!(machine.picture().is_some());
}

#[test]
fn a_stalled_capture_is_started_again_after_a_second_and_lost_after_two() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    let stalled = fake.now();
    fake.after(1500, Happening::Picture(2));
    assert_eq!(machine.wait(fake.now_plus(5000)), Ok(News::New));
    assert_eq!((fake.now() - stalled).as_millis(), 1500);
    assert_eq!(fake.world().started.len(), 2);
    let stalled = fake.now();
    let lost = machine.wait(fake.now_plus(5000));
    assert!(matches!(lost, Err(Signal::Lost { state: SourceState::NoSync, .. })), "{lost:?}");
    assert_eq!(fake.now() - stalled, STALL * 2);
}

#[test]
fn a_stall_that_is_a_lost_signal_is_no_fault_of_the_device() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    fake.after(1, Happening::Signal(Ok(Reading::Absent(SourceState::NoCable))));
    for _ in 0..100 {
        let deadline = fake.now_plus(200);
        assert!(matches!(machine.wait(deadline), Ok(News::Same) | Err(Signal::Absent(SourceState::NoCable))));
    }
    fake.after(1, Happening::Signal(Ok(Reading::Signal(1))));
    fake.after(900, Happening::Picture(2));
    while machine.wait(fake.now_plus(200)) != Ok(News::New) {}
}

#[test]
fn a_fault_of_the_capture_starts_it_again_at_once() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    fake.after(5, Happening::Fault);
    fake.after(6, Happening::Picture(2));
    let began = fake.now();
    assert_eq!(machine.wait(fake.now_plus(100)), Ok(News::New));
    assert_eq!((fake.now() - began).as_millis(), 6);
}

#[test]
fn a_device_that_is_gone_is_lost_as_no_cable_in_every_phase() {
    for capturing in [false, true] {
        let fake = Fake::new(true);
        if !capturing {
            fake.world().reading = Ok(Reading::Absent(SourceState::NoSync));
        }
        let mut machine = fake.machine();
        let _ = machine.wait(fake.now_plus(1));
        fake.after(5, Happening::Event(Err(libc::ENODEV)));
        let mut said = machine.wait(fake.now_plus(2000));
        while !matches!(said, Err(Signal::Lost { .. })) {
            said = machine.wait(fake.now_plus(2000));
        }
        assert_eq!(said.unwrap_err().state(), SourceState::NoCable);
    }
}

#[test]
fn a_source_that_changes_at_every_start_is_one_without_sync_and_nobody_is_kept_waiting() {
    for millis in [0, 1, 30, 300, 900] {
        let fake = Fake::new(true);
        let mut machine = fake.machine();
        fake.after(1, Happening::Picture(1));
        assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
        fake.world().restless = Some(millis);
        fake.after(1, Happening::Event(Ok(Reading::Signal(1))));
        let end = fake.now_plus(3000);
        loop {
            let deadline = fake.now_plus(50);
            let said = machine.wait(deadline);
            assert!(fake.now() <= deadline, "{millis}");
            if said == absent(SourceState::NoSync) {
                break;
            }
            assert_eq!(said, Ok(News::Same), "{millis}");
            assert!(fake.now() < end, "{millis}");
        }
        let starts = fake.world().started.len();
        let _ = machine.wait(fake.now_plus(50));
        assert_eq!(fake.world().started.len(), starts, "a pause");
        fake.world().restless = None;
        fake.after(1500, Happening::Picture(2));
        let end = fake.now_plus(3000);
        while machine.wait(fake.now_plus(50)) != Ok(News::New) {
            assert!(fake.now() < end, "{millis}");
        }
    }
}

#[test]
fn a_jpeg_of_another_size_and_a_progressive_one_are_no_pictures() {
    let fake = Fake::new(true);
    fake.world().starts = Ok(Some(Format::Jpeg));
    let mut machine = fake.machine();
    for (kind, news) in [(0, News::New), (1, News::New), (2, News::Same), (3, News::Same)] {
        fake.after(1, Happening::Picture(kind));
        assert_eq!(machine.wait(fake.now_plus(10)), Ok(news), "{kind}");
    }
    assert_eq!(machine.picture().unwrap().view.width(), 16, "the last good one stays");
}

#[test]
fn a_monitor_is_changed_with_the_capture_stopped() {
    let fake = Fake::new(true);
    let mut machine = fake.machine();
    fake.after(1, Happening::Picture(1));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
    machine.set_edid(&[2; 128]).unwrap();
    assert_eq!(machine.edid().unwrap(), [2; 128]);
    assert!(!fake.world().edid_while_capturing);
    fake.after(1, Happening::Picture(3));
    assert_eq!(machine.wait(fake.now_plus(10)), Ok(News::New));
}

fn reading() -> impl Strategy<Value = Result<Reading<u32>, i32>> {
    prop_oneof![
        4 => (0_u32..3).prop_map(|timings| Ok(Reading::Signal(timings))),
        1 => Just(Ok(Reading::Free)),
        1 => Just(Ok(Reading::Absent(SourceState::NoCable))),
        1 => Just(Ok(Reading::Absent(SourceState::NoSync))),
        1 => Just(Err(libc::EIO)),
        1 => Just(Err(libc::ENODEV)),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => any::<u8>().prop_map(Happening::Picture),
        1 => Just(Happening::Damaged),
        1 => Just(Happening::Short),
        1 => reading().prop_map(Happening::Signal),
        1 => reading().prop_map(Happening::Event),
        1 => Just(Happening::Fault),
    ]
}

proptest! {
    /// No buffer is lost or given twice (the fake asserts that), no wait outlasts its deadline by more than the look at
    /// an old picture, and whatever happened: when the source is well again, a picture comes within five seconds.
    #[test]
    fn whatever_happens_the_picture_comes_back(
        tells in any::<bool>(),
        plan in proptest::collection::vec((0_u64..3000, happening()), 0..60),
    ) {
        let fake = Fake::new(tells);
        let mut machine = fake.machine();
        for (millis, what) in plan {
            fake.after(millis, what);
        }
        let end = fake.now_plus(3000);
        while fake.now() < end {
            let deadline = fake.now_plus(50);
            if let Err(Signal::Lost { .. }) = machine.wait(deadline) {
                fake.pass(fake.since_boot() + Duration::from_millis(100));
                fake.clone().stop();
                machine = fake.machine();
            }
            prop_assert!(fake.now() <= deadline + Duration::from_millis(100));
            let world = fake.world();
            let held = usize::from(machine.picture_is_held());
            prop_assert!(!world.capturing || world.driver.len() + world.filled.len() + held == BUFFERS as usize);
        }
        fake.world().reading = Ok(Reading::Signal(7));
        fake.world().event = tells;
        for millis in (0..5000).step_by(100) {
            fake.after(millis, Happening::Picture(u8::try_from(millis / 100).unwrap()));
        }
        let end = fake.now_plus(5000);
        let mut back = false;
        while !back && fake.now() < end {
            match machine.wait(fake.now_plus(50)) {
                Ok(News::New) => back = true,
                Err(Signal::Lost { .. }) => {
                    fake.pass(fake.since_boot() + Duration::from_millis(100));
                    fake.clone().stop();
                    machine = fake.machine();
                }
                Ok(News::Same) | Err(Signal::Absent(_)) => {}
            }
        }
        prop_assert!(back);
    }
}
