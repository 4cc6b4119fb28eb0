//! The first password. Only a run below `--state`, which listens on this machine alone, gets one that is known;
//! an appliance starts without any and is claimed by its owner. Credentials of an older installation are taken over.

use std::fs;
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use config::{Config, Layout};
use sha2::{Digest, Sha512};

use crate::account::Accounts;
use crate::file;

const USER: &str = "admin";
const PASSWORD: &str = "admin";

/// Sees to it that the files of `kvmd`'s own state exist where they can.
///
/// # Errors
///
/// When they cannot be written.
pub fn first(layout: &Layout, config: &Config, accounts: &Accounts) -> anyhow::Result<()> {
    let path = &config.kvmd.auth.internal.file;
    let state = layout.kvmd_state();
    let is_first_start = !path.exists();
    for (name, to) in [("htpasswd", path.clone()), ("totp.secret", state.join("totp.secret"))] {
        let from = layout.etc.join(name);
        // Only into our own directory: a file that a person's settings name stays where it is.
        if to.starts_with(&state) && !to.exists() && from.exists() {
            let content = fs::read(&from).with_context(|| from.display().to_string())?;
            write(&to, &content, accounts)?;
            log::info!("{} is taken over from {}", to.display(), from.display());
        }
    }
    // A secret that went missing later stays missing, and shuts the door: it must not turn the codes off.
    let secret = state.join("totp.secret");
    if is_first_start && !secret.exists() {
        write(&secret, b"", accounts)?;
    }
    let waits = config.kvmd.auth.claimable(layout);
    if layout.has_state() && !waits && path.starts_with(&state) && !path.exists() {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| anyhow::anyhow!("random numbers: {error}"))?;
        write(path, line(&salt).as_bytes(), accounts)?;
        log::warn!("first start of {}: user \"{USER}\", password \"{PASSWORD}\"", state.display());
    }
    Ok(())
}

fn write(path: &Path, content: &[u8], accounts: &Accounts) -> anyhow::Result<()> {
    let written = file::replace(path, content, 0o600)
        .and_then(|()| accounts.give(path, accounts.kvmd.uid, accounts.kvmd.gid));
    written.with_context(|| path.display().to_string())
}

/// One line of htpasswd: `user:{SSHA512}base64(sha512(password salt) salt)`.
fn line(salt: &[u8]) -> String {
    let mut hash = Sha512::new();
    hash.update(PASSWORD);
    hash.update(salt);
    let mut digest = hash.finalize().to_vec();
    digest.extend_from_slice(salt);
    format!("{USER}:{{SSHA512}}{}\n", base64::engine::general_purpose::STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_run_gets_a_known_password_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = crate::account::tests::found();
        let layout = Layout::under_with_share(dir.path(), None);
        let config = Config::defaults(&layout);
        let path = &config.kvmd.auth.internal.file;
        fs::create_dir_all(layout.kvmd_state()).unwrap();
        first(&layout, &config, &accounts).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("admin:{SSHA512}"), "{text}");
        let secret = layout.kvmd_state().join("totp.secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "", "no codes are asked for");
        fs::remove_file(&secret).unwrap();
        fs::write(path, "").unwrap();
        first(&layout, &config, &accounts).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "", "an emptied file is a person's wish");
        assert!(!secret.exists(), "a secret that went missing must not turn the codes off");

        let appliance = Layout { state: None, ..layout };
        fs::remove_file(path).unwrap();
        first(&appliance, &config, &accounts).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn credentials_of_an_older_installation_are_taken_over_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under_with_share(dir.path(), None);
        let config = Config::defaults(&layout);
        fs::create_dir_all(layout.kvmd_state()).unwrap();
        fs::create_dir_all(&layout.etc).unwrap();
        fs::write(layout.etc.join("htpasswd"), "old:x\n").unwrap();
        first(&layout, &config, &crate::account::tests::found()).unwrap();
        let path = &config.kvmd.auth.internal.file;
        assert_eq!(fs::read_to_string(path).unwrap(), "old:x\n");
    }

    #[test]
    fn the_line_is_what_the_reference_s_tools_write() {
        let text = line(&[7; 16]);
        let encoded = text.trim_end().strip_prefix("admin:{SSHA512}").unwrap();
        let raw = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        assert_eq!(raw.len(), 64 + 16);
        assert_eq!(raw[..64], *Sha512::digest([b"admin".as_slice(), &[7; 16]].concat()));
    }
}
