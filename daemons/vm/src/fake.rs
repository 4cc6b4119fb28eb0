//! A QEMU for tests: a machine monitor that records what it is told, behaves like a machine in the few commands
//! used here, and can refuse, go silent or hang up; and a screen that shows one colour.
//!
//! It keeps to what the real one was seen to do: a reset is announced by an event after its answer, an
//! unplugged device too, a shutdown is followed by a stop.

mod monitor;
mod vnc;

pub use monitor::Monitor;
pub use vnc::Vnc;
