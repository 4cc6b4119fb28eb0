//! A drive and a storage for tests and laptop runs without a target.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::drive::{Current, Doing, Drive, DriveError, Flags, Medium, Remount};

/// What a fake drive or storage was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A medium was connected.
    Insert(Medium),
    /// The medium was taken out.
    Eject,
    /// The storage was remounted, writable or not.
    Remount(bool),
}

/// How many deeds are remembered; older ones are forgotten.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
struct Script {
    deeds: Vec<Deed>,
    refusal: Option<DriveError>,
    mount_refusal: Option<String>,
    flags: Option<Flags>,
}

/// The tests' side: see what was asked for, play the target's part.
#[derive(Debug, Clone)]
pub struct Fake {
    script: Arc<Mutex<Script>>,
    current: watch::Sender<Current>,
}

/// The drive.
#[derive(Debug)]
pub struct FakeDrive(Fake);

/// The storage.
#[derive(Debug)]
pub struct FakeRemount(Fake);

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// An empty drive.
    #[must_use]
    pub fn new() -> Self {
        Self { script: Arc::default(), current: watch::Sender::new(Current::Empty) }
    }

    /// The drive, for [`crate::spawn`].
    #[must_use]
    pub fn drive(&self) -> FakeDrive {
        FakeDrive(self.clone())
    }

    /// The storage, for [`crate::spawn`].
    #[must_use]
    pub fn remount(&self) -> FakeRemount {
        FakeRemount(self.clone())
    }

    /// Everything done so far, oldest first.
    #[must_use]
    pub fn deeds(&self) -> Vec<Deed> {
        self.lock().deeds.clone()
    }

    /// Forgets what was done so far.
    pub fn forget(&self) {
        self.lock().deeds.clear();
    }

    /// What the target sees.
    #[must_use]
    pub fn current(&self) -> Current {
        self.current.borrow().clone()
    }

    /// The target ejects, the drive goes away or comes back, something else is put in.
    pub fn set_current(&self, current: Current) {
        self.current.send_replace(current);
    }

    /// How the empty drive stands.
    pub fn set_flags(&self, flags: Option<Flags>) {
        self.lock().flags = flags;
    }

    /// Every following insert fails so, or works again.
    pub fn set_refusal(&self, refusal: Option<DriveError>) {
        self.lock().refusal = refusal;
    }

    /// Every following remount fails so, or works again.
    pub fn set_mount_refusal(&self, why: Option<&str>) {
        self.lock().mount_refusal = why.map(str::to_owned);
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, deed: Deed) {
        let mut script = self.lock();
        if script.deeds.len() == REMEMBERED {
            script.deeds.remove(0);
        }
        script.deeds.push(deed);
    }
}

impl Drive for FakeDrive {
    fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(async move {
            if let Some(refusal) = self.0.lock().refusal.clone() {
                return Err(refusal);
            }
            self.0.note(Deed::Insert(medium.clone()));
            self.0.set_current(Current::Holds(medium));
            Ok(())
        })
    }

    fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(async move {
            self.0.note(Deed::Eject);
            self.0.current.send_if_modified(|current| match current {
                Current::Holds(_) => {
                    *current = Current::Empty;
                    true
                }
                Current::Absent | Current::Empty => false,
            });
            Ok(())
        })
    }

    fn current(&self) -> watch::Receiver<Current> {
        self.0.current.subscribe()
    }

    fn flags(&mut self) -> Doing<'_, Option<Flags>> {
        Box::pin(std::future::ready(self.0.lock().flags))
    }
}

impl Remount for FakeRemount {
    fn remount(&mut self, rw: bool) -> Doing<'_, Result<(), String>> {
        Box::pin(async move {
            if let Some(why) = self.0.lock().mount_refusal.clone() {
                return Err(why);
            }
            self.0.note(Deed::Remount(rw));
            Ok(())
        })
    }
}
