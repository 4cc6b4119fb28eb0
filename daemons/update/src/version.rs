//! Versions, in an order that leaves nothing open.
//!
//! `1.2.3-rc.1+build`: numbers first, each compared as a number, missing ones counting as 0; then what follows the first `-`
//! or `~` (a version *before* the one without it), part by part, numbers before words; then, so that two different versions
//! are never equal, what follows `+`, as text, none before any. RAUC's own lower limit orders the first two the same way.

use std::cmp::Ordering;
use std::fmt;

/// Longest version.
const LONGEST: usize = 64;

/// A release's version.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
    before: Vec<Part>,
    build: String,
}

/// A part of what makes a version one before another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Compared as a number.
    Number(u64),
    /// Compared as text.
    Word(String),
}

/// It is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version: numbers with dots between them, such as 1.2.3, 1.2.3-rc.1 or 1.2.3+abc")]
pub struct NoVersion(String);

impl Version {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`NoVersion`].
    pub fn parse(text: &str) -> Result<Self, NoVersion> {
        Self::read(text).ok_or_else(|| NoVersion(text.chars().take(LONGEST).collect()))
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > LONGEST || !text.is_ascii() {
            return None;
        }
        let (rest, build) = text.split_once('+').map_or((text, ""), |(rest, build)| (rest, build));
        let (numbers, before) = rest.split_once(['-', '~']).map_or((rest, None), |(a, b)| (a, Some(b)));
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-~_".contains(&byte))
        };
        let before: Vec<&str> = before.map_or_else(Vec::new, |text| text.split('.').collect());
        let builds: Vec<&str> = if text.contains('+') { build.split('.').collect() } else { Vec::new() };
        if !before.iter().chain(&builds).all(|part| word(part)) {
            return None;
        }
        let number =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?;
        let mut numbers = numbers.split('.').map(number).collect::<Option<Vec<u64>>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        let before = before
            .into_iter()
            .map(|part| number(part).map_or_else(|| Part::Word(part.to_owned()), Part::Number));
        Some(Self { text: text.to_owned(), numbers, before: before.collect(), build: build.to_owned() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let before = match (self.before.is_empty(), other.before.is_empty()) {
            // The finished version is newer than any before it.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.before.cmp(&other.before),
        };
        self.numbers.cmp(&other.numbers).then(before).then_with(|| self.build.cmp(&other.build))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn the_order_is_what_a_person_expects() {
        let ordered = [
            "0",
            "0.0.1-1",
            "0.0.1",
            "0.1.0-2",
            "0.1.0-10",
            "0.1.0-alpha",
            "0.1.0-alpha.1",
            "0.1.0-beta",
            "0.1.0",
            "0.1.0+10.abc",
            "0.1.0+9.abc",
            "0.1.1",
            "0.9",
            "0.10",
            "1.0~rc1",
            "1",
            "1.0.0.1",
            "2026.11",
        ];
        for (at, one) in ordered.iter().enumerate() {
            for (other_at, other) in ordered.iter().enumerate() {
                assert_eq!(version(one).cmp(&version(other)), at.cmp(&other_at), "{one} and {other}");
            }
        }
        assert_eq!(version("1"), version("1.0.0"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let long = "1".repeat(65);
        for text in [
            "",
            "v1",
            "1.",
            ".1",
            "1..2",
            "1.a",
            "1-",
            "1-a..b",
            "1+",
            "1+a b",
            "1 ",
            "-1",
            "99999999999999999999",
            "ä",
            &long,
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }

    fn text() -> impl Strategy<Value = String> {
        "[0-3](\\.[0-3]){0,2}([-~][a0-2]{1,2}(\\.[a0-2])?)?(\\+[ab0]{1,2})?"
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in text(), b in text(), c in text()) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,80}") {
            let _ = Version::parse(&text);
        }
    }
}
