//! `kvmctl msd upload`: an image on its way in, over breaks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_RANGE, HeaderValue};
use serde_json::Value;

use crate::desk::Desk;
use crate::face::Call;
use crate::file::Source;
use crate::{Exit, Failure};

/// Breaks without a byte more on the appliance between them, after which we give up.
const BREAKS: u32 = 5;
/// The pause after a break, and how often we look whether the drive is free again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a drive may take to be free again after a break: it waits for senders that say nothing.
const FREE: Duration = Duration::from_secs(90);

#[derive(Debug, clap::Args)]
pub(crate) struct Upload {
    /// The file.
    file: PathBuf,
    /// How it is called there; its own name when this is left out.
    #[arg(short, long)]
    name: Option<String>,
    /// The directory it is put into.
    #[arg(short, long)]
    prefix: Option<String>,
    /// Begins anew, also where one broke off.
    #[arg(long)]
    restart: bool,
    /// Does not check what has arrived: the file is read only once.
    #[arg(long)]
    unchecked: bool,
}

/// The file and what is to become of it.
struct Image {
    source: Source,
    /// Its name and its directory, as they are given to the API.
    name: String,
    prefix: Option<String>,
    sha256: Option<String>,
}

impl Image {
    /// Its name as the state tells it.
    fn listed(&self) -> String {
        let parts = self.prefix.iter().flat_map(|prefix| prefix.split('/')).chain(self.name.split('/'));
        parts.map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// Where an upload that broke off can go on, by what the appliance tells of its drive.
    fn arrived(&self, state: &Value) -> u64 {
        let known = &state["storage"]["images"][self.listed()];
        let size = self.source.size;
        let same = known["complete"] == false && known["size"] == size;
        known["written"].as_u64().filter(|written| same && *written < size).unwrap_or(0)
    }
}

pub(super) fn run(desk: &mut Desk<'_, '_>, what: &Upload) -> Result<Exit, Failure> {
    let source = Source::of(&what.file)?;
    let name = what.name.clone().unwrap_or_else(|| source.name());
    let mut image = Image { source, name, prefix: what.prefix.clone(), sha256: None };
    // Known before anything is sent: the appliance checks, and takes nothing for whole that is not.
    if !what.unchecked {
        image.sha256 = Some(image.source.digest(desk)?);
    }
    let told = over_breaks(desk, &image, what.restart)?;
    desk.progress("")?;
    desk.write(&told, |told| super::arrived(&told["image"]))
}

/// Sends the image, and what is left of it after each break.
fn over_breaks(desk: &mut Desk<'_, '_>, image: &Image, restart: bool) -> Result<Value, Failure> {
    let (mut breaks, mut furthest) = (0, 0);
    let mut begin = restart.then_some(0);
    loop {
        let from = match begin.take() {
            Some(from) => from,
            None => image.arrived(&desk.face.ask(Call::get("/msd"))?),
        };
        if from > furthest {
            (breaks, furthest) = (0, from);
        }
        if from > 0 && !desk.json {
            writeln!(desk.console.err, "going on at byte {from} of {}", image.source.size)?;
        }
        match send(desk, image, from) {
            Err(failure) if failure.exit == Exit::Unreachable && breaks < BREAKS => {
                breaks += 1;
                writeln!(desk.console.err, "it broke off: {:#}", failure.error)?;
                await_free(desk)?;
            }
            ended => return ended,
        }
    }
}

/// Waits until the appliance has noticed that nothing more comes.
fn await_free(desk: &mut Desk<'_, '_>) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        desk.face.pause(PAUSE);
        match desk.face.ask(Call::get("/msd")) {
            Ok(state) if state["busy"] != true => return Ok(()),
            Ok(_) if begin.elapsed() > FREE => return Ok(()),
            // It may be away for a while: a network that was pulled, a restart.
            Err(failure) if failure.exit != Exit::Unreachable || begin.elapsed() > FREE => {
                return Err(failure);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Sends the image from this byte on, to its end.
fn send(desk: &mut Desk<'_, '_>, image: &Image, from: u64) -> Result<Value, Failure> {
    let size = image.source.size;
    let mut call = Call::post("/msd/write")
        .with("image", &image.name)
        .with_some("prefix", image.prefix.as_ref())
        .with_some("sha256", image.sha256.as_ref());
    if from > 0 {
        let range = format!("bytes {from}-{}/{size}", size - 1);
        call = call.header(CONTENT_RANGE, HeaderValue::from_str(&range)?);
    }
    image.source.send(desk, call, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(name: &str, prefix: Option<&str>, size: u64) -> Image {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let source = Source::of(file.path()).ok().unwrap();
        Image { source, name: name.to_owned(), prefix: prefix.map(str::to_owned), sha256: None }
    }

    #[test]
    fn only_an_unfinished_image_of_the_same_name_and_size_goes_on() {
        let state = json!({"storage": {"images": {
            "a.iso": {"complete": false, "size": 100, "written": 40},
            "dir/b.iso": {"complete": false, "size": 100, "written": 30},
            "whole": {"complete": true, "size": 100, "written": 40},
            "lost": {"complete": false, "size": 100},
            "full": {"complete": false, "size": 100, "written": 100},
        }}});
        assert_eq!(image("a.iso", None, 100).arrived(&state), 40);
        assert_eq!(image("b.iso", Some("/dir/"), 100).arrived(&state), 30);
        assert_eq!(image("a.iso", None, 101).arrived(&state), 0);
        for name in ["whole", "lost", "full", "none"] {
            assert_eq!(image(name, None, 100).arrived(&state), 0, "{name}");
        }
        assert_eq!(image("x", None, 1).arrived(&json!({})), 0);
    }
}
