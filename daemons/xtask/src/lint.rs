//! The lints that hold everywhere: a crate that does not take them over, or that turns the ban on unsafe code off.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace::Crate;

/// The only crate where unsafe code compiles.
const UNSAFE_HOME: &str = "sys";

/// Split, so that this file does not find itself.
const UNSAFE_LINT: &str = concat!("unsafe", "_code");

/// Everything wrong with one crate's lints, one line each.
pub(crate) fn check(member: &Crate) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if !takes_over(&fs::read_to_string(member.root.join("Cargo.toml"))?) {
        problems.push(format!("{}: Cargo.toml lacks [lints] workspace = true", member.name));
    }
    if member.name != UNSAFE_HOME {
        for file in sources(&member.root)? {
            for line in overrides(&fs::read_to_string(&file)?) {
                let file = file.strip_prefix(&member.root).unwrap_or(&file).display();
                problems.push(format!("{}: {file}:{line}: unsafe code belongs in sys", member.name));
            }
        }
    }
    Ok(problems)
}

/// Whether a manifest takes the workspace's lints over as they are.
fn takes_over(manifest: &str) -> bool {
    let section = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    section.take_while(|line| !line.starts_with('[')).any(|line| line.replace(' ', "") == "workspace=true")
}

/// The lines, from 1, that speak of the lint at all: outside of sys there is no reason to.
fn overrides(source: &str) -> Vec<usize> {
    let speaks = |line: &str| line.contains(UNSAFE_LINT) && !line.trim_start().starts_with("//");
    source.lines().enumerate().filter(|(_, line)| speaks(line)).map(|(index, _)| index + 1).collect()
}

/// The Rust files below a crate's directory.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != "target" {
                dirs.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|ending| ending == "rs") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_taken_over_or_not() {
        assert!(takes_over("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n"));
        assert!(takes_over("[lints]\n# why\nworkspace=true"));
        for manifest in
            ["", "[lints]\n", "[lints]\n[dependencies]\nworkspace = true", "[lints.rust]\nworkspace = true"]
        {
            assert!(!takes_over(manifest), "{manifest:?}");
        }
    }

    #[test]
    fn an_override_is_found_and_talk_is_not() {
        let source = format!(
            "//! about {UNSAFE_LINT}\n#![allow({UNSAFE_LINT})]\nfn a() {{}}\n#[expect({UNSAFE_LINT})]\n"
        );
        assert_eq!(overrides(&source), [2, 4]);
    }
}
