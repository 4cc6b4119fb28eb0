//! The command line of the laboratory.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// What `--help` says.
pub(crate) const USAGE: &str = "\
usage: cargo xtask lab [OPTION]... [--] COMMAND [ARGUMENT]...

Runs COMMAND as root in a freshly booted kernel with a capture card (vivid), a USB controller that is its own host, and a
chip of 32 GPIO lines; on this machine's files, of which it sees a copy. Ends with COMMAND's exit code, 128 + N after a signal,
125 when the laboratory itself failed.

  --write DIR      what is written below DIR stays (may be repeated); it must exist
  --root PATH      the root of an image instead of this machine's: a directory, or a file with ext4, squashfs or erofs
  --init           with --root: start its own init on the terminal instead of a command
  --memory SIZE    such as 512M or 2G (1G)
  --timeout S      give up after so many seconds (never)
  --verbose        show what the kernel says, and how long booting took
  --kernel FILE    the kernel, instead of the one of scripts/lab-kernel
  --append TEXT    more for the kernel's command line
";

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) command: Vec<OsString>,
    pub(crate) write: Vec<PathBuf>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) init: bool,
    /// As the kernel's `mem=` takes it.
    pub(crate) memory: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) verbose: bool,
    pub(crate) kernel: Option<PathBuf>,
    pub(crate) append: String,
}

/// Reads the arguments after `lab`. `None` is a wish for help.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Option<Options>> {
    let mut options = Options {
        command: Vec::new(),
        write: Vec::new(),
        root: None,
        init: false,
        memory: "1G".to_owned(),
        timeout: None,
        verbose: false,
        kernel: None,
        append: String::new(),
    };
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{} wants a value", argument.display()));
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(None),
            Some("--write") => options.write.push(value()?.into()),
            Some("--root") => options.root = Some(value()?.into()),
            Some("--init") => options.init = true,
            Some("--memory") => options.memory = memory(&value()?.to_string_lossy())?,
            Some("--timeout") => {
                let seconds = value()?.to_string_lossy().parse().context("--timeout wants whole seconds")?;
                options.timeout = Some(Duration::from_secs(seconds));
            }
            Some("--verbose") => options.verbose = true,
            Some("--kernel") => options.kernel = Some(value()?.into()),
            Some("--append") => options.append = value()?.to_string_lossy().into_owned(),
            Some("--") => {
                options.command.extend(rest.by_ref());
            }
            Some(option) if option.starts_with('-') => bail!("{option} is not known"),
            _ => {
                options.command.push(argument);
                options.command.extend(rest.by_ref());
            }
        }
    }
    ensure!(options.init == options.command.is_empty(), "either a command or --init");
    ensure!(!options.init || options.root.is_some(), "--init needs --root");
    Ok(Some(options))
}

/// A size as the kernel reads it, and one that boots.
fn memory(text: &str) -> Result<String> {
    let (number, unit) = match text.char_indices().last() {
        Some((last, 'M' | 'm')) => (&text[..last], 1),
        Some((last, 'G' | 'g')) => (&text[..last], 1024),
        _ => bail!("--memory wants a number with M or G"),
    };
    let megabytes = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    let megabytes = megabytes.context("--memory wants a number with M or G")?;
    ensure!((128..=64 * 1024).contains(&megabytes), "--memory is between 128M and 64G");
    Ok(format!("{megabytes}M"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn parsed(line: &str) -> Options {
        parse(words(line)).unwrap().unwrap()
    }

    #[test]
    fn the_command_keeps_its_own_options() {
        let options = parsed("--verbose --write /a --write /b -- ls --help --root /");
        assert!(options.verbose && options.root.is_none());
        assert_eq!(options.write, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(options.command, words("ls --help --root /"));
        assert_eq!(parsed("ls -- -l").command, words("ls -- -l"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "--",
            "--root",
            "--init",
            "--init --root / ls",
            "--colour ls",
            "--memory 3 ls",
            "--timeout x ls",
        ] {
            assert!(parse(words(line)).is_err(), "{line:?}");
        }
        assert_eq!(parse(words("--help")).unwrap(), None);
    }

    #[test]
    fn memory_is_what_boots() {
        assert_eq!((memory("512M").unwrap(), memory("2g").unwrap()), ("512M".into(), "2048M".into()));
        for text in ["", "M", "1", "64M", "65G", "9999999G", "-1G", "1.5G", "1Gé"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_command_line_panics(line in prop::collection::vec("(--)?[a-z]{0,6}[0-9]{0,12}[MGé]?", 0..6)) {
            let _ = parse(line.into_iter().map(OsString::from).collect());
        }
    }
}
