//! A journal where the machine has none: our own systemd-journald, in a mount namespace of our own.
//!
//! Journald's paths are fixed (`/run/systemd/journal`, `/run/log/journal`), so that they are put under it: a
//! tmpfs for the first, our directory for the second. Nobody outside sees the mounts, and they are gone with the
//! last of our processes. As PID 1 of a container it is the same.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::account::Accounts;
use crate::file;
use crate::launch::{Launch, Rights};

/// Where distributions keep it.
const PROGRAMS: [&str; 2] = ["/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald"];
const RUNTIME: &str = "/run/systemd";
const VOLATILE: &str = "/run/log/journal";
const MACHINE_ID: &str = "/etc/machine-id";

/// Not on disk but in the directory that is bound there; nothing forwarded, nothing collected that is not ours.
const SETTINGS: &str = "[Journal]
Storage=volatile
RuntimeMaxUse=64M
RuntimeMaxFileSize=8M
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
ReadKMsg=no
Audit=no
RateLimitIntervalSec=30s
RateLimitBurst=20000
";

/// A place made ready for journald.
#[derive(Debug, Clone)]
pub struct Place {
    program: PathBuf,
    /// Where the journal's files are, seen from everywhere.
    pub dir: PathBuf,
}

/// What keeps a journald from running here, for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only root can.
    #[error("only root can start one")]
    NotRoot,
    /// There is no such program.
    #[error("systemd-journald is not installed")]
    NotInstalled,
    /// Something of the preparation was refused.
    #[error("{step}: {source}")]
    Refused {
        /// What.
        step: &'static str,
        /// The kernel's words.
        source: io::Error,
    },
}

fn refused<E: Into<io::Error>>(step: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Refused { step, source: error.into() }
}

/// Makes the place. Must be called before any thread is started: a mount namespace belongs to a thread.
///
/// # Errors
///
/// See [`Error`]; what had been done by then is of no harm.
pub fn prepare(dir: &Path, accounts: &Accounts) -> Result<Place, Error> {
    if !accounts.switch() {
        return Err(Error::NotRoot);
    }
    let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(Error::NotInstalled)?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(refused("a mount namespace of our own"))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(refused("keeping mounts to ourselves"))?;
    for path in [RUNTIME, VOLATILE] {
        fs::create_dir_all(path).map_err(refused("making a mount point"))?;
    }
    mount(
        Some("tmpfs"),
        RUNTIME,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=0755,size=16m"),
    )
    .map_err(refused("mounting /run/systemd"))?;
    let settings = Path::new(RUNTIME).join("journald.conf.d");
    fs::create_dir_all(Path::new(RUNTIME).join("journal")).map_err(refused("/run/systemd/journal"))?;
    fs::create_dir_all(&settings).map_err(refused("journald.conf.d"))?;
    fs::write(settings.join("kvmd.conf"), SETTINGS).map_err(refused("journald.conf.d"))?;
    machine_id().map_err(refused("a machine id"))?;
    // The group is inherited by everything journald makes below.
    file::directory(dir, 0o2755).map_err(refused("the journal's directory"))?;
    accounts.give(dir, 0, accounts.journal_gid).map_err(refused("the journal's directory"))?;
    // chown clears the bit.
    file::directory(dir, 0o2755).map_err(refused("the journal's directory"))?;
    mount(Some(dir), VOLATILE, none, MsFlags::MS_BIND, none)
        .map_err(refused("binding the journal's directory"))?;
    Ok(Place { program, dir: dir.to_owned() })
}

/// Journald needs a valid machine id; a container may have an empty one. Ours is seen in our namespace only.
fn machine_id() -> io::Result<()> {
    let valid = |text: &str| {
        let id = text.trim();
        id.len() == 32
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.bytes().any(|byte| byte != b'0')
    };
    if fs::read_to_string(MACHINE_ID).is_ok_and(|text| valid(&text)) {
        return Ok(());
    }
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
    if fs::metadata(MACHINE_ID).is_err() {
        // There is no file to bind over; this one is what systemd itself would have made.
        return fs::write(MACHINE_ID, id);
    }
    let own = Path::new(RUNTIME).join("machine-id");
    fs::write(&own, id)?;
    let none: Option<&str> = None;
    mount(Some(&own), MACHINE_ID, none, MsFlags::MS_BIND, none)?;
    Ok(())
}

impl Place {
    /// Journald itself, as root with everything it needs.
    #[must_use]
    pub fn launch(&self) -> Launch {
        Launch {
            command: vec![self.program.clone().into()],
            env: Vec::new(),
            rights: Rights::All,
            umask: 0o022,
            fds: Vec::new(),
        }
    }

    /// Undoes the mounts, when journald is gone. The empty directories stay: removing a directory takes away
    /// what another namespace has mounted there, and that may be another run's journal.
    pub fn close(&self) {
        for path in [VOLATILE, RUNTIME] {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }

    /// Lets the readers' group into what journald made: it sets its own modes on what it makes.
    pub fn open_to_readers(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if let Ok(found) = entry.metadata()
                && found.is_dir()
                && found.mode() & 0o055 != 0o055
            {
                let mode = fs::Permissions::from_mode(0o2755);
                if let Err(error) = fs::set_permissions(entry.path(), mode) {
                    log::warn!("{}: {error}", entry.path().display());
                }
            }
        }
    }
}
