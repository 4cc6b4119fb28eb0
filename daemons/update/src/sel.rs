//! The boot choice on the first partition, which is read-only except for the moment somebody writes ([`sys::sel`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use sys::sel::Writable;

use crate::store::Files;
use crate::{Choice, Loader, store};

/// Longest file that is read from there.
const LONGEST: u64 = 1 << 20;

/// The first partition, as it is mounted.
#[derive(Debug, Clone)]
pub struct Sel {
    dir: PathBuf,
}

impl Sel {
    /// The one that is mounted there.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The choice, and who keeps it.
    ///
    /// # Errors
    ///
    /// See [`store::Error`].
    pub fn choice(&self) -> Result<(Loader, Choice), store::Error> {
        let loader = Loader::find(self)?;
        Ok((loader, loader.read(self)?))
    }

    /// Changes the choice in one go: nobody else does meanwhile. Blocks. A damaged one is taken for `fallback`.
    ///
    /// # Errors
    ///
    /// Those of the store, and what `change` refuses.
    pub fn change<E>(
        &self,
        fallback: Choice,
        change: impl Fn(Choice) -> Result<Choice, E>,
    ) -> Result<Choice, E>
    where
        E: From<store::Error>,
    {
        let io = |error: io::Error| E::from(store::Error::Io(error));
        let read = |loader: Loader| match loader.read(self) {
            Ok(choice) => Ok(Some(choice)),
            Err(store::Error::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let loader = Loader::find(self)?;
        // Most of the time nothing changes, and then nothing is made writable.
        if let Some(old) = read(loader)?
            && change(old)? == old
        {
            return Ok(old);
        }
        let writable = Writable::open(&self.dir).map_err(io)?;
        let old = read(loader)?;
        if old.is_none() {
            log::error!("the boot choice is damaged: it is written anew");
        }
        let new = change(old.unwrap_or(fallback))?;
        if old != Some(new) {
            loader.write(&mut Open(self), &new).map_err(io)?;
            log::info!("the boot choice: {}", describe(&new));
        }
        writable.close().map_err(io)?;
        Ok(new)
    }
}

/// The choice for people and the log.
#[must_use]
pub fn describe(choice: &Choice) -> String {
    let mut text = format!("slot {} is kept", choice.primary);
    if let Some(trial) = choice.trial {
        let how = if choice.tried { "is being tried" } else { "is tried at the next start" };
        text.push_str(&format!(", slot {trial} {how}"));
    }
    if let Some(bad) = choice.bad {
        text.push_str(&format!(", slot {bad} is not started"));
    }
    text
}

/// The partition while it is writable.
struct Open<'a>(&'a Sel);

impl Files for Sel {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.dir.join(name))?.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, _: &str, _: usize, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Files for Open<'_> {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.0.read(name)
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let path = self.0.dir.join(name);
        // No truncation: what is there is overwritten where it lies.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = options.open(&path)?;
        let grows = file.metadata()?.len() < (offset + bytes.len()) as u64;
        file.write_all_at(bytes, offset as u64)?;
        if grows {
            log::warn!("{} had not its full length", path.display());
            return file.sync_all();
        }
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slot;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_choice_is_overwritten_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("grub")).unwrap();
        let path = dir.path().join("grub/grubenv");
        fs::write(&path, "#".repeat(1024)).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        let sel = Sel::new(dir.path());
        assert!(matches!(sel.choice(), Err(store::Error::Damaged(_))));
        let wish = |choice: Choice| Ok::<_, store::Error>(choice.with_primary(Slot::B));
        let new = sel.change(Choice::settled(Slot::A), wish).unwrap();
        assert_eq!(sel.choice().unwrap(), (Loader::Grub, new));
        assert_eq!(new.next(), Slot::B);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.len()), (inode, 1024));
        assert_eq!(fs::read_dir(dir.path().join("grub")).unwrap().count(), 1);
    }

    #[test]
    fn two_writers_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("autoboot.txt"), crate::autoboot::render(Slot::A)).unwrap();
        let sel = Sel::new(dir.path());
        let held = Writable::open(dir.path()).unwrap();
        let other = sel.clone();
        let thread = std::thread::spawn(move || {
            other.change(Choice::settled(Slot::A), |choice| {
                Ok::<_, store::Error>(choice.with_primary(Slot::B))
            })
        });
        assert_eq!(sel.choice().unwrap().1, Choice::settled(Slot::A), "not while somebody else writes");
        drop(held);
        assert_eq!(thread.join().unwrap().unwrap().trial, Some(Slot::B));
    }
}
