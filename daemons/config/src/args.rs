//! The flags every daemon takes, so that all of them read the same settings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::Layout;

/// Which settings to read. Flatten into a program's own flags with `#[command(flatten)]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Keep everything below DIR instead of in the system's directories.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// The platform's settings, read first.
    #[arg(long, value_name = "FILE")]
    pub main_config: Option<PathBuf>,

    /// Directory of settings files, read in name order.
    #[arg(long, value_name = "DIR")]
    pub override_dir: Option<PathBuf>,

    /// Settings file read last; given again, each later file wins over the earlier ones.
    #[arg(long = "override-config", visible_alias = "config", value_name = "FILE")]
    pub override_config: Vec<PathBuf>,
}

impl Args {
    /// The directories these flags ask for.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.state.as_deref().map_or_else(Layout::system, Layout::under)
    }

    /// The same flags as text, for a child process, which may have another working directory.
    #[must_use]
    pub fn to_flags(&self) -> Vec<OsString> {
        let mut flags = Vec::new();
        let mut push = |name: &str, value: &Path| {
            let mut flag = OsString::from(name);
            flag.push("=");
            flag.push(std::path::absolute(value).unwrap_or_else(|_| value.to_owned()));
            flags.push(flag);
        };
        if let Some(dir) = &self.state {
            push("--state", dir);
        }
        if let Some(file) = &self.main_config {
            push("--main-config", file);
        }
        if let Some(dir) = &self.override_dir {
            push("--override-dir", dir);
        }
        for file in &self.override_config {
            push("--override-config", file);
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use proptest::prelude::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        "/[-=a-z/ .]{0,20}".prop_map(|text| std::path::absolute(text).unwrap())
    }

    proptest! {
        #[test]
        fn a_child_reads_back_the_flags_its_parent_had(
            state in proptest::option::of(path()),
            main_config in proptest::option::of(path()),
            override_dir in proptest::option::of(path()),
            override_config in proptest::collection::vec(path(), 0..3),
        ) {
            let args = Args { state, main_config, override_dir, override_config };
            let line = std::iter::once(OsString::from("program")).chain(args.to_flags());
            prop_assert_eq!(Program::try_parse_from(line).unwrap().args, args);
        }
    }

    #[test]
    fn a_child_in_another_directory_finds_the_same_files() {
        let args = Args { state: Some("state".into()), ..Args::default() };
        let flag = args.to_flags().remove(0).into_string().unwrap();
        assert!(flag.starts_with("--state=/") && flag.ends_with("/state"), "{flag}");
        assert!(args.layout().run.is_absolute());
    }

    #[test]
    fn config_is_another_name_for_an_override_file() {
        let program =
            Program::try_parse_from(["program", "--config", "/a.yaml", "--config=/b.yaml"]).unwrap();
        assert_eq!(program.args.override_config, [PathBuf::from("/a.yaml"), PathBuf::from("/b.yaml")]);
    }
}
