//! Where things lie: the five directories everything else is relative to.

use std::path::{Path, PathBuf};

/// The five directories of one installation.
///
/// An appliance uses [`Layout::system`]; a run from a checkout keeps everything below one directory of its
/// own ([`Layout::under`]), so that it needs no rights and leaves nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Sockets and what else may vanish with a reboot.
    pub run: PathBuf,
    /// What we keep: the drive's images, credentials, certificates.
    pub var: PathBuf,
    /// Settings a person wrote.
    pub etc: PathBuf,
    /// Settings the platform brings.
    pub lib: PathBuf,
    /// Files that never change between updates: keymaps, extras.
    pub share: PathBuf,
    /// The `--state` directory, when there is one. Then defaults are those of a run without rights: loopback,
    /// high ports, a virtual machine as the target.
    pub state: Option<PathBuf>,
}

impl Layout {
    /// The directories of an installed appliance.
    #[must_use]
    pub fn system() -> Self {
        Self {
            run: "/run/kvmd".into(),
            var: "/var/lib/kvmd".into(),
            etc: "/etc/kvmd".into(),
            lib: "/usr/lib/kvmd".into(),
            share: "/usr/share/kvmd".into(),
            state: None,
        }
    }

    /// Everything below `state`; shared files too, unless the environment names them (`KVMD_SHARE`).
    #[must_use]
    pub fn under(state: &Path) -> Self {
        let share = std::env::var_os("KVMD_SHARE").filter(|share| !share.is_empty());
        Self::under_with_share(state, share.map(PathBuf::from))
    }

    /// Like [`Layout::under`], with the shared files given by the caller instead of the environment.
    #[must_use]
    pub fn under_with_share(state: &Path, share: Option<PathBuf>) -> Self {
        // Some daemons change their directory, and settings want absolute paths.
        let state = &std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        let share = share.map(|share| std::path::absolute(&share).unwrap_or(share));
        Self {
            run: state.join("run"),
            var: state.join("var"),
            etc: state.join("etc"),
            lib: state.join("lib"),
            share: share.unwrap_or_else(|| state.join("share")),
            state: Some(state.to_owned()),
        }
    }

    /// Whether this is a run below a `--state` directory.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.state.is_some()
    }

    /// The supervisor's control socket.
    #[must_use]
    pub fn supervisor_socket(&self) -> PathBuf {
        self.run.join("supervisor.sock")
    }

    /// Where the target machine's QMP and VNC sockets lie.
    #[must_use]
    pub fn vm_sockets(&self) -> PathBuf {
        self.run.join("vm")
    }

    /// The directory `kvmd` itself may write: credentials, sessions.
    #[must_use]
    pub fn kvmd_state(&self) -> PathBuf {
        self.var.join("kvmd")
    }

    /// The directory `kvmd-streamer` itself may write: the EDID that was confirmed.
    #[must_use]
    pub fn streamer_state(&self) -> PathBuf {
        self.var.join("streamer")
    }

    /// Where the certificate and its key lie.
    #[must_use]
    pub fn tls(&self) -> PathBuf {
        self.var.join("tls")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_state_run_lies_below_it() {
        let layout = Layout::under_with_share(Path::new("/tmp/run1"), None);
        for path in [&layout.run, &layout.var, &layout.etc, &layout.lib, &layout.share] {
            assert!(path.starts_with("/tmp/run1"), "{}", path.display());
        }
        assert!(layout.has_state());
    }

    #[test]
    fn shared_files_may_lie_elsewhere() {
        let layout = Layout::under_with_share(Path::new("/tmp/run1"), Some("/usr/share/kvmd".into()));
        assert_eq!(layout.share, Path::new("/usr/share/kvmd"));
    }
}
