//! The USB device controller: what it can carry.

use std::io;
use std::path::Path;

use crate::state::CLASS;

/// The kinds of which more is known than what the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DesignWare 2, in the Raspberry Pi: seven endpoints each way beside the control endpoint.
    Dwc2,
    /// The kernel's simulator, which has fifteen each way.
    Dummy,
    /// One we do not know: the settings' word is all there is.
    Other,
}

/// A USB device controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controller {
    /// Its name below `/sys/class/udc`.
    pub name: String,
    /// What kind of controller it is.
    pub kind: Kind,
}

impl Controller {
    /// One that nothing is known of: for planning where there is none yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self { name: String::new(), kind: Kind::Other }
    }

    /// The one of that name, or the first in order of names when `wanted` is empty. `None` when it is not there (yet).
    ///
    /// # Errors
    ///
    /// The kernel's words, other than that it knows no controllers.
    pub fn find(wanted: &str) -> io::Result<Option<Self>> {
        Self::find_at(CLASS.as_ref(), wanted)
    }

    pub(crate) fn find_at(class: &Path, wanted: &str) -> io::Result<Option<Self>> {
        let entries = match std::fs::read_dir(class) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let name = names.filter(|name| wanted.is_empty() || name == wanted).min();
        Ok(name.map(|name| {
            let driver = std::fs::read_link(class.join(&name).join("device/driver"));
            let driver = driver.ok().and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
            let kind = kind(&name, driver.as_deref());
            Self { name, kind }
        }))
    }

    /// How many endpoints towards the host it has, where that is known.
    #[must_use]
    pub fn inputs(&self) -> Option<u32> {
        self.each_way()
    }

    /// How many endpoints from the host it has, where that is known.
    #[must_use]
    pub fn outputs(&self) -> Option<u32> {
        self.each_way()
    }

    fn each_way(&self) -> Option<u32> {
        match self.kind {
            Kind::Dwc2 => Some(7),
            Kind::Dummy => Some(15),
            Kind::Other => None,
        }
    }
}

fn kind(name: &str, driver: Option<&str>) -> Kind {
    match driver {
        Some("dwc2") => Kind::Dwc2,
        Some("dummy_udc") => Kind::Dummy,
        None if name.starts_with("dummy_udc.") => Kind::Dummy,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(controllers: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, driver) in controllers {
            let device = dir.path().join(name).join("device");
            std::fs::create_dir_all(&device).unwrap();
            std::os::unix::fs::symlink(format!("../../bus/platform/drivers/{driver}"), device.join("driver"))
                .unwrap();
        }
        dir
    }

    #[test]
    fn the_first_in_order_is_taken_unless_one_is_named() {
        let dir = class(&[("b.usb", "dwc2"), ("a.usb", "musb"), ("dummy_udc.0", "dummy_udc")]);
        let find = |wanted| Controller::find_at(dir.path(), wanted).unwrap();
        let found = |name: &str, kind| Some(Controller { name: name.to_owned(), kind });
        assert_eq!(find(""), found("a.usb", Kind::Other));
        assert_eq!(find("b.usb"), found("b.usb", Kind::Dwc2));
        assert_eq!(find("dummy_udc.0"), found("dummy_udc.0", Kind::Dummy));
        assert_eq!(find("c.usb"), None);
    }

    #[test]
    fn a_kernel_without_controllers_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Controller::find_at(&dir.path().join("udc"), "").unwrap(), None);
        assert_eq!(Controller::find_at(dir.path(), "").unwrap(), None);
    }
}
