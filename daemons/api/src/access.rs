//! What every request passes: the access log, and the net under it. A panic ends the request with 500 and nothing else.
//! A client that hangs up before it is answered has its line too, with the status 499.

use crate::{
    answer, audit,
    gate::{GONE, Tag},
};
use actix_web::{
    Error, HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{ConnectionType, StatusCode, Version, header},
    middleware::Next,
};
use futures_util::FutureExt;
use std::{borrow::Cow, fmt, panic::AssertUnwindSafe};

/// The log target; an administrator silences or greps it.
pub const TARGET: &str = "kvmd.access";

/// Runs a request and writes its line.
pub async fn watch<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut line = log::log_enabled!(target: TARGET, log::Level::Info).then(|| Line::of(&request));
    let Ok(result) = AssertUnwindSafe(next.call(request)).catch_unwind().await else {
        log::error!("a request panicked; it was answered with 500");
        let response = answer::plain(StatusCode::INTERNAL_SERVER_ERROR);
        tell(&mut line, response.status(), 0);
        return Err(InternalError::from_response("panic", response).into());
    };
    let result = result.inspect_err(|why| tell(&mut line, why.as_response_error().status_code(), 0));
    let mut response = result?.map_into_boxed_body();
    end_with_the_connection(&mut response);
    let size = match response.response().body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    tell(&mut line, response.status(), size);
    Ok(response)
}

fn tell(line: &mut Option<Line>, status: StatusCode, size: u64) {
    if let Some(line) = line {
        line.outcome = (status.as_u16(), size);
    }
}

/// HTTP/1.0 knows no chunks: what has no length ends with the connection.
fn end_with_the_connection(response: &mut ServiceResponse<BoxBody>) {
    if response.request().version() <= Version::HTTP_10
        && response.response().body().size() == BodySize::Stream
    {
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
}

/// A line to be, which is written when it is dropped: also when the request is, because its client has hung up.
struct Line {
    tag: Tag,
    peer: String,
    asked: String,
    client: String,
    /// Status and size in bytes.
    outcome: (u16, u64),
}

impl Line {
    fn of(request: &ServiceRequest) -> Self {
        let tag = Tag::default();
        request.extensions_mut().insert(tag.clone());
        let peer = request.peer_addr();
        let path = request.uri().path_and_query().map_or("-", |path| path.as_str());
        let path = path.strip_prefix("/api").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let value = |name: header::HeaderName| {
            let value = request.headers().get(name);
            value.map_or_else(|| "-".into(), |value| String::from_utf8_lossy(value.as_bytes()))
        };
        Self {
            tag,
            peer: peer.map_or_else(|| "-".to_owned(), |peer| peer.ip().to_canonical().to_string()),
            asked: format!("{} {} {:?}", request.method(), Quoted(&discreet(path)), request.version()),
            client: format!(
                "referer='{}'; user_agent='{}'",
                Quoted(&discreet(&value(header::REFERER))),
                Quoted(&value(header::USER_AGENT)),
            ),
            outcome: (GONE, 0),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, peer, asked, client, outcome: (status, size) } = self;
        let tag = tag.0.borrow();
        let tag = if tag.is_empty() { "-" } else { tag.as_str() };
        write!(f, "[{tag} / {peer}] '{asked}' => {status}; size={size} --- {client}")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        log::info!(target: TARGET, "{self}");
    }
}

/// Parameters whose values are nobody's business who may read the log: secrets, and what is typed.
const SECRET: &[&str] = &["code", "key", "keys", "passwd", "password", "psk", "secret", "token"];

/// A path and its query without the values that must not be read in a log; addresses lose their passwords and their own queries.
fn discreet(path: &str) -> Cow<'_, str> {
    let Some((path, query)) = path.split_once('?') else { return path.into() };
    let shown: Vec<Cow<'_, str>> = query.split('&').map(discreet_pair).collect();
    format!("{path}?{}", shown.join("&")).into()
}

fn discreet_pair(pair: &str) -> Cow<'_, str> {
    let Some((name, raw)) = pair.split_once('=') else { return pair.into() };
    let Some((key, value)) = form_urlencoded::parse(pair.as_bytes()).next() else { return pair.into() };
    let key = key.to_ascii_lowercase();
    if SECRET.contains(&key.as_str()) && !raw.is_empty() {
        format!("{name}=…").into()
    } else if value.contains("://") {
        format!("{name}={}", audit::without_secrets(&value)).into()
    } else {
        pair.into()
    }
}

/// A client's text, bounded, on one line, unable to end its quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 1024;
        for c in self.0.chars().take(LONGEST) {
            if c.is_control() || matches!(c, '\'' | '\\' | '\u{2028}' | '\u{2029}') {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if self.0.chars().nth(LONGEST).is_some() { f.write_str("…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_client_cannot_write_a_line_of_its_own() {
        assert_eq!(Quoted("a\r\nb'c").to_string(), "a\\u{d}\\u{a}b\\u{27}c");
    }

    #[test]
    fn no_password_and_nothing_typed_is_in_the_log() {
        for (path, shown) in [
            ("/api/info?fields=hw&legacy=1", "/api/info?fields=hw&legacy=1"),
            ("/api/msd", "/api/msd"),
            ("/x?Passwd=hunter2&a=1&token=", "/x?Passwd=…&a=1&token="),
            ("/x?%70asswd=hunter2", "/x?%70asswd=…"),
            ("/hid/events/send_key?key=KeyA&state=1", "/hid/events/send_key?key=…&state=1"),
            (
                "/msd/write_remote?url=https%3A%2F%2Fu%3Ahunter2%40files.example%2Fa.iso%3Fsig%3Dhunter2&image=a",
                "/msd/write_remote?url=https://files.example/a.iso&image=a",
            ),
            ("/x?url=https://u:hunter2@files.example/a?sig=hunter2", "/x?url=https://files.example/a"),
        ] {
            assert_eq!(discreet(path), shown, "{path}");
        }
    }

    #[actix_web::test]
    async fn who_hangs_up_has_a_line_too() {
        let request = actix_web::test::TestRequest::with_uri("/api/atx/power?action=off").to_srv_request();
        let line = Line::of(&request);
        if let Some(tag) = request.extensions().get::<Tag>() {
            "admin".clone_into(&mut tag.0.borrow_mut());
        }
        let expected =
            "[admin / -] 'GET /atx/power?action=off HTTP/1.1' => 499; size=0 --- referer='-'; user_agent='-'";
        assert_eq!(line.to_string(), expected);
    }

    #[actix_web::test]
    async fn a_panic_is_answered_with_500_and_the_next_request_is_served() {
        use actix_web::{App, HttpResponse, middleware::from_fn, test, web};
        async fn fails() -> HttpResponse {
            panic!("on purpose")
        }
        async fn works() -> HttpResponse {
            HttpResponse::Ok().finish()
        }
        let app = App::new()
            .wrap(from_fn(watch))
            .route("/fails", web::get().to(fails))
            .route("/works", web::get().to(works));
        let app = test::init_service(app).await;
        let ask = |path: &str| test::try_call_service(&app, test::TestRequest::with_uri(path).to_request());
        let failed = ask("/fails").await.err().map(|error| error.as_response_error().status_code().as_u16());
        assert_eq!(failed, Some(500));
        assert_eq!(ask("/works").await.map(|answer| answer.status().as_u16()).ok(), Some(200));
    }

    proptest! {
        #[test]
        fn every_text_stays_bounded_and_on_one_line(text in "\\PC{0,40}|(?s:.{0,2000})") {
            let quoted = Quoted(&text).to_string();
            prop_assert!(!quoted.chars().any(char::is_control) && !quoted.contains('\''));
            prop_assert!(quoted.chars().count() <= 1024 * 10 + 1);
        }

        #[test]
        fn any_path_can_be_shown(path in "(/[?&=%a-z:/]{0,30}|(?s:.{0,200}))") {
            let shown = discreet(&path);
            prop_assert_eq!(shown.contains('?'), path.contains('?'));
        }
    }
}
