//! kvmd: the HTTPS and WebSocket face, the only process that listens to the network for people.
//!
//! ```text
//!              https ─┐                     ┌─▶ hid, atx, gpio, msd, info: owners of devices, by their handles
//!  people, programs   ├─▶ gate ─▶ routes ───┤
//!               unix ─┘    │                ├─▶ streamer::owner ─▶ supervisor, streamer.sock
//!                       access log          └─▶ ws::hub ◀─ ws::topics ◀─ states of all of the above
//! ```
//!
//! - [`routes`] is the table of everything that can be asked; [`gate`] stands in front of each row; [`failure`] is the
//!   one place that says what a device's error is called on the wire.
//! - A handler takes the one handle it needs, reads its parameters, calls, and wraps the answer.
//! - State goes out through [`ws::hub`]: made into text once, shared by all clients, bounded for each.
//! - [`server`] owns the listeners, which somebody else has opened.
//!
//! It follows sections 2 to 8 and 10 of the wire contract; the JSON itself is `model`'s. What it does not do: touch
//! hardware (the device crates do), capture or encode pictures (the streamer does), decide who may come in (`auth`).

pub mod access;
pub mod answer;
pub mod atx;
pub mod audit;
pub mod body;
pub mod claim;
pub mod credential;
pub mod daemons;
pub mod failure;
pub mod gadget;
pub mod gate;
pub mod gpio;
pub mod hid;
pub mod holder;
pub mod info;
pub mod log;
pub mod media;
pub mod msd;
pub mod openapi;
pub mod pages;
pub mod peer;
pub mod prometheus;
pub mod query;
pub mod redfish;
pub mod routes;
pub mod server;
pub mod setup;
pub mod streamer;
pub mod switch;
pub mod system;
pub mod token;
pub mod update;
pub mod user;
pub mod ws;
