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
    // All of them, also more than can be set: what is not shown is lost when others are set.
    let plain = |line: &str| rule::ssh_key(&line.replace(char::is_control, " ")).ok();
    let keys = text.lines().filter_map(plain).collect();
    let others = others(&text).filter(|line| !line.trim_start().starts_with('#')).count();
    Ssh { keys, others, password_login: root.path(PASSWORDS).exists(), shell_only: false }
}

/// What becomes of lines that are no plain keys: keys with options, comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They stay: whoever lists keys was not shown them.
    Keep,
    /// They go.
    Remove,
}

fn others(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty() && !rule::is_plain_ssh_key(line))
}

/// Lets exactly these keys in, beside those with options.
///
/// # Errors
///
/// The kernel's words; with [`Others::Keep`] also a file of keys that cannot be read, which stays as it is.
pub fn set_keys(root: &Root, keys: &[String], rest: Others) -> io::Result<()> {
    let path = root.path(KEYS);
    let before = match fs::read_to_string(&path) {
        Ok(text) if rest == Others::Keep => text,
        Err(error) if rest == Others::Keep && error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => String::new(),
    };
    file::directory(&root.path(DIRECTORY), 0o700)?;
    let lines = others(&before).chain(keys.iter().map(String::as_str));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    file::replace(&path, text.as_bytes(), 0o600)?;
    log::warn!("{} keys are let in by SSH", keys.len());
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
    log::warn!("passwords are {} by SSH", if on { "let in" } else { "not let in" });
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
        set_keys(&root, &[KEY.to_owned()], Others::Keep).unwrap();
        assert_eq!(read(&root).keys, [KEY]);
        let mode = |path: &str| fs::metadata(root.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(DIRECTORY), mode(KEYS)), (0o700, 0o600));
        set_keys(&root, &[], Others::Keep).unwrap();
        assert_eq!(read(&root).keys, Vec::<String>::new());
    }

    #[test]
    fn keys_with_options_are_not_shown_and_stay_until_a_card_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let own = format!("# mine\nfrom=\"10.0.0.0/8\" {KEY}\n");
        fs::create_dir_all(root.path(DIRECTORY)).unwrap();
        fs::write(root.path(KEYS), format!("{own}\n{KEY}\n")).unwrap();
        assert_eq!((read(&root).keys, read(&root).others), (vec![KEY.to_owned()], 1));
        set_keys(&root, &[], Others::Keep).unwrap();
        assert_eq!(root.text(KEYS).unwrap(), own);
        set_keys(&root, &[KEY.to_owned()], Others::Keep).unwrap();
        assert_eq!(root.text(KEYS).unwrap(), format!("{own}{KEY}\n"));
        set_keys(&root, &[KEY.to_owned()], Others::Remove).unwrap();
        assert_eq!(root.text(KEYS).unwrap(), format!("{KEY}\n"));
        // What cannot be read is not lost.
        fs::write(root.path(KEYS), b"from=\"\xff\" x\n").unwrap();
        set_keys(&root, &[], Others::Keep).unwrap_err();
        assert_eq!(fs::read(root.path(KEYS)).unwrap(), b"from=\"\xff\" x\n");
    }

    #[test]
    fn plain_keys_are_all_shown_however_they_are_written_and_go_when_others_are_set() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        fs::create_dir_all(root.path(DIRECTORY)).unwrap();
        let many = (0..=rule::SSH_KEYS).map(|number| format!("{KEY}{number}\n")).collect::<String>();
        for (text, shown) in [
            (KEY.replacen(' ', "  ", 1), 1),
            (KEY.replacen(' ', "\t", 1), 1),
            (format!("  {KEY}\tat home\u{7}"), 1),
            (many, rule::SSH_KEYS + 1),
            // sshd may know types that we do not.
            (KEY.replace("ssh-ed25519", "ssh-new"), 0),
        ] {
            fs::write(root.path(KEYS), &text).unwrap();
            assert_eq!((read(&root).keys.len(), read(&root).others), (shown, 0), "{text}");
            set_keys(&root, &[], Others::Keep).unwrap();
            assert_eq!(root.text(KEYS).unwrap(), "", "{text}");
        }
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
