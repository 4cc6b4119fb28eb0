//! An image on its way out, packed where the client wants that.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::place::Place;
use crate::transfer::{self, Progress, failed};

/// How hard to pack. Both run on a small board beside everything else: zstd's own default is faster than the network;
/// xz at 3 needs 32 MB where its default of 6 takes 94, for a few percent.
const ZSTD_LEVEL: i32 = 3;
const XZ_LEVEL: u32 = 3;

/// How an image read out is packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// An `.xz` file.
    Lzma,
    /// A `.zst` file.
    Zstd,
}

impl Compression {
    /// What is added to the image's name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lzma => ".xz",
            Self::Zstd => ".zst",
        }
    }
}

/// An image being read out. Dropping it ends the read.
#[derive(Debug)]
pub struct Read {
    name: String,
    size: u64,
    pieces: mpsc::Receiver<Bytes>,
    progress: Arc<Progress>,
}

impl Read {
    pub(crate) fn new(
        name: String,
        size: u64,
        pieces: mpsc::Receiver<Bytes>,
        progress: Arc<Progress>,
    ) -> Self {
        Self { name, size, pieces, progress }
    }

    /// The image's name, without a suffix for the packing.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the image as it lies on the storage.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece, or `None` at the end (the region is free then).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Cancelled`]; nothing follows.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.pieces.recv().await {
            Some(piece) => Ok(Some(piece)),
            None => self.progress.failed().map_or(Ok(None), Err),
        }
    }
}

/// A file opened for reading.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
    pub(crate) piece: usize,
}

/// Where pieces go: to the client, as long as there is one.
pub(crate) struct Out<'a> {
    pub(crate) runtime: &'a Handle,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) pieces: &'a mpsc::Sender<Bytes>,
}

impl Out<'_> {
    /// An error means that nobody wants more.
    fn send(&self, piece: Bytes) -> io::Result<()> {
        match transfer::wait(self.runtime, self.cancel, self.pieces.send(piece)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Download {
    /// Opens an image. Blocks.
    pub(crate) fn open(
        root: &Path,
        image: &str,
        compression: Compression,
        piece: usize,
    ) -> Result<Self, Error> {
        let place = Place::find(root, image)?;
        let (file, path) = (place.open()?, place.path().to_owned());
        let size = file.metadata().map_err(failed(&path))?.len();
        Ok(Self { path, file, size, compression, piece: piece.max(1) })
    }

    /// Reads to the end, or until the client leaves or the transfer is cancelled. Blocks; runs on its own thread.
    pub(crate) fn run(self, out: &Out<'_>, progress: &Arc<Progress>) {
        let Err(error) = self.pump(out, progress) else { return };
        // Not by the queue: it may be full, and who cancels must not wait for a client that does not read.
        progress.fail(&if out.cancel.is_cancelled() { Error::Cancelled } else { failed(&self.path)(error) });
    }

    fn pump(&self, out: &Out<'_>, progress: &Progress) -> io::Result<()> {
        let gather = Gather { out, buffer: Vec::with_capacity(self.piece), piece: self.piece };
        match self.compression {
            Compression::None => self.read(progress, |data| out.send(data)),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(gather, ZSTD_LEVEL)?;
                self.read(progress, |data| encoder.write_all(&data))?;
                encoder.finish()?.end()
            }
            Compression::Lzma => {
                let mut encoder = liblzma::write::XzEncoder::new(gather, XZ_LEVEL);
                self.read(progress, |data| encoder.write_all(&data))?;
                encoder.finish()?.end()
            }
        }
    }

    fn read(&self, progress: &Progress, mut each: impl FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        let mut left = self.size;
        while left > 0 {
            let wanted = left.min(self.piece as u64);
            let mut data = Vec::with_capacity(self.piece);
            let got = (&self.file).take(wanted).read_to_end(&mut data)?;
            if got == 0 {
                // Somebody cut the file: the client was promised more.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= got as u64;
            progress.add(got);
            each(data.into())?;
        }
        Ok(())
    }
}

/// Gathers what an encoder dribbles into pieces worth sending.
struct Gather<'a> {
    out: &'a Out<'a>,
    buffer: Vec<u8>,
    piece: usize,
}

impl Gather<'_> {
    fn end(mut self) -> io::Result<()> {
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.buffer, Vec::with_capacity(self.piece));
        self.out.send(data.into())
    }
}

impl io::Write for Gather<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= self.piece {
            self.send()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
