//! What every Redfish answer has in common, put around the handlers and the gate: version headers, `Allow`, extended
//! errors also where the gate or a device refuses, tokens in a header instead of a cookie.

use super::error::{self, Error, Message};
use crate::routes::Entry;
use actix_web::{
    Error as ActixError, HttpResponse, ResponseError,
    body::{self, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use serde_json::Value;

/// The token of a session; this service knows no cookies of its own.
pub(super) const TOKEN: &str = "x-auth-token";
const ODATA_VERSION: &str = "odata-version";
const VERSION: &str = "4.0";

/// Around the gate.
pub async fn face<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    let allowed = request.match_pattern().map(|pattern| methods(&pattern)).unwrap_or_default();
    let by_token = request.headers().contains_key(TOKEN);
    if by_token && !token_to_cookie(request.headers_mut()) {
        let refusal = Error::stranger().error_response();
        return Ok(dress(request.into_response(refusal), &allowed));
    }
    let response = next.call(request).await?.map_into_boxed_body();
    Ok(dress(translate(response, by_token).await, &allowed))
}

/// Between the gate and the handler: what depends on headers other than those that say who asks.
pub(super) async fn checked<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, ActixError> {
    let refusal = match request.headers().get(ODATA_VERSION) {
        Some(version) if version != VERSION => {
            Some(Error::precondition("Only version 4.0 of OData is spoken here"))
        }
        _ => unknown_query(request.query_string()).map(|name| Error::query(&name)),
    };
    if let Some(refusal) = refusal {
        return Ok(request.into_response(refusal.error_response()));
    }
    let none_match = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.call(request).await?.map_into_boxed_body();
    let same = none_match.is_some() && response.headers().get(header::ETAG) == none_match.as_ref();
    if same && response.request().method() == Method::GET {
        return Ok(response.into_response(HttpResponse::NotModified().finish()));
    }
    Ok(response)
}

/// The first parameter that begins with `$`: none is known here.
fn unknown_query(query: &str) -> Option<String> {
    let mut names = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned());
    names.find(|name| name.starts_with('$'))
}

/// Lets the gate find the session. False when this is no token at all.
fn token_to_cookie(headers: &mut HeaderMap) -> bool {
    let token = headers.remove(TOKEN).next();
    let token = token.as_ref().and_then(|token| token.to_str().ok()).filter(|token| is_token(token));
    let Some(cookie) = token.and_then(|token| HeaderValue::from_str(&format!("auth_token={token}")).ok())
    else {
        return false;
    };
    headers.insert(header::COOKIE, cookie);
    true
}

fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A refusal in the API's words gets Redfish's beside them. A session that is over has to be opened anew, which clients
/// understand by 401.
async fn translate(response: ServiceResponse<BoxBody>, by_token: bool) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (request, response) = response.into_parts();
    let (head, bytes) = response.into_parts();
    let bytes = body::to_bytes(bytes).await.unwrap_or_default();
    let Ok(told) = serde_json::from_slice::<Value>(&bytes) else {
        return ServiceResponse::new(request, head.set_body(BoxBody::new(bytes)));
    };
    let (class, text) = (&told["result"]["error"], &told["result"]["error_msg"]);
    if by_token && class == "ForbiddenError" && text == "Forbidden" {
        return ServiceResponse::new(request, Error::stranger().error_response());
    }
    let body = match (class.as_str(), told.get("error")) {
        (Some(class), None) => {
            let text = text.as_str().unwrap_or_default();
            error::body(class, text, &Message::of(class, status, text)).into()
        }
        _ => bytes,
    };
    ServiceResponse::new(request, head.set_body(BoxBody::new(body)))
}

/// Puts on the headers of every answer.
fn dress(mut response: ServiceResponse<BoxBody>, allowed: &str) -> ServiceResponse<BoxBody> {
    let (status, method) = (response.status(), response.request().method().clone());
    // A browser that is asked for a password so keeps it, and sends it with what pages of other sites ask for.
    // Programs on undici (Node's fetch) send `Sec-Fetch-Mode` alone.
    let browser = response.request().headers().contains_key("Sec-Fetch-Site");
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static(ODATA_VERSION), HeaderValue::from_static(VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if status == StatusCode::UNAUTHORIZED && !browser {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Redfish\""));
    }
    if method == Method::GET
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        headers.insert(header::ALLOW, allowed);
    }
    response
}

/// The methods of a path, from the table.
fn methods(pattern: &str) -> String {
    let path = pattern.strip_prefix("/api").unwrap_or(pattern);
    let rows = super::ROUTES.iter().filter(|row| row.path == path);
    rows.map(|row: &Entry| row.method).collect::<Vec<_>>().join(",")
}
