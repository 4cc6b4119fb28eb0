//! The simulated devices that have to be asked for: a GPIO chip. The others are there when the kernel is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Lines of the chip, named `gpio0` and so on.
const LINES: usize = 32;

/// Makes the chip `lab` of gpio-sim and brings it to life.
pub(crate) fn gpio(configfs: &Path) -> Result<()> {
    let chip = configfs.join("gpio-sim/lab");
    let bank = chip.join("bank0");
    let make = |path: &Path| fs::create_dir(path).with_context(|| path.display().to_string());
    let put = |path: &Path, text: &str| fs::write(path, text).with_context(|| path.display().to_string());
    make(&chip)?;
    make(&bank)?;
    put(&bank.join("num_lines"), &LINES.to_string())?;
    put(&bank.join("label"), "lab")?;
    for line in 0..LINES {
        let dir = bank.join(format!("line{line}"));
        make(&dir)?;
        put(&dir.join("name"), &format!("gpio{line}"))?;
    }
    put(&chip.join("live"), "1")
}
