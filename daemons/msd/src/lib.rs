//! The lent drive: storage, images, and the drive the target sees.
