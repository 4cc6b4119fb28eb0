//! A drive whose kind the target learns only when it finds the gadget: shown another kind, the gadget is plugged in anew.
//!
//! A host asks a USB drive once whether it is a CD drive or a disk. Lent an image as the other kind it would wait for a
//! disc in a drive that has become a disk, or the other way round, until somebody pulls the cable. So that is what we do.

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
}

impl<D: Drive, C: Cable> Replugging<D, C> {
    /// The drive, as the target found it.
    #[must_use]
    pub fn new(drive: D, cable: C) -> Self {
        Self { drive, cable, known: None }
    }

    async fn lend(&mut self, medium: Medium) -> Result<(), DriveError> {
        let cdrom = medium.cdrom;
        if self.known.is_none() {
            // Nobody has changed it since the target asked: only this does.
            self.known = self.drive.flags().await.map(|flags| flags.cdrom);
        }
        self.drive.insert(medium).await?;
        if self.known.is_some_and(|known| known != cdrom) {
            log::info!("the drive becomes a {}: plugging in anew", if cdrom { "CD drive" } else { "disk" });
            match self.cable.replug().await {
                Ok(()) => self.known = Some(cdrom),
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

    fn current(&self) -> tokio::sync::watch::Receiver<Current> {
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

    use tokio::sync::watch;

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
