//! The lent drive: storage, images, and the drive the target sees (contract: sections 7.5, 8.6 and 14 of the API).
//!
//! One task owns the storage directory and the [`Drive`]. [`Msd`] is the handle. There is one *region*: whoever works on
//! the drive or the storage holds it, everybody else is told [`Error::Busy`], never queued.
//!
//! ```text
//! region:  Free --begin_write/begin_read/set_params/set_connected/remove/reset--> Held --done, failed or dropped--> Free
//! drive:   Absent <-> Empty <--connect / disconnect, guest's eject--> Holds(medium)
//! ```
//!
//! An unfinished image has a marker `.__NAME.incomplete` beside it, which says how far it came. A [`Write`] that is dropped
//! leaves the image so marked, to be continued by [`Msd::resume_write`], or removes it where that was asked for. Every
//! image written to its end is hashed as it lies in the file (module `digest`).
//!
//! What is connected belongs to the operator, not to our process: when the owner starts it adopts what the drive holds,
//! and when it ends it leaves the drive as it is. (A daemon that restarts in the middle of an installation must not
//! pull the disk out of it.) Only transfers are ended, and the storage is closed where nothing needs it.
//!
//! Drives: [`Otg`] (a USB gadget), [`VmDrive`] (a virtual machine), [`FakeDrive`]; "not fitted" is [`Msd::disabled`].
//!
//! Others write in the storage too, so no symbolic link in it is ever followed (module `place`).
//!
//! Not done here: mounting and remounting (the supervisor does it, by [`Remount`]), JSON, fetching images from elsewhere.

mod digest;
mod download;
mod drive;
mod drives;
mod fake;
mod handle;
mod model;
mod mounts;
mod name;
mod note;
mod notice;
mod otg;
mod owner;
mod place;
mod remount;
mod replug;
mod scan;
mod selection;
mod speed;
mod transfer;
mod upload;
mod vm;

pub use digest::Sha256;
pub use download::{Compression, Read};
pub use drive::{Current, Doing, Drive, DriveError, Flags, Medium, Remount};
pub use drives::Drives;
pub use fake::{Deed, Fake, FakeDrive, FakeRemount};
pub use handle::{Msd, Settings, spawn};
pub use model::{DriveImage, DriveState, Image, Part, State, Storage, Transfer};
pub use otg::{Names, Otg};
pub use remount::Plain;
pub use replug::{Cable, Mark, Replugging};
pub use upload::{Write, Written};
pub use vm::VmDrive;

use std::path::PathBuf;

/// Why something was refused or failed. One variant for each class of the contract, and a few of our own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No drive is fitted.
    #[error("this machine has no mass storage drive")]
    Disabled,
    /// The storage or the drive is not there just now.
    #[error("the mass storage drive is offline")]
    Offline,
    /// Somebody else is at work.
    #[error("another operation on the mass storage drive is going on")]
    Busy,
    /// Not while the drive is connected to the target.
    #[error("the drive is connected to the target: disconnect it first")]
    Connected,
    /// Not while the drive is disconnected.
    #[error("the drive is not connected")]
    Disconnected,
    /// There is nothing to connect.
    #[error("no image is selected")]
    ImageNotSelected,
    /// There is no such image.
    #[error("there is no image {0:?}")]
    UnknownImage(String),
    /// There already is such an image.
    #[error("there already is an image {0:?}")]
    ImageExists(String),
    /// The image is in a place we may not write.
    #[error("the image {0:?} cannot be removed")]
    ImageStatic(String),
    /// The image is a remote one, and this machine cannot do that.
    #[error("remote images are not supported")]
    RemoteDisabled,
    /// The target holds the medium.
    #[error("the target has locked the drive")]
    Locked,
    /// The drive may not open the file.
    #[error("the drive cannot open the image: {0}")]
    Permissions(String),
    /// The name cannot be a file: a `ValidatorError` to the client.
    #[error("bad image name {name:?}: {why}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The image does not fit: a `ValidatorError` to the client.
    #[error("an image of {wanted} bytes does not fit: {free} bytes are free")]
    NoSpace {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes there are.
        free: u64,
    },
    /// More data than the announced size: a `ValidatorError` to the client.
    #[error("more data than the announced {0} bytes")]
    TooMuchData(u64),
    /// An upload cannot be continued there. The other number is where it can.
    #[error("{name:?} cannot be continued at byte {wanted}: {written} bytes of it are here")]
    NoSuchOffset {
        /// The image.
        name: String,
        /// Where the client would go on.
        wanted: u64,
        /// The bytes there are; a client goes on there, or before.
        written: u64,
    },
    /// The image is not what the client meant to send: a `ValidatorError` to the client.
    #[error("the image's SHA-256 is {found}, not {wanted}")]
    Digest {
        /// What the client said.
        wanted: Sha256,
        /// What arrived.
        found: Sha256,
    },
    /// The storage could not be made writable.
    #[error("the storage could not be remounted: {0}")]
    Remount(String),
    /// A file could not be read or written.
    #[error("{path}: {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A transfer was ended by a reset.
    #[error("the transfer was ended by a reset")]
    Cancelled,
    /// The drive did something else wrong.
    #[error("the drive failed: {0}")]
    Drive(String),
    /// The owner has ended: the daemon is stopping.
    #[error("mass storage has stopped")]
    Stopped,
}
