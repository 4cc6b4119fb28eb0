//! `kvmctl msd upload`: an image on its way in, over breaks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_RANGE, HeaderValue};
use serde_json::{Value, json};

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
/// The same once all of it is there: a slow storage writes it down and reads it for the digest.
const WHOLE: Duration = Duration::from_secs(20 * 60);

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
    /// Does not check what has arrived, and begins anew: the file is read only once.
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

    /// Whether the appliance has one that is whole, of this name and size.
    fn is_there(&self, state: &Value) -> bool {
        let known = &state["storage"]["images"][self.listed()];
        known["complete"] == true && known["size"] == self.source.size
    }

    /// Whether all of it is on the drive, whole or not.
    fn is_written(&self, state: &Value) -> bool {
        let ours = |known: &Value| known["size"] == self.source.size && known["written"] == self.source.size;
        let (storage, listed) = (&state["storage"], self.listed());
        let coming = &storage["uploading"];
        ours(&storage["images"][&listed]) || (coming["name"] == listed && ours(coming))
    }

    /// What the appliance would have said of it, had its last word not been lost.
    fn as_told(&self) -> Value {
        let size = self.source.size;
        json!({"image": {"name": self.listed(), "size": size, "written": size, "sha256": self.sha256}})
    }
}

/// Where to go on, over breaks.
struct Course {
    /// A part of something else that lies there under this name, as long as it is not known to be gone: what has this many
    /// bytes may be it. Its rest is never put behind it.
    stale: Option<u64>,
    /// There was a whole one before we came.
    complete: bool,
}

impl Course {
    /// By what was there at first. Also the byte to begin at.
    fn plan(image: &Image, state: &Value, anew: bool) -> (Self, u64) {
        let there = image.arrived(state);
        let stale = (anew && there > 0).then_some(there);
        (Self { stale, complete: image.is_there(state) }, if anew { 0 } else { there })
    }

    /// The byte to go on at by what is there after a break; `None`: it is all there.
    fn after_break(&mut self, image: &Image, state: &Value) -> Option<u64> {
        if image.is_there(state) && !self.complete {
            return None;
        }
        let there = image.arrived(state);
        if self.stale == Some(there) {
            return Some(0);
        }
        self.stale = None;
        Some(there)
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
    // What is not checked must be of one piece: a part that lies there may be another file's.
    let told = over_breaks(desk, &image, what.restart || what.unchecked)?;
    desk.progress("")?;
    desk.write(&told, |told| super::arrived(&told["image"]))
}

/// Sends the image, and what is left of it after each break.
fn over_breaks(desk: &mut Desk<'_, '_>, image: &Image, anew: bool) -> Result<Value, Failure> {
    let (mut course, mut from) = Course::plan(image, &desk.face.ask(Call::get("/msd"))?, anew);
    let (mut breaks, mut broken, mut furthest) = (0, false, 0);
    loop {
        if from > furthest {
            (breaks, furthest) = (0, from);
        }
        if from > 0 && !desk.json {
            writeln!(desk.console.err, "going on at byte {from} of {}", image.source.size)?;
        }
        match send(desk, image, from) {
            Err(failure) if failure.is_passing(broken) && breaks < BREAKS => {
                (breaks, broken) = (breaks + 1, true);
                writeln!(desk.console.err, "it broke off: {:#}", failure.error)?;
            }
            ended => return ended,
        }
        let state = await_free(desk, image)?;
        match course.after_break(image, &state) {
            Some(there) => from = there,
            None => return Ok(image.as_told()),
        }
    }
}

/// Waits until the appliance has noticed that nothing more comes, and tells how its drive is then.
fn await_free(desk: &mut Desk<'_, '_>, image: &Image) -> Result<Value, Failure> {
    let (begin, mut limit) = (Instant::now(), FREE);
    loop {
        desk.face.pause(PAUSE);
        match desk.face.ask(Call::get("/msd")) {
            Ok(state) => {
                if image.is_written(&state) {
                    limit = WHOLE;
                }
                if state["busy"] != true || begin.elapsed() > limit {
                    return Ok(state);
                }
            }
            // It may be away for a while: a network that was pulled, a restart.
            Err(failure) if failure.is_passing(true) && begin.elapsed() <= limit => {}
            Err(failure) => return Err(failure),
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

    fn drive(complete: bool, written: u64) -> Value {
        json!({"storage": {"images": {"a.iso": {"complete": complete, "size": 100, "written": written}}}})
    }

    #[test]
    fn beginning_anew_never_goes_on_behind_what_lay_there_before() {
        let (image, old, none) = (image("a.iso", None, 100), drive(false, 40), json!({}));
        assert_eq!(Course::plan(&image, &old, false).1, 40);
        let (mut course, from) = Course::plan(&image, &old, true);
        assert_eq!(from, 0);
        // Lost before the appliance took its head, twice.
        assert_eq!(course.after_break(&image, &old), Some(0));
        assert_eq!(course.after_break(&image, &old), Some(0));
        assert_eq!(course.after_break(&image, &drive(false, 7)), Some(7), "this is ours");
        assert_eq!(course.after_break(&image, &old), Some(40), "and so is all that comes after it");
        let (mut course, _) = Course::plan(&image, &none, true);
        assert_eq!(course.after_break(&image, &old), Some(40), "nothing lay there");
    }

    #[test]
    fn an_image_that_became_whole_over_a_break_is_done_and_one_that_was_is_not_ours() {
        let (image, whole) = (image("a.iso", None, 100), drive(true, 100));
        let (mut course, _) = Course::plan(&image, &drive(false, 40), false);
        assert_eq!(course.after_break(&image, &whole), None);
        let (mut course, _) = Course::plan(&image, &whole, false);
        assert_eq!(course.after_break(&image, &whole), Some(0));
        assert!(image.is_written(&whole) && image.is_written(&drive(false, 100)));
        assert!(!image.is_written(&drive(false, 99)) && !image.is_written(&json!({})));
        let coming = json!({"storage": {"uploading": {"name": "a.iso", "size": 100, "written": 100}}});
        assert!(image.is_written(&coming));
    }
}
