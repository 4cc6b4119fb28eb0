//! What the host tells the laboratory's first process, and what that one says back.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Consoles of the laboratory (`conN` of the kernel, `/dev/ttyN` inside) by what flows through them.
pub(crate) mod tty {
    /// `/dev/console`: the kernel's messages; with `--init` the terminal.
    pub(crate) const LOG: u8 = 0;
    /// The command's standard output.
    pub(crate) const OUT: u8 = 1;
    /// Its standard error.
    pub(crate) const ERR: u8 = 2;
    /// Lines of [`super::Word`].
    pub(crate) const STATUS: u8 = 3;
    /// The command's terminal, if it has one.
    pub(crate) const TERMINAL: u8 = 4;
}

/// Everything the first process has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Empty: the image's own init.
    pub(crate) command: Vec<OsString>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) directory: PathBuf,
    pub(crate) root: Root,
    /// Directories of the host that are written through.
    pub(crate) write: Vec<PathBuf>,
    /// The command gets the terminal instead of two pipes.
    pub(crate) terminal: bool,
}

/// Where the file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Root {
    /// A directory of the host.
    Directory(PathBuf),
    /// The disk `ubda`.
    Disk,
}

impl Spec {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_vec(self)?).with_context(|| path.display().to_string())
    }
}

/// What the first process says on the status console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// Everything is there, the command starts now.
    Ready,
    /// The command ended, with its exit code, or 128 and the signal's number. Its output is complete.
    Ended(u8),
    /// The laboratory could not be made.
    Failed(String),
}

impl Word {
    /// A line, with its end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Ready => "ready\n".to_owned(),
            Self::Ended(code) => format!("ended {code}\n"),
            Self::Failed(why) => format!("failed {}\n", why.replace('\n', "; ")),
        }
    }

    /// A line, without its end; what is no word is `None`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        match line.split_once(' ') {
            None if line == "ready" => Some(Self::Ready),
            Some(("ended", code)) => code.parse().ok().map(Self::Ended),
            Some(("failed", why)) => Some(Self::Failed(why.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_word_survives_its_line(code: u8, why in "[ -~]{0,40}[!-~]") {
            for word in [Word::Ready, Word::Ended(code), Word::Failed(why)] {
                prop_assert_eq!(Word::parse(&word.line()), Some(word));
            }
        }

        #[test]
        fn no_line_panics(line: String) {
            let _ = Word::parse(&line);
        }
    }

    #[test]
    fn arguments_that_are_no_text_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec {
            command: vec![OsString::from_vec(vec![0xff, b' ', b'\n'])],
            environment: vec![("A".into(), OsString::from_vec(vec![0xfe]))],
            directory: "/a b".into(),
            root: Root::Directory("/".into()),
            write: vec!["/c".into()],
            terminal: false,
        };
        spec.write(&dir.path().join("spec")).unwrap();
        assert_eq!(Spec::read(&dir.path().join("spec")).unwrap(), spec);
    }
}
