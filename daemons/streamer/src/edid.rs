//! The monitor that the target sees: which one, on trial or for good.
//!
//! ```text
//! Settled ──try──▶ OnTrial ──confirm──▶ Settled (kept in a file, shown again at every start)
//!    ▲                │
//!    └── undo, TRIAL over, the streamer stops
//! ```
//!
//! A target that dislikes its monitor shows nothing at all, perhaps not even after the old one is back, so a new one is
//! always on trial first. What was confirmed lies in the streamer's own directory, which outlives updates; it is written
//! by the streamer, because no other process that may write there knows that the device took it. A streamer that is
//! killed during a trial finds in a second file what was shown before, and that file stays until the device shows it again:
//! a device that refuses it is asked again and again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use capture::Monitor;
use client::streamer::{self as wire, Order, Outcome, Refusal};
use edid::Edid;

/// How long a trial lasts.
pub const TRIAL: Duration = Duration::from_secs(30);
/// More than any file of an EDID in hexadecimal has.
const FILE_BYTES: u64 = 16 * 1024;
/// Between two attempts to show again what was shown before; each interrupts the capture.
const RETRY: Duration = Duration::from_secs(5);

/// What the device is to show when it is opened; `None` leaves it alone, empty takes away what is shown.
#[derive(Debug, Clone, Default)]
pub struct Wanted(Arc<Mutex<Option<Vec<u8>>>>);

impl Wanted {
    /// The bytes.
    #[must_use]
    pub fn get(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, bytes: Option<Vec<u8>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }
}

/// Keeps what is shown, what is on trial and what is kept for good.
#[derive(Debug)]
pub struct Keeper {
    /// What was confirmed.
    saved: PathBuf,
    /// What was shown before a trial that has not ended, or that the device has not gone back from.
    before: PathBuf,
    wanted: Wanted,
    trial: Option<Trial>,
    owed: Option<Owed>,
}

/// What was shown before a trial and is not shown again yet.
#[derive(Debug)]
struct Owed {
    bytes: Vec<u8>,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Trial {
    before: Vec<u8>,
    shown: Edid,
    until: Instant,
}

impl Keeper {
    /// Reads what is to be shown: what was confirmed, else the `configured` file, else what a trial that was cut off
    /// had replaced. Files that hold no EDID are told of in the log and left out.
    #[must_use]
    pub fn open(dir: &Path, configured: Option<&Path>) -> Self {
        let (saved, before) = (dir.join("edid.hex"), dir.join("edid-before.hex"));
        let mut owed = None;
        let wanted = match read(&saved, true).or_else(|| read(configured?, false)) {
            Some(wanted) => {
                forget(&before); // a trial that was cut off is over
                Some(wanted)
            }
            None => {
                let bytes = noted(&before);
                owed = bytes.clone().map(|bytes| Owed { bytes, retry_at: None });
                bytes
            }
        };
        Self { saved, before, wanted: Wanted(Arc::new(Mutex::new(wanted))), trial: None, owed }
    }

    /// What the device is to show whenever it is opened, now and later.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// When the trial is over.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.trial.as_ref().map(|trial| trial.until)
    }

    /// Ends a trial whose time is over, and shows again what was not when one ended.
    pub fn tick(&mut self, monitor: Option<&mut dyn Monitor>, now: Instant) {
        if self.trial.as_ref().is_some_and(|trial| now >= trial.until) {
            log::warn!("EDID: not confirmed in {} s, taken back", TRIAL.as_secs());
            self.take_back(monitor, now);
        } else if self.owed.as_ref().is_some_and(|owed| owed.retry_at.is_none_or(|at| now >= at)) {
            self.pay(monitor, now);
        }
    }

    /// Ends a trial, because the streamer does.
    pub fn stop(&mut self, monitor: Option<&mut dyn Monitor>) {
        if self.trial.is_some() {
            log::warn!("EDID: not confirmed, taken back");
        }
        let now = Instant::now();
        self.take_back(monitor, now);
    }

    /// Carries out an order. A trial may also be ended while there is no device: one that gives no picture with the new
    /// EDID comes and goes.
    pub fn order(&mut self, order: &Order, monitor: Option<&mut dyn Monitor>, now: Instant) -> Outcome {
        let mut monitor = monitor;
        let done = match (order, &mut monitor) {
            (Order::Show, Some(_)) => Ok(()),
            (Order::Try { data }, Some(monitor)) => self.attempt(data, &mut **monitor, now),
            (Order::Show | Order::Try { .. }, None) => {
                Err(refuse(Refusal::NoDevice, "there is no capture device that shows the target a monitor"))
            }
            (Order::Confirm, _) => self.confirm(),
            (Order::Undo, _) if self.trial.is_none() && self.owed.is_none() => {
                Err(refuse(Refusal::NoTrial, "no EDID is on trial"))
            }
            (Order::Undo, monitor) => {
                log::info!("EDID: taken back");
                self.take_back(reborrow(monitor), now);
                Ok(())
            }
        };
        match done.and_then(|()| self.show(monitor, now)) {
            Ok(monitor) => Outcome::Done(monitor),
            Err(refused) => refused,
        }
    }

    /// What is shown; without a device what will be when it is back.
    fn show(&self, monitor: Option<&mut dyn Monitor>, now: Instant) -> Result<wire::Monitor, Outcome> {
        let bytes = match monitor {
            Some(monitor) => monitor.edid().map_err(|error| refused(&error))?,
            None => self.wanted.get().unwrap_or_default(),
        };
        let left = self.trial.as_ref().map(|trial| trial.until.saturating_duration_since(now));
        Ok(wire::Monitor {
            data: hex(&bytes),
            trial_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            saved: read(&self.saved, true).map(|bytes| hex(&bytes)),
        })
    }

    fn attempt(&mut self, data: &str, monitor: &mut dyn Monitor, now: Instant) -> Result<(), Outcome> {
        let shown: Edid = data.parse().map_err(|error: edid::Error| refuse(Refusal::Invalid, &error))?;
        // A trial during a trial goes back to what was there before both.
        let before = match (&self.trial, &self.owed) {
            (Some(trial), _) => trial.before.clone(),
            (None, Some(owed)) => owed.bytes.clone(),
            (None, None) => monitor.edid().map_err(|error| refused(&error))?,
        };
        // Just as it is, even if it is not sound: it is what the target had.
        replace(&self.before, &hex(&before)).map_err(|error| failed(&self.before, &error))?;
        (self.trial, self.owed) = (None, None);
        if let Err(error) = monitor.set_edid(shown.as_bytes()) {
            self.settle(before, Some(monitor), now);
            return Err(refused(&error));
        }
        log::info!("EDID: {shown:?} is on trial for {} s", TRIAL.as_secs());
        self.wanted.set(Some(shown.as_bytes().to_vec()));
        self.trial = Some(Trial { before, shown, until: now + TRIAL });
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), Outcome> {
        let Some(trial) = &self.trial else {
            return Err(refuse(Refusal::NoTrial, "no EDID is on trial"));
        };
        replace(&self.saved, &trial.shown.to_string()).map_err(|error| failed(&self.saved, &error))?;
        log::info!("EDID: {:?} is confirmed", trial.shown);
        self.trial = None;
        forget(&self.before);
        Ok(())
    }

    fn take_back(&mut self, monitor: Option<&mut dyn Monitor>, now: Instant) {
        match self.trial.take() {
            Some(trial) => self.settle(trial.before, monitor, now),
            None => self.pay(monitor, now),
        }
    }

    /// Shows these bytes from now on. What the device has not taken stays noted and is tried again.
    fn settle(&mut self, bytes: Vec<u8>, monitor: Option<&mut dyn Monitor>, now: Instant) {
        self.wanted.set(Some(bytes.clone()));
        self.owed = Some(Owed { bytes, retry_at: None });
        self.pay(monitor, now);
    }

    /// Shows what is owed, unless it is shown: the device may have been when it was opened, or never have changed.
    fn pay(&mut self, monitor: Option<&mut dyn Monitor>, now: Instant) {
        let Some(owed) = &mut self.owed else { return };
        let Some(monitor) = monitor else {
            owed.retry_at = None; // as soon as there is a device
            return;
        };
        let shown = monitor
            .edid()
            .and_then(|shown| if shown == owed.bytes { Ok(()) } else { monitor.set_edid(&owed.bytes) });
        match shown {
            Ok(()) => {
                self.owed = None;
                forget(&self.before);
            }
            Err(error) => {
                log::error!("EDID: the one before cannot be shown again: {error}");
                owed.retry_at = Some(now + RETRY);
            }
        }
    }
}

fn reborrow<'a>(monitor: &'a mut Option<&mut dyn Monitor>) -> Option<&'a mut dyn Monitor> {
    match monitor {
        Some(monitor) => Some(&mut **monitor),
        None => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn refuse(reason: Refusal, text: &(impl ToString + ?Sized)) -> Outcome {
    Outcome::Refused { reason, text: text.to_string() }
}

fn refused(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ENOTTY | libc::EINVAL) => {
            refuse(Refusal::NotSupported, "this capture device shows the target no monitor")
        }
        Some(libc::E2BIG) => refuse(Refusal::Invalid, "the capture device has no room for so many blocks"),
        Some(libc::ENODEV) => refuse(Refusal::NoDevice, "the capture device is gone"),
        _ => refuse(Refusal::Failed, error),
    }
}

fn failed(path: &Path, error: &io::Error) -> Outcome {
    refuse(Refusal::Failed, &format!("{}: {error}", path.display()))
}

/// The EDID in a file of hexadecimal digits; of an empty file of our own none.
fn read(path: &Path, ours: bool) -> Option<Vec<u8>> {
    let text = text(path, ours)?;
    if ours && text.trim().is_empty() {
        return Some(Vec::new());
    }
    match text.parse::<Edid>() {
        Ok(edid) => Some(edid.as_bytes().to_vec()),
        Err(error) => {
            log::error!("EDID: {}: {error}", path.display());
            None
        }
    }
}

/// The bytes in the note of what was shown, whatever they are.
fn noted(path: &Path) -> Option<Vec<u8>> {
    let digits: Vec<char> = text(path, true)?.chars().filter(|letter| !letter.is_whitespace()).collect();
    let byte = |pair: &[char]| match pair {
        [high, low] => u8::try_from(high.to_digit(16)? << 4 | low.to_digit(16)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    if bytes.is_none() {
        log::error!("EDID: {}: not hexadecimal", path.display());
    }
    bytes
}

fn text(path: &Path, ours: bool) -> Option<String> {
    let text = match File::open(path) {
        Ok(file) => io::read_to_string(io::Read::take(file, FILE_BYTES)),
        Err(error) if ours && error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    text.inspect_err(|error| log::error!("EDID: {}: {error}", path.display())).ok()
}

/// Writes a file so that after a power cut there is the old one or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(dir)?.sync_all()
}

fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("EDID: {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that remembers; with a full memory it takes one block only.
    #[derive(Debug, Default)]
    struct Fake {
        shown: Vec<u8>,
        fault: Option<i32>,
    }

    impl Monitor for Fake {
        fn edid(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.shown.clone())
        }

        fn set_edid(&mut self, edid: &[u8]) -> io::Result<()> {
            match self.fault {
                Some(code) if !edid.is_empty() => Err(io::Error::from_raw_os_error(code)),
                _ => {
                    self.shown = edid.to_vec();
                    Ok(())
                }
            }
        }
    }

    fn edid(product: u8) -> Edid {
        let mut bytes = vec![0; 128];
        bytes[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
        bytes[10] = product;
        bytes[127] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        Edid::from_bytes(&bytes).unwrap()
    }

    fn attempt(product: u8) -> Order {
        Order::Try { data: edid(product).to_hex() }
    }

    fn done(outcome: Outcome) -> wire::Monitor {
        match outcome {
            Outcome::Done(monitor) => monitor,
            Outcome::Refused { text, .. } => panic!("{text}"),
        }
    }

    fn reason(outcome: &Outcome) -> Option<Refusal> {
        match outcome {
            Outcome::Refused { reason, .. } => Some(*reason),
            Outcome::Done(_) => None,
        }
    }

    struct Bench {
        dir: tempfile::TempDir,
        keeper: Keeper,
        device: Fake,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let keeper = Keeper::open(dir.path(), None);
            let device = Fake { shown: edid(1).as_bytes().to_vec(), fault: None };
            Self { dir, keeper, device, start: Instant::now() }
        }

        fn order(&mut self, order: &Order, seconds: u64) -> Outcome {
            let now = self.start + Duration::from_secs(seconds);
            self.keeper.order(order, Some(&mut self.device), now)
        }

        fn tick(&mut self, seconds: u64) {
            self.keeper.tick(Some(&mut self.device), self.start + Duration::from_secs(seconds));
        }

        fn shows(&self, product: u8) -> bool {
            self.device.shown == edid(product).as_bytes()
        }

        /// What a streamer that starts now would show.
        fn next_start(&self) -> Option<Vec<u8>> {
            Keeper::open(self.dir.path(), None).wanted().get()
        }
    }

    #[test]
    fn what_is_not_confirmed_in_time_is_taken_back() {
        let mut bench = Bench::new();
        assert_eq!(done(bench.order(&attempt(2), 0)).trial_ms, Some(30_000));
        assert!(bench.shows(2));
        bench.tick(29);
        assert!(bench.shows(2));
        assert_eq!(done(bench.order(&Order::Show, 29)).trial_ms, Some(1000));
        bench.tick(30);
        assert!(bench.shows(1));
        assert_eq!((bench.keeper.due(), bench.next_start()), (None, None));
        assert_eq!(reason(&bench.order(&Order::Confirm, 31)), Some(Refusal::NoTrial));
    }

    #[test]
    fn what_is_confirmed_is_kept_and_shown_at_the_next_start() {
        let mut bench = Bench::new();
        done(bench.order(&attempt(2), 0));
        let shown = done(bench.order(&Order::Confirm, 10));
        assert_eq!((shown.trial_ms, shown.saved), (None, Some(edid(2).to_hex())));
        bench.tick(100);
        assert!(bench.shows(2));
        assert_eq!(bench.next_start().unwrap(), edid(2).as_bytes());
    }

    #[test]
    fn an_undo_is_at_once_and_goes_back_over_several_trials() {
        let mut bench = Bench::new();
        assert_eq!(reason(&bench.order(&Order::Undo, 0)), Some(Refusal::NoTrial));
        done(bench.order(&attempt(2), 0));
        done(bench.order(&attempt(3), 20));
        bench.tick(35);
        assert!(bench.shows(3), "the second trial has its own time");
        done(bench.order(&Order::Undo, 36));
        assert!(bench.shows(1));
        assert_eq!(bench.next_start(), None);
    }

    #[test]
    fn a_streamer_that_stops_takes_back_and_one_that_was_killed_does_at_the_next_start() {
        let mut bench = Bench::new();
        done(bench.order(&attempt(2), 0));
        assert_eq!(bench.next_start().unwrap(), edid(1).as_bytes());
        bench.keeper.stop(Some(&mut bench.device));
        assert!(bench.shows(1));
        assert_eq!(bench.next_start(), None);
    }

    #[test]
    fn a_device_that_went_away_during_the_trial_is_shown_the_old_one_when_it_is_back() {
        let mut bench = Bench::new();
        let wanted = bench.keeper.wanted();
        done(bench.order(&attempt(2), 0));
        assert_eq!(wanted.get().unwrap(), edid(2).as_bytes());
        bench.keeper.tick(None, bench.start + TRIAL);
        assert_eq!(wanted.get().unwrap(), edid(1).as_bytes());
        assert_eq!(bench.next_start().unwrap(), edid(1).as_bytes(), "should it not come back before that");
        bench.tick(31);
        assert!(bench.shows(1));
        assert_eq!(bench.next_start(), None);
    }

    #[test]
    fn without_a_device_a_trial_is_undone_and_confirmed_all_the_same() {
        for (order, product) in [(Order::Undo, 1), (Order::Confirm, 2)] {
            let mut bench = Bench::new();
            done(bench.order(&attempt(2), 0));
            let shown = done(bench.keeper.order(&order, None, bench.start));
            assert_eq!((shown.data, shown.trial_ms), (edid(product).to_hex(), None));
            assert_eq!(bench.keeper.wanted().get().unwrap(), edid(product).as_bytes());
            assert_eq!(bench.next_start().unwrap(), edid(product).as_bytes());
            bench.tick(1);
            assert!(bench.shows(product));
        }
    }

    #[test]
    fn a_streamer_that_stops_without_a_device_leaves_the_old_one_to_the_next_start() {
        let mut bench = Bench::new();
        done(bench.order(&attempt(2), 0));
        bench.keeper.stop(None);
        assert_eq!(bench.next_start().unwrap(), edid(1).as_bytes());
        bench.keeper = Keeper::open(bench.dir.path(), None);
        bench.tick(0);
        assert!(bench.shows(1));
    }

    #[test]
    fn a_device_that_refuses_the_old_one_is_asked_again_until_it_takes_it() {
        let mut bench = Bench::new();
        done(bench.order(&attempt(2), 0));
        bench.device.fault = Some(libc::EBUSY);
        bench.tick(30);
        assert!(bench.shows(2));
        assert_eq!(bench.next_start().unwrap(), edid(1).as_bytes());
        bench.device.fault = None;
        bench.tick(31);
        assert!(bench.shows(2), "not at every turn: it interrupts the capture");
        bench.tick(36);
        assert!(bench.shows(1));
        assert_eq!(bench.next_start(), None);
    }

    #[test]
    fn what_is_still_to_be_shown_again_is_what_the_next_trial_goes_back_to() {
        let mut bench = Bench::new();
        done(bench.order(&attempt(2), 0));
        bench.device.fault = Some(libc::EBUSY);
        done(bench.order(&Order::Undo, 1));
        bench.device.fault = None;
        done(bench.order(&attempt(3), 2));
        bench.tick(10);
        assert!(bench.shows(3));
        done(bench.order(&Order::Undo, 11));
        assert!(bench.shows(1));
    }

    #[test]
    fn a_trial_goes_on_when_the_next_one_cannot_be_noted() {
        let mut bench = Bench::new();
        done(bench.order(&attempt(2), 0));
        // Nothing can be written through a directory of that name.
        let way = bench.dir.path().join("edid-before.new");
        fs::create_dir(&way).unwrap();
        assert_eq!(reason(&bench.order(&attempt(3), 10)), Some(Refusal::Failed));
        assert!(bench.shows(2));
        assert_eq!(bench.keeper.due(), Some(bench.start + TRIAL));
        bench.tick(30);
        assert!(bench.shows(1));
    }

    #[test]
    fn what_was_shown_before_comes_back_after_a_kill_even_if_it_is_not_sound() {
        let mut bench = Bench::new();
        bench.device.shown = vec![0xA5; 128];
        done(bench.order(&attempt(2), 0));
        assert_eq!(bench.next_start(), Some(vec![0xA5; 128]));
        fs::write(bench.dir.path().join("edid-before.hex"), "A5 5").unwrap();
        assert_eq!(bench.next_start(), None);
    }

    #[test]
    fn a_device_that_showed_nothing_shows_nothing_again() {
        let mut bench = Bench::new();
        bench.device.shown.clear();
        done(bench.order(&attempt(2), 0));
        assert_eq!(bench.next_start(), Some(Vec::new()));
        bench.tick(30);
        assert!(bench.device.shown.is_empty());
    }

    #[test]
    fn refusals_leave_everything_as_it_was() {
        let mut bench = Bench::new();
        let bad = Order::Try { data: "00FF".into() };
        assert_eq!(reason(&bench.order(&bad, 0)), Some(Refusal::Invalid));
        for (code, refusal) in [
            (libc::ENOTTY, Refusal::NotSupported),
            (libc::E2BIG, Refusal::Invalid),
            (libc::ENODEV, Refusal::NoDevice),
            (libc::EIO, Refusal::Failed),
        ] {
            bench.device.fault = Some(code);
            assert_eq!(reason(&bench.order(&attempt(2), 0)), Some(refusal));
            assert!(bench.shows(1));
            assert_eq!((bench.keeper.due(), bench.next_start()), (None, None));
        }
        let nobody = bench.keeper.order(&Order::Show, None, bench.start);
        assert_eq!(reason(&nobody), Some(Refusal::NoDevice));
    }

    #[test]
    fn a_configured_file_is_shown_unless_something_was_confirmed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.hex");
        let wanted = || Keeper::open(dir.path(), Some(&file)).wanted().get();
        assert_eq!(wanted(), None, "it is missing");
        fs::write(&file, edid(4).to_string()).unwrap();
        assert_eq!(wanted().unwrap(), edid(4).as_bytes());
        fs::write(&file, "no EDID").unwrap();
        assert_eq!(wanted(), None);
        fs::write(dir.path().join("edid.hex"), edid(5).to_hex()).unwrap();
        assert_eq!(wanted().unwrap(), edid(5).as_bytes());
    }
}
