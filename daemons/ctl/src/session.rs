//! `kvmctl session`: who is logged in. Sessions are told by Redfish's service, which has numbers for them.

use clap::Subcommand;
use reqwest::header::{COOKIE, HeaderValue, SET_COOKIE};
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::face::{Call, Face};
use crate::reach::{Caller, usage};
use crate::shown::word;
use crate::{Exit, Failure};

/// Where sessions are.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Whose sessions are open: all of them for administrators, one's own for others.
    List,
    /// Ends a session.
    End {
        /// Its number, as `list` shows it.
        id: String,
    },
    /// Who the appliance takes us for, and what we may do.
    Who,
    /// Whether the password or token is good. Only with `--user` or a token.
    Check,
    /// Opens a session and shows its token, which goes into the cookie `auth_token`. Only with `--user`.
    Login {
        /// After so many seconds it ends; 0 = as the appliance's settings say.
        #[arg(short, long, default_value_t = 0)]
        expire: u64,
    },
    /// Ends all sessions of the user. Only with `--user`.
    Logout,
}

pub(crate) fn run(desk: &mut Desk<'_, '_>, verb: &Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::List => {
            let told = list(&desk.face)?;
            desk.write(&told, |told| {
                let sessions = told["sessions"].as_array().into_iter().flatten();
                sessions.map(|one| format!("{}  {}\n", word(&one["id"]), word(&one["user"]))).collect()
            })
        }
        Verb::End { id } => {
            if !is_number(id) {
                return Err(usage(format!("{id}: not a number that kvmctl session list shows")));
            }
            desk.order(Call::delete(format!("{SESSIONS}/{id}")))
        }
        Verb::Who => desk.show(Call::get("/auth/who"), crate::shown::tree),
        Verb::Check => desk.order(Call::get("/auth/check")),
        Verb::Login { expire } => {
            let token = login(desk, *expire)?;
            desk.write(&json!({ "auth_token": token }), |_| format!("{token}\n"))
        }
        Verb::Logout => {
            let token = login(desk, 0)?;
            let cookie = HeaderValue::from_str(&format!("auth_token={token}"))?;
            // The password, which shows who asks, would end nothing: a session ends with its cookie.
            desk.order(Call::post("/auth/logout").header(COOKIE, cookie).anonymous())
        }
    }
}

/// Every session with its user. One that ends while we look is not there.
fn list(face: &Face) -> Result<Value, Failure> {
    let told = face.ask(Call::get(SESSIONS))?;
    let mut sessions = Vec::new();
    for member in told["Members"].as_array().into_iter().flatten() {
        let Some(path) = member["@odata.id"].as_str().filter(|path| path.starts_with(SESSIONS)) else {
            continue;
        };
        match face.ask(Call::get(path)) {
            Ok(one) => sessions.push(json!({"id": one["Id"], "user": one["UserName"]})),
            Err(failure) if failure.is_missing() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(json!({ "sessions": sessions }))
}

/// Opens a session of our own and comes by it from now on. What has to be deleted at the end; nothing where no password shows
/// who asks, or where nobody has to log in.
///
/// It is one for programs: it lies in memory only, ends when it is not used, and its end ends no other of the user's.
pub(crate) fn open(face: &mut Face) -> Result<Option<String>, Failure> {
    let Caller::User { name, password } = &face.caller else { return Ok(None) };
    let body = json!({"UserName": name, "Password": password}).to_string();
    let call = Call::post(SESSIONS).body(body, "application/json").anonymous();
    let answer = match face.runtime.block_on(face.send(call)) {
        Ok(answer) => answer,
        Err(failure) if failure.exit == Exit::Failed => return Ok(None),
        Err(failure) if failure.exit == Exit::Refused => {
            let why =
                anyhow::anyhow!("ForbiddenError: the user, the password or its one-time code is not good");
            return Err(Failure::new(Exit::Refused, why));
        }
        Err(failure) => return Err(failure),
    };
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let own = |place: &&str| {
        place.strip_prefix(SESSIONS).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_number)
    };
    let (Some(token), Some(place)) = (header("x-auth-token"), header("location").filter(own)) else {
        return Ok(None);
    };
    let (token, place) = (token.to_owned(), place.to_owned());
    face.come_by(&token)?;
    Ok(Some(place))
}

fn is_number(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn login(desk: &Desk<'_, '_>, expire: u64) -> Result<String, Failure> {
    let Caller::User { name, password } = &desk.face.caller else {
        return Err(usage("whose session? --user says so"));
    };
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("user", name)
        .append_pair("passwd", password)
        .append_pair("expire", &expire.to_string())
        .finish();
    let call = Call::post("/auth/login").body(form, "application/x-www-form-urlencoded").anonymous();
    let answer = desk.face.runtime.block_on(desk.face.send(call))?;
    let cookies = answer.headers().get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
    let token = cookies.filter_map(|cookie| cookie.strip_prefix("auth_token=")).next();
    let token = token.and_then(|rest| rest.split(';').next()).filter(|token| !token.is_empty());
    token.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("nobody has to log in there").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Scripted, answer};

    #[test]
    fn a_session_that_ended_meanwhile_is_not_there_and_all_else_is_told() {
        let members = json!({"Members": [{"@odata.id": format!("{SESSIONS}/1")}, {"@odata.id": format!("{SESSIONS}/2")}]});
        let (all, two) =
            (answer("200 OK", &members), answer("200 OK", &json!({"Id": "2", "UserName": "jane"})));
        let there = Scripted::start([all.clone(), answer("404 No", &json!({})), two.clone()]);
        let told = list(&there.face).ok().unwrap();
        assert_eq!(told, json!({"sessions": [{"id": "2", "user": "jane"}]}));
        for (bad, exit) in [("403 No", Exit::Refused), ("500 No", Exit::Failed), ("503 No", Exit::NotReady)] {
            let there = Scripted::start([all.clone(), answer(bad, &json!({})), two.clone()]);
            assert_eq!(list(&there.face).map_err(|failure| failure.exit), Err(exit), "{bad}");
        }
    }
}
