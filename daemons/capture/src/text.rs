//! Words on a picture: a font of 5x7 dots, drawn larger, onto a luma plane.
//!
//! For generated pictures only. Capital letters, digits and a little punctuation; small letters are drawn as capitals,
//! anything else as an empty box.

/// Dots of a character across and down, without the gap.
const DOTS: (usize, usize) = (5, 7);
/// Dots from one character to the next.
const ADVANCE: usize = DOTS.0 + 1;

/// Rows from the top; the leftmost dot is bit 4.
const BOX: [u8; 7] = [0x1f, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1f];

fn glyph(character: char) -> [u8; 7] {
    match character.to_ascii_uppercase() {
        ' ' => [0; 7],
        'A' => [0x0e, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'B' => [0x1e, 0x11, 0x11, 0x1e, 0x11, 0x11, 0x1e],
        'C' => [0x0e, 0x11, 0x10, 0x10, 0x10, 0x11, 0x0e],
        'D' => [0x1e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x1e],
        'E' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x1f],
        'F' => [0x1f, 0x10, 0x10, 0x1e, 0x10, 0x10, 0x10],
        'G' => [0x0e, 0x11, 0x10, 0x17, 0x11, 0x11, 0x0f],
        'H' => [0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11],
        'I' => [0x0e, 0x04, 0x04, 0x04, 0x04, 0x04, 0x0e],
        'J' => [0x07, 0x02, 0x02, 0x02, 0x02, 0x12, 0x0c],
        'K' => [0x11, 0x12, 0x14, 0x18, 0x14, 0x12, 0x11],
        'L' => [0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f],
        'M' => [0x11, 0x1b, 0x15, 0x15, 0x11, 0x11, 0x11],
        'N' => [0x11, 0x19, 0x19, 0x15, 0x13, 0x13, 0x11],
        'O' => [0x0e, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'P' => [0x1e, 0x11, 0x11, 0x1e, 0x10, 0x10, 0x10],
        'Q' => [0x0e, 0x11, 0x11, 0x11, 0x15, 0x12, 0x0d],
        'R' => [0x1e, 0x11, 0x11, 0x1e, 0x14, 0x12, 0x11],
        'S' => [0x0f, 0x10, 0x10, 0x0e, 0x01, 0x01, 0x1e],
        'T' => [0x1f, 0x04, 0x04, 0x04, 0x04, 0x04, 0x04],
        'U' => [0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x0e],
        'V' => [0x11, 0x11, 0x11, 0x11, 0x0a, 0x0a, 0x04],
        'W' => [0x11, 0x11, 0x11, 0x15, 0x15, 0x1b, 0x11],
        'X' => [0x11, 0x11, 0x0a, 0x04, 0x0a, 0x11, 0x11],
        'Y' => [0x11, 0x11, 0x0a, 0x04, 0x04, 0x04, 0x04],
        'Z' => [0x1f, 0x01, 0x02, 0x04, 0x08, 0x10, 0x1f],
        '0' => [0x0e, 0x11, 0x13, 0x15, 0x19, 0x11, 0x0e],
        '1' => [0x04, 0x0c, 0x04, 0x04, 0x04, 0x04, 0x0e],
        '2' => [0x0e, 0x11, 0x01, 0x06, 0x08, 0x10, 0x1f],
        '3' => [0x1e, 0x01, 0x01, 0x0e, 0x01, 0x01, 0x1e],
        '4' => [0x12, 0x12, 0x12, 0x1f, 0x02, 0x02, 0x02],
        '5' => [0x1f, 0x10, 0x1e, 0x01, 0x01, 0x11, 0x0e],
        '6' => [0x0e, 0x10, 0x10, 0x1e, 0x11, 0x11, 0x0e],
        '7' => [0x1f, 0x01, 0x02, 0x02, 0x04, 0x04, 0x04],
        '8' => [0x0e, 0x11, 0x11, 0x0e, 0x11, 0x11, 0x0e],
        '9' => [0x0e, 0x11, 0x11, 0x0f, 0x01, 0x01, 0x0e],
        '.' => [0, 0, 0, 0, 0, 0x0c, 0x0c],
        ',' => [0, 0, 0, 0, 0x0c, 0x04, 0x08],
        ':' => [0, 0x0c, 0x0c, 0, 0x0c, 0x0c, 0],
        '-' => [0, 0, 0, 0x0e, 0, 0, 0],
        '/' => [0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x10],
        '\'' => [0x04, 0x04, 0x08, 0, 0, 0, 0],
        _ => BOX,
    }
}

/// Width of a line of text in pixels when a dot is `scale` pixels.
#[must_use]
pub fn width(text: &str, scale: usize) -> usize {
    (text.chars().count() * ADVANCE).saturating_sub(1) * scale
}

/// Height of a line of text in pixels when a dot is `scale` pixels.
#[must_use]
pub fn height(scale: usize) -> usize {
    DOTS.1 * scale
}

/// Draws a line of text with its top left corner at `at` (pixels from the left and from the top), each dot `scale`
/// pixels wide, in the brightness `luma`. What lies outside the plane is cut off.
pub fn draw(plane: &mut [u8], stride: usize, at: (usize, usize), scale: usize, luma: u8, text: &str) {
    for (index, character) in text.chars().enumerate() {
        let left = at.0 + index * ADVANCE * scale;
        for (row, bits) in glyph(character).into_iter().enumerate() {
            for column in (0..DOTS.0).filter(|column| bits >> (DOTS.0 - 1 - column) & 1 == 1) {
                fill(plane, stride, (left + column * scale, at.1 + row * scale), (scale, scale), luma);
            }
        }
    }
}

/// Fills a rectangle, cut off at the plane's edges.
pub(crate) fn fill(plane: &mut [u8], stride: usize, at: (usize, usize), size: (usize, usize), value: u8) {
    for line in plane.chunks_exact_mut(stride.max(1)).skip(at.1).take(size.1) {
        let end = (at.0 + size.0).min(line.len());
        if let Some(dots) = line.get_mut(at.0..end) {
            dots.fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_two_characters_look_alike() {
        let known: Vec<char> = ('A'..='Z').chain('0'..='9').chain(" .,:-/'".chars()).collect();
        let glyphs: HashSet<[u8; 7]> = known.iter().map(|character| glyph(*character)).chain([BOX]).collect();
        assert_eq!(glyphs.len(), known.len() + 1);
        assert!(glyphs.iter().flatten().all(|row| *row < 32));
        assert_eq!(glyph('a'), glyph('A'));
    }

    #[test]
    fn a_t_is_drawn_where_it_was_asked_for() {
        let mut plane = vec![0; 8 * 10];
        draw(&mut plane, 8, (2, 1), 1, 9, "T");
        let rows: Vec<_> = plane.chunks(8).map(|row| row.iter().filter(|dot| **dot == 9).count()).collect();
        assert_eq!(rows, [0, 5, 1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(plane[8 + 2..8 + 7], [9; 5]);
        assert_eq!((width("TT", 3), height(3)), (33, 21));
    }

    proptest! {
        #[test]
        fn any_text_anywhere_stays_inside(
            text in ".{0,9}", at in (0_usize..90, 0_usize..90), scale in 0_usize..20, stride in 0_usize..70,
        ) {
            let mut plane = vec![0; 60 * 40];
            draw(&mut plane, stride, at, scale, 255, &text);
        }
    }
}
