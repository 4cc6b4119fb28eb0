//! The USB device we pretend to be: a pure plan, applied to configfs.

mod paths;
pub mod state;

pub use paths::Paths;
pub use state::UdcState;
