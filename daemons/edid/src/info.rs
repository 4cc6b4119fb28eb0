//! What people look for in an EDID.

use crate::BLOCK;

/// A detailed timing or a text: 18 bytes, four of them from here on.
const DESCRIPTORS: usize = 54;
const DESCRIPTOR: usize = 18;
/// Kinds of texts.
const SERIAL: u8 = 0xff;
const NAME: u8 = 0xfc;
/// First byte of a CTA-861 extension, and its flag for sound.
const CTA: u8 = 0x02;
const BASIC_AUDIO: u8 = 0x40;
/// Kind of a CTA-861 data block that describes sound.
const AUDIO_BLOCK: u8 = 1;

/// What people look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Three letters, as registered; `@` stands where a number is no letter.
    pub maker: String,
    /// Number of the product.
    pub product: u16,
    /// Serial number, 0 when there is none.
    pub serial: u32,
    /// Name, where it has one.
    pub name: Option<String>,
    /// Serial number as text, where it has one.
    pub serial_text: Option<String>,
    /// It takes sound.
    pub audio: bool,
    /// The mode it wants, where it says so.
    pub preferred: Option<Mode>,
}

/// A detailed timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Pixels across.
    pub width: u32,
    /// Pixels down; of one field when interlaced.
    pub height: u32,
    /// Pictures a second, in thousandths.
    pub millihertz: u32,
    /// Every second line a picture.
    pub interlaced: bool,
}

/// Reads a sound EDID; whatever its free bytes are, there is an answer.
pub(crate) fn read(bytes: &[u8]) -> Info {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let maker = u16::from(byte(8)) << 8 | u16::from(byte(9));
    let letter = |shift: u16| char::from(b'@' + u8::try_from(maker >> shift & 0x1f).unwrap_or(0));
    let descriptors: Vec<_> =
        bytes.get(DESCRIPTORS..126).unwrap_or_default().chunks_exact(DESCRIPTOR).collect();
    Info {
        maker: [letter(10), letter(5), letter(0)].iter().collect(),
        product: u16::from_le_bytes([byte(10), byte(11)]),
        serial: u32::from_le_bytes([byte(12), byte(13), byte(14), byte(15)]),
        name: descriptors.iter().find_map(|bytes| text(bytes, NAME)),
        serial_text: descriptors.iter().find_map(|bytes| text(bytes, SERIAL)),
        audio: bytes.chunks_exact(BLOCK).skip(1).any(has_audio),
        preferred: descriptors.first().and_then(|bytes| mode(bytes)),
    }
}

fn text(descriptor: &[u8], kind: u8) -> Option<String> {
    let rest = descriptor.strip_prefix(&[0, 0, 0, kind, 0])?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let letters = rest.get(..end)?.iter().map(|byte| char::from(*byte));
    let text: String = letters.filter(|letter| matches!(letter, ' '..='~')).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn mode(descriptor: &[u8]) -> Option<Mode> {
    let byte = |at: usize| u32::from(descriptor.get(at).copied().unwrap_or(0));
    let clock = u64::from(byte(0) | byte(1) << 8) * 10_000;
    let (width, across) = (byte(2) | (byte(4) & 0xf0) << 4, byte(3) | (byte(4) & 0x0f) << 8);
    let (height, down) = (byte(5) | (byte(7) & 0xf0) << 4, byte(6) | (byte(7) & 0x0f) << 8);
    let pixels = u64::from(width + across) * u64::from(height + down);
    let millihertz = (clock * 1000).checked_div(pixels).and_then(|rate| u32::try_from(rate).ok())?;
    let sound = clock > 0 && width > 0 && height > 0;
    sound.then_some(Mode { width, height, millihertz, interlaced: byte(17) & 0x80 != 0 })
}

fn has_audio(block: &[u8]) -> bool {
    let [CTA, _, end, flags, blocks @ ..] = block else { return false };
    let len = usize::from(*end).saturating_sub(4);
    let mut blocks = blocks.get(..len).unwrap_or_default();
    if flags & BASIC_AUDIO != 0 {
        return true;
    }
    while let Some((head, rest)) = blocks.split_first() {
        if head >> 5 == AUDIO_BLOCK {
            return true;
        }
        blocks = rest.get(usize::from(head & 0x1f)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(audio: bool) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[8..18].copy_from_slice(&[0x52, 0x62, 0x88, 0x88, 1, 2, 3, 4, 1, 30]);
        // 1920x1080 at 60 Hz.
        bytes[54..72].copy_from_slice(&[2, 58, 128, 24, 113, 56, 45, 64, 88, 44, 69, 0, 0, 0, 0, 0, 0, 30]);
        bytes[72..90].copy_from_slice(b"\0\0\0\xfc\0EXAMPLE 24\n  ");
        bytes[90..108].copy_from_slice(b"\0\0\0\xff\0CAFEBABE 1234");
        bytes[128..132].copy_from_slice(&[2, 3, 12, 0]);
        // Two video codes, then sound or something else.
        bytes[132..140].copy_from_slice(&[0x42, 1, 2, if audio { 0x23 } else { 0x63 }, 9, 7, 7, 0]);
        bytes
    }

    #[test]
    fn maker_product_names_and_mode_are_read() {
        let info = read(&bytes(true));
        assert_eq!((info.maker.as_str(), info.product, info.serial), ("TSB", 0x8888, 0x0403_0201));
        assert_eq!(info.name.as_deref(), Some("EXAMPLE 24"));
        assert_eq!(info.serial_text.as_deref(), Some("CAFEBABE 1234"));
        let mode = Mode { width: 1920, height: 1080, millihertz: 60_000, interlaced: false };
        assert_eq!(info.preferred, Some(mode));
    }

    #[test]
    fn sound_is_announced_by_the_flag_or_by_a_block() {
        assert!(read(&bytes(true)).audio && !read(&bytes(false)).audio);
        let mut flagged = bytes(false);
        flagged[131] = 0x40;
        assert!(read(&flagged).audio);
        assert!(!read(&bytes(true)[..128]).audio, "there is no extension");
    }

    #[test]
    fn an_empty_one_has_no_names_and_no_mode() {
        let info = read(&[0; 128]);
        assert_eq!(
            (info.maker.as_str(), info.name, info.serial_text, info.preferred),
            ("@@@", None, None, None)
        );
    }
}
