//! kvmd: the HTTPS and WebSocket face.
