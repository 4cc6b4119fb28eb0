//! `kvmctl edid`: the monitor that the capture device shows the target, asked from `kvmd`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use edid::Edid;

use crate::desk::Desk;
use crate::face::Call;
use crate::shown::tame;
use crate::{Exit, Failure};

/// More than any file of an EDID has.
const FILE_BYTES: u64 = 16 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// What the target sees. Only while the streamer runs.
    Show {
        /// The digits alone, as in a file.
        #[arg(long)]
        hex: bool,
    },
    /// Shows the target another one for 30 seconds; `confirm` keeps it.
    Set {
        /// Hexadecimal digits, or the bytes themselves; `-` reads standard input.
        file: PathBuf,
    },
    /// Keeps the one that is shown for now, for good.
    Confirm,
    /// Shows the one before again, at once.
    Undo,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: &Verb) -> Result<Exit, Failure> {
    let call = match verb {
        Verb::Show { .. } => Call::get("/streamer/edid"),
        Verb::Set { file } => Call::post("/streamer/set_edid").with("data", read(file)?.to_hex()),
        Verb::Confirm => Call::post("/streamer/confirm_edid"),
        Verb::Undo => Call::post("/streamer/undo_edid"),
    };
    desk.show(call, |told| match verb {
        Verb::Show { hex: true } => {
            let data = told.get("data").and_then(serde_json::Value::as_str).unwrap_or_default();
            data.parse::<Edid>().map_or_else(|_| format!("{}\n", tame(data)), |edid| edid.to_string())
        }
        _ => shown(told),
    })
}

/// An EDID from a file.
pub(crate) fn read(file: &Path) -> anyhow::Result<Edid> {
    let mut bytes = Vec::new();
    match file.to_str() {
        Some("-") => std::io::stdin().lock().take(FILE_BYTES).read_to_end(&mut bytes)?,
        _ => std::fs::File::open(file)
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?
            .take(FILE_BYTES)
            .read_to_end(&mut bytes)?,
    };
    let read = match std::str::from_utf8(&bytes) {
        Ok(text) => text.parse(),
        Err(_) => Edid::from_bytes(&bytes),
    };
    read.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
}

/// What the target sees, for people.
fn shown(told: &serde_json::Value) -> String {
    let data = told.get("data").and_then(serde_json::Value::as_str).unwrap_or_default();
    let mut text = match data.parse::<Edid>() {
        _ if data.is_empty() => "no monitor\n".to_owned(),
        Err(error) => format!("unsound: {error}\n"),
        Ok(edid) => {
            let info = edid.info();
            let name = info.name.unwrap_or_else(|| "without a name".to_owned());
            let sound = if info.audio { "with sound" } else { "without sound" };
            let mode = info.preferred.map_or_else(String::new, |mode| {
                let lines = if mode.interlaced { "i" } else { "p" };
                format!(
                    ", prefers {}x{}{lines} at {} Hz",
                    mode.width,
                    mode.height,
                    mode.millihertz.div_ceil(1000)
                )
            });
            format!(
                "{name} ({} {:04X}, serial number {}), {sound}{mode}\n",
                info.maker, info.product, info.serial
            )
        }
    };
    if let Some(left) = told.get("trial").and_then(serde_json::Value::as_f64) {
        text += &format!("on trial: taken back in {left:.0} s unless confirmed (kvmctl edid confirm)\n");
    } else if told.get("saved").and_then(serde_json::Value::as_str).is_some_and(|saved| saved == data) {
        text += "confirmed\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sound block, named.
    fn edid() -> Edid {
        let mut bytes = vec![0; 128];
        bytes[..8].copy_from_slice(&[0, 255, 255, 255, 255, 255, 255, 0]);
        bytes[8..12].copy_from_slice(&[0x52, 0x62, 0x88, 0x88]);
        bytes[72..90].copy_from_slice(b"\0\0\0\xfc\0EXAMPLE 24\n  ");
        bytes[127] = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        Edid::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn a_file_may_hold_digits_or_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edid");
        for content in [edid().to_string().into_bytes(), edid().as_bytes().to_vec()] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read(&file).unwrap(), edid());
        }
        std::fs::write(&file, "00").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("blocks of 128"));
    }

    #[test]
    fn people_are_told_what_it_is_and_how_long_it_stays() {
        let told = serde_json::json!({"data": edid().to_hex(), "trial": 29.6, "saved": null});
        let text = shown(&told);
        assert!(text.contains("EXAMPLE 24 (TSB 8888, serial number 0), without sound"), "{text}");
        assert!(text.contains("taken back in 30 s"), "{text}");
        let told = serde_json::json!({"data": edid().to_hex(), "trial": null, "saved": edid().to_hex()});
        assert!(shown(&told).ends_with("confirmed\n"));
        assert_eq!(shown(&serde_json::json!({"data": ""})), "no monitor\n");
    }
}
