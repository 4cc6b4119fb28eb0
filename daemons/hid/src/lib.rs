//! The keyboard and mouse of the target: a trait, its drivers, one owner (contract: sections 7.3, 8.4 and 12.1 of the
//! API).
//!
//! One thread owns the [`Link`] that leads to the target. Everybody else has a [`Hid`] handle, which queues events for
//! it, and a `watch` of the [`State`].
//!
//! ```text
//! Hid::inject ──┐
//! print,        ├──> queue ──> owner (events to reports) ──> Link ──> target
//! shortcut ─────┘    (bounded)   │        ^                    │
//!                                │        └── retry, jiggler   └──> lights, presence of the host
//!                                └──> watch::Receiver<State>
//!
//! each device:  Online ──send fails──> Offline, last report owed ──150 tries, 0.1 s apart──> Offline, state owed
//!                  ^                            │                                              │ (tried rarely, and
//!                  └─────── a send succeeds (a retry, a newer event, or the host is back) ─────┘  when the host comes)
//! ```
//!
//! * The queue is bounded and nobody waits for it but text and clicks: when it is full, presses and movements are lost,
//!   releases never.
//! * [`Hid::clear`] drops what is queued and releases everything, on the keyboard and on all mice, whether or not
//!   anything is known to be down.
//! * Whatever ends the owner (stop, panic), everything is released. A panic is the result of the task that [`spawn`]
//!   returns, the state says offline, and the first event dropped after it is a line in the log.
//!
//! Not done here: reports and layouts themselves (`hid-wire`), decoding of what clients send (`api`), finding the link
//! (the daemon's `main` builds one from the configuration), JSON.

mod event;
mod handle;
mod jiggler;
pub mod keymaps;
pub mod link;
mod owner;
mod queue;
mod state;
mod typing;

pub use event::{Event, MouseOutput};
pub use handle::{Hid, spawn};
pub use hid_wire::{Button, Key, Keymap, Leds, Range, Untypable};
pub use keymaps::Keymaps;
pub use link::{Error, Link};
pub use state::{Jiggler, Keyboard, Mice, Mouse, Outputs, Settings, State};
pub use typing::Printed;
