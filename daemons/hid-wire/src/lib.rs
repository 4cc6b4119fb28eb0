//! Keys and pointers as bytes: USB reports and descriptors, and text turned into key strokes.
//!
//! Everything here is arithmetic: an event goes in, reports come out. No I/O, no clock, no threads; who sends a
//! report, when, and what happens if that fails is the business of the crate `hid`.
//!
//! ```text
//! text ── Keymap ──> Stroke ─┐
//!                            ├─> Keyboard ──────> Report::Keyboard  (8 bytes)
//! key press / release ───────┘
//! move to, wheel, button ─────> AbsoluteMouse ──> Report::Absolute  (7 bytes)
//! move by, wheel, button ─────> RelativeMouse ──> Report::Relative  (5 bytes)
//! ```
//!
//! The three machines remember only what the next report must repeat: keys and buttons that are down, and the last
//! absolute position. After `release_all` nothing is down, whatever came before.
//!
//! Names of keys and buttons are those of the wire contract (DOM `KeyboardEvent.code`); the key table is generated
//! from `keys.csv`, what dead keys make from `compose.txt`. [`ch9329`] is the serial protocol of a chip that carries reports. Not here: PS/2 scan codes as
//! output, gadget set-up, decoding of WebSocket messages.

mod button;
pub mod ch9329;
pub mod descriptor;
mod key;
mod keyboard;
mod keymap;
mod leds;
mod mouse;
mod report;
mod text;

pub use button::Button;
pub use key::Key;
pub use keyboard::Keyboard;
pub use keymap::{Binding, Fault, Keymap, Problem, Typing, Untypable};
pub use leds::Leds;
pub use mouse::{AbsoluteMouse, Range, RelativeMouse, deltas};
pub use report::{Device, Report};
pub use text::{Stroke, Strokes};
