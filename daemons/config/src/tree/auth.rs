//! `kvmd.auth.*`: who may come in.

use std::path::PathBuf;
use std::time::Duration;

use crate::Layout;
use crate::rule::{choice, choices, flag, integer, list, path, path_or_empty, seconds, text, user};
use crate::section::section;

section! {
    /// Who may come in.
    pub struct Auth(layout) {
        /// Whether anybody has to log in at all.
        enabled: bool = true => flag(),
        /// Longest life of a login in seconds; 0 = without end.
        expire: Duration = Duration::ZERO => seconds(0.0, 1e9),
        /// Whether a login lives on while one of its WebSockets does.
        extend: bool = false => flag(),
        /// Where a login may lead to.
        allow_redirects: Vec<String> = ["/", "/kvm", "/kvm/"].map(str::to_owned).to_vec() => list(text()),
        /// Local processes that need no password on the unix socket.
        usc: Usc,
        /// Passwords we keep ourselves.
        internal: AuthInternal,
        /// Passwords somebody else keeps.
        external: AuthExternal,
        /// One-time codes.
        totp: Totp,
        /// What stops guessing. Our own.
        throttle: Throttle,
        /// What users may do whom the file of roles (`kvmctl role`) does not name. Our own.
        role: UserRole = UserRole::Admin => choice(),
        /// Whether an appliance that has no user yet waits to be claimed with the code on its console, instead of letting
        /// nobody in. Our own.
        claim: AuthClaim = AuthClaim::Auto => choice(),
    }
}

choices! {
    /// What somebody may do who may come in.
    pub enum UserRole {
        /// Look at the screen and every state.
        Viewer = "viewer",
        /// Work with the target as well: keys, mouse, power, drive, switches.
        Operator = "operator",
        /// Change the appliance itself as well.
        Admin = "admin",
    }
}

choices! {
    /// Whether an appliance without a user waits to be claimed.
    pub enum AuthClaim {
        /// An appliance does; a run below `--state` has a user from the start.
        Auto = "auto",
        /// It does.
        True = "true",
        /// It does not.
        False = "false",
    }
}

impl Auth {
    /// Whether we keep the passwords ourselves, and an appliance that has none yet waits to be claimed.
    #[must_use]
    pub fn claimable(&self, layout: &Layout) -> bool {
        let ours = self.internal.r#type == AuthInternalType::Htpasswd
            && self.external.r#type == AuthExternalType::None;
        let wished = match self.claim {
            AuthClaim::Auto => !layout.has_state(),
            AuthClaim::True => true,
            AuthClaim::False => false,
        };
        self.enabled && ours && wished
    }
}

section! {
    /// Local processes that need no password on the unix socket.
    pub struct Usc(layout) {
        /// Users.
        users: Vec<String> = Vec::new() => list(user()),
        /// Groups.
        groups: Vec<String> = Vec::new() => list(user()),
        /// Users, as the platform sets them.
        kvmd_users: Vec<String> = vec!["root".to_owned()] => list(user()),
        /// Groups, as the platform sets them.
        kvmd_groups: Vec<String> = vec!["kvmd-selfauth".to_owned()] => list(user()),
    }
}

choices! {
    /// Where our own passwords are kept.
    pub enum AuthInternalType {
        /// A file of `user:hash` lines.
        Htpasswd = "htpasswd",
        /// Nowhere: every password is wrong.
        Forbidden = "forbidden",
    }
}

section! {
    /// Passwords we keep ourselves.
    pub struct AuthInternal(layout) {
        /// Where they are kept.
        r#type: AuthInternalType = AuthInternalType::Htpasswd => choice(),
        /// Users who are always checked here, even when an external service is set.
        force_users: Vec<String> = Vec::new() => list(user()),
        /// The file of `user:hash` lines. `kvmd` must be able to write beside it.
        file: PathBuf = layout.kvmd_state().join("htpasswd") => path(),
    }
}

choices! {
    /// Who else may know passwords.
    pub enum AuthExternalType {
        /// Nobody.
        None = "",
        /// Everybody not forced to the internal service is refused.
        Forbidden = "forbidden",
    }
}

section! {
    /// Passwords somebody else keeps.
    pub struct AuthExternal(layout) {
        /// Who else may know passwords.
        r#type: AuthExternalType = AuthExternalType::None => choice(),
    }
}

section! {
    /// One-time codes.
    pub struct Totp(layout) {
        /// The secret all codes come from.
        secret: TotpSecret,
    }
}

section! {
    /// The secret all codes come from.
    pub struct TotpSecret(layout) {
        /// Where it is kept; an empty file or `""` means that no codes are asked for.
        file: Option<PathBuf> = Some(layout.kvmd_state().join("totp.secret")) => path_or_empty(),
    }
}

section! {
    /// What stops guessing. Valid sessions and unix peers are never counted.
    pub struct Throttle(layout) {
        /// Wrong passwords for one user from one address (or IPv6 /64) within `window` before both are locked; 0 = no limit.
        attempts: u32 = 20 => integer(0, 1_000_000),
        /// Wrong passwords for any user from one address within `window` before the address is locked; 0 = no limit.
        address_attempts: u32 = 60 => integer(0, 1_000_000),
        /// Seconds a wrong password is remembered.
        window: Duration = Duration::from_secs(600) => seconds(1.0, 86_400.0),
        /// Seconds a lock lasts.
        lockout: Duration = Duration::from_secs(600) => seconds(1.0, 86_400.0),
    }
}
