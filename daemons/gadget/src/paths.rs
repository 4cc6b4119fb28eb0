//! Where the gadget's attributes lie.

use std::io;
use std::path::{Path, PathBuf};

/// The gadget's directory: where configfs is mounted, and the gadget's name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Where configfs is mounted.
    pub configfs: PathBuf,
    /// The gadget's name.
    pub name: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self { configfs: "/sys/kernel/config".into(), name: "kvmd".to_owned() }
    }
}

impl Paths {
    /// The directory of all gadgets: there when the kernel can be one.
    #[must_use]
    pub fn gadgets(&self) -> PathBuf {
        self.configfs.join("usb_gadget")
    }

    /// The gadget itself.
    #[must_use]
    pub fn gadget(&self) -> PathBuf {
        self.gadgets().join(&self.name)
    }

    /// The attribute that holds the controller's name while the gadget is bound.
    #[must_use]
    pub fn udc_file(&self) -> PathBuf {
        self.gadget().join("UDC")
    }

    /// The only configuration: what is linked in here, the host sees.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.gadget().join("configs/c.1")
    }

    /// A function's directory, `hid.usb0` say.
    #[must_use]
    pub fn function(&self, name: &str) -> PathBuf {
        self.gadget().join("functions").join(name)
    }

    /// Where a function is linked when the host shall see it.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.configuration().join(name)
    }

    /// The drive's only logical unit, of the drive with that number.
    #[must_use]
    pub fn lun(&self, number: u32) -> PathBuf {
        self.function(&format!("mass_storage.usb{number}")).join("lun.0")
    }

    /// The device node that a HID function's reports are written to. It exists while the gadget is bound and the
    /// function linked.
    ///
    /// # Errors
    ///
    /// When there is no such function, or it is not a HID one.
    pub fn hidg(&self, function: &str) -> io::Result<PathBuf> {
        self.hidg_number(function).map(|(_, minor)| Path::new("/dev").join(format!("hidg{minor}")))
    }

    /// That node's device number: major and minor.
    pub(crate) fn hidg_number(&self, function: &str) -> io::Result<(u32, u32)> {
        let path = self.function(function).join("dev");
        let text = std::fs::read_to_string(&path)?;
        number(&text).ok_or_else(|| {
            let text = format!("{}: {text:?} is no device number", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    /// The controller the gadget is bound to. One that is not there is bound to none.
    ///
    /// # Errors
    ///
    /// The kernel's words, other than that there is no such gadget.
    pub fn udc(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.udc_file()) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `MAJOR:MINOR`.
fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everything_lies_below_the_gadget() {
        let paths = Paths::default();
        assert_eq!(paths.udc_file(), Path::new("/sys/kernel/config/usb_gadget/kvmd/UDC"));
        assert_eq!(
            paths.lun(1),
            Path::new("/sys/kernel/config/usb_gadget/kvmd/functions/mass_storage.usb1/lun.0")
        );
        assert_eq!(
            paths.link("hid.usb0"),
            Path::new("/sys/kernel/config/usb_gadget/kvmd/configs/c.1/hid.usb0")
        );
    }

    #[test]
    fn a_function_s_node_is_found_by_its_minor_number() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { configfs: dir.path().to_owned(), ..Paths::default() };
        std::fs::create_dir_all(paths.function("hid.usb1")).unwrap();
        std::fs::write(paths.function("hid.usb1").join("dev"), "240:7\n").unwrap();
        assert_eq!(paths.hidg("hid.usb1").unwrap(), Path::new("/dev/hidg7"));
        assert_eq!(paths.hidg("hid.usb2").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_gadget_that_is_not_there_is_bound_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { configfs: dir.path().to_owned(), ..Paths::default() };
        assert_eq!(paths.udc().unwrap(), None);
        std::fs::create_dir_all(paths.gadget()).unwrap();
        for (text, name) in [("\n", None), ("dummy_udc.0\n", Some("dummy_udc.0".to_owned()))] {
            std::fs::write(paths.udc_file(), text).unwrap();
            assert_eq!(paths.udc().unwrap(), name);
        }
    }

    proptest! {
        #[test]
        fn no_device_number_panics(text in "[0-9:\n]{0,30}") {
            let _ = number(&text);
        }
    }
}
