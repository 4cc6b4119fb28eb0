//! Who may come by SSH: root, by key; by password only when that was allowed.
//!
//! sshd takes the first word it reads on a matter, so what allows passwords lies in a file before the one of the image that
//! forbids them.

use std::fs;
use std::io;

use client::system::{Ssh, rule};

use super::Root;
use crate::file;

const DIRECTORY: &str = "/root/.ssh";
const KEYS: &str = "/root/.ssh/authorized_keys";
const PASSWORDS: &str = "/etc/ssh/sshd_config.d/05-kvmd-passwords.conf";

/// As it is.
#[must_use]
pub fn read(root: &Root) -> Ssh {
    let text = root.text(KEYS).unwrap_or_default();
    let keys = text.lines().filter_map(|line| rule::ssh_key(line).ok()).take(rule::SSH_KEYS).collect();
    Ssh { keys, password_login: root.path(PASSWORDS).exists() }
}

/// Lets exactly these keys in.
///
/// # Errors
///
/// The kernel's words.
pub fn set_keys(root: &Root, keys: &[String]) -> io::Result<()> {
    file::directory(&root.path(DIRECTORY), 0o700)?;
    let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
    file::replace(&root.path(KEYS), text.as_bytes(), 0o600)?;
    log::info!("{} keys are let in by SSH", keys.len());
    Ok(())
}

/// Lets passwords in, or not, when sshd has read it.
///
/// # Errors
///
/// The kernel's words.
pub fn allow_passwords(root: &Root, on: bool) -> io::Result<()> {
    let path = root.path(PASSWORDS);
    if on {
        let text =
            "# Allowed in the settings of this appliance.\nPasswordAuthentication yes\nPermitRootLogin yes\n";
        if let Some(dir) = path.parent() {
            file::directory_if_missing(dir, 0o755)?;
        }
        file::replace(&path, text.as_bytes(), 0o644)?;
    } else {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    log::info!("passwords are {} by SSH", if on { "let in" } else { "not let in" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDx1ymMWm9ZBVEjKJSm3rXGz1Z4FVMuq5Gf6D4xj3q1X me";

    #[test]
    fn keys_are_for_root_alone_to_read_and_written_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(read(&root), Ssh::default());
        set_keys(&root, &[KEY.to_owned()]).unwrap();
        assert_eq!(read(&root).keys, [KEY]);
        let mode = |path: &str| fs::metadata(root.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(DIRECTORY), mode(KEYS)), (0o700, 0o600));
        set_keys(&root, &[]).unwrap();
        assert_eq!(read(&root).keys, Vec::<String>::new());
    }

    #[test]
    fn passwords_are_let_in_by_a_file_that_is_read_first_and_goes_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for on in [true, true, false, false] {
            allow_passwords(&root, on).unwrap();
            assert_eq!(read(&root).password_login, on);
        }
        assert!(PASSWORDS < "/etc/ssh/sshd_config.d/10-kvmd.conf");
    }
}
