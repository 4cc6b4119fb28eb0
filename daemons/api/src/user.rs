//! Who asks, and who there is: for pages that show people what they may do. Our own, not PiKVM's.
//!
//! | Call | Tells |
//! |---|---|
//! | `GET /auth/who` | whoever came in, by a token for whatever: `user` or `token`, `by` which right (as in the audit log), `role`, and whether anybody has to log in here (`login`) |
//! | `GET /users` | administrators: `users`, each with the name (`user`), the `role`, whether it was `given` or is that of the settings, and whose secret the one-time codes are made of (`code`: `own`, `shared` or `none`) |
//!
//! Both only tell. Users, roles and secrets are made in a shell: `kvmctl passwd`, `kvmctl role`, `kvmctl totp`.

use crate::{
    answer::{self, Answer},
    audit::Who,
    failure::Failure,
    routes::Entry,
};
use actix_web::{
    HttpMessage, HttpRequest,
    web::{self, Data},
};
use auth::{
    Access, Auth, Error, Role, Roles,
    htpasswd::Entries,
    totp::{Factor, Own},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] =
    &[Entry::get("/auth/who", || web::to(who)), Entry::get("/users", || web::to(list)).by(Role::Admin)];

/// The files in which it stands who there is.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// Users and their passwords.
    pub users: PathBuf,
    /// Who was given which role.
    pub roles: PathBuf,
    /// The role of everybody else.
    pub others: Role,
    /// The secret of everybody's one-time codes; empty: none.
    pub shared_secret: PathBuf,
    /// Users' own ones.
    pub own_secrets: PathBuf,
}

async fn who(request: HttpRequest, auth: Data<Auth>) -> Answer {
    let Who { user, token, by, .. } = Who::asks(&request);
    let extensions = request.extensions();
    let access = extensions.get::<Access>().ok_or_else(Failure::unauthorized)?;
    let role = auth.role(access);
    let result = json!({"user": user, "token": token, "by": by, "role": role, "login": auth.enabled()});
    Ok(answer::ok(&result))
}

async fn list(accounts: Data<Accounts>) -> Answer {
    let read = web::block(move || accounts.read()).await.map_err(Failure::internal)?;
    Ok(answer::ok(&json!({ "users": read.map_err(Failure::internal)? })))
}

impl Accounts {
    /// Everybody who has a password here or was given a role: those may come by other services.
    fn read(&self) -> Result<Vec<Value>, Error> {
        let entries = Entries::read_or_new(&self.users)?;
        let roles = Roles::read(&self.roles, self.others)?;
        let own = Own::read(&self.own_secrets)?;
        let shared = matches!(Factor::read(&self.shared_secret)?, Factor::On(_));
        let given: BTreeSet<&str> = roles.named().map(|(user, _)| user).collect();
        let own: BTreeSet<&str> = own.users().collect();
        let all: BTreeSet<&str> =
            entries.entries().map(|(user, _)| user).chain(given.iter().copied()).collect();
        let code = |user: &str| match (own.contains(user), shared) {
            (true, _) => "own",
            (false, true) => "shared",
            (false, false) => "none",
        };
        let show = |user: &str| json!({"user": user, "role": roles.of(user), "given": given.contains(user), "code": code(user)});
        Ok(all.into_iter().map(show).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_with_their_role_and_codes_and_nobody_s_secret() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let accounts = Accounts {
            users: put("htpasswd", "jane:{SSHA512}c2VjcmV0\nadmin:{SSHA512}c2VjcmV0\n"),
            roles: put("roles", "jane:viewer\nfleet:operator\n"),
            others: Role::Admin,
            shared_secret: put("totp.secret", ""),
            own_secrets: put("totp.users", "jane:JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n"),
        };
        let told = serde_json::to_value(accounts.read().unwrap()).unwrap();
        let expected = json!([
            {"user": "admin", "role": "admin", "given": false, "code": "none"},
            {"user": "fleet", "role": "operator", "given": true, "code": "none"},
            {"user": "jane", "role": "viewer", "given": true, "code": "own"},
        ]);
        assert_eq!(told, expected);
        put("totp.secret", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP\n");
        assert_eq!(accounts.read().unwrap()[0]["code"], "shared");
    }

    #[test]
    fn nobody_is_nobody_and_what_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let accounts = Accounts {
            users: path("htpasswd"),
            roles: path("roles"),
            others: Role::Viewer,
            shared_secret: PathBuf::new(),
            own_secrets: path("totp.users"),
        };
        assert_eq!(accounts.read().unwrap(), Vec::<Value>::new());
        assert!(Accounts { roles: dir.path().to_owned(), ..accounts }.read().is_err());
    }
}
