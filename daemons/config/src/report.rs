//! What is said about settings: problems that stop a start, warnings that do not.

use std::fmt;

use crate::node::At;

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; `None` for a value that no file gives.
    pub at: Option<At>,
    /// The dotted key, empty when the file as a whole is meant.
    pub key: String,
    /// What was expected and what was found. Never the text of a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(out, "{at}: ")?,
            None => out.write_str("defaults: ")?,
        }
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key)?;
        }
        out.write_str(&self.text)
    }
}

/// Everything that is wrong, so that a person mends it in one go. Programs end with [`Errors::EXIT_CODE`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Errors {
    /// The exit code for settings that cannot be used (`EX_USAGE` of sysexits).
    pub const EXIT_CODE: u8 = 64;

    /// Sorted as they stand in the files: that is how a person goes through them.
    pub(crate) fn new(mut problems: Vec<Problem>, warnings: Vec<Warning>) -> Self {
        problems.sort_by(|left, right| {
            let place =
                |problem: &Problem| problem.at.as_ref().map(|at| (at.file.clone(), at.line, at.column));
            place(left).cmp(&place(right))
        });
        Self { problems, warnings }
    }

    /// The single problems, by file and line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// What was odd besides.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.warnings.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(out, "{end}{problem}")?;
        }
        Ok(())
    }
}

/// Something odd that does not stop a start: an unknown key, a key given twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it was written.
    pub at: At,
    /// The dotted key.
    pub key: String,
    /// What is odd.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.at, self.key, self.text)
    }
}

/// Collects what is said while settings are read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

impl Reader {
    pub(crate) fn problem(&mut self, at: &At, key: &str, text: impl Into<String>) {
        self.problems.push(Problem { at: Some(at.clone()), key: key.to_owned(), text: text.into() });
    }

    pub(crate) fn warn(&mut self, at: &At, key: &str, text: impl Into<String>) {
        self.warnings.push(Warning { at: at.clone(), key: key.to_owned(), text: text.into() });
    }

    pub(crate) fn expected(&mut self, at: &At, key: &str, expected: &str, found: &str) {
        self.problem(at, key, format!("expected {expected}, found {found}"));
    }

    /// Warns about a key nobody reads, with the nearest key of the same map.
    pub(crate) fn unknown(&mut self, at: &At, key: &str, name: &str, known: &[&str]) {
        let near = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
            .min_by_key(|(distance, _)| *distance);
        let hint = near.map_or(String::new(), |(_, near)| format!("; did you mean {near:?}?"));
        self.warn(at, key, format!("unknown key{hint}"));
    }
}

/// The dotted path of `name` below `parent`.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
