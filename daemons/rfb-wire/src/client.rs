//! The client: answers the handshake by itself, then turns updates into events.

use crate::message::{
    self, Area, ENCODING_COPY_RECT, ENCODING_DESKTOP_SIZE, ENCODING_EXTENDED_KEY, ENCODING_LED_STATE,
    ENCODING_RAW, SECURITY_NONE, VERSION,
};

const ENCODINGS: [i32; 5] =
    [ENCODING_COPY_RECT, ENCODING_RAW, ENCODING_DESKTOP_SIZE, ENCODING_LED_STATE, ENCODING_EXTENDED_KEY];

/// What a server may claim before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Widest screen, in pixels.
    pub width: u16,
    /// Highest screen, in pixels.
    pub height: u16,
    /// Longest desktop name or failure reason, in bytes.
    pub text_bytes: u32,
    /// Longest clipboard text, in bytes. It is skipped, not kept.
    pub cut_text_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { width: 4096, height: 4096, text_bytes: 4096, cut_text_bytes: 1 << 20 }
    }
}

/// Why a connection cannot go on. The machine stays failed and answers the same again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The greeting was not that of protocol 3.8 (or the server is no RFB server).
    #[error("the server does not speak RFB 3.8")]
    Version,
    /// The server refused, and said why.
    #[error("the server refused the connection: {0}")]
    Refused(String),
    /// The server wants a password or TLS.
    #[error("the server offers no connection without authentication")]
    Security,
    /// A text longer than the limits allow; its claimed length in bytes.
    #[error("a text of {0} bytes is too long")]
    TextTooLong(u32),
    /// A screen of no size or over the limits, in pixels.
    #[error("a screen of {0}x{1} pixels is out of range")]
    ScreenSize(u16, u16),
    /// A rectangle that is not on the screen.
    #[error("a rectangle lies outside the screen: {0:?}")]
    OutOfBounds(Area),
    /// An encoding that was not asked for.
    #[error("encoding {0} was not asked for")]
    Encoding(i32),
    /// A message type unknown to RFC 6143.
    #[error("unknown message type {0}")]
    Message(u8),
}

/// What the server said. Pixels are borrowed from the machine: copy them or lose them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake is over. Nothing has been asked for yet: a client that only wants
    /// [`Event::Leds`] never asks, and gets no pixels.
    Connected {
        /// Screen width in pixels.
        width: u16,
        /// Screen height in pixels.
        height: u16,
        /// The desktop's name.
        name: &'a str,
    },
    /// The screen has a new size; all of its content is unknown until the next rows.
    Resized {
        /// Screen width in pixels.
        width: u16,
        /// Screen height in pixels.
        height: u16,
    },
    /// One row of pixels, wholly on the screen.
    Row {
        /// First column.
        x: u16,
        /// The row.
        y: u16,
        /// Four bytes a pixel: blue, green, red, unused.
        bgrx: &'a [u8],
    },
    /// Content moves from one place on the screen to another, both wholly on it; they may overlap.
    Copy {
        /// First column of the source.
        from_x: u16,
        /// First row of the source.
        from_y: u16,
        /// The destination.
        to: Area,
    },
    /// The keyboard lights: scroll 1, num 2, caps 4.
    Leds(u8),
    /// The server takes [`message::key_extended`].
    ExtendedKeys,
    /// An update is complete; ask for the next.
    UpdateDone,
    /// The target's bell.
    Bell,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Version,
    SecurityCount,
    SecurityTypes(usize),
    SecurityResult,
    ReasonLength,
    Reason(usize),
    Init,
    Name { width: u16, height: u16, len: usize },
    Idle,
    UpdateHeader,
    Rect { left: u16 },
    Row { left: u16, area: Area },
    CopySource { left: u16, to: Area },
    LedByte { left: u16 },
    PaletteHeader,
    CutTextHeader,
    Skip(usize),
    Failed(Error),
}

/// The client side of one connection.
#[derive(Debug)]
pub struct Client {
    limits: Limits,
    state: State,
    pending: Vec<u8>,
    output: Vec<u8>,
    width: u16,
    height: u16,
}

impl Client {
    /// A machine that waits for the server's greeting.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Version, pending: Vec::new(), output: Vec::new(), width: 0, height: 0 }
    }

    /// Takes bytes from the server and reports what they meant, in order.
    ///
    /// # Errors
    /// The connection is of no use any more; see [`Error`]. Events before the fault were reported.
    pub fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), Error> {
        let mut input = bytes;
        loop {
            if let State::Failed(error) = &self.state {
                return Err(error.clone());
            }
            if let State::Skip(left) = self.state {
                let taken = left.min(input.len());
                input = &input[taken..];
                self.state = if taken == left { State::Idle } else { State::Skip(left - taken) };
                if taken < left {
                    return Ok(());
                }
                continue;
            }
            let need = self.need();
            // A step that needs no bytes (a rectangle without columns, an empty name) runs at once.
            if self.pending.is_empty() && input.len() >= need {
                // The usual case: everything is in the caller's slice, nothing is copied.
                let (step, rest) = input.split_at(need);
                input = rest;
                self.step(step, &mut sink);
            } else {
                let taken = (need - self.pending.len()).min(input.len());
                self.pending.extend_from_slice(&input[..taken]);
                input = &input[taken..];
                if self.pending.len() < need {
                    return Ok(());
                }
                let mut step = std::mem::take(&mut self.pending);
                self.step(&step, &mut sink);
                step.clear();
                self.pending = step;
            }
            if input.is_empty() && self.need() > 0 && !matches!(self.state, State::Failed(_)) {
                return Ok(());
            }
        }
    }

    /// Bytes to send to the server; empty when there are none.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether the handshake is over and the connection sound.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.width > 0 && !matches!(self.state, State::Failed(_))
    }

    /// The screen's size in pixels; zero before [`Event::Connected`].
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    /// Asks for the next update of the whole screen. Before the handshake is over it does nothing.
    pub fn request_update(&mut self, incremental: bool) {
        let area = Area { x: 0, y: 0, width: self.width, height: self.height };
        self.request_area(incremental, area);
    }

    /// Asks for the next update of one area. Before the handshake is over it does nothing.
    pub fn request_area(&mut self, incremental: bool, area: Area) {
        self.send(&message::update_request(incremental, area));
    }

    /// Sends a message of [`message`]. Before the handshake is over it does nothing, so that a
    /// handshake cannot be disturbed.
    pub fn send(&mut self, message: &[u8]) {
        if self.is_connected() {
            self.output.extend_from_slice(message);
        }
    }

    /// How many bytes the present step waits for. Bounded by the limits checked when it was entered.
    fn need(&self) -> usize {
        match self.state {
            State::Version => VERSION.len(),
            State::SecurityTypes(len) | State::Reason(len) | State::Name { len, .. } => len,
            State::SecurityResult | State::ReasonLength | State::CopySource { .. } => 4,
            State::Init => 24,
            State::SecurityCount | State::Idle | State::LedByte { .. } => 1,
            State::UpdateHeader => 3,
            State::Rect { left: 0 } | State::Skip(_) | State::Failed(_) => 0,
            State::Rect { .. } => 12,
            State::Row { area, .. } => usize::from(area.width) * 4,
            State::PaletteHeader => 5,
            State::CutTextHeader => 7,
        }
    }

    fn step(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        let next = match self.state.clone() {
            State::Version => self.version(bytes),
            State::SecurityCount => Ok(match bytes[0] {
                0 => State::ReasonLength,
                count => State::SecurityTypes(usize::from(count)),
            }),
            State::SecurityTypes(_) => self.security_types(bytes),
            State::SecurityResult => Ok(self.security_result(bytes)),
            State::ReasonLength => self.text_length(bytes).map(State::Reason),
            State::Reason(_) => Err(Error::Refused(String::from_utf8_lossy(bytes).into_owned())),
            State::Init => self.init(bytes),
            State::Name { width, height, .. } => {
                self.name(width, height, bytes, sink);
                Ok(State::Idle)
            }
            State::Idle => Self::message_type(bytes[0], sink),
            State::UpdateHeader => Ok(State::Rect { left: be16(&bytes[1..]) }),
            State::Rect { left: 0 } => {
                sink(Event::UpdateDone);
                Ok(State::Idle)
            }
            State::Rect { left } => self.rect(left - 1, bytes, sink),
            State::Row { left, area } => {
                if !bytes.is_empty() {
                    sink(Event::Row { x: area.x, y: area.y, bgrx: bytes });
                }
                Ok(rows(left, Area { y: area.y + 1, height: area.height - 1, ..area }))
            }
            State::CopySource { left, to } => self.copy(left, to, bytes, sink),
            State::LedByte { left } => {
                sink(Event::Leds(bytes[0]));
                Ok(State::Rect { left })
            }
            State::PaletteHeader => Ok(State::Skip(usize::from(be16(&bytes[3..])) * 6)),
            State::CutTextHeader => self.cut_text(bytes),
            same @ (State::Skip(_) | State::Failed(_)) => Ok(same),
        };
        self.state = next.unwrap_or_else(State::Failed);
    }

    fn version(&mut self, bytes: &[u8]) -> Result<State, Error> {
        // Any later 3.x server must accept 3.8; an earlier one is not worth its handshake.
        let digits = bytes.strip_prefix(b"RFB 003.").and_then(|rest| rest.strip_suffix(b"\n"));
        let minor = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse::<u16>().ok());
        if minor.is_none_or(|minor| minor < 8) {
            return Err(Error::Version);
        }
        self.output.extend_from_slice(VERSION);
        Ok(State::SecurityCount)
    }

    fn security_types(&mut self, offered: &[u8]) -> Result<State, Error> {
        if !offered.contains(&SECURITY_NONE) {
            return Err(Error::Security);
        }
        self.output.push(SECURITY_NONE);
        Ok(State::SecurityResult)
    }

    fn security_result(&mut self, bytes: &[u8]) -> State {
        if be32(bytes) != 0 {
            return State::ReasonLength;
        }
        // ClientInit with the shared flag: without it a second viewer would throw us out, or we it.
        self.output.push(1);
        State::Init
    }

    fn text_length(&self, bytes: &[u8]) -> Result<usize, Error> {
        let len = be32(bytes);
        if len > self.limits.text_bytes {
            return Err(Error::TextTooLong(len));
        }
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn init(&mut self, bytes: &[u8]) -> Result<State, Error> {
        // The server's own pixel format (16 bytes) is of no interest: we set ours.
        let (width, height) = self.check_size(be16(bytes), be16(&bytes[2..]))?;
        Ok(State::Name { width, height, len: self.text_length(&bytes[20..])? })
    }

    fn check_size(&self, width: u16, height: u16) -> Result<(u16, u16), Error> {
        if width == 0 || height == 0 || width > self.limits.width || height > self.limits.height {
            return Err(Error::ScreenSize(width, height));
        }
        Ok((width, height))
    }

    fn name(&mut self, width: u16, height: u16, name: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        (self.width, self.height) = (width, height);
        self.output.extend_from_slice(&message::set_pixel_format_bgrx());
        self.output.extend_from_slice(&message::set_encodings(&ENCODINGS));
        sink(Event::Connected { width, height, name: &String::from_utf8_lossy(name) });
    }

    fn message_type(kind: u8, sink: &mut impl FnMut(Event<'_>)) -> Result<State, Error> {
        match kind {
            0 => Ok(State::UpdateHeader),
            1 => Ok(State::PaletteHeader),
            2 => {
                sink(Event::Bell);
                Ok(State::Idle)
            }
            3 => Ok(State::CutTextHeader),
            other => Err(Error::Message(other)),
        }
    }

    fn rect(&mut self, left: u16, b: &[u8], sink: &mut impl FnMut(Event<'_>)) -> Result<State, Error> {
        let area = Area { x: be16(b), y: be16(&b[2..]), width: be16(&b[4..]), height: be16(&b[6..]) };
        match be32(&b[8..]).cast_signed() {
            ENCODING_RAW => Ok(rows(left, self.check_bounds(area)?)),
            ENCODING_COPY_RECT => Ok(State::CopySource { left, to: self.check_bounds(area)? }),
            ENCODING_DESKTOP_SIZE => {
                let (width, height) = self.check_size(area.width, area.height)?;
                (self.width, self.height) = (width, height);
                sink(Event::Resized { width, height });
                Ok(State::Rect { left })
            }
            ENCODING_LED_STATE => Ok(State::LedByte { left }),
            ENCODING_EXTENDED_KEY => {
                sink(Event::ExtendedKeys);
                Ok(State::Rect { left })
            }
            other => Err(Error::Encoding(other)),
        }
    }

    fn copy(
        &self,
        left: u16,
        to: Area,
        bytes: &[u8],
        sink: &mut impl FnMut(Event<'_>),
    ) -> Result<State, Error> {
        let from = self.check_bounds(Area { x: be16(bytes), y: be16(&bytes[2..]), ..to })?;
        sink(Event::Copy { from_x: from.x, from_y: from.y, to });
        Ok(State::Rect { left })
    }

    fn check_bounds(&self, area: Area) -> Result<Area, Error> {
        if area.fits(self.width, self.height) { Ok(area) } else { Err(Error::OutOfBounds(area)) }
    }

    fn cut_text(&self, bytes: &[u8]) -> Result<State, Error> {
        let len = be32(&bytes[3..]);
        if len > self.limits.cut_text_bytes {
            return Err(Error::TextTooLong(len));
        }
        Ok(State::Skip(usize::try_from(len).unwrap_or(usize::MAX)))
    }
}

/// The next row of a raw rectangle, or the next rectangle. One without columns has no rows to wait for.
fn rows(left: u16, area: Area) -> State {
    if area.height == 0 || area.width == 0 { State::Rect { left } } else { State::Row { left, area } }
}

/// Callers pass at least two bytes; anything shorter reads as zero rather than panicking.
fn be16(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |b| u16::from_be_bytes(*b))
}

/// Callers pass at least four bytes; anything shorter reads as zero rather than panicking.
fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}
