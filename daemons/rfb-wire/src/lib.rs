//! The RFB protocol as a state machine: bytes in, events and bytes out.
//!
//! Charter: RFB 3.8 (RFC 6143) without I/O, clock or allocation proportional to what a peer claims.
//! The caller moves bytes between a socket and the machine; how the bytes were split never matters.
//!
//! This release holds the client side ([`client::Client`]), used to look at a QEMU machine's screen.
//! The server side will stand beside it as `server` and share [`message`].
//!
//! ```text
//!  Version ──▶ Security ──▶ Result ──▶ Init ──▶ Idle ◀──────────────┐
//!     │           │           │                  │ update            │ last rectangle
//!     └───────────┴─────┬─────┘                  ▼                   │
//!                 Failed (for good)           Rectangle ──▶ Row ─────┘
//! ```
//!
//! What it does not do: protocol versions before 3.8, passwords, TLS, compressed encodings, cursors.
//! It keeps no picture either: rows of pixels go to the caller as they complete, so memory held here is
//! one row of pixels at most.

pub mod client;
pub mod message;

pub use client::{Client, Error, Event, Limits};
