//! `/tokens`: API tokens, for programs. Our own, not PiKVM's.
//!
//! | Call | Takes |
//! |---|---|
//! | `GET /tokens` | nothing; tells all of them, never their secrets, and the `scopes` that one can have |
//! | `POST /tokens` | `name`, `role`; `expire` in seconds from now (0 or nothing: never); `scopes`, subsystems with commas between (nothing: all). The answer has the secret, this once |
//! | `DELETE /tokens` | `id` |
//!
//! A subsystem is the first part of a path: `atx`, `hid`, `msd`, `streamer`, `ws`, `redfish` and so on. Keys and mouse over
//! the WebSocket need `hid` beside `ws`. Who comes by a token lists them, and makes and revokes none.

use crate::{
    answer::{self, Answer},
    audit::Who,
    failure::Failure,
    query::Query,
    routes::{self, Entry},
};
use actix_web::{
    HttpMessage, HttpRequest,
    web::{self, Data},
};
use auth::{
    Access, ApiToken, Auth, Role,
    api_token::{Refused, Wanted},
};
use model::{ErrorClass, check};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::get("/tokens", || web::to(list)).by(Role::Admin),
    Entry::post("/tokens", || web::to(make)).by(Role::Admin),
    Entry::delete("/tokens", || web::to(revoke)).by(Role::Admin),
];

async fn list(auth: Data<Auth>) -> Answer {
    let tokens: Vec<Value> = auth.tokens().iter().map(show).collect();
    Ok(answer::ok(&json!({ "tokens": tokens, "scopes": known() })))
}

async fn make(request: HttpRequest, auth: Data<Auth>, query: Query) -> Answer {
    by_somebody(&request)?;
    let wanted = wanted(&query, &Who::asks(&request))?;
    let (secret, token) = auth.make_token(wanted).await?;
    log::info!("the API token {:?} ({}) was made by {}", token.name, token.role, token.by);
    Ok(answer::ok(&json!({ "token": show(&token), "secret": secret })))
}

async fn revoke(request: HttpRequest, auth: Data<Auth>, query: Query) -> Answer {
    by_somebody(&request)?;
    let id = query.get("id").ok_or_else(|| Failure::invalid("id: missing"))?;
    let revoked = auth.revoke_token(id).await?;
    let token = revoked.ok_or_else(|| Failure::invalid("id: there is no such token"))?;
    log::info!("the API token {:?} was revoked", token.name);
    Ok(answer::nothing())
}

/// A token makes no token and ends none: what is limited could make itself what is not, and outlive itself.
fn by_somebody(request: &HttpRequest) -> Result<(), Failure> {
    match request.extensions().get::<Access>() {
        Some(Access::Token(_)) => {
            Err(Failure::new(ErrorClass::Forbidden, "Forbidden: a token makes and revokes no tokens"))
        }
        _ => Ok(()),
    }
}

fn wanted(query: &Query, who: &Who) -> Result<Wanted, Failure> {
    let text = |name: &str| query.get(name).map(str::trim).filter(|text| !text.is_empty());
    let missing = |name: &str| Failure::invalid(format!("{name}: missing"));
    let role = text("role").ok_or_else(|| missing("role"))?;
    let expire = query.optional("expire", |raw| check::int_at_least(raw, 0))?.unwrap_or(0);
    Ok(Wanted {
        name: text("name").ok_or_else(|| missing("name"))?.to_owned(),
        role: role.parse().map_err(|why| Failure::invalid(format!("role: {why}")))?,
        scopes: scopes(text("scopes").unwrap_or(""))?,
        lifetime: (expire > 0).then(|| Duration::from_secs(expire.unsigned_abs())),
        by: who.user.clone().or_else(|| who.token.clone()).unwrap_or_else(|| who.by.to_owned()),
    })
}

/// Everything that a token can be for.
fn known() -> BTreeSet<&'static str> {
    routes::everything().map(|(_, row)| row.subsystem()).collect()
}

fn scopes(text: &str) -> Result<BTreeSet<String>, Failure> {
    let known = known();
    let named = text.split(',').map(str::trim).filter(|scope| !scope.is_empty());
    let check = |scope: &str| {
        known.get(scope).map(|scope| (*scope).to_owned()).ok_or_else(|| {
            let known: Vec<&str> = known.iter().copied().collect();
            Failure::invalid(format!("scopes: expected some of {}", known.join(", ")))
        })
    };
    named.map(check).collect()
}

fn show(token: &ApiToken) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut shown = model::event::to_value(token);
    shown["expired"] = token.is_over(now.as_secs()).into();
    shown
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotNeeded | Refused::BadName | Refused::NameTaken(_) | Refused::TooMany => {
                Self::invalid(refused.to_string())
            }
            Refused::Failed(why) => Self::internal(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Wanted, Failure> {
        wanted(&Query::parse(query), &Who { user: Some("admin".to_owned()), by: "session", ..Who::default() })
    }

    #[test]
    fn a_token_is_for_everything_and_for_ever_unless_it_is_said_otherwise() {
        let plain = parse("name=ci&role=viewer").unwrap();
        assert_eq!((plain.scopes.len(), plain.lifetime, plain.by.as_str()), (0, None, "admin"));
        assert_eq!(parse("name=ci&role=viewer&expire=0&scopes=").unwrap(), plain);
        let narrow = parse("name=ci&role=operator&expire=60&scopes=atx,%20hid").unwrap();
        assert_eq!(narrow.lifetime, Some(Duration::from_secs(60)));
        assert_eq!(narrow.scopes, ["atx", "hid"].map(str::to_owned).into());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "name=ci", "role=viewer", "name=ci&role=root", "name=ci&role=viewer&expire=-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let why = parse("name=ci&role=viewer&scopes=atx,nope").unwrap_err();
        assert!(why.message.contains("streamer"), "{why}");
    }
}
