//! Types texts through the whole crate and prints what a target would get: for tests that read it with a model of theirs.
//!
//! `paste DIR` takes one job a line from stdin, a JSON array: the name of a keymap in DIR, whether the host's Caps Lock light
//! is on, and the text. For each it prints a JSON object: `reports`, all keyboard reports in hexadecimal, and `untypable`.
//! A text of `null` asks which characters the layout types: `typable`, one string.

use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use hid::link::Recorder;
use hid::{Keymap, Keymaps, Leds, Settings};
use hid_wire::{Device, Report};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).ok_or("which directory?")?;
    let keymaps = Keymaps::open(dir, "en-us");
    for line in io::stdin().lock().lines() {
        let (name, caps, text): (String, bool, Option<String>) = serde_json::from_str(&line?)?;
        let keymap = keymaps.load(&name)?;
        let answer = match text {
            Some(text) => paste(&text, &keymap, caps).await?,
            None => json!({"typable": typable(&keymap)}),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

async fn paste(text: &str, keymap: &Keymap, caps: bool) -> Result<Value, Box<dyn Error>> {
    let (link, host) = Recorder::new();
    let stop = CancellationToken::new();
    let (hid, task) = hid::spawn(Settings::default(), link, stop.clone())?;
    host.set_leds(Leds { caps, ..Leds::default() });
    hid.subscribe().wait_for(|state| state.keyboard.leds.caps == caps).await?;
    let printed = hid.print(text, keymap, Duration::ZERO).await;
    if printed.interrupted {
        return Err("something came between".into());
    }
    stop.cancel();
    task.await?;
    let reports = host.take();
    let keyboard = reports.iter().filter(|report| report.device() == Device::Keyboard);
    let untypable: String = keymap.untypable(text).iter().map(|found| found.character).collect();
    Ok(json!({"reports": keyboard.map(hex).collect::<Vec<_>>(), "untypable": untypable}))
}

fn hex(report: &Report) -> String {
    hex::encode(report.bytes())
}

fn typable(keymap: &Keymap) -> String {
    ('\0'..='\u{ffff}').filter(|c| keymap.typing(*c).is_some()).collect()
}
