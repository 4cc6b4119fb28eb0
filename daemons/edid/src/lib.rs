//! Monitor descriptions (VESA E-EDID): read, check, write.
//!
//! An [`Edid`] is 1 to 4 blocks of 128 bytes whose header, checksums and number of extensions are right, so whoever has
//! one may hand it to a device. It is written in hexadecimal, in files as in the API (PiKVM's `tc358743-edid.hex`):
//! blanks and line ends anywhere, either case.
//!
//! [`Edid::info`] tells what people look for: maker, product, serial number, name, the preferred mode, whether there is
//! sound. It does not judge whether a target will like the monitor, and does not edit one. No I/O.

mod info;

use std::fmt;
use std::str::FromStr;

pub use info::{Info, Mode};

/// Bytes of a block.
pub const BLOCK: usize = 128;
/// Most blocks: what HDMI receivers have room for.
pub const BLOCKS: usize = 4;
/// Every EDID begins with this.
const HEADER: [u8; 8] = [0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];
/// Offset of the number of extension blocks.
const EXTENSIONS: usize = 126;
/// Bytes of a line of the written form.
const LINE: usize = 16;

/// Why something is no EDID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither a hexadecimal digit nor a blank.
    #[error("character {0} is not a hexadecimal digit")]
    Digit(usize),
    /// Not 1 to 4 whole blocks.
    #[error("{0} bytes are not 1 to {BLOCKS} blocks of {BLOCK}")]
    Length(usize),
    /// It does not begin like one.
    #[error("it does not begin with 00 FF FF FF FF FF FF 00")]
    Header,
    /// The blocks are not as many as the first one announces.
    #[error("{announced} extension blocks are announced, there are {present}")]
    Extensions {
        /// By the first block.
        announced: u8,
        /// After the first block.
        present: usize,
    },
    /// The bytes of a block do not add up to 0.
    #[error("the checksum of block {block} is {found:02X}, it should be {right:02X}")]
    Checksum {
        /// From 0.
        block: usize,
        /// The last byte.
        found: u8,
        /// What it should be.
        right: u8,
    },
}

/// A monitor description that is sound.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Edid(Vec<u8>);

impl Edid {
    /// Checks bytes.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let blocks = bytes.len() / BLOCK;
        if !bytes.len().is_multiple_of(BLOCK) || !(1..=BLOCKS).contains(&blocks) {
            return Err(Error::Length(bytes.len()));
        }
        if !bytes.starts_with(&HEADER) {
            return Err(Error::Header);
        }
        for (block, bytes) in bytes.chunks_exact(BLOCK).enumerate() {
            let Some((&found, rest)) = bytes.split_last() else { continue };
            let right = rest.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
            if found != right {
                return Err(Error::Checksum { block, found, right });
            }
        }
        let announced = bytes.get(EXTENSIONS).copied().unwrap_or(0);
        if usize::from(announced) != blocks - 1 {
            return Err(Error::Extensions { announced, present: blocks - 1 });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What people look for in it.
    #[must_use]
    pub fn info(&self) -> Info {
        info::read(&self.0)
    }

    /// All digits in one line, capital letters: the form of the API.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02X}")).collect()
    }
}

/// Lines of 16 bytes: the form of files.
impl fmt::Display for Edid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.chunks(LINE) {
            for byte in line {
                write!(f, "{byte:02X}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Edid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        write!(f, "Edid({} {:04X}, {} blocks)", info.maker, info.product, self.0.len() / BLOCK)
    }
}

impl FromStr for Edid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(BLOCK * 2);
        let mut high = None;
        for (at, letter) in text.chars().enumerate().filter(|(_, letter)| !letter.is_whitespace()) {
            let digit = letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let digit = digit.ok_or(Error::Digit(at + 1))?;
            match high.take() {
                None => high = Some(digit),
                Some(high) => bytes.push(high << 4 | digit),
            }
            if bytes.len() > BLOCK * BLOCKS {
                return Err(Error::Length(bytes.len()));
            }
        }
        if high.is_some() {
            return Err(Error::Length(bytes.len()));
        }
        Self::from_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sound EDID with anything in it that is free.
    pub(crate) fn sound(blocks: usize, fill: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = fill.iter().copied().cycle().take(blocks * BLOCK).collect();
        bytes[..8].copy_from_slice(&HEADER);
        bytes[EXTENSIONS] = u8::try_from(blocks - 1).unwrap();
        for block in bytes.chunks_exact_mut(BLOCK) {
            let sum = block[..BLOCK - 1].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            block[BLOCK - 1] = sum.wrapping_neg();
        }
        bytes
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = sound(2, &[7]);
        assert!(Edid::from_bytes(&good).is_ok());
        for len in [0, 1, 127, 129, 640] {
            assert_eq!(Edid::from_bytes(&vec![0; len]), Err(Error::Length(len)));
        }
        assert_eq!(Edid::from_bytes(&[0; 128]), Err(Error::Header));
        let mut bad = good.clone();
        bad[200] ^= 1;
        // 7 has become 6, so one more is needed to come to 0.
        let wrong = Error::Checksum { block: 1, found: good[255], right: good[255].wrapping_add(1) };
        assert_eq!(Edid::from_bytes(&bad), Err(wrong));
        let extra = Edid::from_bytes(&good[..128]);
        assert_eq!(extra, Err(Error::Extensions { announced: 1, present: 0 }));
        assert_eq!("00 f".parse::<Edid>(), Err(Error::Length(1)));
        assert_eq!("00 fg".parse::<Edid>(), Err(Error::Digit(5)));
        assert_eq!("0".repeat(10_000).parse::<Edid>(), Err(Error::Length(513)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            blocks in 1_usize..=4, fill in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let edid = Edid::from_bytes(&sound(blocks, &fill)).unwrap();
            prop_assert_eq!(&edid.to_string().parse::<Edid>().unwrap(), &edid);
            prop_assert_eq!(&edid.to_hex().to_lowercase().parse::<Edid>().unwrap(), &edid);
            prop_assert_eq!(edid.to_string().lines().count(), blocks * 8);
            let _ = edid.info();
        }

        #[test]
        fn one_flipped_bit_anywhere_is_noticed(
            blocks in 1_usize..=4, fill in proptest::collection::vec(any::<u8>(), 1..300), at: usize, bit in 0_u32..8,
        ) {
            let mut bytes = sound(blocks, &fill);
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Edid::from_bytes(&bytes).is_err());
        }

        #[test]
        fn no_text_and_no_bytes_panic(text in ".{0,600}", bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = text.parse::<Edid>();
            let _ = Edid::from_bytes(&bytes);
        }
    }
}
