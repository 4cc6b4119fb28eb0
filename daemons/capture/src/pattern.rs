//! A test pattern: bars and a ramp, with a small box that moves and carries the number of the picture.
//!
//! From one picture to the next only the box changes, as on a computer's screen. The number stands in the top left
//! corner too, as [`COUNTER_BITS`] squares of [`COUNTER_DOT`] pixels, the lowest bit first, white for 1: a program that
//! sees the picture can tell which one it is.

use std::time::Instant;

use encode::{Format, View};

use crate::pace::Pace;
use crate::{News, Picture, Signal, Source, text};

/// Bits of the picture's number that are drawn.
pub const COUNTER_BITS: u32 = 16;
/// Side of the square of one bit in pixels; whole JPEG blocks, so that each is read without its neighbours.
pub const COUNTER_DOT: u32 = 16;
/// Side of the moving box in pixels.
const BOX: usize = 64;
/// Smallest and largest sides that can be set; even, as chroma is halved.
const SIDES: (u32, u32) = (64, 4096);

/// Luma, blue and red difference of the bars, left to right (BT.601, full range, three quarters bright).
const BARS: [(u8, u8, u8); 8] = [
    (191, 128, 128),
    (169, 32, 143),
    (134, 160, 32),
    (112, 64, 48),
    (79, 192, 208),
    (57, 96, 224),
    (22, 224, 113),
    (16, 128, 128),
];

/// What the pattern is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Width in pixels, taken to an even number from 64 to 4096.
    pub width: u32,
    /// Height in pixels, likewise.
    pub height: u32,
    /// Pictures a second, 0 = as many as are asked for.
    pub fps: u32,
    /// One picture that never changes.
    pub still: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { width: 1920, height: 1080, fps: 30, still: false }
    }
}

/// The source.
#[derive(Debug)]
pub struct Pattern {
    canvas: Canvas,
    pace: Pace,
    still: bool,
    /// The first picture of this size was given.
    given: bool,
    captured: u64,
}

impl Pattern {
    /// A pattern whose first picture is due at once.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            canvas: Canvas::new(settings.width, settings.height),
            pace: Pace::new(settings.fps, Instant::now()),
            still: settings.still,
            given: false,
            captured: 0,
        }
    }
}

impl Source for Pattern {
    fn wait(&mut self, deadline: Instant) -> Result<News, Signal> {
        if !self.given {
            self.given = true;
            if let (false, Some(tick)) = (self.still, self.pace.wait(Instant::now())) {
                self.canvas.draw(tick);
            }
        } else if self.still {
            crate::pace::wait_until(deadline);
            return Ok(News::Same);
        } else {
            let Some(tick) = self.pace.wait(deadline) else { return Ok(News::Same) };
            self.canvas.draw(tick);
        }
        self.captured = frames::now_ns();
        Ok(News::New)
    }

    fn picture(&self) -> Option<Picture<'_>> {
        let Canvas { width, height, data, .. } = &self.canvas;
        let view = View::packed(Format::Yuv420, *width, *height, data).ok()?;
        Some(Picture { view, captured: self.captured })
    }

    fn set_size(&mut self, width: u32, height: u32) -> bool {
        let canvas = Canvas::new(width, height);
        if (canvas.width, canvas.height) != (self.canvas.width, self.canvas.height) {
            self.canvas = canvas;
            self.given = false;
        }
        true
    }
}

/// The picture as planes 4:2:0.
#[derive(Debug)]
struct Canvas {
    width: u32,
    height: u32,
    data: Vec<u8>,
    /// Where the box is, to take it away again.
    drawn: Option<(usize, usize)>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        let even = |side: u32| side.clamp(SIDES.0, SIDES.1) & !1;
        let (width, height) = (even(width), even(height));
        let data = vec![0; Format::Yuv420.picture_bytes(height, width as usize)];
        let mut canvas = Self { width, height, data, drawn: None };
        canvas.ground((0, 0), (width as usize, height as usize));
        canvas.label();
        canvas.draw(0);
        canvas
    }

    fn stride(&self) -> usize {
        self.width as usize
    }

    fn luma(&mut self) -> &mut [u8] {
        let end = self.stride() * self.height as usize;
        &mut self.data[..end]
    }

    /// Lowest line of the bars; a ramp from black to white is below.
    fn horizon(&self) -> usize {
        (self.height as usize / 4 * 3) & !1
    }

    /// Draws what is behind everything, in a rectangle with even edges.
    fn ground(&mut self, at: (usize, usize), size: (usize, usize)) {
        let (width, height, horizon) = (self.stride(), self.height as usize, self.horizon());
        let right = (at.0 + size.0).min(width);
        let bottom = (at.1 + size.1).min(height);
        let (luma, chroma) = self.data.split_at_mut(width * height);
        let (u, v) = chroma.split_at_mut(width / 2 * (height / 2));
        for y in at.1..bottom {
            for x in at.0..right {
                let bar = BARS[x * BARS.len() / width];
                let ramp = u8::try_from(x * 255 / width).unwrap_or(u8::MAX);
                let colour = if y < horizon { bar } else { (ramp, 128, 128) };
                luma[y * width + x] = colour.0;
                if y % 2 == 0 && x % 2 == 0 {
                    let index = y / 2 * (width / 2) + x / 2;
                    (u[index], v[index]) = (colour.1, colour.2);
                }
            }
        }
    }

    fn label(&mut self) {
        let line = format!("TEST PATTERN {}x{}", self.width, self.height);
        let scale = (self.stride() / 2 / text::width(&line, 1).max(1)).max(1);
        let at = (self.stride().saturating_sub(text::width(&line, scale)) / 2, self.height as usize / 3);
        let stride = self.stride();
        text::draw(self.luma(), stride, at, scale, 235, &line);
    }

    /// Makes this picture number `number`.
    fn draw(&mut self, number: u64) {
        let (stride, height, horizon) = (self.stride(), self.height as usize, self.horizon());
        if let Some(at) = self.drawn.take() {
            self.ground(at, (BOX, BOX));
        }
        let small = number % (1 << COUNTER_BITS);
        let dot = COUNTER_DOT as usize;
        for bit in (0..COUNTER_BITS as usize).take_while(|bit| (bit + 1) * dot <= stride) {
            let value = if small >> bit & 1 == 1 { 255 } else { 0 };
            text::fill(self.luma(), stride, (bit * dot, 0), (dot, dot), value);
        }
        // The box walks along the ramp, where there is no text to draw again.
        let room = stride.saturating_sub(BOX).max(1);
        let step = usize::try_from(number % (1 << 20)).unwrap_or(0) * 8;
        let at = ((step % room) & !1, horizon.min(height.saturating_sub(BOX)) & !1);
        text::fill(self.luma(), stride, at, (BOX, BOX), 16);
        let digits = small.to_string();
        text::draw(self.luma(), stride, (at.0 + 3, at.1 + BOX / 3), 2, 235, &digits);
        self.drawn = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn pattern(fps: u32, still: bool) -> Pattern {
        Pattern::new(&Settings { width: 640, height: 360, fps, still })
    }

    fn now() -> Instant {
        Instant::now()
    }

    fn counter(view: &View<'_>) -> u32 {
        let dot = COUNTER_DOT as usize;
        (0..COUNTER_BITS)
            .filter(|bit| view.data()[view.stride() * dot / 2 + *bit as usize * dot + dot / 2] > 128)
            .map(|bit| 1 << bit)
            .sum()
    }

    #[test]
    fn each_picture_carries_its_number_and_differs_in_a_small_part() {
        let mut pattern = pattern(0, false);
        let mut last: Option<Vec<u8>> = None;
        for number in 0..300 {
            assert_eq!(pattern.wait(now()), Ok(News::New));
            let view = pattern.picture().unwrap().view;
            assert_eq!(counter(&view), number);
            if let Some(last) = last {
                let changed = last.iter().zip(view.data()).filter(|(old, new)| old != new).count();
                assert!(changed > 0 && changed < last.len() / 20, "{changed} bytes of {}", last.len());
            }
            last = Some(view.data().to_vec());
        }
    }

    #[test]
    fn a_picture_does_not_depend_on_those_before_it() {
        let (mut walked, mut fresh) = (Canvas::new(640, 360), Canvas::new(640, 360));
        for number in 0..500 {
            walked.draw(number);
        }
        fresh.draw(499);
        assert!(walked.data == fresh.data);
    }

    #[test]
    fn a_still_pattern_gives_one_picture() {
        let mut pattern = pattern(0, true);
        assert_eq!((pattern.wait(now()), pattern.wait(now())), (Ok(News::New), Ok(News::Same)));
        assert!(pattern.picture().is_some());
    }

    #[test]
    fn between_two_ticks_there_is_nothing_new() {
        let mut pattern = pattern(1, false);
        assert_eq!(pattern.wait(now()), Ok(News::New));
        pattern.pace = Pace::new(1, now() + Duration::from_secs(3600));
        assert_eq!(pattern.wait(now()), Ok(News::Same));
    }

    #[test]
    fn a_new_size_shows_at_once() {
        let mut pattern = pattern(0, true);
        assert_eq!(pattern.wait(now()), Ok(News::New));
        assert!(pattern.set_size(801, 601));
        assert_eq!(pattern.wait(now()), Ok(News::New));
        let view = pattern.picture().unwrap().view;
        assert_eq!((view.width(), view.height()), (800, 600));
        assert!(pattern.set_size(801, 601));
        assert_eq!(pattern.wait(now()), Ok(News::Same), "the same size is no news");
    }

    proptest! {
        #[test]
        fn any_size_can_be_drawn(width in any::<u32>(), height in 0_u32..300, number in any::<u64>()) {
            let mut canvas = Canvas::new(width % 700, height);
            canvas.draw(number);
            prop_assert!(View::packed(Format::Yuv420, canvas.width, canvas.height, &canvas.data).is_ok());
        }
    }
}
