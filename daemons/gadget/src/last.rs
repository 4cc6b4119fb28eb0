//! The last report of the absolute mouse, where it can be read when its writer has died.
//!
//! Releasing a button of that mouse means sending a position too, and any other than the last one moves the pointer.
//! So whoever sends reports notes them in a small file first (one write to memory), and the supervisor, which has to
//! release the buttons when that process dies, reads it there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::O_NOFOLLOW;

/// Length of a report: buttons, X, Y, wheel, pan.
const LEN: usize = 7;

/// The file, on the side that writes.
#[derive(Debug)]
pub struct LastReport {
    file: File,
}

impl LastReport {
    /// Opens a file that somebody else has made.
    ///
    /// # Errors
    ///
    /// The kernel's words. Who cannot open it goes on without: then the pointer is in the corner after a crash.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path).map(|file| Self { file })
    }

    /// Notes a report of the absolute mouse, just before it is sent.
    pub fn record(&self, report: &[u8]) {
        if let Err(error) = self.file.write_all_at(report, 0) {
            log::debug!("the last report cannot be noted: {error}");
        }
    }
}

/// The report that releases every button and moves nothing: at the position of the last one, or in the corner when
/// none was noted.
pub(crate) fn released(path: &Path) -> [u8; LEN] {
    let mut report = [0; LEN];
    let read = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW)
        .open(path)
        .and_then(|file| file.read_at(&mut report, 0));
    // Buttons, X and Y are all that counts: a mouse without a second wheel has shorter reports.
    let [_, x0, x1, y0, y1, ..] = if read.is_ok_and(|len| len >= 5) { report } else { [0; LEN] };
    [0, x0, x1, y0, y1, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_are_released_where_the_pointer_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last");
        assert_eq!(released(&path), [0; 7], "nobody has sent anything");
        assert!(LastReport::open(&path).is_err(), "it is made by somebody else");
        File::create(&path).unwrap();
        assert_eq!(released(&path), [0; 7]);
        let last = LastReport::open(&path).unwrap();
        for report in [&[1, 2, 3, 4, 5, 6][..], &[7, 0x10, 0x20, 0x30, 0x40, 1, 1]] {
            last.record(report);
            assert_eq!(released(&path), [0, report[1], report[2], report[3], report[4], 0, 0]);
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), [9; 7]).unwrap();
        let link = dir.path().join("last");
        std::os::unix::fs::symlink(dir.path().join("secret"), &link).unwrap();
        assert!(LastReport::open(&link).is_err());
        assert_eq!(released(&link), [0; 7]);
    }
}
