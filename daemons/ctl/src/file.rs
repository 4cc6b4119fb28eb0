//! A file on its way to the appliance: read by a thread, sent as a body of known length, told of as it goes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::anyhow;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use crate::desk::{self, Desk};
use crate::face::Call;
use crate::msd::Pace;
use crate::{Failure, reach::usage};

/// What is read at once, in bytes.
const PIECE: usize = 256 << 10;

/// A file that can be sent.
pub(crate) struct Source {
    path: PathBuf,
    /// Its length in bytes, when we looked.
    pub(crate) size: u64,
}

impl Source {
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let about = std::fs::metadata(path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        if !about.is_file() {
            return Err(usage(format!("{}: only a file can be sent", path.display())));
        }
        Ok(Self { path: path.to_owned(), size: about.len() })
    }

    /// The name of the file itself.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn named(&self, error: &std::io::Error) -> Failure {
        anyhow!("{}: {error}", self.path.display()).into()
    }

    fn open(&self, from: u64) -> Result<File, Failure> {
        let mut file = File::open(&self.path).map_err(|error| self.named(&error))?;
        file.seek(SeekFrom::Start(from)).map_err(|error| self.named(&error))?;
        Ok(file)
    }

    /// The SHA-256 of all of it, in hexadecimal digits.
    pub(crate) fn digest(&self, desk: &mut Desk<'_, '_>) -> Result<String, Failure> {
        let mut file = self.open(0)?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        let (mut pace, mut done) = (Pace::new(&format!("reading {}", self.name()), 0), 0_u64);
        loop {
            let count = file.read(&mut piece).map_err(|error| self.named(&error))?;
            if count == 0 {
                break;
            }
            hash.update(&piece[..count]);
            done += u64::try_from(count).unwrap_or(0);
            if let Some(text) = pace.tell(done, Some(self.size)) {
                desk.progress(&text)?;
            }
        }
        if done != self.size {
            return Err(anyhow!("{}: it changes while it is read", self.path.display()).into());
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Sends it from this byte on as the body of a call.
    pub(crate) fn send(&self, desk: &mut Desk<'_, '_>, call: Call, from: u64) -> Result<Value, Failure> {
        let left = self.size.saturating_sub(from);
        let (pieces, coming) = mpsc::channel(2);
        let (sent, mut progress) = watch::channel(from);
        let file = self.open(from)?;
        // Ends by itself when nobody takes its pieces any more.
        std::thread::spawn(move || feed(file, from, &pieces, &sent));
        let body = reqwest::Body::wrap(Pieces { coming, left });
        let call = call
            .body(body, "application/octet-stream")
            .header(CONTENT_LENGTH, HeaderValue::from(left))
            .patient();
        let mut pace = Pace::new(&self.name(), from);
        let (face, json, console) = (&desk.face, desk.json, &mut *desk.console);
        face.runtime.block_on(async {
            let mut answer = std::pin::pin!(face.asked(call));
            let mut staying = std::pin::pin!(face.stay());
            let mut reading = true;
            loop {
                tokio::select! {
                    told = &mut answer => return told,
                    never = &mut staying => match never {},
                    changed = progress.changed(), if reading => {
                        reading = changed.is_ok();
                        let done = *progress.borrow_and_update();
                        if let Some(text) = pace.tell(done, Some(self.size)) {
                            desk::progress(json, console, &text)?;
                        }
                    }
                }
            }
        })
    }
}

/// Reads a file for the connection; what cannot be read breaks the upload off.
fn feed(
    mut source: File,
    from: u64,
    pieces: &mpsc::Sender<std::io::Result<Bytes>>,
    sent: &watch::Sender<u64>,
) {
    let mut done = from;
    loop {
        let mut piece = vec![0; PIECE];
        let read = source.read(&mut piece).map(|count| {
            piece.truncate(count);
            Bytes::from(piece)
        });
        let count = read.as_ref().map_or(0, Bytes::len);
        let ended = matches!(&read, Ok(piece) if piece.is_empty());
        // Nothing comes behind a piece that could not be read.
        if ended || pieces.blocking_send(read).is_err() || count == 0 {
            return;
        }
        done += u64::try_from(count).unwrap_or(0);
        sent.send_replace(done);
    }
}

/// A body of so many bytes that come from another thread.
struct Pieces {
    coming: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.coming.poll_recv(context).map(|next| match next {
            Some(Ok(mut piece)) => {
                // A file that grows meanwhile is sent as long as it was.
                piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= u64::try_from(piece.len()).unwrap_or(0);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(std::io::Error::other("the file has become shorter"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_as_long_as_it_said_or_broken() {
        let (pieces, coming) = mpsc::channel(4);
        for text in ["abc", "defg"] {
            pieces.send(Ok(Bytes::from_static(text.as_bytes()))).await.unwrap();
        }
        drop(pieces);
        let mut body = Pieces { coming, left: 5 };
        let mut next = async || std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), "de");
        assert!(next().await.is_none());
        let (_, coming) = mpsc::channel(1);
        let mut short = Pieces { coming, left: 1 };
        let end = std::future::poll_fn(|context| Pin::new(&mut short).poll_frame(context)).await;
        assert!(end.unwrap().is_err());
    }
}
