//! A drive whose kind the target learns only when it finds the gadget: shown another kind, the gadget is plugged in anew.
//!
//! A host asks a USB drive once whether it is a CD drive or a disk. Lent an image as the other kind it would wait for a
//! disc in a drive that has become a disk, or the other way round, until somebody pulls the cable. So that is what we do.
//!
//! All drives of the gadget hang on that cable. While another one holds an image that the target may write, the cable
//! stays in: the target would lose what it has not written yet.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::libc::O_NOFOLLOW;
use tokio::sync::watch;

use crate::drive::{Current, Doing, Drive, DriveError, Flags, Medium};

/// The cable the drive hangs on.
pub trait Cable: Send {
    /// Pulls it and plugs it in again, if it is plugged in; the text says why it could not be done.
    fn replug(&mut self) -> Doing<'_, Result<(), String>>;
}

/// A drive on a cable that is plugged in anew whenever the drive becomes one of the other kind.
#[derive(Debug)]
pub struct Replugging<D, C> {
    drive: D,
    cable: C,
    /// The kind the target knows (true = CD drive), as far as we do.
    known: Option<bool>,
    beside: Vec<watch::Receiver<Current>>,
    mark: Option<Mark>,
}

/// A file that says which kind the target knows while that is not the kind the drive has: the process that would plug in
/// anew may die before it does.
#[derive(Debug)]
pub struct Mark {
    /// The file.
    pub path: PathBuf,
    /// The drive's directory: what is said of another one, as of one before the last start, does not count.
    pub drive: PathBuf,
}

impl Mark {
    fn text(&self, cdrom: bool) -> io::Result<String> {
        let drive = std::fs::metadata(&self.drive)?;
        let kind = if cdrom { "cdrom" } else { "disk" };
        Ok(format!("{kind} {} {}.{:09}\n", drive.ino(), drive.ctime(), drive.ctime_nsec()))
    }

    fn read(&self) -> Option<bool> {
        let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(&self.path).ok()?;
        let mut text = String::new();
        file.take(256).read_to_string(&mut text).ok()?;
        [true, false].into_iter().find(|cdrom| self.text(*cdrom).is_ok_and(|same| same == text))
    }

    /// Says what the target knows; `None`: the kind the drive has.
    fn write(&self, known: Option<bool>) {
        let done = match known {
            Some(cdrom) => self.text(cdrom).and_then(|text| {
                let mut file = File::options();
                file.write(true).create(true).truncate(true).mode(0o600).custom_flags(O_NOFOLLOW);
                file.open(&self.path)?.write_all(text.as_bytes())
            }),
            None => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        if let Err(error) = done {
            log::warn!("what the target knows of the drive is not noted: {}: {error}", self.path.display());
        }
    }
}

impl<D: Drive, C: Cable> Replugging<D, C> {
    /// The drive, as the target found it.
    #[must_use]
    pub fn new(drive: D, cable: C) -> Self {
        Self { drive, cable, known: None, beside: Vec::new(), mark: None }
    }

    /// The cable stays in while this drive, which hangs on it as well, holds an image that the target may write.
    #[must_use]
    pub fn beside(mut self, drive: &impl Drive) -> Self {
        self.beside.push(drive.current());
        self
    }

    /// And what the target knows outlives this process.
    #[must_use]
    pub fn marked(mut self, mark: Mark) -> Self {
        self.known = mark.read();
        self.mark = Some(mark);
        self
    }

    fn is_written_beside(&self) -> bool {
        self.beside.iter().any(|drive| matches!(&*drive.borrow(), Current::Holds(medium) if medium.rw))
    }

    async fn lend(&mut self, medium: Medium) -> Result<(), DriveError> {
        let cdrom = medium.cdrom;
        if self.known.is_none() {
            // Nobody has changed it since the target asked: only this does.
            self.known = self.drive.flags().await.map(|flags| flags.cdrom);
        }
        let changed = self.known.filter(|known| *known != cdrom);
        if let Some(mark) = &self.mark {
            // Before the change: from then on the drive itself no longer says it. Also where the image is refused.
            changed.into_iter().for_each(|known| mark.write(Some(known)));
        }
        self.drive.insert(medium).await?;
        if changed.is_some() && self.is_written_beside() {
            log::warn!(
                "the target sees the drive as another kind: another drive is being written, so the cable stays in"
            );
        } else if changed.is_some() {
            log::info!("the drive becomes a {}: plugging in anew", if cdrom { "CD drive" } else { "disk" });
            match self.cable.replug().await {
                Ok(()) => {
                    self.known = Some(cdrom);
                    self.mark.iter().for_each(|mark| mark.write(None));
                }
                // It is lent all the same: the target sees it rightly the next time it looks for devices.
                Err(why) => log::warn!("the gadget is not plugged in anew: {why}"),
            }
        }
        Ok(())
    }
}

impl<D: Drive, C: Cable> Drive for Replugging<D, C> {
    fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>> {
        Box::pin(self.lend(medium))
    }

    fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
        self.drive.eject()
    }

    fn current(&self) -> watch::Receiver<Current> {
        self.drive.current()
    }

    fn flags(&mut self) -> Doing<'_, Option<Flags>> {
        self.drive.flags()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Lun {
        cdrom: bool,
        refuses: bool,
    }

    impl Drive for Lun {
        fn insert(&mut self, medium: Medium) -> Doing<'_, Result<(), DriveError>> {
            // As the kernel: the kind is changed before the image is refused.
            self.cdrom = medium.cdrom;
            let refused = self.refuses;
            Box::pin(async move { if refused { Err(DriveError::Locked) } else { Ok(()) } })
        }

        fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
            Box::pin(async { Ok(()) })
        }

        fn current(&self) -> watch::Receiver<Current> {
            watch::channel(Current::Empty).1
        }

        fn flags(&mut self) -> Doing<'_, Option<Flags>> {
            let flags = Flags { cdrom: self.cdrom, rw: false };
            Box::pin(async move { Some(flags) })
        }
    }

    #[derive(Debug, Clone, Default)]
    struct Counted(Arc<AtomicU32>);

    impl Cable for Counted {
        fn replug(&mut self) -> Doing<'_, Result<(), String>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(()) })
        }
    }

    impl Counted {
        fn count(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn medium(cdrom: bool) -> Medium {
        Medium { path: "/image".into(), cdrom, rw: false }
    }

    fn drive(cable: &Counted) -> Replugging<Lun, Counted> {
        Replugging::new(Lun { cdrom: true, refuses: false }, cable.clone())
    }

    #[tokio::test]
    async fn the_same_kind_again_leaves_the_cable_alone() {
        let cable = Counted::default();
        let mut drive = drive(&cable);
        for _ in 0..3 {
            drive.insert(medium(true)).await.unwrap();
        }
        assert_eq!(cable.count(), 0);
    }

    /// One beside it that shows what it is told to.
    struct Shown(watch::Receiver<Current>);

    impl Drive for Shown {
        fn insert(&mut self, _: Medium) -> Doing<'_, Result<(), DriveError>> {
            Box::pin(async { Ok(()) })
        }

        fn eject(&mut self) -> Doing<'_, Result<(), DriveError>> {
            Box::pin(async { Ok(()) })
        }

        fn current(&self) -> watch::Receiver<Current> {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn a_drive_that_is_written_beside_keeps_the_cable_in_until_it_is_not() {
        let cable = Counted::default();
        let (shows, shown) = watch::channel(Current::Empty);
        let mut drive = drive(&cable).beside(&Shown(watch::channel(Current::Absent).1)).beside(&Shown(shown));
        shows.send_replace(Current::Holds(Medium { rw: true, ..medium(false) }));
        drive.insert(medium(false)).await.unwrap();
        assert_eq!(cable.count(), 0);
        // Back to what the target knows.
        drive.insert(medium(true)).await.unwrap();
        shows.send_replace(Current::Holds(medium(true)));
        drive.insert(medium(true)).await.unwrap();
        assert_eq!(cable.count(), 0);
        drive.insert(medium(false)).await.unwrap();
        assert_eq!(cable.count(), 1, "reading loses nothing");
    }

    #[derive(Debug, Default)]
    struct Dead;

    impl Cable for Dead {
        fn replug(&mut self) -> Doing<'_, Result<(), String>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn a_change_of_kind_outlives_the_process_that_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let mark = || Mark { path: dir.path().join("mark"), drive: dir.path().join("lun.0") };
        std::fs::create_dir(mark().drive).unwrap();
        let lun = |cdrom| Lun { cdrom, refuses: false };
        // It ends between the image and the cable.
        let mut first = Replugging::new(lun(true), Dead).marked(mark());
        let unfinished = tokio::time::timeout(Duration::ZERO, first.insert(medium(false))).await;
        unfinished.unwrap_err();
        let cable = Counted::default();
        let mut second = Replugging::new(lun(false), cable.clone()).marked(mark());
        second.insert(medium(false)).await.unwrap();
        assert_eq!(cable.count(), 1);
        assert!(!mark().path.exists());
        let mut third = Replugging::new(lun(false), cable.clone()).marked(mark());
        third.insert(medium(false)).await.unwrap();
        assert_eq!(cable.count(), 1, "the target knows");
    }

    #[tokio::test]
    async fn what_was_noted_of_another_drive_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let mark = || Mark { path: dir.path().join("mark"), drive: dir.path().join("lun.0") };
        let cable = Counted::default();
        for text in ["cdrom 1 1.000000000\n", "", "\u{0}", "cdrom"] {
            std::fs::write(mark().path, text).unwrap();
            for exists in [false, true] {
                let made = exists.then(|| std::fs::create_dir(mark().drive).unwrap());
                let mut drive =
                    Replugging::new(Lun { cdrom: false, refuses: false }, cable.clone()).marked(mark());
                drive.insert(medium(false)).await.unwrap();
                assert_eq!(cable.count(), 0, "{text:?}");
                made.iter().for_each(|()| std::fs::remove_dir(mark().drive).unwrap());
            }
        }
    }

    #[tokio::test]
    async fn each_change_of_kind_is_one_replug() {
        let cable = Counted::default();
        let mut drive = drive(&cable);
        for (cdrom, count) in [(false, 1), (false, 1), (true, 2), (false, 3)] {
            drive.insert(medium(cdrom)).await.unwrap();
            assert_eq!(cable.count(), count);
        }
    }

    #[tokio::test]
    async fn a_refused_image_does_not_lose_the_change_of_kind() {
        let cable = Counted::default();
        let mut drive = drive(&cable);
        drive.drive.refuses = true;
        drive.insert(medium(false)).await.unwrap_err();
        assert_eq!(cable.count(), 0);
        drive.drive.refuses = false;
        drive.insert(medium(false)).await.unwrap();
        assert_eq!(cable.count(), 1);
    }
}
