//! Keys and pointers as bytes: USB reports and descriptors, text to strokes.
