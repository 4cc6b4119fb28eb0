//! Text from pictures (contract: sections 7.7 and 8.7 of the API), by the program `tesseract`.
//!
//! The program is run anew for each picture, as a child that is bounded in what it uses, not in what it may read: the
//! picture goes in as plain grey pixels, its memory, its time and what it writes are limited, it yields to the video, its
//! answer is cut, and it is killed when it takes too long or when nobody waits for the answer any more. Why a program and not its library: `docs/decisions/0019-text-recognition.md`.
//!
//! One picture is read at a time and a few may wait; whoever comes then is told [`Error::Busy`].
//!
//! Not done here: JSON, and where pictures come from.

mod child;
mod langs;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use encode::Gray;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

pub use langs::Languages;

/// Pictures that may wait for the one being read.
const WAITING: usize = 3;

/// How text is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub program: PathBuf,
    /// Directories its data may lie in; the first that holds a language counts.
    pub data: Vec<PathBuf>,
    /// Languages of a request that names none.
    pub langs: Vec<String>,
    /// How long a picture may take from the moment that a place is taken, waiting included.
    pub time: Duration,
    /// Bytes of address space the program may use.
    pub memory: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: "tesseract".into(),
            data: vec!["/usr/share/tessdata".into()],
            langs: vec!["eng".to_owned()],
            // The page waits for thirty seconds.
            time: Duration::from_secs(28),
            // Its data are mapped (15 MB a language), a screen of 4K in its forms takes some 200 MB.
            memory: 1 << 30,
        }
    }
}

/// Why there is no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The program or its data are not installed.
    #[error("text recognition is not installed")]
    Disabled,
    /// A language is not installed.
    #[error("the language {0:?} is not installed")]
    UnknownLanguage(String),
    /// Too many pictures wait already.
    #[error("too many pictures wait to be read")]
    Busy,
    /// It took too long.
    #[error("reading the picture took longer than {} s", .0.as_secs())]
    TooSlow(Duration),
    /// The program failed.
    #[error("text recognition failed: {0}")]
    Failed(String),
}

/// Reads text. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ocr(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    places: Arc<Semaphore>,
    turn: Semaphore,
}

impl Ocr {
    /// With these settings. Nothing is started yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (places, turn) = (Arc::new(Semaphore::new(WAITING + 1)), Semaphore::new(1));
        Self(Arc::new(Inner { settings, places, turn }))
    }

    /// The languages there are, `None` while the program or its data are not installed. Looks at the disk each time:
    /// whoever installs a language need not restart us.
    #[must_use]
    pub fn languages(&self) -> Option<Languages> {
        let settings = &self.0.settings;
        find_program(&settings.program)?;
        let (_, available) = langs::installed(&settings.data)?;
        Some(Languages { default: settings.langs.clone(), available })
    }

    /// Reads a picture in these languages (names ignore case), or in the usual ones where there are none.
    ///
    /// # Errors
    /// All of [`Error`].
    pub async fn read(&self, picture: Gray, langs: &[String]) -> Result<String, Error> {
        self.place(langs)?.read(picture).await
    }

    /// A place among those that wait, for a reading in these languages. Whoever has to make the picture first takes one
    /// before: so no more pictures are made than are read, and the time counts from here. Looks at the disk.
    ///
    /// # Errors
    /// [`Error::Disabled`], [`Error::UnknownLanguage`], [`Error::Busy`].
    pub fn place(&self, langs: &[String]) -> Result<Place, Error> {
        let settings = &self.0.settings;
        let program = find_program(&settings.program).ok_or(Error::Disabled)?;
        let (data, available) = langs::installed(&settings.data).ok_or(Error::Disabled)?;
        let langs = langs::choose(if langs.is_empty() { &settings.langs } else { langs }, &available)?;
        let permit = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| Error::Busy)?;
        let until = Instant::now() + settings.time;
        Ok(Place {
            inner: Arc::clone(&self.0),
            program,
            data,
            langs: langs.join("+"),
            until,
            _permit: permit,
        })
    }
}

/// A place among those that wait; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    inner: Arc<Inner>,
    program: PathBuf,
    data: PathBuf,
    langs: String,
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Reads a picture.
    ///
    /// # Errors
    /// [`Error::TooSlow`], [`Error::Failed`].
    pub async fn read(self, picture: Gray) -> Result<String, Error> {
        let settings = &self.inner.settings;
        let work = async {
            // Never closed; were it, nobody would read any more.
            let _turn = self.inner.turn.acquire().await.map_err(|_| Error::Busy)?;
            child::read(settings, &self.program, &self.data, &self.langs, &picture).await
        };
        timeout_at(self.until, work).await.unwrap_or(Err(Error::TooSlow(settings.time)))
    }
}

/// Where a program lies that is named or given by its path.
fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    // A daemon may have been started without one.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name_and_by_path() {
        assert!(find_program(Path::new("sh")).is_some_and(|path| path.is_absolute()));
        assert_eq!(find_program(Path::new("/bin/sh")), Some("/bin/sh".into()));
        assert_eq!(find_program(Path::new("/bin/no such program")), None);
        assert_eq!(find_program(Path::new("no such program")), None);
    }

    #[tokio::test]
    async fn what_is_not_installed_is_disabled() {
        let ocr = Ocr::new(Settings { program: "/nowhere/tesseract".into(), ..Settings::default() });
        assert_eq!(ocr.languages(), None);
        let picture = Gray { width: 1, height: 1, pixels: vec![0] };
        assert_eq!(ocr.read(picture, &[]).await, Err(Error::Disabled));
    }

    #[test]
    fn a_place_is_taken_before_there_is_a_picture_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("eng.traineddata"), b"").unwrap();
        let data = vec![dir.path().to_owned()];
        let ocr = Ocr::new(Settings { program: "/bin/sh".into(), data, ..Settings::default() });
        let unknown = ocr.place(&["tlh".to_owned()]);
        assert_eq!(unknown.unwrap_err(), Error::UnknownLanguage("tlh".to_owned()));
        let mut places: Vec<_> = (0..=WAITING).map(|_| ocr.place(&[]).unwrap()).collect();
        assert_eq!(ocr.place(&[]).unwrap_err(), Error::Busy);
        places.pop();
        assert!(ocr.place(&[]).is_ok());
    }
}
