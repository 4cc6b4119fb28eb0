//! Names of files, images and channels: nothing that passes here can leave its directory.

use super::{Checked, Invalid, within};

const NAME_LIMIT: usize = 512;
const NAME_CHARS: usize = 255;
const IMAGE_LIMIT: usize = 4096;
const URL_LIMIT: usize = 4096;

/// What storage adds around a name while the image is incomplete (`.__NAME.incomplete`), in bytes.
const MARKER_BYTES: usize = 14;

/// A visible file name: no `/`, no leading `.`, not `lost+found`; unprintable characters become `_`, and
/// what is over 255 characters is cut off.
pub fn file_name(raw: &str) -> Checked<String> {
    let expected = "a file name";
    part(within(raw, NAME_LIMIT, expected)?).ok_or_else(|| Invalid::new(expected, raw))
}

/// A keymap: a file name; whether the file exists is for the keymap directory to say.
pub fn keymap_name(raw: &str) -> Checked<String> {
    file_name(raw)
}

/// An image: file names joined by `/`. Empty parts (a leading or doubled `/`) are dropped.
///
/// A name that together with its marker would be too long for a file system is refused here, so that it
/// does not fail in the middle of an upload.
pub fn image_name(raw: &str) -> Checked<String> {
    let expected = "an image name";
    let name = image_prefix(raw)?;
    if name.is_empty() { Err(Invalid::new(expected, raw)) } else { Ok(name) }
}

/// A directory of the storage: an [`image_name`] that may be empty, which is the root.
pub fn image_prefix(raw: &str) -> Checked<String> {
    let expected = "an image name";
    let parts = within(raw, IMAGE_LIMIT, expected)?
        .trim()
        .split('/')
        .filter(|text| !text.is_empty())
        .map(|text| part(text).filter(|part| part.len() + MARKER_BYTES <= 255))
        .collect::<Option<Vec<_>>>();
    parts.map(|parts| parts.join("/")).ok_or_else(|| Invalid::new(expected, raw))
}

/// An address images can be fetched from: `http://` or `https://`, a host, no blanks.
pub fn url(raw: &str) -> Checked<String> {
    let expected = "an address of http or https";
    let text = within(raw, URL_LIMIT, expected)?.trim();
    let rest = text
        .split_once("://")
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"));
    let good = rest.is_some_and(|(_, rest)| {
        rest.starts_with(|first: char| first == '[' || first == '_' || first.is_alphanumeric())
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    if good { Ok(text.to_owned()) } else { Err(Invalid::new(expected, raw)) }
}

fn part(raw: &str) -> Option<String> {
    let text = raw.trim();
    if text.is_empty() || text.contains(['/', '\0']) || text.starts_with('.') || text == "lost+found" {
        return None;
    }
    Some(text.chars().map(|c| if is_printable(c) { c } else { '_' }).take(NAME_CHARS).collect())
}

/// Whether a person sees the character: no controls, no invisible formatting, no separators but the blank.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c,
        '\u{A0}' | '\u{AD}' | '\u{600}'..='\u{605}' | '\u{61C}' | '\u{6DD}' | '\u{70F}' | '\u{1680}' | '\u{180E}'
        | '\u{2000}'..='\u{200F}' | '\u{2028}'..='\u{202F}' | '\u{205F}'..='\u{206F}' | '\u{3000}'
        | '\u{E000}'..='\u{F8FF}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{10FFFF}');
    !c.is_control() && !invisible
}

/// A GPIO channel: a letter or `_`, then letters, digits and `_.-`.
pub fn channel(raw: &str) -> Checked<String> {
    let expected = "a GPIO channel";
    let text = within(raw, NAME_LIMIT, expected)?.trim();
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && text.len() <= NAME_CHARS {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(expected, raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_have_a_scheme_that_can_be_fetched_and_a_host() {
        for raw in ["http://host/x.iso", "HTTPS://[::1]:8/", " http://127.0.0.1:9/x "] {
            assert_eq!(url(raw).as_deref(), Ok(raw.trim()));
        }
        for raw in ["", "ftp://x/y", "http://", "http:///x", "http://a b", "x.iso", "file:///etc/passwd"] {
            assert!(url(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn image_names() {
        for (raw, name) in [
            ("a.iso", "a.iso"),
            ("/x", "x"),
            ("dir//a.iso", "dir/a.iso"),
            (" a b&c.iso ", "a b&c.iso"),
            ("a\nb.iso", "a_b.iso"),
            ("файл.iso", "файл.iso"),
        ] {
            assert_eq!(image_name(raw).as_deref(), Ok(name), "{raw:?}");
        }
        for bad in
            ["", "/", ".hidden", "../etc/passwd", "a/../b", "lost+found", "a/.b", "a/\0b", &"n".repeat(242)]
        {
            assert!(image_name(bad).is_err(), "{bad:?}");
        }
        assert!(image_name(&"n".repeat(241)).is_ok(), "the longest name that still has room for its marker");
        assert_eq!(image_prefix("").as_deref(), Ok(""));
        assert!(image_prefix("..").is_err());
    }

    #[test]
    fn long_file_names_are_cut() {
        assert_eq!(file_name(&"ä".repeat(300)).map(|name| name.chars().count()), Ok(255));
        assert!(file_name(&"a".repeat(513)).is_err());
        assert!(keymap_name(".").is_err() && keymap_name("").is_err() && keymap_name("a/b").is_err());
    }

    #[test]
    fn channels() {
        for good in ["relay1", "__v3_usb_breaker__", "a.b-c", " x "] {
            assert!(channel(good).is_ok(), "{good:?}");
        }
        for bad in ["", "1a", "a b", "a/b", "é", &"a".repeat(256)] {
            assert!(channel(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_image_stays_inside_its_directory(raw in "[./ a-c\u{0}\n+]{0,24}") {
            if let Ok(name) = image_name(&raw) {
                for part in name.split('/') {
                    prop_assert!(!part.is_empty() && !part.starts_with('.') && part.len() < 256);
                    prop_assert!(!part.chars().any(char::is_control));
                }
            }
        }

        #[test]
        fn accepting_twice_changes_nothing(raw in ".{0,60}") {
            if let Ok(name) = image_name(&raw) {
                prop_assert_eq!(image_name(&name), Ok(name));
            }
        }
    }
}
