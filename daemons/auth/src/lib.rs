//! Who may come in: htpasswd, sessions, TOTP, throttling (section 5 of the wire contract).
//!
//! A request shows at most five kinds of credentials; [`credentials`] decides which one counts, [`Auth::authorize`]
//! whether it is good. [`Auth`] is a handle to one guard that owns the sessions and the counters of wrong passwords.
//!
//! ```text
//!            login               expire, logout, pushed out by newer ones, other password
//!   (none) ────────> open ──────────────────────────────────────────────> ended (its sockets are told at once)
//!                    │  ▲
//!       first socket │  │ last socket closes: the lifetime starts again
//!                    ▼  │
//!                    held            (only with `extend`; cannot expire)
//! ```
//!
//! - Passwords are checked against files that are read again for each check, on blocking threads, a few at a time.
//!   [`cache`](crate::cache) says when an earlier answer may be used instead.
//! - Sessions and counters survive a restart of the daemon: both lie in the state directory, tokens only as hashes.
//!   A login or logout is on the disk before it is answered, so that a kill right after neither throws out who came in
//!   nor lets in again who left; counters follow within seconds.
//! - A session ends when its password is changed or its user removed, and so does what was opened by a password in a
//!   header ([`Right`]); the files are looked at every second (module `origin`).
//! - Sessions of programs ([`Auth::login_program`]) lie in memory only, and end when they are not used.
//! - Programs may show an API token instead ([`api_token`]), with a role and an end of its own.
//! - An unknown user costs the same time as a known one.
//!
//! What somebody may do who is in is the [`Role`]'s matter: [`Auth::role`] says which one a request has.
//!
//! What it does not do: HTTP (headers come in as bytes, refusals go out as [`Denied`]), an audit log, or know which role
//! which request needs.
//! Other credential services than htpasswd (HTTP, LDAP, PAM, RADIUS) are to be [`Service`]s behind [`Split`].

mod access;
pub mod api_token;
pub mod cache;
mod carrier;
pub mod clock;
mod error;
pub mod file;
mod guard;
mod handle;
pub mod hash;
pub mod htpasswd;
mod keeper;
mod ledger;
mod origin;
mod peer;
mod right;
mod role;
mod service;
mod session;
pub mod strength;
pub mod syntax;
mod throttle;
pub mod totp;

pub use access::{Access, Allowed, Login};
pub use api_token::{ApiToken, Grant};
pub use carrier::{Carrier, Peer, Presented, Via, cookie, credentials};
pub use error::{Denied, Error};
pub use guard::Settings;
pub use handle::{Auth, Hold};
pub use peer::{Accounts, Group, PeerRules, SystemAccounts};
pub use right::Right;
pub use role::{Role, Roles, UnknownRole};
pub use service::{Credential, Forbidden, Htpasswd, Service, Split};
pub use session::{PROGRAM_IDLE, Session, SessionEnd, Token};
pub use syntax::Invalid;
pub use throttle::{Limits, Net};
