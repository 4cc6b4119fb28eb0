//! Our own sockets as typed calls.
