//! Pictures made small: JPEG.
