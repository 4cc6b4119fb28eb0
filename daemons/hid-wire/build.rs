//! Turns `keys.csv` and `compose.txt` into the tables that `src/key.rs` and `src/keymap/compose.rs` include, so that they
//! can never drift apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

/// One row of `keys.csv`, as text where it is only copied.
struct Row {
    name: String,
    usage: u8,
    modifier: Option<u8>,
    evdev: u16,
    set1: u16,
    unshifted: Vec<u32>,
    shifted: Vec<u32>,
}

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=keys.csv");
    let rows = fs::read_to_string("keys.csv")?
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty())
        .map(|line| parse(line).ok_or_else(|| io::Error::other(format!("keys.csv: bad row: {line}"))))
        .collect::<io::Result<Vec<_>>>()?;
    let code = generate(&rows).map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("keys.rs"), code)?;
    println!("cargo::rerun-if-changed=compose.txt");
    fs::write(Path::new(&out).join("compose.rs"), compose(&fs::read_to_string("compose.txt")?)?)
}

/// A line is a code point, a dead key's keysym and a code point, in hexadecimal; `#` starts a comment.
fn compose(text: &str) -> io::Result<String> {
    let pair = |line: &str| {
        let numbers: Result<Vec<_>, _> =
            line.split_whitespace().map(|word| u32::from_str_radix(word, 16)).collect();
        let [result, dead, base] = *numbers.ok()?.as_slice() else { return None };
        Some((char::from_u32(result)?, dead, char::from_u32(base)?))
    };
    let lines = text.lines().filter_map(|line| line.split('#').next()).filter(|line| !line.trim().is_empty());
    let pairs: Vec<_> = lines
        .map(|line| pair(line).ok_or_else(|| io::Error::other(format!("compose.txt: bad line: {line}"))))
        .collect::<io::Result<_>>()?;
    Ok(format!("static COMPOSE: [(char, u32, char); {}] = {pairs:?};\n", pairs.len()))
}

fn parse(line: &str) -> Option<Row> {
    // Only the note, the eleventh column, may be quoted or hold commas.
    let columns: Vec<&str> = line.splitn(11, ',').collect();
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let [name, usage, modifier, _, evdev, set1, _, unshifted, shifted, ..] = columns.as_slice() else {
        return None;
    };
    let modifier = match *modifier {
        "" => None,
        text => Some(u8::try_from(hex(text)?).ok()?),
    };
    // `name=0x61 other=0x62`: the value alone matters.
    let keysyms = |text: &str| -> Option<Vec<u32>> {
        text.split_whitespace().map(|item| hex(item.split_once('=')?.1)).collect()
    };
    Some(Row {
        name: (*name).to_owned(),
        usage: u8::try_from(hex(usage)?).ok()?,
        modifier,
        evdev: evdev.parse().ok()?,
        set1: u16::try_from(hex(set1)?).ok()?,
        unshifted: keysyms(unshifted)?,
        shifted: keysyms(shifted)?,
    })
}

fn generate(rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    writeln!(code, "static TABLE: [Row; {}] = [", rows.len())?;
    for row in rows {
        let Row { name, usage, modifier, evdev, set1, unshifted, shifted } = row;
        writeln!(
            code,
            "    Row {{ name: {name:?}, usage: {usage:#04x}, modifier: {modifier:?}, evdev: {evdev}, \
             set1: {set1:#x}, unshifted: &{unshifted:?}, shifted: &{shifted:?} }},"
        )?;
    }
    writeln!(code, "];\n")?;

    let index = |key: fn(&Row) -> u16| -> BTreeMap<u16, usize> {
        rows.iter().enumerate().map(|(at, row)| (key(row), at)).collect()
    };
    write_index(&mut code, "BY_EVDEV", &index(|row| row.evdev))?;
    write_index(&mut code, "BY_SET1", &index(|row| row.set1))?;
    write_index(&mut code, "BY_USAGE", &index(|row| row.usage.into()))?;
    let names: BTreeMap<&str, usize> = rows.iter().enumerate().map(|(at, row)| (&*row.name, at)).collect();
    writeln!(code, "static BY_NAME: [(&str, u8); {}] = {:?};\n", names.len(), Vec::from_iter(names))?;

    writeln!(code, "#[rustfmt::skip]\nimpl Key {{")?;
    for (at, row) in rows.iter().enumerate() {
        writeln!(code, "    /// `{}`, usage {:#04x}.", row.name, row.usage)?;
        writeln!(code, "    pub const {}: Self = Self({at});", constant(&row.name))?;
    }
    writeln!(code, "}}")?;
    Ok(code)
}

fn write_index(code: &mut String, name: &str, map: &BTreeMap<u16, usize>) -> std::fmt::Result {
    let pairs: Vec<(u16, usize)> = map.iter().map(|(code, at)| (*code, *at)).collect();
    writeln!(code, "static {name}: [(u16, u8); {}] = {pairs:?};\n", pairs.len())
}

/// `AudioVolumeUp` to `AUDIO_VOLUME_UP`, `Digit1` to `DIGIT_1`, `F10` to `F10`.
fn constant(name: &str) -> String {
    let mut constant = String::new();
    let mut before = ' ';
    for c in name.chars() {
        let word_starts = c.is_uppercase() || (c.is_ascii_digit() && before.is_lowercase());
        if word_starts && before != ' ' {
            constant.push('_');
        }
        constant.extend(c.to_uppercase());
        before = c;
    }
    constant
}
