//! The languages that are installed: files `NAME.traineddata` in the data's directory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Files that are looked at; a directory of more is not one of languages.
const FILES: usize = 1000;

/// The languages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Languages {
    /// Those of a request that names none.
    pub default: Vec<String>,
    /// All there are, sorted.
    pub available: Vec<String>,
}

/// The first directory that holds a language, and its languages.
pub(crate) fn installed(dirs: &[PathBuf]) -> Option<(PathBuf, Vec<String>)> {
    dirs.iter().map(|dir| (dir.clone(), within(dir))).find(|(_, langs)| !langs.is_empty())
}

fn within(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(FILES);
    let name = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".traineddata").filter(|name| is_name(name)).map(str::to_owned)
    };
    let mut langs: Vec<String> = entries.filter_map(name).collect();
    langs.sort();
    langs
}

/// Names that the program takes for what they are: `eng`, `chi_sim_vert`, `script-Latin`; no path, no list, no option.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(good)
}

/// The installed spelling of each wanted language, each once.
pub(crate) fn choose(wanted: &[String], available: &[String]) -> Result<Vec<String>, Error> {
    let mut chosen = Vec::new();
    for name in wanted {
        let found = available.iter().find(|known| known.eq_ignore_ascii_case(name.trim()));
        let found = found.ok_or_else(|| Error::UnknownLanguage(name.chars().take(32).collect()))?;
        if !chosen.contains(found) {
            chosen.push(found.clone());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().copied().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_directory_with_a_language_counts() {
        let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["osd.traineddata", "eng.traineddata", "pdf.ttf", "-x.traineddata", "a+b.traineddata"] {
            fs::write(full.path().join(name), b"").unwrap();
        }
        let dirs = ["/nowhere".into(), empty.path().to_owned(), full.path().to_owned()];
        assert_eq!(installed(&dirs), Some((full.path().to_owned(), texts(&["eng", "osd"]))));
        assert_eq!(installed(&dirs[..2]), None);
    }

    #[test]
    fn languages_are_known_in_any_case_and_taken_once() {
        let available = texts(&["chi_sim", "eng"]);
        assert_eq!(choose(&texts(&["ENG", "chi_Sim", "eng"]), &available), Ok(texts(&["eng", "chi_sim"])));
        let unknown = choose(&texts(&["eng", "deu"]), &available);
        assert_eq!(unknown, Err(Error::UnknownLanguage("deu".to_owned())));
    }
}
