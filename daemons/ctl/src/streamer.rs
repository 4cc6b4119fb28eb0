//! `kvmctl streamer`: the target's screen.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::Value;

use crate::desk::Desk;
use crate::face::Call;
use crate::shown::{self, tame, word};
use crate::{Exit, Failure};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Whether there is a picture, and how it is made.
    State,
    /// How pictures are made.
    Params {
        /// 1 to 100.
        #[arg(long)]
        quality: Option<u16>,
        /// Pictures a second, at most; 0 = as many as there are.
        #[arg(long)]
        fps: Option<u16>,
        /// Such as 1920x1080.
        #[arg(long)]
        resolution: Option<String>,
        /// Of H.264, in kbit/s.
        #[arg(long, value_name = "KBPS")]
        h264_bitrate: Option<u32>,
        /// Pictures from one whole one of H.264 to the next.
        #[arg(long, value_name = "PICTURES")]
        h264_gop: Option<u32>,
    },
    /// Starts the streamer anew.
    Reset,
    /// Takes a picture (JPEG).
    Snapshot(Snapshot),
    /// Forgets the picture that was kept.
    Forget,
    /// Reads the text on the screen.
    Ocr(Ocr),
    /// The languages that text can be read in.
    Languages,
    /// What the WebSocket of pictures (`/api/media/ws`) offers.
    Media,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Shot {
    /// The kept picture instead of a new one.
    #[arg(long)]
    load: bool,
    /// Also when there is no signal.
    #[arg(long)]
    allow_offline: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Snapshot {
    /// Where it is written; `-` is standard output.
    file: PathBuf,
    #[command(flatten)]
    shot: Shot,
    /// Keeps it on the appliance, too.
    #[arg(long)]
    save: bool,
    /// Makes it smaller than this.
    #[arg(long, value_name = "PIXELS")]
    width: Option<u16>,
    /// Makes it smaller than this.
    #[arg(long, value_name = "PIXELS")]
    height: Option<u16>,
    /// Of the smaller one: 1 to 100.
    #[arg(long)]
    quality: Option<u16>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ocr {
    #[command(flatten)]
    shot: Shot,
    /// The languages, with commas between; `kvmctl streamer languages` names them.
    #[arg(short, long)]
    langs: Option<String>,
    /// Only a part of the screen, in pixels.
    #[arg(long, num_args = 4, value_names = ["LEFT", "TOP", "RIGHT", "BOTTOM"])]
    area: Option<Vec<u32>>,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::State => desk.show(Call::get("/streamer"), shown::tree),
        Verb::Params { quality, fps, resolution, h264_bitrate, h264_gop } => {
            let call = Call::post("/streamer/set_params")
                .with_some("quality", quality)
                .with_some("desired_fps", fps)
                .with_some("resolution", resolution)
                .with_some("h264_bitrate", h264_bitrate)
                .with_some("h264_gop", h264_gop);
            desk.order_with(
                call,
                "nothing to set: --quality, --fps, --resolution, --h264-bitrate or --h264-gop",
            )
        }
        Verb::Reset => desk.order(Call::post("/streamer/reset")),
        Verb::Snapshot(snapshot) => take(desk, &snapshot),
        Verb::Forget => desk.order(Call::delete("/streamer/snapshot")),
        Verb::Ocr(ocr) => read(desk, &ocr),
        Verb::Languages => desk.show(Call::get("/streamer/ocr"), languages),
        Verb::Media => desk.show(Call::get("/media"), shown::tree),
    }
}

fn picture(shot: &Shot) -> Call {
    let call = Call::get("/streamer/snapshot").with_flag("load", shot.load);
    call.with_flag("allow_offline", shot.allow_offline)
}

fn take(desk: &mut Desk<'_, '_>, snapshot: &Snapshot) -> Result<Exit, Failure> {
    let Snapshot { file, shot, save, width, height, quality } = snapshot;
    let smaller = width.is_some() || height.is_some() || quality.is_some();
    let call = picture(shot)
        .with_flag("save", *save)
        .with_flag("preview", smaller)
        .with_some("preview_max_width", *width)
        .with_some("preview_max_height", *height)
        .with_some("preview_quality", *quality);
    let mut bytes = Vec::new();
    desk.face.copy(call, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    if file == Path::new("-") {
        desk.console.out.write_all(&bytes)?;
    } else {
        let named = |error: std::io::Error| anyhow!("{}: {error}", file.display());
        std::fs::File::create(file).and_then(|mut file| file.write_all(&bytes)).map_err(named)?;
    }
    Ok(Exit::Good)
}

fn read(desk: &mut Desk<'_, '_>, ocr: &Ocr) -> Result<Exit, Failure> {
    let mut call = picture(&ocr.shot).with("ocr", 1).with_some("ocr_langs", ocr.langs.as_ref());
    let edges = ["ocr_left", "ocr_top", "ocr_right", "ocr_bottom"];
    for (name, edge) in edges.into_iter().zip(ocr.area.iter().flatten()) {
        call = call.with(name, edge);
    }
    let mut bytes = Vec::new();
    desk.face.copy(call, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let human = |_: &Value| text.lines().map(|line| tame(line) + "\n").collect();
    desk.write(&serde_json::json!({ "text": text }), human)
}

fn languages(told: &Value) -> String {
    let told = &told["ocr"];
    if told["enabled"] != true {
        return "text cannot be read here: tesseract is not installed\n".to_owned();
    }
    let default: Vec<&Value> = told["langs"]["default"].as_array().into_iter().flatten().collect();
    let line = |name: &Value| {
        format!("{}{}\n", word(name), if default.contains(&name) { "  (default)" } else { "" })
    };
    told["langs"]["available"].as_array().into_iter().flatten().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn languages_are_told_with_what_is_taken_by_itself() {
        let told =
            json!({"ocr": {"enabled": true, "langs": {"default": ["eng"], "available": ["deu", "eng"]}}});
        assert_eq!(languages(&told), "deu\neng  (default)\n");
        assert!(languages(&json!({"ocr": {"enabled": false}})).contains("tesseract"));
    }
}
