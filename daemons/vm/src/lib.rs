//! A QEMU machine as a target: QMP and its VNC socket.
//!
//! Charter: everything the appliance does to a virtual machine, so that keyboard, power, drive and capture
//! drivers stay a few lines each. [`command`] says how QEMU is started, and fixes the ids the rest relies on:
//! CD drive `cd0`, disk `disk0`, controller `xhci`, and a lent flash drive `flash0`.
//!
//! ```text
//!             socket there, greeting, query-status
//!  Unreachable ───────────────────────────────▶ Running │ Paused │ Shutdown │ Other
//!       ▲                                          │  RESUME, STOP, SHUTDOWN, RESET: query-status again
//!       └──────── end of file, fault, silence ─────┘
//! ```
//!
//! - [`Qmp`]: the machine monitor; reconnects by itself, publishes the [`RunState`].
//! - [`input`], [`power`], [`media`]: what can be done through it.
//! - [`Screen`]: the picture; [`screen::leds`]: the keyboard lights alone.
//! - [`fake`]: a QEMU that records and obeys, or goes silent, for tests of other crates.
//!
//! What it does not do: start or reap QEMU (the supervisor), decide whether an action is allowed now
//! (`atx`, `msd`), know HID reports (`hid`) or pixels other than BGRX (`capture`, `encode`).

pub mod fake;
pub mod input;
mod machine;
pub mod media;
pub mod power;
pub mod qmp;
pub mod screen;

pub use machine::{Accel, Chipset, DiskFormat, MONITORS, Machine, command};
pub use qmp::{Error, Qmp, RunState};
pub use screen::Screen;
