//! `otgconf`: the USB gadget's cable and its functions as switches.
//!
//! Pin `udc` is the cable: on while the gadget is bound to its controller. Any other pin is a function by its name,
//! `mass_storage.usb0` say: on while it is part of what the host sees. Changing that takes the cable out for a moment;
//! a mark says so for that time, so that the gadget's owner can plug it in again should we die meanwhile.
//! `initial` says nothing here: the gadget is made by the supervisor, and a start of ours unplugs nothing.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use gadget::Paths;

use crate::slow::{Post, Seen, Slow};
use crate::{Driver, Offline, PinUse, Wake};

/// The cable's pin.
pub const UDC: &str = "udc";
/// How often the gadget is looked at: others may change it too.
const LOOK: Duration = Duration::from_secs(1);

/// Which gadget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the gadget lies.
    pub paths: Paths,
    /// The controller's name; `None` takes the one it was bound to, or the only one there is.
    pub udc: Option<String>,
    /// How long the cable is out when a function is changed.
    pub init_delay: Duration,
    /// Where controllers are found.
    pub controllers: PathBuf,
    /// Not empty while the cable is out only for a moment. The gadget's owner makes it; where it is not, nothing is marked.
    pub mark: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            paths: Paths::default(),
            udc: None,
            init_delay: Duration::from_secs(3),
            controllers: PathBuf::from("/sys/class/udc"),
            mark: PathBuf::from("/run/kvmd/otg/relinking"),
        }
    }
}

/// Whether a pin may be a function's name: nothing that leads out of its directory.
#[must_use]
pub fn is_pin(pin: &str) -> bool {
    pin == UDC
        || (pin.contains('.')
            && !pin.starts_with('.')
            && pin.len() <= 64
            && pin.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter)))
}

struct Cable {
    settings: Settings,
    pins: Vec<String>,
    /// The controller it was seen at last.
    bound: Option<String>,
}

impl Cable {
    fn is_in(&mut self) -> io::Result<bool> {
        let file = self.settings.paths.udc_file();
        let name = fs::read_to_string(&file).map_err(|error| named(&file, &error))?;
        let name = name.trim();
        if !name.is_empty() {
            self.bound = Some(name.to_owned());
        }
        Ok(!name.is_empty())
    }

    fn plug(&mut self, level: bool) -> io::Result<()> {
        if self.is_in()? == level {
            return Ok(());
        }
        let name = if level { self.controller()? } else { String::new() };
        let file = self.settings.paths.udc_file();
        fs::write(&file, format!("{name}\n")).map_err(|error| named(&file, &error))
    }

    fn controller(&self) -> io::Result<String> {
        if let Some(name) = self.settings.udc.as_ref().or(self.bound.as_ref()) {
            return Ok(name.clone());
        }
        let first = fs::read_dir(&self.settings.controllers)?.flatten().map(|entry| entry.file_name()).min();
        let none = || io::Error::new(io::ErrorKind::NotFound, "there is no USB device controller");
        Ok(first.ok_or_else(none)?.to_string_lossy().into_owned())
    }

    fn link(&mut self, function: &str, level: bool) -> io::Result<()> {
        let (from, to) = (self.settings.paths.function(function), self.settings.paths.link(function));
        if to.symlink_metadata().is_ok() == level {
            return Ok(());
        }
        if !from.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{}: there is no such function", from.display()),
            ));
        }
        let was_in = self.is_in()?;
        if was_in {
            self.mark("1");
        }
        if let Err(error) = self.plug(false) {
            self.mark("");
            return Err(error);
        }
        let changed = if level { symlink(&from, &to) } else { fs::remove_file(&to) };
        let changed = changed.map_err(|error| named(&to, &error));
        if was_in {
            #[expect(
                clippy::disallowed_methods,
                reason = "a thread of its own, and a pause the host has to see"
            )]
            std::thread::sleep(self.settings.init_delay);
            // Also when nothing was changed: the cable was in.
            let plugged = self.plug(true);
            self.mark("");
            plugged?;
        }
        changed
    }

    fn mark(&self, text: &str) {
        let mark = fs::File::options().write(true).truncate(true).open(&self.settings.mark);
        if let Err(error) = mark.and_then(|mut mark| mark.write_all(text.as_bytes())) {
            log::debug!("{}: {error}", self.settings.mark.display());
        }
    }

    fn apply(&mut self, pin: &str, level: bool) -> io::Result<()> {
        if pin == UDC { self.plug(level) } else { self.link(pin, level) }
    }
}

fn named(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Slow for Cable {
    fn look(&mut self) -> Seen {
        let cable = self.is_in().map_err(|error| error.to_string())?;
        let level = |pin: &String| {
            let level =
                if pin == UDC { cable } else { self.settings.paths.link(pin).symlink_metadata().is_ok() };
            (pin.clone(), level)
        };
        Ok(self.pins.iter().map(level).collect())
    }

    fn set(&mut self, pin: &str, level: bool) -> Result<(), String> {
        self.apply(pin, level).map_err(|error| error.to_string())
    }
}

/// The driver.
#[derive(Debug)]
pub struct OtgConf {
    settings: Settings,
    worker: Post,
}

impl OtgConf {
    /// The driver.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, worker: Post::default() }
    }
}

impl Driver for OtgConf {
    fn attach(&mut self, pins: &[PinUse], wake: Wake) -> Result<(), Offline> {
        if let Some(pin) = pins.iter().map(PinUse::pin).find(|pin| !is_pin(pin)) {
            return Err(Offline(format!("{pin:?} is neither udc nor the name of a function")));
        }
        // No first levels: what the gadget is at the start is the business of whoever made it.
        let pins = pins.iter().map(|pin| pin.pin().to_owned()).collect();
        let cable = Cable { settings: self.settings.clone(), pins, bound: None };
        self.worker.start(cable, LOOK, wake)
    }

    fn read(&mut self, pin: &str) -> Result<bool, Offline> {
        self.worker.read(pin)
    }

    fn write(&mut self, pin: &str, level: bool) -> Result<(), Offline> {
        self.worker.write(pin, level)
    }

    fn is_done(&mut self, pin: &str) -> Result<bool, Offline> {
        self.worker.is_done(pin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cable() -> (tempfile::TempDir, Cable) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { configfs: dir.path().to_owned(), name: "kvmd".to_owned() };
        fs::create_dir_all(paths.function("mass_storage.usb0")).unwrap();
        fs::create_dir_all(paths.link("x").parent().unwrap()).unwrap();
        fs::write(paths.udc_file(), "fe980000.usb\n").unwrap();
        let mark = dir.path().join("relinking");
        let settings = Settings { paths, init_delay: Duration::ZERO, mark, ..Settings::default() };
        let pins = vec![UDC.to_owned(), "mass_storage.usb0".to_owned()];
        (dir, Cable { settings, pins, bound: None })
    }

    #[test]
    fn the_cable_goes_out_and_into_the_same_controller() {
        let (_dir, mut cable) = cable();
        assert!(cable.look().unwrap()[UDC]);
        cable.set(UDC, false).unwrap();
        assert!(!cable.look().unwrap()[UDC]);
        cable.set(UDC, true).unwrap();
        assert_eq!(fs::read_to_string(cable.settings.paths.udc_file()).unwrap(), "fe980000.usb\n");
    }

    #[test]
    fn a_start_unplugs_nothing_whatever_the_first_levels_are() {
        let (_dir, cable) = cable();
        let mut driver = OtgConf::new(cable.settings.clone());
        let output = |pin: &str| PinUse::Output { pin: pin.to_owned(), initial: Some(false) };
        symlink("x", cable.settings.paths.link("mass_storage.usb0")).unwrap();
        driver.attach(&[output(UDC), output("mass_storage.usb0")], Wake::default()).unwrap();
        // Its end has looked at least once.
        drop(driver);
        assert_eq!(fs::read_to_string(cable.settings.paths.udc_file()).unwrap(), "fe980000.usb\n");
        assert!(cable.settings.paths.link("mass_storage.usb0").symlink_metadata().is_ok());
    }

    #[test]
    fn a_function_is_linked_and_unlinked_and_the_cable_is_in_again_after_it() {
        let (_dir, mut cable) = cable();
        for level in [true, true, false, false] {
            cable.set("mass_storage.usb0", level).unwrap();
            let seen = cable.look().unwrap();
            assert_eq!((seen["mass_storage.usb0"], seen[UDC]), (level, true));
        }
        let link = cable.settings.paths.link("mass_storage.usb0");
        assert!(cable.set("hid.usb9", true).unwrap_err().contains("no such function"));
        assert!(!link.exists());
        cable.set(UDC, false).unwrap();
        cable.set("mass_storage.usb0", true).unwrap();
        assert!(!cable.look().unwrap()[UDC], "a cable that was out stays out");
    }

    #[test]
    fn while_the_cable_is_out_for_a_moment_a_mark_says_so() {
        let (_dir, mut cable) = cable();
        let mark = cable.settings.mark.clone();
        fs::write(&mark, "").unwrap();
        cable.settings.init_delay = Duration::from_millis(300);
        let udc = cable.settings.paths.udc_file();
        let changing = std::thread::spawn(move || cable.set("mass_storage.usb0", true));
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string(&udc).unwrap().trim().is_empty() && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!(fs::read_to_string(&mark).unwrap(), "1");
        changing.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&mark).unwrap(), "");
    }

    proptest! {
        #[test]
        fn no_pin_leads_out_of_the_gadget(pin in ".{0,20}") {
            if is_pin(&pin) {
                prop_assert!(!pin.contains('/') && pin != "." && pin != "..");
            }
        }
    }

    #[test]
    fn functions_have_a_kind_and_a_name() {
        assert!(is_pin("udc") && is_pin("mass_storage.usb0") && is_pin("hid.usb1"));
        for pin in ["", "../..", "mass_storage", "a/b.c", ".."] {
            assert!(!is_pin(pin), "{pin}");
        }
    }
}
