//! Numbers and booleans.

use super::{Checked, Invalid, within};

const RAW_LIMIT: usize = 16;
const COORDINATE_RAW_LIMIT: usize = 8;

/// `1 true yes` or `0 false no` in any case.
pub fn boolean(raw: &str) -> Checked<bool> {
    let expected = "a bool (1, true, yes, 0, false, no)";
    match within(raw, RAW_LIMIT, expected)?.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Ok(true),
        "0" | "false" | "no" => Ok(false),
        _ => Err(Invalid::new(expected, raw)),
    }
}

/// A decimal number with an optional sign, or hexadecimal digits behind `0x`.
pub fn int(raw: &str) -> Checked<i64> {
    int_limited(raw, RAW_LIMIT, "a whole number")
}

fn int_limited(raw: &str, limit: usize, expected: &'static str) -> Checked<i64> {
    let text = within(raw, limit, expected)?.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |hex| (hex, 16));
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return Err(Invalid::new(expected, raw));
    }
    let value = i64::from_str_radix(digits, radix).map_err(|_| Invalid::new(expected, raw))?;
    Ok(if negative { -value } else { value })
}

/// [`int`], not below `min`.
pub fn int_at_least(raw: &str, min: i64) -> Checked<i64> {
    int_between(raw, min, i64::MAX)
}

/// [`int`], inside `min..=max`.
pub fn int_between(raw: &str, min: i64, max: i64) -> Checked<i64> {
    let value = int(raw)?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(Invalid::new("a number in its range", raw)) }
}

/// A finite decimal number, with or without an exponent.
pub fn float(raw: &str) -> Checked<f64> {
    let expected = "a finite number";
    let text = within(raw, RAW_LIMIT, expected)?.trim();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(Invalid::new(expected, raw)),
    }
}

/// [`float`], not below `min`.
pub fn float_at_least(raw: &str, min: f64) -> Checked<f64> {
    let value = float(raw)?;
    if value >= min { Ok(value) } else { Err(Invalid::new("a number in its range", raw)) }
}

/// The delay between two strokes of typed text: 0 to 5 seconds.
pub fn print_delay(raw: &str) -> Checked<f64> {
    let value = float_at_least(raw, 0.0)?;
    if value <= 5.0 { Ok(value) } else { Err(Invalid::new("a delay of 0 to 5 seconds", raw)) }
}

/// How far back to start reading the log, in seconds.
pub fn log_seek(raw: &str) -> Checked<u64> {
    int_at_least(raw, 0).map(i64::unsigned_abs)
}

/// A whole number of 1 to 100.
pub fn stream_quality(raw: &str) -> Checked<u32> {
    small(raw, 1, 100)
}

/// Frames a second, 0 (no limit) to 120.
pub fn stream_fps(raw: &str) -> Checked<u32> {
    small(raw, 0, 120)
}

/// A border of the region to read text from, in pixels; negative stands for the border of the picture.
pub fn ocr_edge(raw: &str) -> Checked<i64> {
    int(raw)
}

pub(super) fn small(raw: &str, min: u32, max: u32) -> Checked<u32> {
    let value = int_between(raw, i64::from(min), i64::from(max))?;
    u32::try_from(value).map_err(|_| Invalid::new("a number in its range", raw))
}

/// A pointer coordinate: a whole number, clamped to the range of the report rather than refused.
pub fn mouse_coordinate(raw: &str) -> Checked<i16> {
    let value = int_limited(raw, COORDINATE_RAW_LIMIT, "a mouse coordinate")?;
    Ok(clamp_coordinate(value))
}

/// A pointer or wheel step: a whole number, clamped to -127..=127 rather than refused.
pub fn mouse_delta(raw: &str) -> Checked<i8> {
    let value = int_limited(raw, COORDINATE_RAW_LIMIT, "a mouse delta")?;
    Ok(clamp_delta(value))
}

/// The nearest coordinate the absolute pointer can be told.
#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of the type one word before")]
#[must_use]
pub fn clamp_coordinate(value: i64) -> i16 {
    value.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

/// The nearest step the relative pointer or the wheel can be told; -128 does not exist there.
#[expect(clippy::cast_possible_truncation, reason = "clamped to the range of the type one word before")]
#[must_use]
pub fn clamp_delta(value: i64) -> i8 {
    value.clamp(-127, 127) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn booleans() {
        for raw in ["1", "true", "yes", "YES", " True ", "tRuE"] {
            assert_eq!(boolean(raw), Ok(true), "{raw:?}");
        }
        for raw in ["0", "false", "no", "NO", "\tfalse"] {
            assert_eq!(boolean(raw), Ok(false), "{raw:?}");
        }
        for raw in ["", "on", "off", "y", "n", "t", "f", "2", "truee", "                1"] {
            assert!(boolean(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn whole_numbers() {
        for (raw, value) in [
            ("0", 0),
            ("-5", -5),
            ("+7", 7),
            (" 12 ", 12),
            ("0x1F", 31),
            ("0X10", 16),
            ("-0x10", -16),
            ("007", 7),
        ] {
            assert_eq!(int(raw), Ok(value), "{raw:?}");
        }
        for raw in ["", "-", "+", "0x", "1.0", "1e3", "abc", "--1", "+-1", "0x-1", "1 2", "12345678901234567"]
        {
            assert!(int(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn floats_reject_what_is_not_a_number() {
        assert_eq!(float("1.5"), Ok(1.5));
        assert_eq!(float(" -2e1 "), Ok(-20.0));
        for raw in ["nan", "inf", "-inf", "infinity", "", "1,5", "abc", "1e999"] {
            assert!(float(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(stream_quality("1"), Ok(1));
        assert_eq!(stream_quality("100"), Ok(100));
        assert!(
            stream_quality("0").is_err() && stream_quality("101").is_err() && stream_quality("").is_err()
        );
        assert_eq!(stream_fps("0"), Ok(0));
        assert_eq!(stream_fps("120"), Ok(120));
        assert!(stream_fps("121").is_err() && stream_fps("-1").is_err());
        assert_eq!(log_seek("0"), Ok(0));
        assert!(log_seek("-1").is_err());
        assert_eq!(print_delay("5"), Ok(5.0));
        assert!(print_delay("5.1").is_err() && print_delay("-0.1").is_err());
    }

    #[test]
    fn coordinates_are_clamped_but_not_forever() {
        assert_eq!(mouse_coordinate("40000"), Ok(32767));
        assert_eq!(mouse_coordinate("-40000"), Ok(-32768));
        assert_eq!(mouse_delta("-128"), Ok(-127));
        assert_eq!(mouse_delta("200"), Ok(127));
        assert!(mouse_coordinate("123456789").is_err(), "nine characters are over the raw limit");
        assert!(mouse_coordinate("1.5").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(raw in ".{0,40}") {
            let _ = (boolean(&raw), int(&raw), float(&raw), mouse_coordinate(&raw), mouse_delta(&raw));
        }

        #[test]
        fn every_short_decimal_is_read_back(value in -99_999_999_999_999_i64..=999_999_999_999_999) {
            prop_assert_eq!(int(&value.to_string()), Ok(value));
        }

        #[test]
        fn every_delta_fits_the_report(value in -999_999_i64..=999_999) {
            let delta = mouse_delta(&value.to_string()).unwrap();
            prop_assert!(delta != i8::MIN);
        }
    }
}
