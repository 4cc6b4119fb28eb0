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
//! killed during a trial finds in a second file what was shown before.

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
    /// What was shown before a trial that has not ended.
    before: PathBuf,
    wanted: Wanted,
    trial: Option<Trial>,
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
        let wanted = match read(&saved, true).or_else(|| read(configured?, false)) {
            Some(wanted) => {
                forget(&before); // a trial that was cut off is over
                Some(wanted)
            }
            None => read(&before, true),
        };
        Self { saved, before, wanted: Wanted(Arc::new(Mutex::new(wanted))), trial: None }
    }

    /// What the device is to show whenever it is opened, now and later.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// When [`Keeper::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.trial.as_ref().map(|trial| trial.until)
    }

    /// Ends a trial whose time is over.
    pub fn tick(&mut self, monitor: Option<&mut dyn Monitor>, now: Instant) {
        if self.trial.as_ref().is_some_and(|trial| now >= trial.until) {
            log::warn!("EDID: not confirmed in {} s, taken back", TRIAL.as_secs());
            self.take_back(monitor);
        }
    }

    /// Ends a trial, because the streamer does.
    pub fn stop(&mut self, monitor: Option<&mut dyn Monitor>) {
        if self.trial.is_some() {
            log::warn!("EDID: not confirmed, taken back");
            self.take_back(monitor);
        }
    }

    /// Carries out an order.
    pub fn order(&mut self, order: &Order, monitor: Option<&mut dyn Monitor>, now: Instant) -> Outcome {
        let Some(monitor) = monitor else {
            return refuse(Refusal::NoDevice, "there is no capture device that shows the target a monitor");
        };
        let done = match order {
            Order::Show => Ok(()),
            Order::Try { data } => self.attempt(data, monitor, now),
            Order::Confirm => self.confirm(),
            Order::Undo if self.trial.is_none() => Err(refuse(Refusal::NoTrial, "no EDID is on trial")),
            Order::Undo => {
                log::info!("EDID: taken back");
                self.take_back(Some(monitor));
                Ok(())
            }
        };
        match done.and_then(|()| self.show(monitor, now)) {
            Ok(monitor) => Outcome::Done(monitor),
            Err(refused) => refused,
        }
    }

    fn show(&self, monitor: &mut dyn Monitor, now: Instant) -> Result<wire::Monitor, Outcome> {
        let bytes = monitor.edid().map_err(|error| refused(&error))?;
        let left = self.trial.as_ref().map(|trial| trial.until.saturating_duration_since(now));
        Ok(wire::Monitor {
            data: bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
            trial_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            saved: read(&self.saved, true)
                .map(|bytes| bytes.iter().map(|byte| format!("{byte:02X}")).collect()),
        })
    }

    fn attempt(&mut self, data: &str, monitor: &mut dyn Monitor, now: Instant) -> Result<(), Outcome> {
        let shown: Edid = data.parse().map_err(|error: edid::Error| refuse(Refusal::Invalid, &error))?;
        // A trial during a trial goes back to what was there before both.
        let before = match self.trial.take() {
            Some(trial) => trial.before,
            None => monitor.edid().map_err(|error| refused(&error))?,
        };
        let note = Edid::from_bytes(&before).map(|edid| edid.to_string()).unwrap_or_default();
        replace(&self.before, &note).map_err(|error| failed(&self.before, &error))?;
        if let Err(error) = monitor.set_edid(shown.as_bytes()) {
            self.settle(before, Some(monitor));
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

    fn take_back(&mut self, monitor: Option<&mut dyn Monitor>) {
        if let Some(trial) = self.trial.take() {
            self.settle(trial.before, monitor);
        }
    }

    /// Shows these bytes from now on. Without a device they are shown when it is back.
    fn settle(&mut self, bytes: Vec<u8>, monitor: Option<&mut dyn Monitor>) {
        if let Some(Err(error)) = monitor.map(|monitor| monitor.set_edid(&bytes)) {
            log::error!("EDID: the one before cannot be shown again: {error}");
        }
        self.wanted.set(Some(bytes));
        forget(&self.before);
    }
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

/// The bytes in a file of hexadecimal digits; of an empty file of our own none.
fn read(path: &Path, ours: bool) -> Option<Vec<u8>> {
    let text = match File::open(path) {
        Ok(file) => io::read_to_string(io::Read::take(file, FILE_BYTES)),
        Err(error) if ours && error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error),
    };
    let text = match text {
        Ok(text) if ours && text.trim().is_empty() => return Some(Vec::new()),
        Ok(text) => text,
        Err(error) => {
            log::error!("EDID: {}: {error}", path.display());
            return None;
        }
    };
    match text.parse::<Edid>() {
        Ok(edid) => Some(edid.as_bytes().to_vec()),
        Err(error) => {
            log::error!("EDID: {}: {error}", path.display());
            None
        }
    }
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
