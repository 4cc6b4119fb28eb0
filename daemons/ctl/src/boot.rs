//! `kvmctl boot`: the boot choice, as RAUC's "custom" backend asks for it (`/usr/lib/kvmd/boot-choice` calls this).
//!
//! RAUC marks a slot bad before it writes it and makes it the primary when it is whole; for us the latter means "to be
//! tried". It works on the files directly, whether a supervisor runs or not, and whatever the settings file says.

use std::fs;

use clap::{Subcommand, ValueEnum};
use update::{Choice, Refused, Sel, Slot, store};

use crate::{Console, Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The slot that starts next.
    GetPrimary,
    /// Has a slot started next: tried once, and kept when it is found good.
    SetPrimary {
        /// `a` or `b`.
        slot: Name,
    },
    /// `good`, or `bad` for a slot that is not started.
    GetState {
        /// `a` or `b`.
        slot: Name,
    },
    /// Marks a slot. The one that runs, marked good, is kept.
    SetState {
        /// `a` or `b`.
        slot: Name,
        /// `good` or `bad`.
        mark: Mark,
    },
    /// The slot that runs.
    GetCurrent,
    /// The whole choice, for people.
    Show,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    A,
    B,
}

impl From<Name> for Slot {
    fn from(name: Name) -> Self {
        match name {
            Name::A => Self::A,
            Name::B => Self::B,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mark {
    Good,
    Bad,
}

/// Why the choice stays as it is.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the kernel was not told which slot runs: this is no image")]
    NoImage,
}

pub(crate) fn run(args: &config::Args, verb: &Verb, console: &mut Console<'_>) -> Result<Exit, Failure> {
    // An update must not fail because of a setting.
    let config =
        config::load(args).map_or_else(|_| config::Config::defaults(&args.layout()), |(config, _)| config);
    let places = &config.supervisor.update;
    let sel = Sel::new(&places.boot);
    let line = fs::read_to_string(&places.cmdline).unwrap_or_default();
    let running = Slot::of_command_line(&line).ok_or(Error::NoImage)?;
    // A choice that cannot be read: what runs is what is known to start.
    let fallback = Choice::settled(running);
    let change = |change: &dyn Fn(Choice) -> Result<Choice, Refused>| {
        sel.change(fallback, |choice| change(choice).map_err(Error::Refused))
    };
    let read = || match sel.choice() {
        Ok((_, choice)) => Ok(choice),
        Err(store::Error::Damaged(_)) => Ok(fallback),
        Err(error) => Err(error),
    };
    match verb {
        Verb::GetPrimary => writeln!(console.out, "{}", read()?.next())?,
        Verb::GetCurrent => writeln!(console.out, "{running}")?,
        Verb::GetState { slot } => {
            let good = read()?.is_good((*slot).into());
            writeln!(console.out, "{}", if good { "good" } else { "bad" })?;
        }
        Verb::SetPrimary { slot } => {
            change(&|choice| Ok(choice.with_primary((*slot).into())))?;
        }
        Verb::SetState { slot, mark: Mark::Good } => {
            change(&|choice| Ok(choice.with_good((*slot).into(), running)))?;
        }
        Verb::SetState { slot, mark: Mark::Bad } => {
            let slot = Slot::from(*slot);
            change(&|choice| choice.with_bad(slot))?;
            unsettle(&places.etc.join(slot.name()));
        }
        Verb::Show => {
            writeln!(console.out, "slot {running} runs; {}", update::sel::describe(&read()?))?;
        }
    }
    Ok(Exit::Good)
}

/// What is installed into the slot next begins with the settings of the other one.
fn unsettle(settings: &std::path::Path) {
    let _ = fs::remove_file(settings.join(".settled"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    /// A run below a state directory that looks like an image whose slot `a` runs.
    struct Image(tempfile::TempDir);

    impl Image {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("boot/sel/grub")).unwrap();
            fs::create_dir_all(dir.path().join("data/etc/b")).unwrap();
            fs::write(dir.path().join("data/etc/b/.settled"), "").unwrap();
            fs::write(dir.path().join("cmdline"), "quiet kvmd.slot=a rauc.slot=a\n").unwrap();
            let image = Self(dir);
            image.write("# GRUB Environment Block\nkvmd_primary=a\nkvmd_trial=none\nkvmd_tried=0\n");
            image
        }

        fn write(&self, text: &str) {
            fs::write(self.0.path().join("boot/sel/grub/grubenv"), format!("{text:#<1024}")).unwrap();
        }

        fn boot(&self, words: &[&str]) -> (Exit, String) {
            let mut line: Vec<OsString> =
                vec!["kvmctl".into(), "--state".into(), self.0.path().into(), "boot".into()];
            line.extend(words.iter().map(OsString::from));
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut secret = |_: Option<&str>| Ok(String::new());
            let exit = crate::run(line, &mut Console { out: &mut out, err: &mut err, secret: &mut secret });
            (exit, String::from_utf8([out, err].concat()).unwrap())
        }

        fn said(&self, words: &[&str]) -> String {
            let (exit, text) = self.boot(words);
            assert_eq!(exit, Exit::Good, "{text}");
            text.trim_end().to_owned()
        }
    }

    #[test]
    fn rauc_installs_into_the_other_slot_as_it_is_used_to() {
        let image = Image::new();
        assert_eq!(image.said(&["get-current"]), "a");
        assert_eq!(image.said(&["get-primary"]), "a");
        image.said(&["set-state", "b", "bad"]);
        assert_eq!(image.said(&["get-state", "b"]), "bad");
        assert!(!image.0.path().join("data/etc/b/.settled").exists(), "its settings begin with ours");
        image.said(&["set-primary", "b"]);
        assert_eq!(image.said(&["get-primary"]), "b");
        assert_eq!(image.said(&["get-state", "b"]), "good");
        assert_eq!(image.said(&["show"]), "slot a runs; slot a is kept, slot b is tried at the next start");
        // A person thinks better of it.
        image.said(&["set-primary", "a"]);
        assert_eq!(image.said(&["get-primary"]), "a");
    }

    #[test]
    fn the_only_good_release_is_not_given_up() {
        let image = Image::new();
        let (exit, text) = image.boot(&["set-state", "a", "bad"]);
        assert_eq!(exit, Exit::Failed);
        assert_eq!(text, "slot a holds the only release known to be good: it is kept\n");
    }

    #[test]
    fn a_damaged_choice_is_taken_for_what_runs_and_repaired() {
        let image = Image::new();
        image.write("garbage");
        assert_eq!(image.said(&["get-primary"]), "a");
        image.said(&["set-primary", "b"]);
        assert_eq!(image.said(&["show"]), "slot a runs; slot a is kept, slot b is tried at the next start");
    }

    #[test]
    fn broken_settings_keep_no_update_from_ending() {
        let image = Image::new();
        fs::create_dir_all(image.0.path().join("etc")).unwrap();
        fs::write(image.0.path().join("etc/main.yaml"), "{ broken").unwrap();
        fs::write(image.0.path().join("etc/override.yaml"), "{ broken").unwrap();
        assert_eq!(image.said(&["get-primary"]), "a");
    }

    #[test]
    fn where_there_is_no_image_nothing_is_pretended() {
        let image = Image::new();
        fs::remove_file(image.0.path().join("cmdline")).unwrap();
        let (exit, text) = image.boot(&["get-primary"]);
        assert_eq!((exit, text.contains("no image")), (Exit::Failed, true), "{text}");
        let image = Image::new();
        fs::remove_file(image.0.path().join("boot/sel/grub/grubenv")).unwrap();
        assert_eq!(image.boot(&["get-primary"]).1, "there is no boot choice here\n");
    }
}
