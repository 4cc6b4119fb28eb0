//! `kvmctl msd`: the lent drive, and the way of images in and out.
//!
//! An upload that broke off goes on where the appliance has the image up to: by itself as long as something arrives between two
//! breaks, and when the same command is given again. What arrived is checked by the SHA-256 of the whole file, which is
//! made before: an image that is another one stays marked as incomplete.

mod upload;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use crate::desk::Desk;
use crate::face::Call;
use crate::gadget::Switch;
use crate::shown::{self, bytes, tame, word};
use crate::{Exit, Failure};

pub(crate) use upload::Upload;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// How the drive is, and what is on its way.
    State,
    /// The images there are.
    List,
    /// Brings an image there. Goes on where one broke off.
    Upload(Upload),
    /// Takes an image from there.
    Download {
        /// Its name.
        image: String,
        /// Where it is written; `-` is standard output. Its own name when this is left out.
        file: Option<PathBuf>,
        /// Packs it for the way; it is written as it comes.
        #[arg(short, long)]
        compress: Option<Packing>,
        /// Also over a file that is there.
        #[arg(short, long)]
        force: bool,
    },
    /// Has the appliance fetch an image from an address.
    Fetch {
        /// Begins with http:// or https://.
        address: String,
        /// How it is called; what the source says when this is left out.
        #[arg(short, long)]
        name: Option<String>,
        /// The directory it is put into.
        #[arg(short, long)]
        prefix: Option<String>,
        /// Seconds that the source may take to answer.
        #[arg(short, long)]
        timeout: Option<f64>,
        /// Believes any certificate of the source.
        #[arg(long)]
        trust_source: bool,
        /// Removes what has arrived when it breaks off.
        #[arg(long)]
        remove_incomplete: bool,
        /// The SHA-256 that the whole image should have, in 64 hexadecimal digits: another image is not taken.
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        /// Fetches nothing, and tells what the source would give.
        #[arg(long)]
        probe: bool,
    },
    /// Removes an image.
    Remove {
        /// Its name.
        image: String,
    },
    /// Puts an image into the drive, and how the target sees it.
    Params {
        /// The image; an empty one takes it out.
        #[arg(short, long)]
        image: Option<String>,
        /// As a CD or DVD, or as a stick.
        #[arg(long, value_name = "MODE")]
        cdrom: Option<Switch>,
        /// Whether the target may write on it.
        #[arg(long, value_name = "MODE")]
        rw: Option<Switch>,
    },
    /// Lends the drive to the target.
    Connect,
    /// Takes it back.
    Disconnect,
    /// Starts the drive anew.
    Reset,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Packing {
    Lzma,
    Zstd,
}

impl Packing {
    const fn name(self) -> &'static str {
        match self {
            Self::Lzma => "lzma",
            Self::Zstd => "zstd",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Lzma => ".xz",
            Self::Zstd => ".zst",
        }
    }
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::State => desk.show(Call::get("/msd"), state),
        Verb::List => {
            let told = desk.face.ask(Call::get("/msd"))?;
            desk.write(&told["storage"]["images"], images)
        }
        Verb::Upload(what) => desk.in_session(|desk| upload::run(desk, &what)),
        Verb::Download { image, file, compress, force } => {
            let own = || PathBuf::from(format!("{}{}", last(&image), compress.map_or("", Packing::suffix)));
            let file = file.unwrap_or_else(own);
            let call = Call::get("/msd/read").with("image", &image);
            download(desk, call.with_some("compress", compress.map(Packing::name)), &image, &file, force)
        }
        Verb::Fetch { address, probe: true, trust_source, .. } => {
            let call = Call::post("/msd/probe_remote").with("url", address);
            desk.show(call.with_flag("insecure", trust_source), |told| shown::tree(&told["remote"]))
        }
        Verb::Fetch { address, name, prefix, timeout, trust_source, remove_incomplete, sha256, .. } => {
            let call = Call::post("/msd/write_remote")
                .with("url", address)
                .with_some("image", name)
                .with_some("prefix", prefix)
                .with_some("timeout", timeout)
                .with_some("sha256", sha256)
                .with_flag("insecure", trust_source)
                .with_flag("remove_incomplete", remove_incomplete);
            fetch(desk, call)
        }
        Verb::Remove { image } => desk.order(Call::post("/msd/remove").with("image", image).patient()),
        Verb::Params { image, cdrom, rw } => {
            let call = Call::post("/msd/set_params")
                .with_some("image", image)
                .with_some("cdrom", cdrom.map(Switch::digit))
                .with_some("rw", rw.map(Switch::digit));
            desk.order_with(call, "nothing to set: --image, --cdrom or --rw")
        }
        Verb::Connect => desk.order(Call::post("/msd/set_connected").with("connected", 1).patient()),
        Verb::Disconnect => desk.order(Call::post("/msd/set_connected").with("connected", 0).patient()),
        Verb::Reset => desk.order(Call::post("/msd/reset").patient()),
    }
}

fn last(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image)
}

fn state(told: &Value) -> String {
    if told["enabled"] != true {
        return "there is no drive\n".to_owned();
    }
    let drive = &told["drive"];
    let image = drive["image"]["name"].as_str().map_or_else(|| "no image".to_owned(), tame);
    let kind = if drive["cdrom"] == true { "CD" } else { "stick" };
    let access = if drive["rw"] == true { "writable" } else { "read-only" };
    let lent = match (told["online"] == true, drive["connected"] == true) {
        (false, _) => "offline",
        (_, true) => "lent to the target",
        (_, false) => "not lent",
    };
    let mut text = format!("drive    {image}, {kind}, {access}, {lent}\n");
    for (name, part) in told["storage"]["parts"].as_object().into_iter().flatten() {
        let name = if name.is_empty() { "storage".to_owned() } else { tame(name) };
        let figure = |field: &str| bytes(part[field].as_u64().unwrap_or(0));
        text += &format!("{name:8} {} free of {}\n", figure("free"), figure("size"));
    }
    for (what, done) in [("uploading", "written"), ("downloading", "readed")] {
        let way = &told["storage"][what];
        if let Some(name) = way["name"].as_str() {
            text += &format!("{what} {}: {}\n", tame(name), part(way[done].as_u64(), way["size"].as_u64()));
        }
    }
    text
}

fn part(done: Option<u64>, size: Option<u64>) -> String {
    let (done, size) = (done.unwrap_or(0), size.unwrap_or(0));
    let percent = done.saturating_mul(100).checked_div(size).unwrap_or(100);
    format!("{percent} % of {}", bytes(size))
}

fn images(told: &Value) -> String {
    let mut rows = Vec::new();
    for (name, image) in told.as_object().into_iter().flatten() {
        let note = match (image["complete"] == true, image["written"].as_u64()) {
            (true, _) => String::new(),
            (false, Some(written)) => format!("incomplete: {}", part(Some(written), image["size"].as_u64())),
            (false, None) => "incomplete".to_owned(),
        };
        rows.push([tame(name), bytes(image["size"].as_u64().unwrap_or(0)), note]);
    }
    if rows.is_empty() {
        return "there are no images\n".to_owned();
    }
    let rows: Vec<[&str; 3]> = rows.iter().map(|row| row.each_ref().map(String::as_str)).collect();
    shown::table(&rows)
}

/// Tells how a transfer gets on, a few times a second.
pub(crate) struct Pace {
    what: String,
    begin: Instant,
    from: u64,
    told: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(what: &str, from: u64) -> Self {
        Self { what: tame(what), begin: Instant::now(), from, told: None }
    }

    /// What there is to tell now, if it is time to.
    #[expect(clippy::cast_precision_loss, reason = "digits that nobody sees")]
    pub(crate) fn tell(&mut self, done: u64, size: Option<u64>) -> Option<String> {
        if self.told.is_some_and(|told| told.elapsed() < Duration::from_millis(200)) {
            return None;
        }
        self.told = Some(Instant::now());
        let seconds = self.begin.elapsed().as_secs_f64().max(0.001);
        let speed = done.saturating_sub(self.from) as f64 / seconds;
        let far = size.map_or_else(|| bytes(done), |size| part(Some(done), Some(size)));
        let mut text = format!("{}: {far}, {:.1} MB/s", self.what, speed / 1e6);
        if let Some(size) = size.filter(|_| speed >= 1.0) {
            let left =
                Duration::try_from_secs_f64(size.saturating_sub(done) as f64 / speed).unwrap_or_default();
            text += &format!(", {}:{:02} left", left.as_secs() / 60, left.as_secs() % 60);
        }
        Some(text)
    }
}

/// Takes an image. Its file is there under its name only when it is whole.
fn download(
    desk: &mut Desk<'_, '_>,
    call: Call,
    image: &str,
    file: &Path,
    force: bool,
) -> Result<Exit, Failure> {
    if file == Path::new("-") {
        let Desk { face, console, .. } = desk;
        face.copy(call, |piece| Ok(console.out.write_all(piece)?))?;
        return Ok(Exit::Good);
    }
    if !force && file.exists() {
        return Err(anyhow!("{}: there is one already; --force takes its place", file.display()).into());
    }
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let named = |error: std::io::Error| Failure::from(anyhow!("{}: {error}", part.display()));
    let mut to = std::fs::File::create(&part).map_err(named)?;
    let (mut pace, mut count) = (Pace::new(image, 0), 0_u64);
    let (face, json, console) = (&desk.face, desk.json, &mut *desk.console);
    let copied = face.copy(call, |piece| {
        to.write_all(piece).map_err(named)?;
        count += u64::try_from(piece.len()).unwrap_or(0);
        match pace.tell(count, None) {
            Some(text) => crate::desk::progress(json, console, &text),
            None => Ok(()),
        }
    });
    desk.progress("")?;
    if let Err(failure) = copied.and_then(|()| to.sync_all().map_err(named)) {
        let _ = std::fs::remove_file(&part);
        return Err(failure);
    }
    std::fs::rename(&part, file).map_err(named)?;
    let told = serde_json::json!({"file": file.to_string_lossy(), "size": count});
    desk.write(&told, |_| format!("{}: {}\n", file.display(), bytes(count)))
}

/// Follows what the appliance tells while it fetches.
fn fetch(desk: &mut Desk<'_, '_>, call: Call) -> Result<Exit, Failure> {
    let (mut pace, mut last) = (None, None);
    let (face, json) = (&desk.face, desk.json);
    let console = &mut *desk.console;
    let followed = face.lines(call, |line| {
        if json {
            writeln!(console.out, "{}", shown::json(&line.to_string()))?;
            console.out.flush()?;
        }
        if line["ok"] != true {
            let why = crate::face::told(&line).unwrap_or_else(|| "it broke off".to_owned());
            return Err(anyhow!(why).into());
        }
        let image = line["result"]["image"].clone();
        let name = image["name"].as_str().unwrap_or("?");
        let pace = pace.get_or_insert_with(|| Pace::new(name, 0));
        if let Some(text) = pace.tell(image["written"].as_u64().unwrap_or(0), image["size"].as_u64()) {
            crate::desk::progress(json, console, &text)?;
        }
        last = Some(image);
        Ok(())
    });
    desk.progress("")?;
    followed?;
    let image = last.ok_or_else(|| Failure::new(Exit::Unreachable, anyhow!("kvmd gave no proper answer")))?;
    if image["written"] != image["size"] {
        return Err(Failure::new(Exit::Unreachable, anyhow!("it broke off")));
    }
    if !desk.json {
        write!(desk.console.out, "{}", arrived(&image))?;
    }
    Ok(Exit::Good)
}

/// What has arrived.
fn arrived(image: &Value) -> String {
    let size = bytes(image["size"].as_u64().unwrap_or(0));
    format!("{}: {size}, SHA-256 {}\n", word(&image["name"]), word(&image["sha256"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_drive_and_what_is_on_its_way_are_told() {
        let told = json!({"enabled": true, "online": true,
            "drive": {"image": {"name": "a.iso"}, "connected": true, "cdrom": true, "rw": false},
            "storage": {"parts": {"": {"size": 4_000_000_000_u64, "free": 1_500_000_000}},
                        "uploading": {"name": "b.iso", "size": 200, "written": 50}}});
        assert_eq!(
            state(&told),
            "drive    a.iso, CD, read-only, lent to the target\nstorage  1.5 GB free of 4.0 GB\nuploading b.iso: 25 % of 200 B\n"
        );
        assert_eq!(state(&json!({"enabled": false})), "there is no drive\n");
    }

    #[test]
    fn an_unfinished_image_says_how_far_it_is() {
        let told = json!({"a.iso": {"complete": true, "size": 1000},
            "dir/b.iso": {"complete": false, "size": 1000, "written": 500}, "c": {"complete": false, "size": 1}});
        assert_eq!(
            images(&told),
            "a.iso      1.0 kB\nc          1 B     incomplete\ndir/b.iso  1.0 kB  incomplete: 50 % of 1.0 kB\n"
        );
        assert_eq!(images(&json!({})), "there are no images\n");
    }
}
