//! The system's releases: which slot runs, what may be installed, whether it is good.
//!
//! The disk has two slots. One runs, the other takes the next release. The boot choice ([`Choice`], drawn in [`choice`])
//! says which starts; only a new release that is *tried* can lose its place, and only to the one that was good before.
//!
//! What it does not do: write a slot (RAUC does, and asks us for the boot choice), receive bundles, know what "good" means,
//! show anything to people.

mod autoboot;
mod block;
pub mod bundle;
pub mod choice;
pub mod progress;
pub mod release;
pub mod sel;
mod slot;
pub mod store;
pub mod version;

pub use bundle::{Bundle, Unfit};
pub use choice::{Choice, Refused, Standing};
pub use release::Release;
pub use sel::Sel;
pub use slot::Slot;
pub use store::Loader;
pub use version::Version;
