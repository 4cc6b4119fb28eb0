//! Images on their way in and out.

use bytes::Bytes;

use crate::Error;

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

/// What a write came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The image.
    pub name: String,
    /// Bytes announced.
    pub size: u64,
    /// Bytes written.
    pub written: u64,
}

/// An image being written. Dropped before [`Write::finish`], it is aborted.
#[derive(Debug)]
pub struct Write {
    name: String,
    size: u64,
}

impl Write {
    /// The image's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes announced.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        0
    }

    /// Writes the next piece; waits while the disk is behind.
    ///
    /// # Errors
    /// [`Error::TooMuchData`], [`Error::Io`], [`Error::Cancelled`].
    pub async fn chunk(&mut self, data: Bytes) -> Result<(), Error> {
        let _ = data;
        Err(Error::Stopped)
    }

    /// Ends the write: everything is on the disk when this answers, and the region is free.
    ///
    /// # Errors
    /// As [`Write::chunk`].
    pub async fn finish(self) -> Result<Written, Error> {
        Err(Error::Stopped)
    }
}

/// An image being read out. Dropping it ends the read.
#[derive(Debug)]
pub struct Read {
    name: String,
    size: u64,
}

impl Read {
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
    /// [`Error::Io`], [`Error::Cancelled`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        Err(Error::Stopped)
    }
}
