//! Every JSON shape on the wire, and the rules for accepting a value.
//!
//! Names inherited from PiKVM (event names, error classes, keys of state objects) live here and nowhere
//! else. Everything is pure: no I/O, no clock, no runtime. The domain crates know no JSON; `api` converts
//! their state into the objects of this crate.
//!
//! - [`envelope`]: the frame around every JSON answer, and the table from error class to HTTP status;
//! - [`check`]: what a parameter may look like (section 4 of the contract);
//! - one module per state object (section 7): [`info`], [`hid`], [`atx`], [`gpio`], [`msd`], [`streamer`],
//!   [`ocr`], [`media`], and our own [`update`]; each knows its full event and the difference between two states;
//! - [`event`]: names of what the server sends; [`legacy`]: the complete events of the old generation;
//! - [`client_event`]: what a WebSocket client may send, JSON and binary (sections 6.4 and 6.5).
//!
//! What it does not do: decide whether an action makes sense now (the device crates do), or know any path.

pub mod atx;
pub mod check;
pub mod class;
pub mod client_event;
pub mod envelope;
pub mod event;
pub mod gpio;
pub mod hid;
pub mod info;
pub mod legacy;
pub mod media;
pub mod msd;
pub mod ocr;
pub mod streamer;
pub mod update;

pub use class::ErrorClass;
pub use event::Event;

/// The level of the wire contract we keep. Clients branch on it, so it is stated in `loop` and in
/// `info.system.kvmd.version`; our own release stands beside it as `info.system.release`.
pub const CONTRACT: (u32, u32) = (4, 197);

/// [`CONTRACT`] as the text clients compare: `"4.197"`.
pub const CONTRACT_TEXT: &str = "4.197";
