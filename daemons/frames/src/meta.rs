//! What is known of a frame, and its form in a slot's head.

/// How the frame's bytes are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A complete JPEG file.
    Jpeg,
}

/// What the source of the pictures is doing; the five states a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceState {
    /// Pictures come, or the picture is known to be unchanged.
    Live,
    /// Nothing is connected, or the device (the machine) does not exist at the moment.
    NoCable,
    /// Connected, but no signal: the target sleeps or is off.
    NoSync,
    /// There is a signal that the hardware cannot take.
    UnsupportedMode,
    /// Pictures come but cannot be encoded.
    EncoderFault,
}

impl SourceState {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Live, Self::NoCable, Self::NoSync, Self::UnsupportedMode, Self::EncoderFault];

    /// Its name: `live`, `no_cable`, `no_sync`, `unsupported_mode`, `encoder_fault`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NoCable => "no_cable",
            Self::NoSync => "no_sync",
            Self::UnsupportedMode => "unsupported_mode",
            Self::EncoderFault => "encoder_fault",
        }
    }
}

/// What the writer says of a frame. All times are [`crate::now_ns`]'s: monotonic nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Encoding of the bytes.
    pub format: Format,
    /// Width in pixels, 1 to 16384.
    pub width: u32,
    /// Height in pixels, 1 to 16384.
    pub height: u32,
    /// Whether this is the target's picture (else a generated "no signal" one).
    pub online: bool,
    /// Whether the frame can be decoded without others; always true for JPEG.
    pub key: bool,
    /// When the picture was captured, or last known to be current.
    pub captured: u64,
    /// When its encoding began.
    pub encode_begin: u64,
    /// When its encoding ended; the same as the beginning for a frame that is repeated.
    pub encode_end: u64,
    /// State of the source.
    pub state: SourceState,
}

/// One frame, copied out of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Number of the frame: 1 for the first of the ring, rising, continued when the writer restarts.
    pub seq: u64,
    /// What the writer said of it.
    pub meta: Meta,
    /// When it was published, monotonic nanoseconds.
    pub published_ns: u64,
    /// The encoded bytes.
    pub data: Vec<u8>,
}

/// Longest side of a picture anybody may claim.
const MAX_SIDE: u32 = 16_384;
/// Words of a slot's head after the generation.
pub(crate) const WORDS: usize = 15;

/// A slot's head without its generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) len: u32,
    pub(crate) meta: Meta,
    pub(crate) published_ns: u64,
}

#[expect(clippy::cast_possible_truncation, reason = "splitting into halves is the point")]
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn whole(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

impl Head {
    pub(crate) fn to_words(self) -> [u32; WORDS] {
        let Self { seq, len, meta, published_ns } = self;
        let [seq_low, seq_high] = halves(seq);
        let [captured_low, captured_high] = halves(meta.captured);
        let [begin_low, begin_high] = halves(meta.encode_begin);
        let [end_low, end_high] = halves(meta.encode_end);
        let [published_low, published_high] = halves(published_ns);
        let format = match meta.format {
            Format::Jpeg => 1,
        };
        let state = SourceState::ALL.iter().zip(0..).find(|(state, _)| **state == meta.state);
        let flags = u32::from(meta.online)
            | u32::from(meta.key) << 1
            | format << 8
            | state.map_or(0, |(_, index)| index) << 16;
        [
            seq_low,
            seq_high,
            len,
            meta.width,
            meta.height,
            flags,
            0,
            captured_low,
            captured_high,
            begin_low,
            begin_high,
            end_low,
            end_high,
            published_low,
            published_high,
        ]
    }

    /// Reads a head; `None` when any value is one that no sound writer writes.
    pub(crate) fn from_words(words: [u32; WORDS]) -> Option<Self> {
        let [
            seq_low,
            seq_high,
            len,
            width,
            height,
            flags,
            reserved,
            captured_low,
            captured_high,
            begin_low,
            begin_high,
            end_low,
            end_high,
            published_low,
            published_high,
        ] = words;
        let format = match flags >> 8 & 0xff {
            1 => Format::Jpeg,
            _ => return None,
        };
        let sides = 1..=MAX_SIDE;
        let sound =
            reserved == 0 && flags & 0xff00_00fc == 0 && sides.contains(&width) && sides.contains(&height);
        let state = *SourceState::ALL.get((flags >> 16 & 0xff) as usize)?;
        sound.then_some(Self {
            seq: whole(seq_low, seq_high),
            len,
            meta: Meta {
                format,
                width,
                height,
                online: flags & 1 != 0,
                key: flags & 2 != 0,
                captured: whole(captured_low, captured_high),
                encode_begin: whole(begin_low, begin_high),
                encode_end: whole(end_low, end_high),
                state,
            },
            published_ns: whole(published_low, published_high),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn head()(
            seq in any::<u64>(), len in any::<u32>(), width in 1..=MAX_SIDE, height in 1..=MAX_SIDE,
            online in any::<bool>(), key in any::<bool>(), times in any::<[u64; 4]>(), state in 0_usize..5,
        ) -> Head {
            let [captured, encode_begin, encode_end, published_ns] = times;
            let state = SourceState::ALL[state];
            let format = Format::Jpeg;
            let meta = Meta { format, width, height, online, key, captured, encode_begin, encode_end, state };
            Head { seq, len, meta, published_ns }
        }
    }

    proptest! {
        #[test]
        fn a_head_survives_the_way_through_words(head in head()) {
            prop_assert_eq!(Head::from_words(head.to_words()), Some(head));
        }

        #[test]
        fn any_words_are_refused_or_mean_exactly_themselves(
            words in any::<[u32; WORDS]>(), flags in any::<u32>(), side in 0..=MAX_SIDE + 1,
        ) {
            let mut words = words;
            [words[3], words[4], words[5], words[6]] = [side, side, flags & 0x0007_0103, 0];
            if let Some(head) = Head::from_words(words) {
                prop_assert_eq!(head.to_words(), words);
            }
        }
    }
}
