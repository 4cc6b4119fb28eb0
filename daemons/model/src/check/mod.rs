//! What a parameter may look like (section 4 of the contract).
//!
//! Pure functions from the text of a query or form value to a typed one. Each has a raw limit, the longest
//! text it looks at. Blanks around a value are ignored unless a function says otherwise.

mod name;
mod number;
mod word;

pub use name::{channel, file_name, image_name, image_prefix, keymap_name, url};
pub use number::{
    boolean, clamp_coordinate, clamp_delta, float, float_at_least, int, int_at_least, int_between, log_seek,
    mouse_coordinate, mouse_delta, ocr_edge, print_delay, stream_fps, stream_quality,
};
pub use word::{
    AtxAction, AtxButton, Compression, h264_bitrate, h264_gop, keyboard_output, list, mouse_output, one_of,
    resolution,
};

/// A value the rules do not accept. Always sent as `ValidatorError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct Invalid {
    /// What the value should have been, with its article: `a valid bool`.
    pub expected: &'static str,
    /// The refused text, cut to a length fit for a message.
    pub value: String,
}

impl Invalid {
    /// Refuses `value`, remembering at most its first 64 characters.
    #[must_use]
    pub fn new(expected: &'static str, value: &str) -> Self {
        Self { expected, value: value.chars().take(64).collect() }
    }
}

/// The outcome of a check.
pub type Checked<T> = Result<T, Invalid>;

/// `raw` itself when it has at most `limit` characters.
fn within<'a>(raw: &'a str, limit: usize, expected: &'static str) -> Checked<&'a str> {
    // Bytes bound characters from above, so the count is only made for suspicious texts.
    if raw.len() > limit && raw.chars().count() > limit {
        return Err(Invalid::new(expected, raw));
    }
    Ok(raw)
}
