//! A LUN by the kernel's rules, without a kernel. `tests/lab_otg.rs` holds it against the real one's.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::super::lun::{Attributes, Refusal};

#[derive(Debug, Default)]
struct State {
    cdrom: bool,
    ro: bool,
    /// The path, and whether it was opened for reading only.
    file: Option<(PathBuf, bool)>,
    locked: bool,
    gone: bool,
    no_rights: bool,
    no_force: bool,
    refusal: Option<Errno>,
    unwritable: bool,
    last_file: String,
    name: String,
    held_up: bool,
    waiting: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Fake(Arc<(Mutex<State>, Condvar)>);

/// While it lives, writes wait as if the target did not end its command.
pub(super) struct Gate(Fake);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.lock().held_up = false;
        self.0.0.1.notify_all();
    }
}

impl Fake {
    pub(super) fn new() -> Self {
        let fake = Self::default();
        fake.lock().cdrom = true;
        fake.lock().ro = true;
        fake
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_door(&self) {
        self.lock().locked = true;
    }

    pub(super) fn unlock_door(&self) {
        self.lock().locked = false;
    }

    /// START STOP UNIT with the eject bit.
    pub(super) fn target_ejects(&self) {
        let mut state = self.lock();
        if !state.locked {
            state.file = None;
        }
    }

    pub(super) fn forget_forced_eject(&self) {
        self.lock().no_force = true;
    }

    pub(super) fn refuse_files(&self, errno: Option<Errno>) {
        self.lock().refusal = errno;
    }

    pub(super) fn open_read_only(&self, yes: bool) {
        self.lock().unwritable = yes;
    }

    pub(super) fn set_there(&self, there: bool) {
        self.lock().gone = !there;
    }

    pub(super) fn take_away_rights(&self) {
        self.lock().no_rights = true;
    }

    pub(super) fn last_file(&self) -> String {
        self.lock().last_file.clone()
    }

    pub(super) fn name(&self) -> String {
        self.lock().name.clone()
    }

    pub(super) fn hold_up(&self) -> Gate {
        self.lock().held_up = true;
        Gate(self.clone())
    }

    /// Until a write waits.
    pub(super) fn until_held_up(&self) {
        let mut state = self.lock();
        while !state.waiting {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn flag(value: bool) -> Vec<u8> {
    if value { b"1\n".to_vec() } else { b"0\n".to_vec() }
}

fn no(errno: Errno) -> Refusal {
    Refusal::Value(errno.into())
}

impl State {
    fn set_ro(&mut self, ro: bool) -> Result<(), Refusal> {
        if self.file.is_some() {
            return Err(no(Errno::EBUSY));
        }
        self.ro = ro;
        Ok(())
    }

    fn set_file(&mut self, text: &str) -> Result<(), Refusal> {
        if self.locked && self.file.is_some() {
            return Err(no(Errno::EBUSY));
        }
        let path = text.strip_suffix('\n').unwrap_or(text);
        if path.is_empty() {
            self.file = None;
            return Ok(());
        }
        if let Some(errno) = self.refusal {
            return Err(no(errno));
        }
        let real = fs::canonicalize(path).map_err(Refusal::Value)?;
        let meta = fs::metadata(&real).map_err(Refusal::Value)?;
        if !meta.is_file() {
            return Err(no(Errno::EINVAL));
        }
        let (block, least) = if self.cdrom { (2048, 300) } else { (512, 1) };
        if meta.len() / block < least {
            return Err(Refusal::Value(io::Error::from_raw_os_error(525)));
        }
        self.file = Some((real, self.ro || self.unwritable));
        Ok(())
    }
}

impl Attributes for Fake {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.lock();
        if state.gone {
            return Err(Errno::ENOENT.into());
        }
        Ok(match name {
            "cdrom" => flag(state.cdrom),
            "ro" => flag(state.file.as_ref().map_or(state.ro, |(_, ro)| *ro)),
            "file" => state.file.as_ref().map_or_else(Vec::new, |(path, _)| {
                let mut text = path.to_str().unwrap().as_bytes().to_vec();
                text.push(b'\n');
                text
            }),
            "forced_eject" => return Err(Errno::EACCES.into()),
            // As mainline has it: no name of its own for a CD drive.
            _ => return Err(Errno::ENOENT.into()),
        })
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let mut state = self.lock();
        while state.held_up {
            state.waiting = true;
            self.0.1.notify_all();
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.gone || (name == "forced_eject" && state.no_force) {
            return Err(Refusal::Attribute(Errno::ENOENT.into()));
        }
        if state.no_rights {
            return Err(Refusal::Attribute(Errno::EACCES.into()));
        }
        let text = std::str::from_utf8(value).unwrap();
        match name {
            "ro" => state.set_ro(text == "1\n"),
            "cdrom" => {
                let cdrom = text == "1\n";
                if cdrom {
                    state.set_ro(true)?;
                }
                state.cdrom = cdrom;
                Ok(())
            }
            "file" => {
                text.clone_into(&mut state.last_file);
                state.set_file(text)
            }
            "inquiry_string" => {
                text.clone_into(&mut state.name);
                Ok(())
            }
            "forced_eject" => {
                state.locked = false;
                state.file = None;
                Ok(())
            }
            _ => Err(no(Errno::EINVAL)),
        }
    }
}
