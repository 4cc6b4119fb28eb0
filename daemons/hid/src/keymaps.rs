//! The layouts there are: files of a directory, and the US layout that needs none.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hid_wire::Keymap;
use log::{debug, warn};

/// Always there, with a file or without.
const BUILTIN: &str = "en-us";
/// A layout of all scripts would not come near.
const MAX_BYTES: u64 = 1 << 20;
/// Names in one directory; more is not a keymap directory.
const MAX_FILES: usize = 1024;

/// Why there is no such layout.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file of this name, or the name is none.
    #[error("there is no keymap {0:?}")]
    Unknown(String),
    /// The file is there and cannot be read.
    #[error("cannot read the keymap {path:?}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Cached {
    modified: Option<SystemTime>,
    keymap: Arc<Keymap>,
}

/// A directory of keymap files, each named as its layout. Files are read when they are asked for, and again when they
/// have changed.
#[derive(Debug)]
pub struct Keymaps {
    dir: PathBuf,
    default: String,
    cache: Mutex<HashMap<String, Cached>>,
}

impl Keymaps {
    /// The layouts in `dir`, which need not exist. `default` is the one used when nobody names another; where there is
    /// no such layout, it is `en-us`.
    #[must_use]
    pub fn open(dir: impl Into<PathBuf>, default: &str) -> Self {
        let mut keymaps = Self { dir: dir.into(), default: default.to_owned(), cache: Mutex::default() };
        if let Err(error) = keymaps.load(default) {
            warn!("{error}; text is typed as on a US keyboard");
            BUILTIN.clone_into(&mut keymaps.default);
        }
        keymaps
    }

    /// The names of all layouts, sorted.
    #[must_use]
    pub fn available(&self) -> Vec<String> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().take(MAX_FILES).flatten();
        let names =
            files.filter(|file| file.path().is_file()).filter_map(|file| file.file_name().into_string().ok());
        let names: BTreeSet<_> = names.filter(|name| is_name(name)).chain([BUILTIN.to_owned()]).collect();
        names.into_iter().collect()
    }

    /// The layout used when nobody names another.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// The layout of this name. Reads a small file; bad lines in it are logged and left out.
    ///
    /// # Errors
    /// When there is none, or its file cannot be read.
    pub fn load(&self, name: &str) -> Result<Arc<Keymap>, Error> {
        if !is_name(name) {
            return Err(Error::Unknown(name.to_owned()));
        }
        let path = self.dir.join(name);
        let read_error = |source| Error::Read { path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            _ if name == BUILTIN => return Ok(Arc::new(Keymap::builtin().clone())),
            Ok(_) => return Err(Error::Unknown(name.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Unknown(name.to_owned()));
            }
            Err(error) => return Err(read_error(error)),
        };
        let modified = metadata.modified().ok();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cache.get(name).filter(|cached| cached.modified == modified) {
            return Ok(Arc::clone(&cached.keymap));
        }
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(read_error)?;
        let keymap = Arc::new(Keymap::parse(&String::from_utf8_lossy(&bytes)));
        if let Some(first) = keymap.problems().first() {
            debug!("keymap {name}: {} lines left out, the first is {first}", keymap.problems().len());
        }
        cache.insert(name.to_owned(), Cached { modified, keymap: Arc::clone(&keymap) });
        Ok(keymap)
    }
}

/// A file name that stays inside the directory and is not hidden.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_directory_there_is_the_us_layout() {
        let keymaps = Keymaps::open("/nonexistent", "en-us");
        assert_eq!(keymaps.available(), ["en-us"]);
        assert_eq!(*keymaps.load("en-us").unwrap(), *Keymap::builtin());
        assert!(matches!(keymaps.load("de"), Err(Error::Unknown(_))));
    }

    #[test]
    fn files_are_listed_sorted_and_read_again_when_they_change() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, seconds| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        };
        write("fr", "a 0x10\n", 1);
        write("de", "z 0x15\n", 1);
        write(".hidden", "", 1);
        fs::create_dir(dir.path().join("folder")).unwrap();

        let keymaps = Keymaps::open(dir.path(), "de");
        assert_eq!(
            (keymaps.available(), keymaps.default_name()),
            (vec!["de".into(), "en-us".into(), "fr".into()], "de")
        );
        let french = keymaps.load("fr").unwrap();
        assert!(Arc::ptr_eq(&french, &keymaps.load("fr").unwrap()), "cached");
        assert_ne!(french.typing('a'), Keymap::builtin().typing('a'));
        write("fr", "a 0x1e\n", 2);
        assert_eq!(keymaps.load("fr").unwrap().typing('a'), Keymap::builtin().typing('a'));
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "a 0x10\n").unwrap();
        fs::create_dir(dir.path().join("keymaps")).unwrap();
        let keymaps = Keymaps::open(dir.path().join("keymaps"), "en-us");
        for name in ["../secret", "", ".", "..", "/etc/passwd", "a\0b", &"x".repeat(256)] {
            assert!(matches!(keymaps.load(name), Err(Error::Unknown(_))), "{name:?}");
        }
    }

    #[test]
    fn a_default_that_does_not_exist_becomes_the_us_layout() {
        assert_eq!(Keymaps::open("/nonexistent", "xx").default_name(), "en-us");
    }
}
