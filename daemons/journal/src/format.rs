//! A record as a line of text: `[YYYY-MM-DD HH:MM:SS unit.service] --- message`.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};

use crate::Record;

/// The line of a record in local time, without a line end.
#[must_use]
pub fn format_line(record: &Record) -> String {
    format_line_in(record, &TimeZone::system())
}

/// The line of a record in a given time zone.
#[must_use]
pub fn format_line_in(record: &Record, zone: &TimeZone) -> String {
    let time = i64::try_from(record.time_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
    let time = time.unwrap_or(Timestamp::MAX).to_zoned(zone.clone());
    let mut line = String::with_capacity(record.message.len() + 64);
    let _ = write!(line, "[{} {}] --- {}", time.strftime("%Y-%m-%d %H:%M:%S"), record.unit, record.message);
    line
}

/// Makes any bytes one line of text of at most `max_bytes`: line ends, control characters and the invisible ones that
/// reorder text become visible escapes, what is not UTF-8 becomes `U+FFFD`, and what is too long ends in `…`.
#[must_use]
pub fn one_line(bytes: &[u8], max_bytes: usize) -> String {
    const CUT: &str = "…";
    // Nothing shrinks below a third: a broken byte becomes three. So this much input is always enough.
    let needed = &bytes[..bytes.len().min(max_bytes.saturating_add(4))];
    let text = String::from_utf8_lossy(needed);
    let text = if needed.len() == bytes.len() { text.trim_end_matches(['\r', '\n']) } else { &text };
    let mut line = String::with_capacity(text.len().min(max_bytes));
    let mut piece = String::new();
    for c in text.chars() {
        piece.clear();
        match c {
            '\t' => piece.push(' '),
            '\n' => piece.push_str("\\n"),
            '\r' => piece.push_str("\\r"),
            c if c.is_control() || reorders(c) => {
                let _ = write!(piece, "\\u{{{:x}}}", u32::from(c));
            }
            c => piece.push(c),
        }
        if line.len() + piece.len() > max_bytes {
            return cut(line, max_bytes, CUT);
        }
        line.push_str(&piece);
    }
    if needed.len() < bytes.len() { cut(line, max_bytes, CUT) } else { line }
}

fn cut(mut line: String, max_bytes: usize, mark: &str) -> String {
    if mark.len() > max_bytes {
        return String::new();
    }
    while line.len() + mark.len() > max_bytes {
        line.pop();
    }
    line.push_str(mark);
    line
}

/// Line and paragraph separators, and marks that change the direction of text.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(time_us: u64, message: &str) -> Record {
        Record { time_us, unit: "kvmd.service".into(), message: message.into() }
    }

    #[test]
    fn a_line_is_time_unit_and_message_in_local_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        let line = format_line_in(&record(1_719_780_517_999_999, "aiohttp.access  INFO --- x"), &zone);
        assert_eq!(line, "[2024-07-01 04:48:37 kvmd.service] --- aiohttp.access  INFO --- x");
    }

    #[test]
    fn no_time_is_too_late() {
        let line = format_line_in(&record(u64::MAX, "x"), &TimeZone::UTC);
        assert!(line.starts_with("[9999-"), "{line}");
    }

    #[test]
    fn what_would_break_or_fake_a_line_is_made_visible() {
        assert_eq!(one_line(b"one\ntwo\r\n[2024] x\n", 100), "one\\ntwo\\r\\n[2024] x");
        assert_eq!(one_line(b"\x1b[31mred\x00\x7f\t.", 100), "\\u{1b}[31mred\\u{0}\\u{7f} .");
        assert_eq!(one_line("a\u{202e}b\u{2028}c\u{85}".as_bytes(), 100), "a\\u{202e}b\\u{2028}c\\u{85}");
        assert_eq!(one_line(b"\xff\xfeok", 100), "\u{fffd}\u{fffd}ok");
        assert_eq!(one_line("grüße — 日本".as_bytes(), 100), "grüße — 日本");
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert_eq!(one_line(b"0123456789", 10), "0123456789");
        assert_eq!(one_line(b"0123456789a", 10), "0123456…");
        assert_eq!(one_line("ääääää".as_bytes(), 8), "ää…");
        assert_eq!(one_line(b"abc", 0), "");
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_bounded_line(bytes in prop::collection::vec(any::<u8>(), 0..200), max in 0_usize..120) {
            let line = one_line(&bytes, max);
            prop_assert!(line.len() <= max);
            prop_assert!(!line.chars().any(|c| c.is_control() || reorders(c)));
        }

        #[test]
        fn plain_text_that_fits_is_left_alone(text in "[ -~äß漢]{0,60}") {
            prop_assert_eq!(one_line(text.as_bytes(), 400), text);
        }

        #[test]
        fn every_record_has_a_line(time_us in any::<u64>(), message in "[ -~]{0,40}") {
            let line = format_line_in(&record(time_us, &message), &TimeZone::UTC);
            let tail = format!(" kvmd.service] --- {message}");
            prop_assert!(line.ends_with(&tail), "{}", line);
        }
    }
}
