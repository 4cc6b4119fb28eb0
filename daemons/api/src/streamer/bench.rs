//! What tests of pictures have in common.

/// What a streamer says of a small picture.
pub(crate) fn meta(online: bool) -> frames::Meta {
    frames::Meta {
        format: frames::Format::Jpeg,
        width: 2,
        height: 1,
        online,
        key: true,
        captured: 1,
        encode_begin: 2,
        encode_end: 3,
        state: frames::SourceState::Live,
    }
}
