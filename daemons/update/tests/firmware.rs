//! The boot choice of a Raspberry Pi against its firmware, as docs/raspberry-pi.md describes that one: it reads `autoboot.txt`, keeps no
//! count, and knows of a trial by a flag that holds for one boot and that a power cut forgets.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;
use update::store::Files;
use update::{Choice, Loader, Slot, Standing};

/// The first partition. Its power fails after so many writes.
#[derive(Default, Clone)]
struct Card {
    files: BTreeMap<String, Vec<u8>>,
    writes_left: Option<usize>,
}

impl Files for Card {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if let Some(left) = self.writes_left.as_mut() {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
        }
        let file = self.files.entry(name.to_owned()).or_default();
        file.resize(file.len().max(offset + bytes.len()), 0);
        file.get_mut(offset..offset + bytes.len()).unwrap().copy_from_slice(bytes);
        Ok(())
    }
}

/// A board: its card, the firmware's flag, and the slot that runs.
struct Board {
    card: Card,
    flag: bool,
    running: Slot,
}

impl Board {
    fn new() -> Self {
        let mut card = Card::default();
        Loader::Firmware.write(&mut card, &Choice::settled(Slot::A)).unwrap();
        let mut board = Self { card, flag: false, running: Slot::B };
        board.power_on();
        board
    }

    /// From the flash memory's program to a kernel: the flag is cleared as it is read.
    fn power_on(&mut self) {
        let trial = std::mem::take(&mut self.flag);
        let file = self.card.read("autoboot.txt").unwrap();
        let text = String::from_utf8(file.into_iter().take(512).collect()).unwrap();
        let (mut applies, mut whole_partitions, mut partition) = (true, false, 1);
        for line in text.lines() {
            match line {
                "[all]" => applies = true,
                "[tryboot]" => applies = trial,
                other if other.starts_with('[') => applies = false,
                "tryboot_a_b=1" if applies => whole_partitions = true,
                other if applies => {
                    if let Some(number) = other.strip_prefix("boot_partition=") {
                        partition = number.parse().unwrap();
                    }
                }
                _ => {}
            }
        }
        assert!(whole_partitions, "a trial would be another file of the same partition");
        self.running = match partition {
            2 => Slot::A,
            3 => Slot::B,
            other => panic!("partition {other} is not bootable"),
        };
    }

    /// A restart with the argument of `reboot`, as our kernel module understands it.
    fn restart(&mut self, argument: &str) {
        self.flag = argument.contains(" tryboot");
        self.power_on();
    }

    fn cut(&mut self) {
        self.flag = false;
        self.card.writes_left = None;
        self.power_on();
    }

    fn choice(&self) -> Choice {
        Loader::Firmware.read(&self.card).unwrap()
    }

    fn keep(&mut self, choice: &Choice) -> io::Result<()> {
        Loader::Firmware.write(&mut self.card, choice)
    }

    /// Into the trial: noted before it is asked for, since the firmware notes nothing.
    fn try_it(&mut self) {
        let choice = self.choice();
        let trial = choice.trial.expect("something to try");
        self.keep(&choice.with_start(trial)).unwrap();
        self.restart("0 tryboot");
    }

    fn standing(&self) -> Standing {
        self.choice().standing(self.running)
    }
}

#[test]
fn a_trial_that_is_found_good_is_what_starts_from_then_on() {
    let mut board = Board::new();
    board.keep(&board.choice().with_primary(Slot::B)).unwrap();
    board.try_it();
    assert_eq!((board.running, board.standing()), (Slot::B, Standing::OnTrial));
    board.keep(&board.choice().with_good(Slot::B, Slot::B)).unwrap();
    for _ in 0..2 {
        board.cut();
        assert_eq!((board.running, board.standing()), (Slot::B, Standing::Settled));
    }
}

#[test]
fn a_trial_that_hangs_before_anything_of_ours_runs_is_known_to_have_failed() {
    let mut board = Board::new();
    board.keep(&board.choice().with_primary(Slot::B)).unwrap();
    board.try_it();
    // The watchdog: no word of the trial's own.
    board.cut();
    assert_eq!((board.running, board.standing()), (Slot::A, Standing::FellBack));
    board.keep(&board.choice().with_failed_trial()).unwrap();
    board.restart("");
    assert_eq!((board.running, board.standing()), (Slot::A, Standing::Settled));
    assert!(!board.choice().is_good(Slot::B));
}

#[test]
fn a_restart_without_the_word_is_the_primarys() {
    let mut board = Board::new();
    board.keep(&board.choice().with_primary(Slot::B)).unwrap();
    for argument in ["", "0", "tryboot", "0 x"] {
        board.restart(argument);
        assert_eq!(board.running, Slot::A, "{argument}");
    }
}

#[derive(Debug, Clone)]
enum Event {
    Install,
    Try,
    Good,
    Cut,
    /// The power fails while the next choice is written, after so many writes.
    CutWhileWriting(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Install),
        Just(Event::Try),
        Just(Event::Good),
        Just(Event::Cut),
        (0usize..3).prop_map(Event::CutWhileWriting)
    ]
}

proptest! {
    /// What was never found good runs only as a trial, and no longer than until the next start.
    #[test]
    fn only_what_was_good_starts_by_itself(events in proptest::collection::vec(event(), 0..40)) {
        let mut board = Board::new();
        let mut good = vec![Slot::A];
        for event in events {
            let running = board.running;
            match event {
                Event::Install => if let Ok(begun) = board.choice().with_bad(running.other()) {
                    good.retain(|slot| *slot == running);
                    board.keep(&begun).unwrap();
                    board.keep(&begun.with_primary(running.other())).unwrap();
                },
                Event::Try => if board.standing() == Standing::Pending {
                    let trial = running.other();
                    board.try_it();
                    prop_assert_eq!((board.running, board.standing()), (trial, Standing::OnTrial));
                },
                Event::Good => {
                    good.push(running);
                    board.keep(&board.choice().with_good(running, running)).unwrap();
                }
                Event::Cut => board.cut(),
                Event::CutWhileWriting(writes) => {
                    if board.standing() == Standing::OnTrial {
                        good.push(running);
                    }
                    board.card.writes_left = Some(writes);
                    let _ = board.keep(&board.choice().with_good(running, running));
                    board.cut();
                }
            }
            if board.standing() == Standing::FellBack {
                board.keep(&board.choice().with_failed_trial()).unwrap();
            }
            prop_assert!(
                good.contains(&board.running) || board.standing() == Standing::OnTrial,
                "slot {} runs: {:?}", board.running, board.choice()
            );
            prop_assert!(good.contains(&board.choice().primary));
        }
    }
}
