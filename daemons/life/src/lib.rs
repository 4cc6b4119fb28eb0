//! Starting and stopping: logging, signals, readiness, the cancel tree.
