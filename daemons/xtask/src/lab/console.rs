//! The consoles that carry the command's output out, byte by byte.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};

/// Where the console lies.
pub(crate) fn path(number: u8) -> PathBuf {
    format!("/dev/tty{number}").into()
}

/// A console without line discipline: what goes in comes out.
pub(crate) fn open_raw(number: u8) -> Result<File> {
    let path = path(number);
    let open = || -> Result<File> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut termios = tcgetattr(&file)?;
        cfmakeraw(&mut termios);
        tcsetattr(&file, SetArg::TCSANOW, &termios)?;
        Ok(file)
    };
    open().with_context(|| path.display().to_string())
}

/// Copies until the end, and waits until the host has it all.
pub(crate) fn pour(mut from: impl Read, mut into: &File) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if into.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = tcdrain(into);
}
