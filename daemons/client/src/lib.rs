//! Our own sockets as typed calls: what one daemon says to another, and how long it waits for the answer.
//!
//! One file per socket holds both ends' types and the asking side. All of them speak newline-delimited JSON over
//! a unix socket, every line bounded ([`line::LONGEST`]), every wait bounded. A call makes its own connection:
//! there is no state to lose when the other daemon restarts.
//!
//! What it does not do: it decides nothing. Who may ask what is the asked side's business.

pub mod line;
pub mod streamer;
pub mod supervisor;
pub mod system;
pub mod update;
