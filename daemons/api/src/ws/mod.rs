//! `/ws`: state out, keys and mouse in (section 6).
//!
//! [`hub`] owns the list of clients and sends every event once to all of them; [`topics`] says which events there
//! are; [`session`] is one client's connection.

pub mod hub;
pub mod session;
pub mod topics;

use crate::routes::Entry;
use actix_web::web;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[Entry::get("/ws", || web::to(session::open))];
