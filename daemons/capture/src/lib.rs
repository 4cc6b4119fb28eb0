//! Pictures from the target: virtual machine, test pattern, replay.
