//! `kvmctl edid`: the monitor that the capture device shows the target, asked from `kvmd`'s unix socket.
//!
//! Asked in HTTP/1.0, so that the body is the rest of the connection and nothing has to be decoded.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use edid::Edid;

use crate::{Console, Exit, Failure};

/// Longer than `kvmd` lets a request wait for the streamer.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any answer about an EDID has.
const ANSWER_BYTES: u64 = 64 * 1024;
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

pub(crate) fn run(config: &config::Config, verb: &Verb, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let socket = &config.kvmd.server.unix;
    let told = match verb {
        Verb::Show { .. } => ask(socket, "GET", "/streamer/edid")?,
        Verb::Set { file } => {
            let edid = read(file).map_err(|error| Failure::new(Exit::Failed, error))?;
            ask(socket, "POST", &format!("/streamer/set_edid?data={}", edid.to_hex()))?
        }
        Verb::Confirm => ask(socket, "POST", "/streamer/confirm_edid")?,
        Verb::Undo => ask(socket, "POST", "/streamer/undo_edid")?,
    };
    let text = match verb {
        Verb::Show { hex: true } => {
            let data = told.get("data").and_then(serde_json::Value::as_str).unwrap_or_default();
            data.parse::<Edid>().map_or_else(|_| format!("{data}\n"), |edid| edid.to_string())
        }
        _ => shown(&told),
    };
    write!(console.out, "{text}")?;
    Ok(Exit::Good)
}

fn read(file: &Path) -> anyhow::Result<Edid> {
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

/// The result of a request to `kvmd`.
pub(crate) fn ask(socket: &Path, method: &str, path: &str) -> Result<serde_json::Value, Failure> {
    let unreachable = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Refused,
            _ => Exit::Unreachable,
        };
        Failure::new(exit, anyhow::anyhow!("kvmd at {}: {error}", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer).map_err(unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let code = head.split(' ').nth(1).unwrap_or_default();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let result = body.get("result").cloned().unwrap_or_default();
    let why =
        result.get("error_msg").and_then(serde_json::Value::as_str).unwrap_or("kvmd gave no proper answer");
    let why = || anyhow::anyhow!("{}", why.chars().filter(|letter| !letter.is_control()).collect::<String>());
    match code {
        "200" => Ok(result),
        "401" | "403" => Err(Failure::new(Exit::Refused, anyhow::anyhow!("kvmd refuses that to this user"))),
        "503" => Err(Failure::new(Exit::NotReady, why())),
        "" => Err(Failure::new(Exit::Unreachable, why())),
        _ => Err(Failure::new(Exit::Failed, why())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

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

    #[test]
    fn every_answer_has_its_exit_code() {
        let good = "HTTP/1.0 200 OK\r\n\r\n{\"ok\":true,\"result\":{\"data\":\"\"}}";
        let bad =
            "HTTP/1.0 400 Bad\r\n\r\n{\"ok\":false,\"result\":{\"error\":\"E\",\"error_msg\":\"no trial\"}}";
        for (answer, exit) in [
            (good, Exit::Good),
            (bad, Exit::Failed),
            ("HTTP/1.0 503 No\r\n\r\n{}", Exit::NotReady),
            ("HTTP/1.0 403 No\r\n\r\n", Exit::Refused),
            ("", Exit::Unreachable),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kvmd.sock");
            let listener = UnixListener::bind(&path).unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                while reader.read_line(&mut request).unwrap() > 2 {}
                stream.write_all(answer.as_bytes()).unwrap();
                request
            });
            let got =
                ask(&path, "POST", "/streamer/undo_edid").map_or_else(|failure| failure.exit, |_| Exit::Good);
            assert_eq!(got, exit, "{answer:?}");
            assert!(server.join().unwrap().starts_with("POST /streamer/undo_edid HTTP/1.0\r\n"));
        }
    }
}
