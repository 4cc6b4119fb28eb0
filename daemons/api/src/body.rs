//! Request bodies: those that are read whole are bounded, and 413 in plain text when they are too long; none is waited
//! for when its sender has fallen silent.

use crate::{answer, failure::Failure};
use actix_web::{HttpResponse, ResponseError, error::PayloadError, http::StatusCode, web};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::{io, time::Duration};
use tokio::time::timeout;

/// The longest text to type, in bytes.
pub const LONGEST: usize = 1 << 20;

/// The longest login form, in bytes, and how long it may take as a whole: it is read before anybody is known, so it must
/// neither cost memory nor hold a connection.
pub const FORM: usize = 16 << 10;
const FORM_TIME: Duration = Duration::from_secs(10);

/// How long a sender may be silent in the middle of a body. The kernel notices peers that are gone; this is for those
/// that are there and do nothing, while they hold the drive or memory.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Why a body could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than [`LONGEST`] or [`FORM`].
    #[error("the body is too long")]
    TooLong,
    /// The connection broke, or the body is malformed.
    #[error("the body broke off")]
    Broken,
    /// It is not what the endpoint wants.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Failure(failure) => failure.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::Failure(failure) => failure.error_response(),
            _ => answer::plain(self.status_code()),
        }
    }
}

/// The next piece of a body, none at its end. A sender that is silent for [`SILENCE`] is taken for gone.
pub async fn next<S>(body: &mut S) -> Option<Result<Bytes, PayloadError>>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let silent = |_| Some(Err(PayloadError::Io(io::Error::new(io::ErrorKind::TimedOut, "nothing came"))));
    timeout(SILENCE, body.next()).await.unwrap_or_else(silent)
}

/// The whole body of somebody who is signed in.
pub async fn read(mut payload: web::Payload) -> Result<Bytes, Error> {
    collect(&mut payload, LONGEST).await
}

/// The whole body of somebody who is not: short, and soon.
pub async fn read_form<S>(mut payload: S) -> Result<Bytes, Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    timeout(FORM_TIME, collect(&mut payload, FORM)).await.unwrap_or(Err(Error::Broken))
}

async fn collect<S>(payload: &mut S, longest: usize) -> Result<Bytes, Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut body = BytesMut::new();
    while let Some(chunk) = next(payload).await {
        let chunk = chunk.map_err(|_| Error::Broken)?;
        if body.len() + chunk.len() > longest {
            return Err(Error::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The body as text in the charset of its content type, UTF-8 when that names none. A byte-order mark, which many
/// editors write before a text, is not of the text.
pub fn text(body: &[u8], content_type: Option<&str>) -> Result<String, Failure> {
    let label = content_type
        .into_iter()
        .flat_map(|kind| kind.split(';').skip(1))
        .find_map(|part| part.trim().strip_prefix("charset="))
        .map_or("utf-8", |label| label.trim_matches('"'));
    let charset = encoding_rs::Encoding::for_label(label.as_bytes()).ok_or_else(|| {
        Failure::invalid(format!("unknown charset {:?}", label.chars().take(32).collect::<String>()))
    })?;
    let (text, malformed) = charset.decode_with_bom_removal(body);
    if malformed {
        return Err(Failure::invalid(format!("the body is not {}", charset.name())));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    /// Pieces with pauses before them, and then nothing, for ever.
    fn stalls_after(pauses: Vec<u64>) -> impl Stream<Item = Result<Bytes, PayloadError>> + Unpin {
        let pieces = stream::iter(pauses).then(async |seconds| {
            sleep(Duration::from_secs(seconds)).await;
            Ok(Bytes::from_static(b"x"))
        });
        Box::pin(pieces.chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_form_is_short_and_soon() {
        let start = Instant::now();
        let dripping = read_form(stalls_after(vec![4, 4, 4, 4])).await;
        assert!(matches!(dripping, Err(Error::Broken)));
        assert_eq!(start.elapsed(), FORM_TIME);
        let long = stream::iter((0..5).map(|_| Ok(Bytes::from_static(&[b'x'; 4096]))));
        assert!(matches!(read_form(long).await, Err(Error::TooLong)));
        let good = stream::iter([Ok(Bytes::from_static(b"user=a"))]);
        assert_eq!(read_form(good).await.unwrap().as_ref(), b"user=a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_is_given_up_and_a_slow_one_is_not() {
        let mut body = stalls_after(vec![59, 59, 59]);
        for _ in 0..3 {
            assert!(next(&mut body).await.unwrap().is_ok());
        }
        let silent_since = Instant::now();
        assert!(next(&mut body).await.unwrap().is_err());
        assert_eq!(silent_since.elapsed().as_secs(), 60);
    }

    #[test]
    fn text_is_read_in_its_charset() {
        assert_eq!(text("zyä".as_bytes(), None), Ok("zyä".to_owned()));
        assert_eq!(text(b"\xe4", Some("text/plain; charset=iso-8859-1")), Ok("ä".to_owned()));
        assert_eq!(text(b"x", Some("text/plain; charset=\"utf-8\"")), Ok("x".to_owned()));
        assert_eq!(text(b"x\0", Some("text/plain; charset=utf-16le")), Ok("x".to_owned()));
    }

    #[test]
    fn one_byte_order_mark_before_a_text_is_not_of_it() {
        let mark = '\u{FEFF}';
        for (body, read) in [
            (format!("{mark}x"), "x".to_owned()),
            (format!("{mark}{mark}x"), format!("{mark}x")),
            (format!("x{mark}"), format!("x{mark}")),
            (mark.to_string(), String::new()),
        ] {
            assert_eq!(text(body.as_bytes(), None), Ok(read), "{body:?}");
        }
        assert_eq!(text(b"\xff\xfex\0", Some("text/plain; charset=utf-16le")), Ok("x".to_owned()));
    }

    #[test]
    fn text_that_cannot_be_read_is_refused() {
        for (body, kind) in [(&b"\xff\xfe"[..], None), (b"x", Some("text/plain; charset=klingon"))] {
            assert_eq!(text(body, kind).map_err(|failure| failure.class.name()), Err("ValidatorError"));
        }
    }
}
