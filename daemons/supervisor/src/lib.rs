//! `kvmd-supervisor`: brings the appliance up in order and keeps it honest.
//!
//! The only one of our processes that is root, and it does little: at the start it prepares (directories, first
//! password, certificate, the drive's storage, listening sockets, the frame ring), then it owns the children.
//!
//! ```text
//!  settings ─▶ prepare (appliance, identity, password, storage, socket, journald)
//!                  │
//!                  ▼              events                       actions
//!               runner  ◀── SIGCHLD, sd_notify, control, time ──▶ service (pure) ──▶ start, signal
//!                  │
//!                  └─ start = launch (our half) ─ socket ─ exec_child (the child's half) ─▶ exec
//! ```
//!
//! The USB gadget is made before the services and held beside them ([`gadget`]): no restart of one is seen by the host.
//!
//! Likewise output lines of GPIO chips ([`lines`]): no line moves because `kvmd` ends. Device nodes are given to the
//! children that need them ([`nodes`]). What `kvmd` held at a keyboard chip on a serial line is released ([`chip`]).
//!
//! Services: `journald` (where the machine has none), `vm` (the target, when it is a QEMU), `kvmd`, and on demand
//! `kvmd-streamer`; started in this order, stopped in reverse. The drive's storage is checked and mounted after
//! them, and shown beside them. The states of one are drawn in [`service`].
//!
//! It works the same as a `Type=notify` unit, as PID 1 of a PID namespace, and in a terminal. What it does not do:
//! it speaks no protocol of people's, opens no device except to put it at rest, and runs nothing a request names.

pub mod account;
pub mod appliance;
pub mod chip;
pub mod claim;
pub mod control;
pub mod exec_child;
pub mod file;
pub mod gadget;
pub mod gpt;
pub mod grow;
pub mod identity;
pub mod journald;
pub mod kvm;
pub mod label;
pub mod launch;
pub mod lines;
pub mod nodes;
pub mod notice;
pub mod password;
pub mod preseed;
pub mod runner;
pub mod service;
pub mod socket;
pub mod storage;
pub mod system;
pub mod target;
pub mod tool;
pub mod update;

/// The API daemon: its service's and its program's name.
pub const KVMD: &str = "kvmd";
/// The streamer: its service's and its program's name.
pub const STREAMER: &str = "kvmd-streamer";
/// The target, when it is a QEMU.
pub const VM: &str = "vm";
/// The drive's storage where it is a partition: shown as a service, though it has no process.
pub const STORAGE: &str = "storage";
/// The journal, when it is ours.
pub const JOURNALD: &str = "journald";
