//! Answers: the JSON envelope, plain text, and the shape of a handler.

use crate::failure::Failure;
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use model::envelope;
use serde_json::Value;

/// What a handler gives back.
pub type Answer = Result<HttpResponse, Failure>;

/// 200 with this result, which must be an object.
pub fn ok(result: &Value) -> HttpResponse {
    json(StatusCode::OK, envelope::ok(result))
}

/// 200 with nothing to say.
pub fn nothing() -> HttpResponse {
    json(StatusCode::OK, envelope::nothing())
}

/// A JSON body that is already in its envelope.
pub fn json(status: StatusCode, body: impl Into<String>) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "application/json; charset=utf-8"))
        .body(body.into())
}

/// A plain text answer as the router gives it: `404: Not Found`.
pub fn plain(status: StatusCode) -> HttpResponse {
    let body = format!("{}: {}", status.as_u16(), status.canonical_reason().unwrap_or("-"));
    HttpResponse::build(status).insert_header(text_plain()).body(body)
}

/// The content type of everything that is neither JSON nor a file.
pub fn text_plain() -> (header::HeaderName, &'static str) {
    (header::CONTENT_TYPE, "text/plain; charset=utf-8")
}
