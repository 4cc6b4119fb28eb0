//! The USB device we pretend to be: a pure plan, applied to configfs.
//!
//! ```text
//!  Settings + Controller ──plan──▶ Plan ──hold──▶ Gadget ──bind──▶ host
//!     (plain data)         pure     │   configfs    │
//!                                   │               └─ nodes, attributes to give away; let_go
//!                                   └─ functions in order, endpoints, what does not fit and what to turn off
//!
//!            hold                    bind                    unbind, or the controller goes
//!  nothing ───────▶ made, unbound ────────▶ bound (state) ────────────────────────────────▶ unbound
//!     ▲  remove           ▲  hold of an equal one: adopted as it is, bound or not
//!     └───────────────────┘
//! ```
//!
//! - [`plan`] knows the contract (API.md section 13): the order of functions, what each costs, every attribute.
//! - [`Gadget`] makes what is planned, or keeps what is there if it is the same, so that the host notices nothing of a
//!   restart; it binds and unbinds, and releases all keys when their owner has died.
//! - [`Paths`] is where everything lies, for the drivers of keyboard and drive; [`state::watch`] tells them whether
//!   there is a host.
//!
//! Why this does not use a library for gadgets: `docs/decisions/0010-gadget-by-hand.md`. What it does not do: speak
//! with the host (the drivers in `hid` and `msd` do), own the gadget or give files away (the supervisor does), load
//! kernel modules.

mod configfs;
mod controller;
mod hold;
mod last;
mod paths;
mod plan;
mod rest;
pub mod settings;
pub mod state;
mod tree;

pub use configfs::Error;
pub use controller::{Controller, Kind};
pub use hold::{Gadget, Made, Node};
pub use last::LastReport;
pub use paths::Paths;
pub use plan::{Cost, Fate, Function, Plan, Rest, Role, plan};
pub use rest::Outcome;
pub use settings::{Inquiry, Settings};
pub use state::UdcState;
