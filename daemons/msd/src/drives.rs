//! All the drives of one target: the one that clients lend images by, and those beside it.
//!
//! A gadget can have several. The contract knows one; what the others hold is put in by hand. The storage is shared, so
//! an image that another drive holds is not removed, nor written twice, and the storage is not closed under it.

use std::path::Path;

use crate::drive::{Current, Drive};

/// The drives.
pub struct Drives {
    pub(crate) main: Box<dyn Drive>,
    beside: Vec<Box<dyn Drive>>,
}

impl Drives {
    /// With this one alone.
    #[must_use]
    pub fn new(main: impl Drive + 'static) -> Self {
        Self { main: Box::new(main), beside: Vec::new() }
    }

    /// And this one beside it.
    #[must_use]
    pub fn and(mut self, drive: impl Drive + 'static) -> Self {
        self.beside.push(Box::new(drive));
        self
    }

    /// Another drive holds this image; `Some(true)` if the target may write it there.
    pub(crate) fn holds_beside(&self, path: &Path) -> Option<bool> {
        self.media().filter_map(|(held, rw)| (held == path).then_some(rw)).max()
    }

    /// The target may write below `root` by another drive.
    pub(crate) fn writes_beside(&self, root: &Path) -> bool {
        self.media().any(|(held, rw)| rw && held.starts_with(root))
    }

    fn media(&self) -> impl Iterator<Item = (std::path::PathBuf, bool)> {
        self.beside.iter().filter_map(|drive| match &*drive.current().borrow() {
            Current::Holds(medium) => Some((medium.path.clone(), medium.rw)),
            Current::Absent | Current::Empty => None,
        })
    }
}

impl<D: Drive + 'static> From<D> for Drives {
    fn from(main: D) -> Self {
        Self::new(main)
    }
}
