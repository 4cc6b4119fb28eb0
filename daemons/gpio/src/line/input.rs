//! Inputs, followed by their edges.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpiocdev_uapi::v2::{self, LineFlags};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep, sleep_until};

use super::{open_chip, read_all, refused, request};
use crate::debounce::Debounce;

/// How long after a failure the chip is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often lines without interrupts are looked at; only chips on a slow bus have such.
const POLL: Duration = Duration::from_millis(50);
/// Bytes of events read at once.
const EVENTS: usize = 64 * size_of::<v2::LineEdgeEvent>();

/// A line to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Its offset in the chip.
    pub offset: u32,
    /// How long it must be quiet for a new level to count.
    pub debounce: Duration,
}

/// The levels by offset, or why they are not known.
pub type Levels = Result<BTreeMap<u32, bool>, String>;

/// Follows these lines until the last receiver is dropped; the chip may come and go meanwhile. The first value is there
/// at once. Call within a tokio runtime.
///
/// The kernel debounces where it can; where it cannot, or the line has no interrupt, it is done here.
#[must_use]
pub fn watch(chip: PathBuf, consumer: &'static str, inputs: Vec<Input>) -> channel::Receiver<Levels> {
    let first = Lines::open(&chip, consumer, &inputs);
    let (publish, levels) = channel::channel(shown(&first));
    tokio::spawn(follow(chip, consumer, inputs, first, publish));
    levels
}

fn shown(lines: &io::Result<Lines>) -> Levels {
    lines.as_ref().map(Lines::levels).map_err(ToString::to_string)
}

async fn follow(
    chip: PathBuf,
    consumer: &'static str,
    inputs: Vec<Input>,
    first: io::Result<Lines>,
    publish: channel::Sender<Levels>,
) {
    let mut opened = first;
    loop {
        if let Ok(lines) = opened {
            let error = tokio::select! {
                error = lines.run(&publish) => error,
                () = publish.closed() => return,
            };
            let _ = publish.send_replace(Err(format!("{}: {error}", chip.display())));
        }
        tokio::select! {
            () = sleep(RETRY) => {}
            () = publish.closed() => return,
        }
        opened = Lines::open(&chip, consumer, &inputs);
        let now = shown(&opened);
        publish.send_if_modified(|old| {
            let changed = *old != now;
            *old = now;
            changed
        });
    }
}

/// Who waits for a level to be quiet, and how edges are heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kernel,
    Edges,
    Polled,
}

struct Lines {
    way: Way,
    file: AsyncFd<File>,
    lines: Vec<(u32, Debounce)>,
}

impl Lines {
    /// Tries the best way first; the reason it fails for is the one told.
    fn open(path: &Path, consumer: &str, inputs: &[Input]) -> io::Result<Self> {
        let chip = open_chip(path)?;
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let ways = [Way::Edges, Way::Polled];
        Self::take(&chip, consumer, inputs, Way::Kernel).map_err(told).or_else(|first| {
            ways.into_iter().find_map(|way| Self::take(&chip, consumer, inputs, way).ok()).ok_or(first)
        })
    }

    fn take(chip: &File, consumer: &str, inputs: &[Input], way: Way) -> io::Result<Self> {
        let offsets: Vec<u32> = inputs.iter().map(|input| input.offset).collect();
        let mut wanted = request(consumer, &offsets)?;
        wanted.config.flags = match way {
            Way::Kernel | Way::Edges => LineFlags::INPUT | LineFlags::EDGE_RISING | LineFlags::EDGE_FALLING,
            Way::Polled => LineFlags::INPUT,
        };
        if way == Way::Kernel {
            let periods = periods(inputs);
            if periods.len() > v2::NUM_ATTRS_MAX {
                return Err(io::ErrorKind::Unsupported.into());
            }
            for (period, mask) in periods {
                wanted.config.add_debounce(period, mask);
            }
        }
        let file = v2::get_line(chip, wanted).map_err(refused)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let values = read_all(&file, inputs.len())?;
        let line = |(at, input): (usize, &Input)| {
            let level = values.get(at).unwrap_or(false);
            let period = if way == Way::Kernel { Duration::ZERO } else { input.debounce };
            (input.offset, Debounce::new(period, level))
        };
        let lines = inputs.iter().enumerate().map(line).collect();
        Ok(Self { way, file: waited_for(file)?, lines })
    }

    fn levels(&self) -> BTreeMap<u32, bool> {
        self.lines.iter().map(|(offset, line)| (*offset, line.level())).collect()
    }

    /// Ends when the chip does.
    async fn run(mut self, publish: &channel::Sender<Levels>) -> io::Error {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
            let now = Ok(self.levels());
            publish.send_if_modified(|old| {
                let changed = *old != now;
                *old = now;
                changed
            });
        }
    }

    async fn step(&mut self) -> io::Result<()> {
        let deadline = self.lines.iter().filter_map(|(_, line)| line.deadline()).min();
        let edges = tokio::select! {
            ready = self.file.readable() => {
                let mut ready = ready?;
                // Emptied before the values are read: an edge after that is an event of its own.
                match ready.try_io(|file| drain(file.get_ref())) {
                    Ok(drained) => drained?,
                    Err(_would_block) => return Ok(()),
                }
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Vec::new(),
            () = sleep(POLL), if self.way == Way::Polled => Vec::new(),
        };
        let values = read_all(self.file.get_ref(), self.lines.len())?;
        let now = Instant::now();
        for (at, (offset, line)) in self.lines.iter_mut().enumerate() {
            let raw = values.get(at).unwrap_or(false);
            if edges.contains(offset) {
                line.edge(raw, now);
            } else {
                line.look(raw, now);
            }
        }
        Ok(())
    }
}

/// A descriptor that tasks can wait for.
#[expect(deprecated, reason = "its successor is an unsafe fn; a `File` owns the descriptor it names")]
fn waited_for(file: File) -> io::Result<AsyncFd<File>> {
    AsyncFd::with_interest(file, Interest::READABLE)
}

/// The kernel takes one attribute per period, with the lines it is for.
fn periods(inputs: &[Input]) -> BTreeMap<u32, u64> {
    let mut periods = BTreeMap::new();
    for (at, input) in inputs.iter().enumerate().filter(|(_, input)| !input.debounce.is_zero()) {
        let period = u32::try_from(input.debounce.as_micros()).unwrap_or(u32::MAX);
        *periods.entry(period).or_default() |= 1_u64 << at;
    }
    periods
}

/// Takes events away until there are none, and tells which lines they were of. At most a buffer full at a time: the
/// rest keeps the file readable.
fn drain(mut file: &File) -> io::Result<Vec<u32>> {
    let mut buffer = [0; EVENTS];
    let len = file.read(&mut buffer)?;
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let event = size_of::<v2::LineEdgeEvent>();
    // Timestamp and kind come before the offset: 8 and 4 bytes.
    let offset = |event: &[u8]| Some(u32::from_ne_bytes(event.get(12..16)?.try_into().ok()?));
    Ok(buffer.get(..len).unwrap_or_default().chunks_exact(event).filter_map(offset).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_period_share_an_attribute_and_those_without_have_none() {
        let input = |offset, ms| Input { offset, debounce: Duration::from_millis(ms) };
        let periods = periods(&[input(5, 100), input(6, 0), input(7, 50), input(8, 100)]);
        assert_eq!(periods, [(50_000, 0b0100), (100_000, 0b1001)].into());
    }

    #[tokio::test(start_paused = true)]
    async fn a_chip_that_is_not_there_is_told_and_asked_for_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gpiochip9");
        let mut levels = watch(path.clone(), "test", vec![Input { offset: 1, debounce: Duration::ZERO }]);
        let why = levels.borrow_and_update().clone().unwrap_err();
        assert!(why.contains("gpiochip9"), "{why}");
        // A plain file is no chip either; that it was tried shows in another reason.
        std::fs::write(&path, "").unwrap();
        levels.changed().await.unwrap();
        assert_ne!(levels.borrow().clone().unwrap_err(), why);
    }
}
