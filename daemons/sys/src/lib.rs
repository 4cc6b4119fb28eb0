//! Linux calls that std and nix lack, made safe. The only crate where `unsafe` compiles.
//!
//! One topic a file, one call a function, `io::Result`, and a SAFETY note on each `unsafe` block.
//! It keeps no state, starts no threads, and knows nothing of the appliance.

pub mod beneath;
pub mod blkpg;
pub mod capability;
pub mod cdrom;
pub mod fd;
pub mod futex;
pub mod hidraw;
pub mod lease;
pub mod limit;
pub mod memfd;
pub mod mmap;
pub mod pass;
pub mod sel;
pub mod v4l2;
pub mod vcio;
pub mod writeback;
