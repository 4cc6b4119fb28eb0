//! The picture shown when there is none: dark, and saying what is wrong.

use capture::text;
use encode::{Error, Format, Jpeg, View};
use frames::SourceState;

const GROUND: u8 = 24;
const WORDS: u8 = 200;
const SMALL_WORDS: u8 = 120;
/// Sides in pixels; even, as chroma is halved. Within them a person can read it.
const SIDES: (u32, u32) = (160, 4096);

/// The encoded placard of one state and size; encoded once.
#[derive(Debug)]
pub(crate) struct Placard {
    jpeg: Jpeg,
    shows: Option<(SourceState, u32, u32)>,
}

impl Placard {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { jpeg: Jpeg::new(80)?, shows: None })
    }

    /// The size a placard takes for a source of that size.
    pub(crate) fn size(width: u32, height: u32) -> (u32, u32) {
        let side = |side: u32| side.clamp(SIDES.0, SIDES.1) & !1;
        (side(width), side(height))
    }

    /// Makes the placard for that state, unless it is there already. Its bytes are [`Placard::bytes`].
    pub(crate) fn show(&mut self, state: SourceState, (width, height): (u32, u32)) -> Result<(), Error> {
        let (width, height) = Self::size(width, height);
        if self.shows == Some((state, width, height)) {
            return Ok(());
        }
        self.shows = None;
        let data = draw(state, width, height);
        self.jpeg.encode(&View::packed(Format::Yuv420, width, height, &data)?)?;
        self.shows = Some((state, width, height));
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.jpeg.last()
    }
}

/// What a person is told.
fn words(state: SourceState) -> &'static str {
    match state {
        SourceState::Live => "WAITING FOR A PICTURE",
        SourceState::NoCable => "NO CABLE",
        SourceState::NoSync => "NO SIGNAL",
        SourceState::UnsupportedMode => "UNSUPPORTED MODE",
        SourceState::EncoderFault => "ENCODER FAULT",
    }
}

fn draw(state: SourceState, width: u32, height: u32) -> Vec<u8> {
    let (stride, rows) = (width as usize, height as usize);
    let mut data = vec![128; Format::Yuv420.picture_bytes(height, stride)];
    let luma = &mut data[..stride * rows];
    luma.fill(GROUND);
    let mut line = |text: &str, share: usize, top: usize, value: u8| {
        // As large as fits into its share of the width.
        let scale = (stride / share / text::width(text, 1).max(1)).max(1);
        let left = stride.saturating_sub(text::width(text, scale)) / 2;
        text::draw(luma, stride, (left, top), scale, value, text);
    };
    line(words(state), 2, rows * 2 / 5, WORDS);
    line(&format!("{width}x{height}"), 6, rows * 3 / 5, SMALL_WORDS);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_placard_of_its_own_that_is_mostly_dark() {
        let mut seen = Vec::new();
        for state in SourceState::ALL {
            let data = draw(state, 640, 360);
            let bright = data[..640 * 360].iter().filter(|luma| **luma > 100).count();
            assert!((500..640 * 360 / 10).contains(&bright), "{state:?}: {bright}");
            assert!(!seen.contains(&data));
            seen.push(data);
        }
    }

    #[test]
    fn a_placard_is_encoded_once_for_a_state_and_size() {
        let mut placard = Placard::new().unwrap();
        placard.show(SourceState::NoCable, (1281, 721)).unwrap();
        assert_eq!(encode::dimensions(placard.bytes()).unwrap(), (1280, 720));
        let before = (placard.bytes().as_ptr(), placard.bytes().to_vec());
        placard.show(SourceState::NoCable, (1281, 721)).unwrap();
        assert_eq!((placard.bytes().as_ptr(), placard.bytes().to_vec()), before);
        placard.show(SourceState::NoSync, (1281, 721)).unwrap();
        assert_ne!(placard.bytes(), before.1);
    }

    #[test]
    fn any_size_is_taken_to_one_that_can_be_read() {
        let mut placard = Placard::new().unwrap();
        for size in [(0, 0), (1, 4000), (u32::MAX, 7)] {
            placard.show(SourceState::NoSync, size).unwrap();
            assert_eq!(encode::dimensions(placard.bytes()).unwrap(), Placard::size(size.0, size.1));
        }
    }
}
