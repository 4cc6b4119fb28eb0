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
//! - A capture device shows the target a monitor (an EDID), whether or not somebody watches: the supervisor starts this
//!   program once when the appliance starts, and the device remembers when it has ended. See [`Keeper`].
//! - Settings come with the start and by the socket, and apply from the next picture on; nothing is restarted for them.
//!
//! It listens to no network, knows no viewer and stops only when told: the supervisor decides when it runs.

mod edid;
mod meter;
mod placard;
mod serve;
mod settings;
mod work;

pub use edid::{Keeper, TRIAL, Wanted};
pub use serve::{Request, serve};
pub use settings::{monitor, settings, source};
pub use work::{Settings, Work};
