//! `/auth`: login, check, logout (section 5.2).

use crate::{
    answer::{self, Answer},
    audit, body,
    failure::Failure,
    gate,
    routes::{Entry, Need},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Data},
};
use auth::{Auth, Login, Role};
use bytes::Bytes;
use futures_util::stream;
use model::check;
use std::{collections::HashMap, time::Duration};

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[
    Entry::post("/auth/login", || web::to(login)).needs(Need::Nothing),
    Entry::post("/auth/logout", || web::to(logout)).needs(Need::Credentials).by(Role::Viewer),
    Entry::get("/auth/check", || web::to(check_access)).needs(Need::Credentials),
];

/// Where a login form may send the browser (`kvmd.auth.allow_redirects`), in lower case.
#[derive(Debug, Clone)]
pub struct Redirects(pub Vec<String>);

async fn check_access() -> Answer {
    Ok(answer::nothing())
}

async fn logout(request: HttpRequest, auth: Data<Auth>) -> Answer {
    if auth.enabled() {
        let token = gate::token(&request).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Failure::invalid("the cookie auth_token is missing"))?;
        let session = auth.check_token(&String::from_utf8_lossy(token))?;
        let ended = auth.logout(&session.user).await?;
        log::info!("{} logged out: {ended} sessions ended", session.user);
    }
    Ok(answer::nothing())
}

async fn login(
    request: HttpRequest,
    auth: Data<Auth>,
    redirects: Data<Redirects>,
    payload: web::Payload,
) -> Result<HttpResponse, body::Error> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let form = read_form(kind, body::read_form(payload).await?).await;
    if !auth.enabled() {
        return Ok(answer::nothing());
    }
    let wanted = Wanted::parse(&form, &redirects.0)?;
    let opened = auth
        .login(&wanted.user, &wanted.passwd, wanted.expire, gate::address(&request))
        .await
        .map_err(Failure::from)?;
    // Not before: people type passwords into the box for the name.
    audit::note(&request, "user", wanted.user.trim());
    Ok(match opened {
        Login::Session(token) => welcome(token.as_str(), &wanted.redirect),
        Login::NotNeeded => answer::nothing(),
    })
}

/// A form that a program sent from another site must carry the cookie home, so there is no `SameSite` on that one.
pub(crate) fn welcome(token: &str, redirect: &str) -> HttpResponse {
    let (mut response, attributes) = if redirect.is_empty() {
        (answer::nothing(), "HttpOnly; Path=/; SameSite=Strict")
    } else {
        let mut response = answer::plain(StatusCode::FOUND);
        if let Ok(location) = header::HeaderValue::from_str(redirect) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        (response, "HttpOnly; Path=/")
    };
    if let Ok(cookie) = header::HeaderValue::from_str(&format!("auth_token={token}; {attributes}")) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// The fields of a login form, checked as far as the form itself goes.
struct Wanted {
    user: String,
    passwd: String,
    expire: Duration,
    redirect: String,
}

impl Wanted {
    fn parse(form: &HashMap<String, String>, redirects: &[String]) -> Result<Self, Failure> {
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let expire = match form.get("expire") {
            Some(raw) => check::int_at_least(raw, 0)?.unsigned_abs(),
            None => 0,
        };
        let redirect = field("redirect").trim().to_lowercase();
        if !redirect.is_empty() && !redirects.contains(&redirect) {
            return Err(Failure::invalid("redirect: not allowed"));
        }
        Ok(Self {
            user: field("user").to_owned(),
            passwd: field("passwd").to_owned(),
            expire: Duration::from_secs(expire),
            redirect,
        })
    }
}

/// The first of each field; a body that is no form has none.
pub(crate) async fn read_form(kind: &str, body: Bytes) -> HashMap<String, String> {
    let mut form = HashMap::new();
    if kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        for (name, value) in form_urlencoded::parse(&body) {
            form.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
    } else if kind.to_ascii_lowercase().starts_with("application/json") {
        // No form, but what some clients send (aiopikvm).
        if let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(&body) {
            let text = |(name, value): (String, serde_json::Value)| Some((name, value.as_str()?.to_owned()));
            form.extend(fields.into_iter().filter_map(text));
        }
    } else if let Ok(boundary) = multer::parse_boundary(kind) {
        let whole = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let mut parts = multer::Multipart::new(whole, boundary);
        while let Ok(Some(part)) = parts.next_field().await {
            let Some(name) = part.name().map(str::to_owned) else { continue };
            let Ok(value) = part.text().await else { break };
            form.entry(name).or_insert(value);
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn form(kind: &str, body: &'static [u8]) -> Vec<(String, String)> {
        let mut fields: Vec<_> = read_form(kind, Bytes::from_static(body)).await.into_iter().collect();
        fields.sort();
        fields
    }

    #[tokio::test]
    async fn both_kinds_of_form_are_read() {
        let expected = vec![("passwd".to_owned(), "b c".to_owned()), ("user".to_owned(), "a".to_owned())];
        assert_eq!(form("application/json", b"{\"user\": \"a\", \"passwd\": \"b c\"}").await, expected);
        assert_eq!(form("application/x-www-form-urlencoded", b"user=a&passwd=b+c&user=z").await, expected);
        let multipart = b"--B\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\na\r\n\
            --B\r\nContent-Disposition: form-data; name=\"passwd\"\r\n\r\nb c\r\n--B--\r\n";
        assert_eq!(form("multipart/form-data; boundary=B", multipart).await, expected);
    }

    #[tokio::test]
    async fn anything_else_is_no_form() {
        for body in [&b"[]"[..], b"{", b"{\"user\": 1}"] {
            assert_eq!(form("application/json", body).await, vec![]);
        }
        assert_eq!(form("multipart/form-data; boundary=B", b"garbage").await, vec![]);
        assert_eq!(form("multipart/form-data", b"--B").await, vec![]);
        assert_eq!(form("", b"user=a").await, vec![]);
    }

    #[test]
    fn a_redirect_must_be_on_the_list() {
        let form = |redirect: &str| HashMap::from([("redirect".to_owned(), redirect.to_owned())]);
        let allowed = ["/kvm/".to_owned()];
        assert_eq!(
            Wanted::parse(&form(" /KVM/ "), &allowed).map(|wanted| wanted.redirect),
            Ok("/kvm/".to_owned())
        );
        for bad in ["/evil", "//evil.example", "https://evil.example"] {
            assert!(Wanted::parse(&form(bad), &allowed).is_err(), "{bad}");
        }
    }
}
