//! One bounded line of JSON at a time.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// Longest line either side accepts, in bytes, its end included.
pub const LONGEST: usize = 64 * 1024;

/// What can go wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// More bytes than [`LONGEST`] without a line end.
    #[error("a line is longer than {LONGEST} bytes")]
    TooLong,
    /// The other side closed in the middle of a line.
    #[error("the line has no end")]
    Torn,
    /// Not the JSON that was expected.
    #[error("a line is not what was expected: {0}")]
    Json(#[from] serde_json::Error),
}

/// Reads the next line; `None` when the other side closed between lines.
///
/// Not cancel-safe: what was read of a line is lost with the future.
///
/// # Errors
///
/// [`Error`] as its variants say; nothing can be read after one of them.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<T>, Error> {
    let mut line = Vec::new();
    loop {
        let chunk = from.fill_buf().await?;
        if chunk.is_empty() {
            return if line.is_empty() { Ok(None) } else { Err(Error::Torn) };
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let take = end.map_or(chunk.len(), |at| at + 1);
        if line.len() + take > LONGEST {
            return Err(Error::TooLong);
        }
        line.extend_from_slice(chunk.get(..take).unwrap_or_default());
        from.consume(take);
        if end.is_some() {
            return Ok(Some(serde_json::from_slice(&line)?));
        }
    }
}

/// Writes one line.
///
/// # Errors
///
/// [`Error::TooLong`] before anything is written; else what the socket says.
pub async fn write<T: Serialize + ?Sized>(
    to: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> Result<(), Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    if line.len() > LONGEST {
        return Err(Error::TooLong);
    }
    to.write_all(&line).await?;
    to.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn lines_come_one_at_a_time_and_then_none() {
        let mut from: &[u8] = b"1\n2\n";
        block_on(async {
            assert_eq!(read::<u8>(&mut from).await.unwrap(), Some(1));
            assert_eq!(read::<u8>(&mut from).await.unwrap(), Some(2));
            assert_eq!(read::<u8>(&mut from).await.unwrap(), None);
        });
    }

    #[test]
    fn a_line_without_end_is_torn_and_an_endless_one_too_long() {
        let endless = vec![b' '; LONGEST + 1];
        block_on(async {
            assert!(matches!(read::<u8>(&mut &b"1"[..]).await, Err(Error::Torn)));
            assert!(matches!(read::<u8>(&mut &endless[..]).await, Err(Error::TooLong)));
        });
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in ".*") {
            let mut buffer = Vec::new();
            block_on(write(&mut buffer, &text)).unwrap();
            prop_assert_eq!(block_on(read::<String>(&mut &buffer[..])).unwrap(), Some(text));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = block_on(read::<serde_json::Value>(&mut &bytes[..]));
        }
    }
}
