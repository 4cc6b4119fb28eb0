//! The media WebSocket (section 9): what it offers, and what its clients may ask for.
//!
//! Formats that are not made here are not offered.

use crate::event::Event;
use serde::Deserialize;
use serde_json::{Value, json};

/// A video format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JPEG a message.
    Jpeg,
    /// One access unit a message; not made here yet.
    H264,
}

/// The kind of a binary message that carries a frame.
pub const FRAME: u8 = 1;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Frames of this format.
    Start(Format),
    /// An answer.
    Ping,
    /// A frame that needs none before it.
    KeyFrame,
}

impl Wish {
    /// A text message; none for what is not known.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Message {
            event_type: String,
            event: Start,
        }
        #[derive(Deserialize)]
        struct Start {
            #[serde(rename = "type")]
            kind: String,
            format: Format,
        }
        let message: Message = serde_json::from_str(text).ok()?;
        let known = message.event_type == "start" && message.event.kind == "video";
        known.then_some(Self::Start(message.event.format))
    }

    /// A binary message; none for what is not known.
    #[must_use]
    pub fn from_binary(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? {
            0 => Some(Self::Ping),
            1 => Some(Self::KeyFrame),
            _ => None,
        }
    }
}

/// What is offered: `{"video": {format: meta}}`.
#[must_use]
pub fn info() -> Value {
    json!({"video": {"jpeg": {}}})
}

/// Under the key `media`, as HTTP shows it.
#[must_use]
pub fn wrapped() -> Value {
    json!({"media": info()})
}

/// The first message to every client.
#[must_use]
pub fn hello() -> Event {
    Event::new("media", info())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_known_is_no_wish() {
        let start = |format: &str| {
            format!(r#"{{"event_type":"start","event":{{"type":"video","format":"{format}"}}}}"#)
        };
        assert_eq!(Wish::from_text(&start("jpeg")), Some(Wish::Start(Format::Jpeg)));
        assert_eq!(Wish::from_text(&start("h264")), Some(Wish::Start(Format::H264)));
        for text in
            [&start("gif"), "{}", "", r#"{"event_type":"ping","event":{}}"#, r#"{"event_type":"start"}"#]
        {
            assert_eq!(Wish::from_text(text), None, "{text}");
        }
        assert_eq!(
            [&b"\0"[..], b"\x01x", b"\x02", b""].map(Wish::from_binary),
            [Some(Wish::Ping), Some(Wish::KeyFrame), None, None]
        );
    }

    #[test]
    fn only_what_is_made_is_offered() {
        assert_eq!(hello().text(), r#"{"event_type":"media","event":{"video":{"jpeg":{}}}}"#);
        assert_eq!(wrapped()["media"], info());
    }

    proptest! {
        #[test]
        fn no_message_panics(text in ".{0,100}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Wish::from_text(&text), Wish::from_binary(&bytes));
        }
    }
}
