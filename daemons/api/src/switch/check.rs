//! What the parameters of the switch may look like (section 4).

use super::store::Color;
use model::check::{Checked, Invalid, float_at_least};

/// The flat number of a port: a whole number is it already, `U.C` names unit 1 to 5 and channel 1 to 4.
pub(super) fn port(raw: &str) -> Checked<u32> {
    let value = float_at_least(raw, 0.0)?;
    let tenths = (value * 10.0).round();
    if value.fract() == 0.0 {
        return Ok(number(value));
    }
    let (unit, channel) = ((tenths / 10.0).floor(), tenths % 10.0);
    Ok((number(unit).clamp(1, 5) - 1) * 4 + number(channel).clamp(1, 4) - 1)
}

/// A number that was checked not to be negative; too large ones mean no port there can be.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and the cast saturates"
)]
fn number(value: f64) -> u32 {
    value as u32
}

/// A name of an EDID.
pub(super) fn edid(raw: &str) -> Checked<String> {
    let expected = "an EDID's id";
    let text = raw.trim().to_ascii_lowercase();
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hex && lengths == [8, 4, 4, 4, 12] { Ok(text) } else { Err(Invalid::new(expected, raw)) }
}

/// The same, or `default`.
pub(super) fn edid_or_default(raw: &str) -> Checked<String> {
    if raw.trim().eq_ignore_ascii_case("default") { Ok("default".to_owned()) } else { edid(raw) }
}

/// 128 or 256 bytes in hexadecimal, blanks anywhere; capital letters come out.
pub(super) fn edid_data(raw: &str) -> Checked<String> {
    let text: String = raw.chars().filter(|c| !c.is_whitespace()).collect();
    let good = raw.len() <= 1024
        && matches!(text.len(), 256 | 512)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if good { Ok(text.to_ascii_uppercase()) } else { Err(Invalid::new("256 or 512 hexadecimal digits", raw)) }
}

/// A name people give; empty for none.
pub(super) fn port_name(raw: &str) -> Checked<String> {
    if raw.chars().count() > 512 {
        return Err(Invalid::new("a name", raw));
    }
    let plain: String = raw.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(text.chars().take(255).collect())
}

/// A name that must be there.
pub(super) fn edid_name(raw: &str) -> Checked<String> {
    port_name(raw).and_then(|name| if name.is_empty() { Err(Invalid::new("a name", raw)) } else { Ok(name) })
}

/// Seconds of a press; 0 for the usual.
pub(super) fn delay(raw: &str) -> Checked<f64> {
    let value = float_at_least(raw, 0.0)?;
    if value <= 10.0 { Ok(value) } else { Err(Invalid::new("0 to 10 seconds", raw)) }
}

/// `RRGGBB:BB:MMMM`, or `default`.
pub(super) fn color(raw: &str, default: Color) -> Checked<Color> {
    let text = raw.trim();
    if text.eq_ignore_ascii_case("default") {
        return Ok(default);
    }
    read_color(text).ok_or_else(|| Invalid::new("RRGGBB:BB:MMMM", raw))
}

fn read_color(text: &str) -> Option<Color> {
    let mut parts = text.split(':');
    let (rgb, brightness, blink) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, digits: usize| {
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| u32::from_str_radix(part, 16).ok()).flatten()
    };
    let (rgb, brightness, blink) = (hex(rgb, 6)?, hex(brightness, 2)?, hex(blink, 4)?);
    let byte = |shift: u32| u8::try_from(rgb >> shift & 0xff).ok();
    parts.next().is_none().then_some(Color {
        red: byte(16)?,
        green: byte(8)?,
        blue: byte(0)?,
        brightness: u8::try_from(brightness).ok()?,
        blink_ms: u16::try_from(blink).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::store::COLORS;
    use proptest::prelude::*;

    #[test]
    fn a_port_is_a_number_or_unit_and_channel() {
        for (raw, flat) in [("0", 0), ("19", 19), (" 3 ", 3), ("1.1", 0), ("2.3", 6), ("0.9", 3), ("9.9", 19)]
        {
            assert_eq!(port(raw), Ok(flat), "{raw}");
        }
        for bad in ["", "abc", "-1", "nan", "1.2.3"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_edid_is_named_by_a_uuid_and_the_default_one_only_where_it_may_be() {
        let id = "0A0B0C0D-0000-4000-8000-0123456789AB";
        assert_eq!(edid(id), Ok(id.to_ascii_lowercase()));
        assert_eq!(edid_or_default("Default"), Ok("default".to_owned()));
        for bad in ["", "default", "0a0b0c0d", "0a0b0c0d-0000-4000-8000-0123456789ag"] {
            assert!(edid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_data_of_an_edid_is_one_or_two_blocks() {
        let block = "0a ".repeat(128);
        assert_eq!(edid_data(&block), Ok("0A".repeat(128)));
        assert!(edid_data(&"0A".repeat(256)).is_ok());
        for bad in [String::new(), "00".to_owned(), "0G".repeat(128), "0A".repeat(129), " ".repeat(2000)] {
            assert!(edid_data(&bad).is_err(), "{}", bad.len());
        }
    }

    #[test]
    fn a_colour_is_three_groups_of_digits() {
        let default = COLORS[0].1;
        let read = Color { red: 0x22, green: 0x8a, blue: 0xe6, brightness: 255, blink_ms: 1000 };
        assert_eq!(color("228AE6:ff:03E8", default), Ok(read));
        assert_eq!(color("DEFAULT", default), Ok(default));
        for bad in ["", "zz", "228AE6", "228AE6:FF", "228AE6:FF:03E8:0", "+28AE6:FF:03E8"] {
            assert!(color(bad, default).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_names_are_tidy(raw in ".{0,40}") {
            let _ = (port(&raw), edid(&raw), edid_data(&raw), color(&raw, COLORS[0].1), delay(&raw));
            if let Ok(name) = port_name(&raw) {
                prop_assert!(name.trim() == name && !name.contains("  ") && !name.contains(char::is_control));
            }
        }
    }
}
