//! The gadget as it is held: made, adopted, changed, bound, let go.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::makedev;

use crate::configfs::{self, Error};
use crate::plan::{Fate, Plan, Rest, Role};
use crate::rest::{self, Outcome};
use crate::{Paths, UdcState, last, state};

/// What became of a gadget that was to be as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was so already, and is as it was: the host notices nothing.
    Adopted,
    /// It shows the host other functions now.
    Relinked,
    /// It is made anew.
    Anew,
}

/// A HID function's device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What the function is for.
    pub role: Role,
    /// Where the node is.
    pub path: PathBuf,
}

/// The gadget in configfs. Dropping it leaves everything as it is.
#[derive(Debug)]
pub struct Gadget {
    paths: Paths,
    plan: Plan,
    /// Functions the kernel has no driver for.
    missing: BTreeSet<String>,
    /// What of a function may still come, and why it is not there: an image on a storage that is not mounted yet.
    awaited: BTreeMap<String, String>,
}

impl Gadget {
    /// Makes the gadget as planned, or takes over the one that is there if it is so. Where what is there is another,
    /// it is removed first. It is bound to nothing afterwards unless it was before and is untouched.
    ///
    /// # Errors
    ///
    /// [`Error`]. A function that the kernel does not have is none: the gadget is made without it, and the log says so.
    pub fn hold(paths: Paths, plan: Plan) -> Result<(Self, Made), Error> {
        let mut gadget = Self { paths, plan, missing: BTreeSet::new(), awaited: BTreeMap::new() };
        let made = gadget.make()?;
        Ok((gadget, made))
    }

    /// Changes it to another plan, touching only what differs. It is unbound afterwards unless nothing differed.
    ///
    /// # Errors
    ///
    /// As [`Gadget::hold`]; then nothing is sure about what is there, but another try may succeed.
    pub fn change(&mut self, plan: Plan) -> Result<Made, Error> {
        self.plan = plan;
        self.make()
    }

    fn make(&mut self) -> Result<Made, Error> {
        let present = match configfs::look(&self.paths, &self.plan)? {
            Some(present) if present.differences.is_empty() => Some(present),
            Some(present) => {
                log::info!("the USB gadget that is there is another: {}", present.differences.join("; "));
                configfs::remove(&self.paths)?;
                None
            }
            None => None,
        };
        if present.is_none() {
            configfs::make(&self.paths, &self.plan)?;
        }
        self.missing.clear();
        let there = present.as_ref().map(|present| &present.functions);
        for function in &self.plan.functions {
            if there.is_some_and(|there| there.contains(&function.name)) {
                continue;
            }
            self.awaited.remove(&function.name);
            match configfs::make_function(&self.paths, function) {
                Ok(awaited) => {
                    for error in awaited {
                        log::warn!("{} ({}) is empty for now: {error}", function.name, function.description);
                        self.awaited.insert(function.name.clone(), error.to_string());
                    }
                }
                Err(error) => {
                    log::warn!(
                        "the USB gadget is without {} ({}): {error}",
                        function.name,
                        function.description
                    );
                    self.missing.insert(function.name.clone());
                }
            }
        }
        let wanted: Vec<&str> = self.linked().collect();
        if let Some(present) = &present
            && present.links.iter().map(String::as_str).eq(wanted.iter().copied().collect::<BTreeSet<_>>())
        {
            return Ok(Made::Adopted);
        }
        configfs::unbind(&self.paths)?;
        configfs::link(&self.paths, &wanted)?;
        Ok(if present.is_some() { Made::Relinked } else { Made::Anew })
    }

    /// Whether something is missing that may come by itself.
    #[must_use]
    pub fn is_awaiting(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Tries again what was missing. What somebody else has lent by now stays.
    pub fn look_again(&mut self) {
        for function in &self.plan.functions {
            if !self.awaited.contains_key(&function.name) {
                continue;
            }
            match configfs::write_late(&self.paths, function).pop() {
                Some(error) => drop(self.awaited.insert(function.name.clone(), error.to_string())),
                None => {
                    log::info!("{} ({}) is complete now", function.name, function.description);
                    self.awaited.remove(&function.name);
                }
            }
        }
    }

    /// The functions the host shall see and the kernel has.
    fn linked(&self) -> impl Iterator<Item = &str> {
        self.plan.linked().map(|function| function.name.as_str()).filter(|name| !self.missing.contains(*name))
    }

    /// What it shall be.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the kernel has no driver for that function.
    #[must_use]
    pub fn is_missing(&self, function: &str) -> bool {
        self.missing.contains(function)
    }

    /// Where it lies.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Shows it to the host by that controller.
    ///
    /// # Errors
    ///
    /// `EBUSY` when another gadget has the controller, `ENODEV` when the controller has too few endpoints or is gone.
    pub fn bind(&self, controller: &str) -> Result<(), Error> {
        configfs::bind(&self.paths, controller)
    }

    /// Takes it from the host, as if the cable were pulled.
    ///
    /// # Errors
    ///
    /// [`Error`]; not being bound is none.
    pub fn unbind(&self) -> Result<(), Error> {
        configfs::unbind(&self.paths)
    }

    /// Unbinds and removes it.
    ///
    /// # Errors
    ///
    /// [`Error`]; then the rest of it is left.
    pub fn remove(self) -> Result<(), Error> {
        configfs::remove(&self.paths)
    }

    /// The attributes that the user of the drives changes: of each drive what is lent and how.
    #[must_use]
    pub fn drive_attributes(&self) -> Vec<PathBuf> {
        const ATTRIBUTES: [&str; 6] =
            ["cdrom", "ro", "file", "forced_eject", "inquiry_string", "inquiry_string_cdrom"];
        let drives = self.plan.functions.iter().filter(|function| {
            matches!(function.role, Role::Drive | Role::ExtraDrive(_))
                && !self.missing.contains(&function.name)
        });
        drives
            .flat_map(|drive| {
                ATTRIBUTES.map(|name| self.paths.function(&drive.name).join("lun.0").join(name))
            })
            .filter(|path| path.exists())
            .collect()
    }

    /// What the user of the gadget needs to plug and unplug it and its functions.
    #[must_use]
    pub fn cable_attributes(&self) -> [PathBuf; 2] {
        [self.paths.udc_file(), self.paths.configuration()]
    }

    /// The device nodes of the HID functions the host sees, as far as they are there: they come and go with the
    /// binding, so that each time another user than root has to be given them again.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        let linked = self.plan.linked().filter(|function| function.rest.is_some());
        linked
            .filter_map(|function| Some(Node { role: function.role, path: self.node(&function.name)? }))
            .collect()
    }

    fn node(&self, function: &str) -> Option<PathBuf> {
        let (major, minor) = self.paths.hidg_number(function).ok()?;
        let path = self.paths.hidg(function).ok()?;
        is_device(&path, major, minor).then_some(path)
    }

    /// Releases every key and button, and moves nothing: sends each HID function its report of rest. Waits no longer
    /// than `limit` for the host to take them. `last_absolute` is the file of [`crate::LastReport`].
    ///
    /// Nothing is sent where no host listens, and not to one that sleeps: it would wake, and it has let go by itself.
    #[must_use]
    pub fn let_go(&self, last_absolute: &Path, limit: Duration) -> Vec<(Role, Outcome)> {
        let state = state::read(&self.paths);
        if state != UdcState::Configured {
            log::debug!("no keys are released: the host is {}", state.name());
            return Vec::new();
        }
        let mut roles = Vec::new();
        let mut reports = Vec::new();
        for function in self.plan.linked() {
            let (Some(rest), Some(node)) = (function.rest, self.node(&function.name)) else { continue };
            roles.push(function.role);
            reports.push((node, report(rest, last_absolute)));
        }
        roles.into_iter().zip(rest::send(&reports, limit)).collect()
    }

    /// What is wrong with it, one line for each function the host should see and does not, or sees without its medium.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|name| format!("{name}: the kernel has no such function"));
        let unfit = self.plan.functions.iter().filter(|one| matches!(one.fate, Fate::DoesNotFit { .. }));
        let unfit = unfit.map(|one| format!("{}: not enough endpoints", one.name));
        let awaited = self.awaited.iter().map(|(name, why)| format!("{name} is empty: {why}"));
        missing.chain(unfit).chain(awaited).collect()
    }
}

fn report(rest: Rest, last_absolute: &Path) -> Vec<u8> {
    match rest {
        Rest::Zeroes { len } => vec![0; len.into()],
        Rest::AtLastPosition { len } => last::released(last_absolute).into_iter().take(len.into()).collect(),
    }
}

/// Whether that is the device, not a file or a link in its place.
fn is_device(path: &Path, major: u32, minor: u32) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.file_type().is_char_device() && found.rdev() == makedev(major.into(), minor.into())
    })
}
