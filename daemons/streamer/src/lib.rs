//! `kvmd-streamer`: capture, encode, publish.
//!
//! One thread does the work and owns the source, the encoder and the writing end of the frame ring; the async side owns
//! the socket. Between them go commands (bounded) and a watched state.
//!
//! ```text
//!   source ──picture──▶ work (thread "frames") ──JPEG──▶ frame ring ──▶ kvmd and others
//!                         ▲ commands    │ state (watch)
//!                         └── serve ◀───┘            streamer.sock
//!
//!   shown:  Live ◀── picture ──┐            ┌── no picture ──▶ Placard(no cable, no sync,
//!                              └── source ──┘                    unsupported mode, encoder fault)
//! ```
//!
//! - What is unchanged is not encoded again: the last bytes are published once more a second, so that readers know the
//!   picture is alive (API.md 10.3).
//! - Without a picture a placard that names the state is published with `online = false`, at once and then once a second.
//! - Settings come with the start and by the socket, and apply from the next picture on; nothing is restarted for them.
//!
//! It listens to no network, knows no viewer and stops only when told: the supervisor decides when it runs.

mod meter;
mod placard;
mod serve;
mod settings;
mod work;

pub use serve::serve;
pub use settings::{settings, source};
pub use work::{Settings, Work};
