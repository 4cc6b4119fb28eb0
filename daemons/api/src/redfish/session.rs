//! Sessions: a password for a token, which comes back in `X-Auth-Token`.
//!
//! They are the API's own sessions under another name, and a logout by the API ends them too. But who comes this way is a
//! program, which as a rule never logs out: its sessions end when they are not used (`SessionTimeout`), lie in memory
//! only, and have a number of their own.

use super::{Answer, error::Error, object, resource};
use crate::{audit, body, failure::Failure, gate};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Data, Path},
};
use auth::{Access, Auth, Denied, Login, Role, Session};
use serde_json::{Map, Value, json};

const SERVICE: &str = "/redfish/v1/SessionService";
/// The collection.
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

pub(super) async fn service(auth: Data<Auth>) -> Answer {
    Ok(resource::show(&json!({
        "@odata.id": SERVICE,
        "@odata.type": "#SessionService.v1_1_8.SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "ServiceEnabled": auth.enabled(),
        "Status": {"State": if auth.enabled() { "Enabled" } else { "Disabled" }, "Health": "OK"},
        "SessionTimeout": auth::PROGRAM_IDLE.as_secs(),
        "Sessions": resource::link(SESSIONS),
    })))
}

pub(super) async fn list(request: HttpRequest, auth: Data<Auth>) -> Answer {
    let members: Vec<String> = visible(&request, &auth).iter().map(Session::name).collect();
    let sessions = resource::collection("SessionCollection", "Sessions", SESSIONS, &members);
    Ok(resource::show(&sessions))
}

pub(super) async fn get(request: HttpRequest, id: Path<String>, auth: Data<Auth>) -> Answer {
    Ok(resource::show(&show(&find(&request, &id, &auth)?)))
}

pub(super) async fn end(request: HttpRequest, id: Path<String>, auth: Data<Auth>) -> Answer {
    let session = find(&request, &id, &auth)?;
    auth.end(&session).await.map_err(Failure::from)?;
    log::info!("{} ended a session", session.user);
    Ok(HttpResponse::NoContent().finish())
}

/// Everybody sees their own sessions, administrators all.
fn visible(request: &HttpRequest, auth: &Auth) -> Vec<Session> {
    let extensions = request.extensions();
    let Some(access) = extensions.get::<Access>() else { return Vec::new() };
    let all = auth.role(access) >= Role::Admin;
    let mine = |session: &Session| all || access.user() == Some(&*session.user);
    auth.sessions().into_iter().filter(mine).collect()
}

fn find(request: &HttpRequest, name: &str, auth: &Auth) -> Result<Session, Error> {
    let mut sessions = visible(request, auth).into_iter();
    sessions.find(|session| session.name() == name).ok_or_else(|| Error::not_found(request.path()))
}

fn show(session: &Session) -> Value {
    let name = session.name();
    json!({
        "@odata.id": format!("{SESSIONS}/{name}"),
        "@odata.type": "#Session.v1_3_0.Session",
        "Id": name,
        "Name": format!("Session of {}", session.user),
        "UserName": &*session.user,
    })
}

pub(super) async fn create(request: HttpRequest, auth: Data<Auth>, payload: web::Payload) -> Answer {
    gate::same_origin(&request)?;
    let wanted = object(&body::read_form(payload).await?)?;
    let (user, passwd) = (text(&wanted, "UserName")?, text(&wanted, "Password")?);
    let login = auth.login_program(user, passwd, gate::address(&request)).await;
    match login.map_err(refusal)? {
        Login::Session(token) => {
            let session = auth.check_token(token.as_str()).map_err(Failure::from)?;
            audit::note(&request, "user", &session.user);
            let mut response = resource::with_status(StatusCode::CREATED, &show(&session));
            let headers = response.headers_mut();
            let value = |text: &str| header::HeaderValue::from_str(text).map_err(Failure::internal);
            headers.insert(header::LOCATION, value(&format!("{SESSIONS}/{}", session.name()))?);
            headers.insert(header::HeaderName::from_static(super::face::TOKEN), value(token.as_str())?);
            Ok(response)
        }
        Login::NotNeeded => Err(Failure::new(model::ErrorClass::Http, "Nobody has to log in here").into()),
    }
}

fn refusal(denied: Denied) -> Error {
    match denied {
        Denied::Forbidden | Denied::Unauthorized => Error::stranger(),
        other => Failure::from(other).into(),
    }
}

fn text<'a>(wanted: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    wanted.get(name).and_then(Value::as_str).ok_or_else(|| Error::missing("Sessions", name))
}
