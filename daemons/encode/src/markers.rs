//! The segments of a JPEG file: what stands before the coded picture, and where that ends.
//!
//! Used for two things: to look at a JPEG that a capture device sends before it is passed on, and to take the coded
//! bytes out of the little JPEG of one strip. Neither needs the coded picture looked at.

use crate::Error;

/// Start of image, end of image.
const SOI: [u8; 2] = [0xFF, 0xD8];
pub(crate) const EOI: [u8; 2] = [0xFF, 0xD9];
/// Kinds of segments: start of frame (baseline, extended, progressive), Huffman tables, start of scan.
const SOF: std::ops::RangeInclusive<u8> = 0xC0..=0xC2;
const DHT: u8 = 0xC4;
const SOS: u8 = 0xDA;
/// More segments than any camera writes.
const SEGMENTS: usize = 256;

/// Where things are in a JPEG. All offsets are inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Markers {
    /// Width and height in pixels as the frame header says; height 0 is possible in a file, but refused.
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Offset of the height, two bytes, high one first.
    pub(crate) height_at: usize,
    /// There are Huffman tables before the first scan.
    pub(crate) tables: bool,
    /// The frame is sequential (baseline or extended), for which the standard's example tables are meant.
    pub(crate) sequential: bool,
    /// Offset of the first scan's header: its FF.
    pub(crate) scan: usize,
    /// Offset of the first coded byte.
    pub(crate) coded: usize,
    /// Length of the file with its EOI; the rest is padding.
    pub(crate) end: usize,
}

impl Markers {
    /// Reads the segments up to the first scan and finds the end from behind.
    pub(crate) fn read(data: &[u8]) -> Result<Self, Error> {
        if !data.starts_with(&SOI) {
            return Err(Error::Jpeg("it does not begin like one"));
        }
        let mut at = SOI.len();
        let mut frame = None;
        let mut tables = false;
        for _ in 0..SEGMENTS {
            let (kind, body) = segment(data, at)?;
            let len = word(data, body)?;
            if len < 2 {
                return Err(Error::Jpeg("a segment shorter than its own length"));
            }
            let next = body + usize::from(len);
            match kind {
                kind if SOF.contains(&kind) => {
                    let (precision, height, width) =
                        (byte(data, body + 2)?, word(data, body + 3)?, word(data, body + 5)?);
                    let components = byte(data, body + 7)?;
                    if precision != 8 || !matches!(components, 1 | 3) {
                        return Err(Error::Jpeg("not of 8 bits, grey or in three colours"));
                    }
                    frame = Some((width, height, body + 3, kind != *SOF.end()));
                }
                DHT => tables = true,
                SOS => {
                    let Some((width, height, height_at, sequential)) = frame else {
                        return Err(Error::Jpeg("a scan before the frame's header"));
                    };
                    let end = end(data, next)?;
                    let scan = body - 2;
                    let markers =
                        Self { width, height, height_at, tables, sequential, scan, coded: next, end };
                    return Ok(markers);
                }
                // Application data, quantisation tables, restart interval, comment.
                0xDB..=0xDD | 0xE0..=0xEF | 0xFE => {}
                _ => return Err(Error::Jpeg("of a kind that browsers do not show")),
            }
            at = next;
        }
        Err(Error::Jpeg("too many segments"))
    }
}

/// Kind of the segment at that offset and offset of its length; fill bytes may stand before it.
fn segment(data: &[u8], at: usize) -> Result<(u8, usize), Error> {
    if byte(data, at)? != 0xFF {
        return Err(Error::Jpeg("no marker where one must be"));
    }
    let fill = data[at..].iter().take_while(|byte| **byte == 0xFF).count();
    Ok((byte(data, at + fill)?, at + fill + 1))
}

/// Offset after the last EOI at or after `from`. Capture devices fill their buffers up with zeros or with what was
/// there before, so it need not be the last thing; the coded picture never holds these two bytes.
fn end(data: &[u8], from: usize) -> Result<usize, Error> {
    let coded = data.get(from..).unwrap_or_default();
    let padding = coded.iter().rev().take_while(|byte| **byte == 0).count();
    let filled = &coded[..coded.len() - padding];
    if filled.ends_with(&EOI) {
        return Ok(from + filled.len());
    }
    let found = coded.windows(EOI.len()).position(|two| two == EOI);
    found.map(|at| from + at + EOI.len()).ok_or(Error::Jpeg("cut off"))
}

fn byte(data: &[u8], at: usize) -> Result<u8, Error> {
    data.get(at).copied().ok_or(Error::Jpeg("cut off"))
}

fn word(data: &[u8], at: usize) -> Result<u16, Error> {
    Ok(u16::from_be_bytes([byte(data, at)?, byte(data, at + 1)?]))
}
