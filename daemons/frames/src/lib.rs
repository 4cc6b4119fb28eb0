//! Encoded frames in shared memory: one writer, many readers, nobody waits for a slow one.
