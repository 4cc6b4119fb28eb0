//! A journal where the machine has none: our own systemd-journald, in a mount namespace of its own.
//!
//! Journald's paths are fixed (`/run/systemd/journal`, `/run/log/journal`), so that our directories are put under
//! it. Nobody else sees those mounts, and they are gone with it. Everybody else stays in the machine's namespace,
//! where the drive's mount must be visible, and finds journald's sockets and files in the directories themselves: a
//! socket is the same one by whichever path. As PID 1 of a container it is the same.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    program: PathBuf,
    /// Where the journal's files are, seen from everywhere.
    pub dir: PathBuf,
    /// Likewise its sockets.
    sockets: PathBuf,
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

/// Makes the place: `dir` for the journal's files, `sockets` for its sockets.
///
/// # Errors
///
/// See [`Error`]; what had been done by then is of no harm.
pub fn prepare(dir: &Path, sockets: &Path, accounts: &Accounts) -> Result<Place, Error> {
    if !accounts.switch() {
        return Err(Error::NotRoot);
    }
    let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(Error::NotInstalled)?;
    // A predecessor's sockets would not answer, or worse, still would.
    match fs::remove_dir_all(sockets) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(refused("the journal's sockets")(error));
        }
        _ => {}
    }
    file::directory(sockets, 0o755).map_err(refused("the journal's sockets"))?;
    // The group is inherited by everything journald makes below.
    file::directory(dir, 0o2755).map_err(refused("the journal's directory"))?;
    accounts.give(dir, 0, accounts.journal_gid).map_err(refused("the journal's directory"))?;
    // chown clears the bit.
    file::directory(dir, 0o2755).map_err(refused("the journal's directory"))?;
    // The mounts are made by a process that stands elsewhere.
    let absolute = |path: &Path| std::path::absolute(path).map_err(refused("the journal's directory"));
    Ok(Place { program, dir: absolute(dir)?, sockets: absolute(sockets)? })
}

/// Journald needs a valid machine id; a container may have an empty one. Ours is seen by journald only.
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
    /// Takes the calling process, which is to become journald, into a mount namespace of its own, and puts
    /// everything where journald looks for it.
    ///
    /// # Errors
    ///
    /// See [`Error`]; the process is of no other use then.
    pub fn enter(&self) -> Result<(), Error> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(refused("a mount namespace"))?;
        let none: Option<&str> = None;
        // Nothing of ours gets out; what others unmount is not kept busy by us.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
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
        let runtime = Path::new(RUNTIME);
        let (settings, sockets) = (runtime.join("journald.conf.d"), runtime.join("journal"));
        fs::create_dir_all(&sockets).map_err(refused("/run/systemd/journal"))?;
        fs::create_dir_all(&settings).map_err(refused("journald.conf.d"))?;
        fs::write(settings.join("kvmd.conf"), SETTINGS).map_err(refused("journald.conf.d"))?;
        machine_id().map_err(refused("a machine id"))?;
        for (from, to) in [(&self.sockets, sockets.as_path()), (&self.dir, Path::new(VOLATILE))] {
            mount(Some(from), to, none, MsFlags::MS_BIND, none)
                .map_err(refused("binding the journal's directories"))?;
        }
        Ok(())
    }

    /// The native socket, for everybody else.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.sockets.join("socket")
    }

    /// Journald itself, as root with everything it needs.
    #[must_use]
    pub fn launch(&self) -> Launch {
        Launch {
            command: vec![self.program.clone().into()],
            env: Vec::new(),
            rights: Rights::Journal(self.clone()),
            umask: 0o022,
            fds: Vec::new(),
        }
    }

    /// Removes the sockets, when journald is gone.
    pub fn close(&self) {
        let _ = fs::remove_dir_all(&self.sockets);
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
