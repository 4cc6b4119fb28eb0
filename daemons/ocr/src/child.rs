//! One run of the program.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use encode::Gray;
use sys::limit::{self, What};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::{Error, Settings};

/// Bytes of text that are taken. A screen has a few thousand.
const TEXT: u64 = 1 << 20;
/// Bytes of complaints that are taken.
const COMPLAINT: u64 = 4096;
/// The longest file it may write, in bytes. It has none to write.
const FILE: u64 = 4096;
/// The video comes first.
const NICE: u8 = 10;
/// One block of text, which is what the contract's server reads a screen as.
const ONE_BLOCK: &str = "6";

/// Reads a picture in languages joined by `+`. Dropping the future kills the program.
pub(crate) async fn read(
    settings: &Settings,
    program: &Path,
    data: &Path,
    langs: &str,
    picture: &Gray,
) -> Result<String, Error> {
    let mut child = Command::new(program)
        .args(["stdin", "stdout", "-l", langs, "--psm", ONE_BLOCK, "--tessdata-dir"])
        .arg(data)
        .env_clear()
        // Threads of its own would take the cores that the video needs, and make it slower at that.
        .envs([("OMP_THREAD_LIMIT", "1"), ("LC_ALL", "C"), ("PATH", "/usr/bin:/bin")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::Failed(format!("{}: {error}", program.display())))?;
    bound(&child, settings)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        let Some(mut stdin) = stdin else { return };
        let head = format!("P5\n{} {}\n255\n", picture.width, picture.height);
        // Who does not read to the end has something to say about it: that is what counts.
        if stdin.write_all(head.as_bytes()).await.is_ok() {
            let _ = stdin.write_all(&picture.pixels).await;
        }
    };
    let ((), text, complaint) = tokio::join!(feed, take(stdout, TEXT), take(stderr, COMPLAINT));
    let status = child.wait().await.map_err(|error| Error::Failed(error.to_string()))?;
    if status.success() {
        return Ok(text);
    }
    let why = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned();
    log::warn!("{} failed ({status}): {why}", program.display());
    Err(Error::Failed(why))
}

/// The program has not seen the picture yet: what it does with it is bounded.
fn bound(child: &Child, settings: &Settings) -> Result<(), Error> {
    let Some(pid) = child.id() else { return Ok(()) };
    // We kill it when the time is over; the kernel does when we are not there any more.
    let cpu = settings.time.saturating_add(Duration::from_secs(1)).as_secs();
    for (what, most) in
        [(What::AddressSpace, settings.memory), (What::CpuTime, cpu), (What::FileSize, FILE), (What::Core, 0)]
    {
        limit::set(pid, what, most).map_err(|error| Error::Failed(format!("no bounds: {error}")))?;
    }
    if let Err(error) = limit::niceness(pid, NICE) {
        log::debug!("text recognition does not yield: {error}");
    }
    Ok(())
}

/// The beginning of what the program says. The rest is read too, so that it can end.
async fn take(from: Option<impl AsyncRead + Unpin>, most: u64) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut bytes = Vec::new();
    if (&mut from).take(most).read_to_end(&mut bytes).await.is_ok() {
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
