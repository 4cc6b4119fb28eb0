//! `kvmctl boot`: the boot choice, as RAUC's "custom" backend asks for it (`/usr/lib/kvmd/boot-choice` calls this).
//!
//! RAUC marks a slot bad before it writes it and makes it the primary when it is whole; for us the latter means "to be
//! tried". It works on the files directly, whether a supervisor runs or not, and whatever the settings file says.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use config::Config;
use nix::time::{ClockId, clock_gettime};
use update::{Choice, Refused, Sel, Slot, Standing, store};

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
    /// Gives up the release that runs if it is being tried still: the one before starts next. Exit code 3 if it is not.
    GiveUp,
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
    let config = config::load(args).map_or_else(|_| Config::defaults(&args.layout()), |(config, _)| config);
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
        Verb::GiveUp => {
            if !give_up(&config, &sel, running, console)? {
                writeln!(console.out, "slot {running} is not being tried")?;
                return Ok(Exit::NotReady);
            }
        }
        Verb::Show => {
            writeln!(console.out, "slot {running} runs; {}", update::sel::describe(&read()?))?;
        }
    }
    Ok(Exit::Good)
}

/// Gives up the release that runs, if it is being tried; what is to be found at the next start is why.
fn give_up(config: &Config, sel: &Sel, running: Slot, console: &mut Console<'_>) -> Result<bool, Failure> {
    let places = &config.supervisor.update;
    let is_settled = |slot: Slot| places.etc.join(slot.name()).join(".settled").exists();
    match sel.choice() {
        Ok((_, choice)) if choice.standing(running) == Standing::OnTrial => {
            let given_up = sel.change(choice, |choice| {
                Ok::<_, store::Error>(match choice.standing(running) {
                    Standing::OnTrial => choice.with_failed_trial(),
                    _ => choice,
                })
            });
            match given_up {
                Ok(choice) if choice.is_good(running) => return Ok(false),
                Ok(_) => {}
                // That it was tried is noted already, and the next start is the other's.
                Err(error) if choice.tried => writeln!(console.err, "{error}")?,
                Err(error) => return Err(Error::Store(error).into()),
            }
        }
        Ok(_) | Err(store::Error::Damaged(_)) => return Ok(false),
        // One that cannot read what the boot loader has read, and was never found good.
        Err(error) if !is_settled(running) && is_settled(running.other()) => {
            writeln!(console.err, "{error}")?;
        }
        Err(error) => return Err(Error::Store(error).into()),
    }
    let up = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    let why = format!("its supervisor did not keep it within {} s", up.as_secs());
    writeln!(console.out, "slot {running} is given up: {why}")?;
    // Without a reason it is given up all the same.
    if let Err(error) = keep(&places.failure, &format!("{running} {why}\n")) {
        writeln!(console.err, "{}: {error}", places.failure.display())?;
    }
    Ok(true)
}

fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What is installed into the slot next begins with the settings of the other one.
fn unsettle(settings: &Path) {
    let _ = fs::remove_file(settings.join(".settled"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    /// A run below a state directory that looks like an image whose slot `a` runs.
    struct Image(tempfile::TempDir);

    impl Image {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("boot/sel/grub")).unwrap();
            fs::create_dir_all(dir.path().join("data/etc/b")).unwrap();
            fs::write(dir.path().join("data/etc/b/.settled"), "").unwrap();
            let image = Self(dir);
            image.runs("a");
            image.write("# GRUB Environment Block\nkvmd_primary=a\nkvmd_trial=none\nkvmd_tried=0\n");
            image
        }

        fn write(&self, text: &str) {
            fs::write(self.0.path().join("boot/sel/grub/grubenv"), format!("{text:#<1024}")).unwrap();
        }

        fn runs(&self, slot: &str) {
            let line = format!("quiet kvmd.slot={slot} rauc.slot={slot}\n");
            fs::write(self.0.path().join("cmdline"), line).unwrap();
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

    fn on_trial() -> Image {
        let image = Image::new();
        image.runs("b");
        fs::remove_file(image.0.path().join("data/etc/b/.settled")).unwrap();
        image.write("# GRUB Environment Block\nkvmd_primary=a\nkvmd_trial=b\nkvmd_tried=1\n");
        image
    }

    #[test]
    fn a_release_that_nobody_found_good_in_time_is_given_up_with_a_reason() {
        let image = on_trial();
        // Its settings are what it does not understand.
        fs::create_dir_all(image.0.path().join("etc")).unwrap();
        fs::write(image.0.path().join("etc/override.yaml"), "{no_such_key: 1}").unwrap();
        assert!(
            image
                .said(&["give-up"])
                .starts_with("slot b is given up: its supervisor did not keep it within ")
        );
        let failure = image.0.path().join("data/boot-failure");
        assert!(
            fs::read_to_string(&failure).unwrap().starts_with("b its supervisor did not keep it within ")
        );
        assert_eq!(image.said(&["show"]), "slot b runs; slot a is kept, slot b is not started");
        // Once is enough, and what is said of the release before says nothing new.
        fs::remove_file(&failure).unwrap();
        assert_eq!(image.boot(&["give-up"]).0, Exit::NotReady);
        image.runs("a");
        assert_eq!(image.boot(&["give-up"]), (Exit::NotReady, "slot a is not being tried\n".to_owned()));
        assert!(!failure.exists());
    }

    #[test]
    fn a_release_that_was_found_good_or_waits_or_came_back_is_not_given_up() {
        for (runs, choice) in [
            ("b", "kvmd_primary=b\nkvmd_trial=none\nkvmd_tried=0\n"),
            ("a", "kvmd_primary=a\nkvmd_trial=b\nkvmd_tried=0\n"),
            ("a", "kvmd_primary=a\nkvmd_trial=b\nkvmd_tried=1\n"),
            // The boot loader could not load the other one: there is none to go back to.
            ("b", "kvmd_primary=a\nkvmd_trial=none\nkvmd_tried=0\n"),
            ("b", "garbage"),
        ] {
            let image = on_trial();
            image.runs(runs);
            image.write(&format!("# GRUB Environment Block\n{choice}"));
            assert_eq!(image.boot(&["give-up"]).0, Exit::NotReady, "{choice}");
            assert!(!image.0.path().join("data/boot-failure").exists());
        }
    }

    #[test]
    fn a_release_that_cannot_read_the_boot_choice_is_given_up_if_only_the_other_was_ever_good() {
        let image = on_trial();
        fs::remove_file(image.0.path().join("boot/sel/grub/grubenv")).unwrap();
        fs::write(image.0.path().join("data/etc/b/.settled"), "").unwrap();
        assert_eq!(image.boot(&["give-up"]).0, Exit::Failed, "a damaged card is no bad release");
        fs::remove_file(image.0.path().join("data/etc/b/.settled")).unwrap();
        assert_eq!(image.boot(&["give-up"]).0, Exit::Failed, "nor is there one to go back to");
        fs::create_dir(image.0.path().join("data/etc/a")).unwrap();
        fs::write(image.0.path().join("data/etc/a/.settled"), "").unwrap();
        assert_eq!(image.boot(&["give-up"]).0, Exit::Good);
        assert!(image.0.path().join("data/boot-failure").exists());
    }

    /// What the system's own script does when `kvmctl` ends with that code, and whether it restarts the machine.
    fn trial_over(image: &Image, code: u8) -> bool {
        trial_over_with(image, &[("kvmctl", format!("exit {code}"))])
    }

    fn trial_over_with(image: &Image, scripts: &[(&str, String)]) -> bool {
        let root = image.0.path();
        let bin = root.join("bin");
        for dir in ["bin", "proc", "run/systemd"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::copy(root.join("cmdline"), root.join("proc/cmdline")).unwrap();
        fs::write(root.join("run/systemd/reboot-param"), "0 tryboot").unwrap();
        let restarted = root.join("restarted");
        let _ = fs::remove_file(&restarted);
        let programs = [("systemctl", format!("echo $* >{}", restarted.display())), ("sync", String::new())];
        for (name, script) in programs.iter().chain(scripts) {
            fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/usr/lib/kvmd/trial-over");
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let status =
            std::process::Command::new("sh").arg(script).arg(root).env("PATH", path).status().unwrap();
        let did = fs::read_to_string(restarted).is_ok_and(|words| words == "--force reboot\n");
        assert_eq!((did, did), (status.success(), !root.join("run/systemd/reboot-param").exists()));
        did
    }

    #[test]
    fn the_machine_restarts_when_the_trial_is_given_up_and_when_nothing_of_it_can_be_run() {
        assert!(trial_over(&on_trial(), 0));
        assert!(!trial_over(&on_trial(), 1) && !trial_over(&on_trial(), 3));
        let image = on_trial();
        assert!(!trial_over(&image, 127), "no release to go back to");
        fs::create_dir(image.0.path().join("data/etc/a")).unwrap();
        fs::write(image.0.path().join("data/etc/a/.settled"), "").unwrap();
        assert!(trial_over(&image, 124), "it hangs");
        assert!(trial_over(&image, 127));
        let failure = fs::read_to_string(image.0.path().join("data/boot-failure")).unwrap();
        assert_eq!(failure, "b its programs do not run\n");
        // It hangs where nobody can kill it. Time flies.
        let hangs = format!(
            "while test -d {0}/bin -a ! -e {0}/restarted; do /bin/sleep 0.1; done",
            image.0.path().display()
        );
        let stuck = [("timeout", hangs), ("sleep", "exit 0".to_owned())];
        assert!(trial_over_with(&image, &stuck));
        for (name, _) in &stuck {
            fs::remove_file(image.0.path().join("bin").join(name)).unwrap();
        }
        // One that was found good is left alone, whatever becomes of its programs.
        image.runs("a");
        assert!(!trial_over(&image, 127));
    }

    #[test]
    fn a_trial_is_given_up_later_than_its_supervisor_would() {
        let timer = include_str!("../../../rootfs-overlay/usr/lib/systemd/system/kvmd-trial.timer");
        assert!(timer.contains("\nOnStartupSec=5min\n"), "{timer}");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let loads = |seconds: u32| {
            let text = format!("{{kvmd: {{update: {{health_deadline: {seconds}}}}}}}");
            fs::write(dir.path().join("etc/override.yaml"), text).unwrap();
            let line =
                ["kvmctl", "--state", &dir.path().to_string_lossy(), "config", "check"].map(OsString::from);
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut secret = |_: Option<&str>| Ok(String::new());
            crate::run(line, &mut Console { out: &mut out, err: &mut err, secret: &mut secret }) == Exit::Good
        };
        assert!(loads(240) && !loads(300));
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
