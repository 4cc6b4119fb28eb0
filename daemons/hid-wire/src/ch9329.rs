//! The CH9329, a chip that is a keyboard and a mouse at its USB end and takes orders at its serial end (WCH, "CH9329 serial
//! communication protocol" V1.0).
//!
//! ```text
//! 57 AB | address | command | length (0..=64) | data ... | sum of all bytes before
//! ```
//!
//! Every order is answered: by its own code with bit 7 set, or with bits 7 and 6 set and a [`Status`] when it was refused. A
//! chip with an address other than 0 obeys that one only; everybody obeys 0xFF, without an answer. Factory speed is 9600.
//!
//! The chip knows three mouse buttons, one wheel, and absolute coordinates of 12 bits: what a [`Report`] says beyond that
//! is left out.

use crate::{Leds, Report};

/// The address of a chip nobody gave one, and of our orders to it.
pub const ADDRESS: u8 = 0;
const HEAD: [u8; 2] = [0x57, 0xab];
/// Bytes of a frame before its data.
const BEFORE_DATA: usize = 5;
const MAX_DATA: usize = 64;
/// The longest frame.
pub const MAX_FRAME: usize = BEFORE_DATA + MAX_DATA + 1;
/// Length of [`Parameters`].
const PARAMETERS: usize = 50;
/// Absolute coordinates end here.
const MAX_COORDINATE: u16 = 0xfff;
/// Buttons the chip has.
const BUTTONS: u8 = 0b111;

/// An order to the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks for [`Info`].
    GetInfo,
    /// A keyboard report.
    Keyboard([u8; 8]),
    /// Media keys that are down: three bytes of bits.
    Media([u8; 3]),
    /// An absolute mouse report.
    Absolute {
        /// Left, right, middle.
        buttons: u8,
        /// 0..=4095.
        x: u16,
        /// 0..=4095.
        y: u16,
        /// Notches, up is positive.
        wheel: i8,
    },
    /// A relative mouse report.
    Relative {
        /// Left, right, middle.
        buttons: u8,
        /// To the right.
        dx: i8,
        /// Downwards.
        dy: i8,
        /// Notches, up is positive.
        wheel: i8,
    },
    /// Asks for [`Parameters`].
    GetParameters,
    /// Sets them; they count from the next reset on.
    SetParameters(Parameters),
    /// Starts the chip anew; its USB end comes back as if it had been plugged in.
    Reset,
}

impl Command {
    /// Its code on the line.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::GetInfo => 0x01,
            Self::Keyboard(_) => 0x02,
            Self::Media(_) => 0x03,
            Self::Absolute { .. } => 0x04,
            Self::Relative { .. } => 0x05,
            Self::GetParameters => 0x08,
            Self::SetParameters(_) => 0x09,
            Self::Reset => 0x0f,
        }
    }

    /// The order that carries a report.
    #[must_use]
    pub fn report(report: &Report) -> Self {
        match *report {
            Report::Keyboard(bytes) => Self::Keyboard(bytes),
            Report::Absolute([buttons, x0, x1, y0, y1, wheel, _]) => {
                let coordinate = |bytes| (u16::from_le_bytes(bytes) >> 3).min(MAX_COORDINATE);
                let (x, y) = (coordinate([x0, x1]), coordinate([y0, y1]));
                Self::Absolute { buttons: buttons & BUTTONS, x, y, wheel: wheel.cast_signed() }
            }
            Report::Relative([buttons, dx, dy, wheel, _]) => {
                let [dx, dy, wheel] = [dx, dy, wheel].map(u8::cast_signed);
                Self::Relative { buttons: buttons & BUTTONS, dx, dy, wheel }
            }
        }
    }

    /// The bytes for the line, to the chip of this address.
    #[must_use]
    pub fn frame(&self, address: u8) -> Vec<u8> {
        let data = match self {
            Self::GetInfo | Self::GetParameters | Self::Reset => vec![],
            Self::Keyboard(bytes) => bytes.to_vec(),
            Self::Media([a, b, c]) => vec![2, *a, *b, *c],
            Self::Absolute { buttons, x, y, wheel } => {
                let ([x0, x1], [y0, y1]) = (x.to_le_bytes(), y.to_le_bytes());
                vec![2, *buttons, x0, x1, y0, y1, wheel.cast_unsigned()]
            }
            Self::Relative { buttons, dx, dy, wheel } => {
                vec![1, *buttons, dx.cast_unsigned(), dy.cast_unsigned(), wheel.cast_unsigned()]
            }
            Self::SetParameters(parameters) => parameters.0.to_vec(),
        };
        frame(address, self.code(), &data)
    }
}

/// A frame of up to 64 bytes of data; what is beyond is cut off.
fn frame(address: u8, code: u8, data: &[u8]) -> Vec<u8> {
    let data = data.get(..MAX_DATA).unwrap_or(data);
    let len = u8::try_from(data.len()).unwrap_or_default();
    let mut bytes = [&HEAD[..], &[address, code, len], data].concat();
    bytes.push(sum(&bytes));
    bytes
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// A frame as it came, with its sum right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The address of the chip.
    pub address: u8,
    /// The order's code with bit 7 set, and bit 6 where it was refused.
    pub code: u8,
    /// Up to 64 bytes.
    pub data: Vec<u8>,
}

impl Frame {
    /// The bytes for the line; what the chip's end of it does.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        frame(self.address, self.code, &self.data)
    }

    /// Whether this answers `command`; if so, what it says.
    #[must_use]
    pub fn answer_to(&self, command: &Command) -> Option<Result<Answer, Status>> {
        if self.code == command.code() | 0xc0 {
            return Some(Err(Status(self.data.first().copied().unwrap_or_default())));
        }
        if self.code != command.code() | 0x80 {
            return None;
        }
        Some(match (command, &self.data[..]) {
            (Command::GetInfo, [version, usb, leds, ..]) => Ok(Answer::Info(Info {
                version: *version,
                is_configured: *usb == 1,
                leds: Leds::from_byte(*leds),
            })),
            (Command::GetParameters, data) if data.len() == PARAMETERS => {
                let mut parameters = [0; PARAMETERS];
                parameters.copy_from_slice(data);
                Ok(Answer::Parameters(Parameters(parameters)))
            }
            (Command::GetInfo | Command::GetParameters, _) => return None,
            (_, [0, ..] | []) => Ok(Answer::Done),
            (_, [status, ..]) => Err(Status(*status)),
        })
    }
}

/// What an order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was obeyed.
    Done,
    /// To [`Command::GetInfo`].
    Info(Info),
    /// To [`Command::GetParameters`].
    Parameters(Parameters),
}

/// How the chip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Of the chip: 0x30 is 1.0, 0x31 is 1.1.
    pub version: u8,
    /// Whether a host has configured the USB end.
    pub is_configured: bool,
    /// The lights it set.
    pub leds: Leds,
}

/// Why an order was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u8);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = match self.0 {
            0xe1 => "a byte of the order did not come in time",
            0xe2 => "the order had no head",
            0xe3 => "it does not know the order",
            0xe4 => "the order's sum was wrong",
            0xe5 => "a parameter of the order was wrong",
            0xe6 => "the order was right and could not be obeyed",
            code => return write!(f, "it refuses with the unknown code {code:#04x}"),
        };
        f.write_str(words)
    }
}

/// What the chip keeps without power: 50 bytes, of which we know a few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters(pub [u8; PARAMETERS]);

impl Parameters {
    /// Which USB functions it has; bit 7 says that its pins decide.
    #[must_use]
    pub fn work_mode(&self) -> u8 {
        self.0[0]
    }

    /// How it reads its line: 0 this protocol, 1 as text, 2 transparent. Bit 7 says that its pins decide.
    #[must_use]
    pub fn serial_mode(&self) -> u8 {
        self.0[1]
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> u8 {
        self.0[2]
    }

    /// Bits per second.
    #[must_use]
    pub fn speed(&self) -> u32 {
        u32::from_be_bytes([self.0[3], self.0[4], self.0[5], self.0[6]])
    }

    /// Sets the bits per second.
    pub fn set_speed(&mut self, speed: u32) {
        self.0[3..7].copy_from_slice(&speed.to_be_bytes());
    }
}

/// Finds frames in what comes in: noise between them, halves of them and wrong sums are passed over.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    /// At most one frame's length between calls.
    waiting: Vec<u8>,
}

/// What is at some place of the input.
enum Found {
    Frame(Frame, usize),
    Beginning,
    Noise,
}

impl Parser {
    /// A parser that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the half of a frame it may have.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The frames that these bytes complete.
    ///
    /// A beginning that never gets its end hides nothing: a whole frame after it is found as soon as it is there.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        self.waiting.extend_from_slice(bytes);
        let (mut at, mut keep) = (0, None);
        while at < self.waiting.len() {
            match find(&self.waiting[at..]) {
                Found::Frame(frame, len) => {
                    frames.push(frame);
                    at += len;
                    keep = None;
                }
                Found::Beginning => {
                    keep.get_or_insert(at);
                    at += 1;
                }
                Found::Noise => at += 1,
            }
        }
        self.waiting.drain(..keep.unwrap_or(at));
        frames
    }
}

fn find(bytes: &[u8]) -> Found {
    if !HEAD.starts_with(&bytes[..bytes.len().min(HEAD.len())]) {
        return Found::Noise;
    }
    let &[_, _, address, code, len, ref rest @ ..] = bytes else { return Found::Beginning };
    let len = usize::from(len);
    if len > MAX_DATA {
        return Found::Noise;
    }
    let (Some(data), Some(last)) = (rest.get(..len), rest.get(len)) else { return Found::Beginning };
    if sum(&bytes[..BEFORE_DATA + len]) != *last {
        return Found::Noise;
    }
    Found::Frame(Frame { address, code, data: data.to_vec() }, BEFORE_DATA + len + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{AbsoluteMouse, Key, Keyboard, RelativeMouse};

    fn hex(command: &Command) -> String {
        hex::encode(command.frame(ADDRESS))
    }

    #[test]
    fn orders_are_those_of_the_data_sheet() {
        assert_eq!(hex(&Command::GetInfo), "57ab00010003");
        assert_eq!(hex(&Command::Reset), "57ab000f0011");
        assert_eq!(hex(&Command::GetParameters), "57ab0008000a");
        let press = Keyboard::new().press(Key::KEY_A).last().unwrap();
        assert_eq!(hex(&Command::report(&press)), "57ab000208000004000000000010");
        assert_eq!(hex(&Command::Keyboard([0; 8])), "57ab00020800000000000000000c");
        assert_eq!(hex(&Command::Media([4, 0, 0])), "57ab000304020400000f");
    }

    #[test]
    fn mice_are_cut_down_to_what_the_chip_has() {
        let mut mouse = AbsoluteMouse::new();
        let _ = mouse.move_to(i16::MAX, 0);
        let report = mouse.wheel(9, -1);
        let expected = Command::Absolute { buttons: 0, x: 4095, y: 2047, wheel: -1 };
        assert_eq!(Command::report(&report), expected);
        assert_eq!(hex(&expected), "57ab0004070200ff0fff07ff22");
        mouse.set_doubled(true);
        assert!(matches!(Command::report(&mouse.report()), Command::Absolute { x: 4095, y: 4095, .. }));
        let moved = Command::report(&RelativeMouse::new().move_by(-1, 2));
        assert_eq!(hex(&moved), "57ab0005050100ff02000e");
        let all = Command::report(&Report::Relative([0xff; 5]));
        assert!(matches!(all, Command::Relative { buttons: 7, .. }));
    }

    fn frame_of(code: u8, data: &[u8]) -> Frame {
        Frame { address: ADDRESS, code, data: data.to_vec() }
    }

    #[test]
    fn answers_are_read_by_the_order_they_answer() {
        let info = frame_of(0x81, &[0x31, 1, 0b010, 0, 0, 0, 0, 0]);
        let leds = Leds { caps: true, ..Leds::default() };
        let expected = Info { version: 0x31, is_configured: true, leds };
        assert_eq!(info.answer_to(&Command::GetInfo), Some(Ok(Answer::Info(expected))));
        assert_eq!(info.answer_to(&Command::Reset), None);
        let done = frame_of(0x82, &[0]);
        assert_eq!(done.answer_to(&Command::Keyboard([0; 8])), Some(Ok(Answer::Done)));
        assert_eq!(done.answer_to(&Command::GetInfo), None);
        let refused = frame_of(0xc2, &[0xe4]).answer_to(&Command::Keyboard([0; 8]));
        assert_eq!(refused, Some(Err(Status(0xe4))));
        assert_eq!(refused.unwrap().unwrap_err().to_string(), "the order's sum was wrong");
        assert_eq!(frame_of(0x81, &[1]).answer_to(&Command::GetInfo), None, "it is cut off");
    }

    #[test]
    fn parameters_are_kept_whole_when_the_speed_is_changed() {
        let mut bytes = [7; PARAMETERS];
        bytes[3..7].copy_from_slice(&[0, 0, 0x25, 0x80]);
        let answer = frame_of(0x88, &bytes).answer_to(&Command::GetParameters);
        let Some(Ok(Answer::Parameters(mut parameters))) = answer else { panic!("{answer:?}") };
        assert_eq!((parameters.speed(), parameters.address()), (9600, 7));
        parameters.set_speed(115_200);
        let frame = Command::SetParameters(parameters).frame(ADDRESS);
        assert_eq!(frame[BEFORE_DATA + 3..BEFORE_DATA + 7], [0, 1, 0xc2, 0]);
        assert_eq!(frame.len(), BEFORE_DATA + PARAMETERS + 1);
        assert_eq!((parameters.work_mode(), parameters.serial_mode()), (7, 7));
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        // No head inside: two readings of the same bytes would both be right.
        let data = prop::collection::vec(any::<u8>().prop_filter("head", |byte| *byte != 0x57), 0..=MAX_DATA);
        (any::<u8>(), any::<u8>(), data)
            .prop_filter("head", |(address, code, _)| *address != 0x57 && *code != 0x57)
            .prop_map(|(address, code, data)| Frame { address, code, data })
    }

    /// Bytes with more heads and lengths than chance would give.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0x57), 1 => Just(0xab)], 0..200)
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_are_cut(
            frames in prop::collection::vec(any_frame(), 0..10), cuts in prop::collection::vec(1..40_usize, 1..20)
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
            let (mut parser, mut rest, mut found) = (Parser::new(), &bytes[..], Vec::new());
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                found.extend(parser.push(piece));
                rest = after;
                if rest.is_empty() { break }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn noise_hides_no_frame_for_long(noise in noise(), frame in any_frame()) {
            let mut parser = Parser::new();
            parser.push(&noise);
            // A false frame that begins in the noise can swallow one frame's length of what follows.
            let tries = MAX_FRAME / frame.bytes().len() + 2;
            let found: Vec<_> = (0..tries).flat_map(|_| parser.push(&frame.bytes())).collect();
            prop_assert_eq!(found.last(), Some(&frame));
        }

        #[test]
        fn nothing_that_comes_in_is_kept_beyond_a_frame_s_length(pieces in prop::collection::vec(noise(), 0..20)) {
            let mut parser = Parser::new();
            for piece in pieces {
                for frame in parser.push(&piece) {
                    let _ = frame.answer_to(&Command::GetInfo);
                    let _ = frame.answer_to(&Command::GetParameters);
                    let _ = frame.answer_to(&Command::Reset);
                }
                prop_assert!(parser.waiting.len() < MAX_FRAME, "{}", parser.waiting.len());
            }
        }

        #[test]
        fn a_frame_with_one_byte_changed_is_not_found_as_it_was(
            frame in any_frame(), at in any::<prop::sample::Index>(), change in 1..=255_u8
        ) {
            let mut bytes = frame.bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(!Parser::new().push(&bytes).contains(&frame));
        }
    }
}
