//! The system's releases: which slot runs, what may be installed, whether it is good.
//!
//! The disk has two slots. One runs, the other takes the next release. The boot choice ([`Choice`], drawn in [`choice`])
//! says which starts; only a new release that is *tried* can lose its place, and only to the one that was good before.
//!
//! ```text
//!           install        let in           written           restart         found good
//!  idle ──▶ checking ──▶ installing ──▶ ready to restart ──▶ (restart) ──▶ trial ──▶ idle
//!    ▲         │              │               │                              │ not good, crash, hang
//!    └─────────┴── refused ───┴── forgotten ──┘          rolled back ◀── (restart into the primary)
//! ```
//!
//! One task ([`Update`]) carries updates out; what it needs done outside is a [`Machine`].
//!
//! What it does not do: write a slot (RAUC does, and asks us for the boot choice), receive bundles, know what "good" means
//! (the machine is asked), show anything to people.

mod autoboot;
mod block;
pub mod bundle;
pub mod choice;
pub mod history;
mod machine;
mod notes;
mod owner;
pub mod progress;
pub mod release;
pub mod sel;
mod slot;
pub mod state;
pub mod store;
mod trial;
pub mod version;

pub use bundle::{Bundle, Unfit};
pub use choice::{Choice, Refused, Standing};
pub use machine::{Boxed, Machine, Settings};
pub use owner::{Source, StartError, Update};
pub use release::Release;
pub use sel::Sel;
pub use slot::Slot;
pub use state::{Error, Phase, State};
pub use store::Loader;
pub use version::Version;
