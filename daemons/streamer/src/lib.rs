//! kvmd-streamer: capture, encode, publish.
