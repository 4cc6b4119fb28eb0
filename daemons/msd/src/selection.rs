//! The virtual drive: what the next connect will show. Pure rules (contract: "set_params rules" of section 8.6).

use crate::model::Image;

/// What is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) image: Option<String>,
    pub(crate) cdrom: bool,
    pub(crate) rw: bool,
}

impl Default for Selection {
    /// What a drive fresh from the factory is: an empty CD drive.
    fn default() -> Self {
        Self { image: None, cdrom: true, rw: false }
    }
}

/// A change of it; `None` leaves things as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) image: Option<Option<String>>,
    pub(crate) cdrom: Option<bool>,
    pub(crate) rw: Option<bool>,
}

impl Selection {
    /// Applies a change. `look_up` knows the images there are.
    ///
    /// The error is the name of an image that is not there; nothing has changed then.
    pub(crate) fn apply<'a>(
        &mut self,
        change: Change,
        look_up: impl Fn(&str) -> Option<&'a Image>,
    ) -> Result<(), String> {
        if let Some(Some(name)) = &change.image
            && look_up(name).is_none()
        {
            return Err(name.clone());
        }
        if let Some(image) = change.image {
            self.image = image;
        }
        self.cdrom = change.cdrom.unwrap_or(self.cdrom);
        self.rw = change.rw.unwrap_or(self.rw);
        self.settle(look_up);
        Ok(())
    }

    /// A CD, or an image nobody may write, is not written.
    pub(crate) fn settle<'a>(&mut self, look_up: impl Fn(&str) -> Option<&'a Image>) {
        let image = self.image.as_deref().and_then(look_up);
        if self.cdrom || image.is_some_and(|image| !image.writable) {
            self.rw = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    fn image(writable: bool) -> Image {
        Image {
            complete: true,
            removable: true,
            writable,
            size: 0,
            modified: SystemTime::UNIX_EPOCH,
            written: None,
        }
    }

    fn apply(
        selection: &mut Selection,
        image_name: Option<Option<&str>>,
        cdrom: Option<bool>,
        rw: Option<bool>,
    ) -> Result<(), String> {
        let (disk, iso) = (image(true), image(false));
        let look_up = |name: &str| match name {
            "disk" => Some(&disk),
            "iso" => Some(&iso),
            _ => None,
        };
        selection.apply(Change { image: image_name.map(|name| name.map(str::to_owned)), cdrom, rw }, look_up)
    }

    #[test]
    fn the_factory_drive_is_an_empty_cd() {
        assert_eq!(Selection::default(), Selection { image: None, cdrom: true, rw: false });
    }

    #[test]
    fn a_disk_may_be_written_and_a_cd_or_an_iso_may_not() {
        let mut selection = Selection::default();
        apply(&mut selection, Some(Some("disk")), Some(false), Some(true)).unwrap();
        assert!(selection.rw);
        apply(&mut selection, None, Some(true), None).unwrap();
        assert!(!selection.rw);
        apply(&mut selection, Some(Some("iso")), Some(false), Some(true)).unwrap();
        assert!(!selection.rw && !selection.cdrom);
    }

    #[test]
    fn an_unknown_image_changes_nothing() {
        let mut selection = Selection::default();
        assert_eq!(
            apply(&mut selection, Some(Some("nope")), Some(false), Some(true)),
            Err("nope".to_owned())
        );
        assert_eq!(selection, Selection::default());
    }

    #[test]
    fn taking_the_image_out_keeps_the_flags() {
        let mut selection = Selection::default();
        apply(&mut selection, Some(Some("disk")), Some(false), Some(true)).unwrap();
        apply(&mut selection, Some(None), None, None).unwrap();
        assert_eq!(selection, Selection { image: None, cdrom: false, rw: true });
    }

    proptest! {
        #[test]
        fn nothing_unwritable_is_ever_writable(changes in prop::collection::vec(
            (prop::option::of(prop::option::of(prop_oneof![Just("disk"), Just("iso"), Just("nope")])), any::<Option<bool>>(), any::<Option<bool>>()), 0..20)
        ) {
            let mut selection = Selection::default();
            for (image, cdrom, rw) in changes {
                let _ = apply(&mut selection, image, cdrom, rw);
                prop_assert!(!(selection.rw && (selection.cdrom || selection.image.as_deref() == Some("iso"))));
            }
        }
    }
}
