//! Names of images: paths below the storage that can neither leave it nor hide in it.

use std::path::{Path, PathBuf};

use crate::Error;

/// The longest file name of the usual file systems, in bytes.
const NAME_MAX: usize = 255;
/// The longest name of all, directories included, in bytes. Leaves room below `PATH_MAX` for the storage's own path.
const PATH_MAX: usize = 3500;
const MARKER_START: &str = ".__";
const MARKER_END: &str = ".incomplete";

/// The name of an image that may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName(String);

impl ImageName {
    /// Checks a name. The marker beside the file has a longer name than the file, so the last part has 241 bytes.
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        let bad = |why| Error::BadName { name: name.to_owned(), why };
        if name.len() > PATH_MAX {
            return Err(bad("too long"));
        }
        let parts = name.split('/').collect::<Vec<_>>();
        for part in &parts {
            match *part {
                "" => return Err(bad("an empty part")),
                "lost+found" => return Err(bad("a reserved part")),
                part if part.starts_with('.') => return Err(bad("a part that starts with a dot")),
                part if part.contains(char::is_control) => return Err(bad("an unprintable character")),
                part if part.len() > NAME_MAX => return Err(bad("a part of more than 255 bytes")),
                _ => {}
            }
        }
        let longest = NAME_MAX - MARKER_START.len() - MARKER_END.len();
        if parts.last().is_some_and(|last| last.len() > longest) {
            return Err(bad("a file name of more than 241 bytes"));
        }
        Ok(Self(name.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The marker beside an unfinished file.
pub(crate) fn marker(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(format!("{MARKER_START}{name}{MARKER_END}")))
}

/// The file a marker of this name stands for.
pub(crate) fn marked(name: &str) -> Option<&str> {
    name.strip_prefix(MARKER_START)?.strip_suffix(MARKER_END)
}

/// `.iso` in any case: never writable for the target.
pub(crate) fn is_iso(name: &str) -> bool {
    name.len() >= 4
        && name.is_char_boundary(name.len() - 4)
        && name[name.len() - 4..].eq_ignore_ascii_case(".iso")
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_with_spaces_quotes_and_other_scripts_are_good() {
        for name in ["x", "a b&c.iso", "файл.iso", "dir/sub/a'\"b.img", "a..b", "日本.iso"] {
            assert_eq!(ImageName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_leave_the_storage_or_hide_in_it_are_bad() {
        for name in [
            "",
            "/x",
            "x/",
            "a//b",
            "..",
            "a/../b",
            ".hidden",
            "a/.b",
            "lost+found",
            "lost+found/x",
            "a\nb",
            "a\0b",
        ] {
            assert!(matches!(ImageName::parse(name), Err(Error::BadName { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_its_marker_allows() {
        assert!(ImageName::parse(&"n".repeat(241)).is_ok());
        assert!(ImageName::parse(&"n".repeat(242)).is_err());
        assert!(ImageName::parse(&format!("{}/x", "d".repeat(255))).is_ok());
        assert!(ImageName::parse(&format!("{}/x", "d".repeat(256))).is_err());
        assert_eq!(marker(Path::new(&"n".repeat(241))).unwrap().as_os_str().len(), 255);
        assert!(ImageName::parse(&["d"; 3000].join("/")).is_err());
    }

    #[test]
    fn iso_is_known_in_any_case() {
        assert!(is_iso("a.ISO") && is_iso("x/b.iso") && is_iso(".iso"));
        assert!(!is_iso("iso") && !is_iso("a.iso.img") && !is_iso("ф.is") && !is_iso(""));
    }

    proptest! {
        #[test]
        fn a_good_name_stays_inside(name in "[a./ ф+-]{0,12}") {
            if let Ok(good) = ImageName::parse(&name) {
                let path = Path::new("/root").join(good.as_str());
                prop_assert!(path.starts_with("/root") && path != Path::new("/root"));
                prop_assert!(path.components().skip(1).all(|part| matches!(part, Component::Normal(_))));
                let marker = marker(&path).unwrap();
                let marker_name = marker.file_name().unwrap().to_str().unwrap();
                prop_assert_eq!(marked(marker_name), path.file_name().unwrap().to_str());
            }
        }

        #[test]
        fn any_name_is_judged_without_panic(name in any::<String>()) {
            let _ = (ImageName::parse(&name).is_ok(), is_iso(&name), marked(&name), marker(Path::new(&name)));
        }
    }
}
