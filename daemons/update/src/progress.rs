//! What `rauc install` prints while it works: `  40% Copying image to rootfs.1`, `LastError: …`, and a closing line.

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// How far it is, and what it does.
    Progress {
        /// 0 to 100.
        percent: u8,
        /// What it does.
        message: String,
    },
    /// Why it failed.
    Error(String),
    /// Anything else: other words, which change nothing.
    Words,
}

/// Reads a line.
#[must_use]
pub fn parse(line: &str) -> Line {
    let line = line.trim();
    let text = |text: &str| text.trim().chars().filter(|one| !one.is_control()).take(300).collect::<String>();
    if let Some((_, why)) = line.split_once("LastError:") {
        return Line::Error(text(why));
    }
    let Some((percent, message)) = line.split_once('%') else { return Line::Words };
    match percent.trim().parse::<u8>() {
        Ok(percent) if percent <= 100 => Line::Progress { percent, message: text(message) },
        _ => Line::Words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_rauc_prints_is_understood() {
        let progress = |percent, message: &str| Line::Progress { percent, message: message.to_owned() };
        for (line, read) in [
            ("installing", Line::Words),
            ("  0% Installing", progress(0, "Installing")),
            (" 46% Copying image to rootfs.1", progress(46, "Copying image to rootfs.1")),
            ("100% Installing done.", progress(100, "Installing done.")),
            (
                "LastError: Compatible mismatch: Expected 'a'",
                Line::Error("Compatible mismatch: Expected 'a'".into()),
            ),
            ("Installing `/x.raucb` succeeded", Line::Words),
            ("101% x", Line::Words),
            ("50% of all", progress(50, "of all")),
            ("", Line::Words),
        ] {
            assert_eq!(parse(line), read, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_printed_panics(line in "\\PC{0,80}") {
            let _ = parse(&line);
        }
    }
}
