//! What a release says of itself: `/usr/lib/kvmd/release`, lines of `KEY=VALUE`.

use crate::version::Version;

/// The release that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// The board it was made for.
    pub board: String,
    /// What a bundle has to name to fit here.
    pub compatible: String,
    /// What it was built from.
    pub build: String,
    /// The oldest version that may be installed over it.
    pub floor: Option<Version>,
}

/// The file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key is missing or empty.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is no version.
    #[error("{0}: {1}")]
    Version(&'static str, crate::version::NoVersion),
}

impl Release {
    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let get = |key: &'static str| {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            value.map(|value| value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
        };
        let need = |key: &'static str| get(key).ok_or(Error::Missing(key));
        let version =
            |key: &'static str, text: &str| Version::parse(text).map_err(|why| Error::Version(key, why));
        Ok(Self {
            version: version("VERSION", &need("VERSION")?)?,
            board: need("BOARD")?,
            compatible: need("COMPATIBLE")?,
            build: get("BUILD").unwrap_or_default(),
            floor: get("FLOOR").map(|text| version("FLOOR", &text)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read() {
        let text = "# made\nVERSION=1.2.0\nBOARD=rpi4\nCOMPATIBLE=\"kvmd-rpi4\"\nBUILD=abc\nFLOOR=1.0\n";
        let release = Release::parse(text).unwrap();
        assert_eq!(release.version.as_str(), "1.2.0");
        assert_eq!((release.board.as_str(), release.compatible.as_str()), ("rpi4", "kvmd-rpi4"));
        assert_eq!(release.floor, Some(Version::parse("1.0.0").unwrap()));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(Release::parse("").unwrap_err().to_string(), "VERSION is missing");
        let floor = Release::parse("VERSION=1\nBOARD=b\nCOMPATIBLE=c\nFLOOR=old\n").unwrap_err();
        assert!(floor.to_string().starts_with("FLOOR: \"old\" is no version"), "{floor}");
    }
}
