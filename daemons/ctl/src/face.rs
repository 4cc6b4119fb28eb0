//! How `kvmd` is asked: one client for its unix socket and for HTTPS, one way to say what came of it.
//!
//! Paths are as clients see them, without `/api`. An answer that is no success is a [`Failure`] with the contract's class and
//! message, and the exit code of its kind. Nothing is asked twice and no redirect is followed: what an order did is known
//! by its answer only.

use std::fmt;
use std::time::Duration;

use anyhow::anyhow;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::reach::{Caller, Reach, usage};
use crate::{Console, Exit, Failure};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take, unless the call is a patient one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a session is used, which ends after half an hour without use.
const STAY: Duration = Duration::from_mins(5);
const LATE: &str = "it does not answer in time";
/// More than any answer that is kept in memory has.
const ANSWER_BYTES: usize = 32 << 20;
/// What is read of a refusal.
const REFUSAL_BYTES: usize = 64 << 10;
/// The longest line of an answer made of lines.
const LINE_BYTES: usize = 1 << 20;

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Option<reqwest::Body>,
    patient: bool,
    raw: bool,
    anonymous: bool,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
            patient: false,
            raw: false,
            anonymous: false,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a parameter.
    #[expect(clippy::needless_pass_by_value, reason = "callers write values")]
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// With a parameter that may be left out.
    pub(crate) fn with_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With a switch, where it is on.
    pub(crate) fn with_flag(self, name: &str, on: bool) -> Self {
        self.with_some(name, on.then_some(1))
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn body(self, body: impl Into<reqwest::Body>, kind: &str) -> Self {
        let kind =
            HeaderValue::from_str(kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
        Self { body: Some(body.into()), ..self }.header(CONTENT_TYPE, kind)
    }

    /// The answer may take as long as it takes.
    pub(crate) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// The path is taken as it is, without `/api` before it.
    pub(crate) fn raw(self) -> Self {
        Self { raw: true, ..self }
    }

    /// Without what shows who asks.
    pub(crate) fn anonymous(self) -> Self {
        Self { anonymous: true, ..self }
    }

    /// Whether it says anything beside its path.
    pub(crate) fn has_parameters(&self) -> bool {
        !self.query.is_empty()
    }
}

/// An appliance that can be asked.
pub(crate) struct Face {
    pub(crate) runtime: Runtime,
    client: Client,
    base: String,
    place: String,
    credentials: HeaderMap,
    pub(crate) caller: Caller,
    /// Whether it is this machine's own, over the unix socket.
    pub(crate) local: bool,
    /// Who asks is shown by a session ([`Face::come_by`]).
    session: bool,
    /// What is sent can be read on the way, and nobody has said that it may be.
    in_clear: bool,
}

impl Face {
    /// The appliance that the flags mean. Nothing is asked yet.
    pub(crate) fn open(
        reach: &Reach,
        args: &config::Args,
        console: &mut Console<'_>,
    ) -> Result<Self, Failure> {
        let address = reach.address()?;
        let builder = builder();
        let (builder, base, place) = match &address {
            None => {
                let socket = crate::settings(args, console)?.kvmd.server.unix;
                let place = socket.display().to_string();
                let builder = builder.tls_built_in_root_certs(false).unix_socket(socket);
                (builder, "http://localhost".to_owned(), place)
            }
            Some(url) => (secured(builder, reach, url)?, url.clone(), url.clone()),
        };
        let caller = reach.caller(console)?;
        let in_clear = address.as_deref().is_some_and(|url| url.starts_with("http:")) && !reach.insecure;
        let credentials = headers(&caller)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = address.is_none();
        let face = Self {
            runtime,
            client: builder.build()?,
            base,
            place,
            credentials,
            caller,
            local,
            session: false,
            in_clear,
        };
        if face.caller != Caller::Nobody {
            face.keeps_secrets()?;
        }
        Ok(face)
    }

    /// Whether a secret may be sent there.
    ///
    /// # Errors
    /// It would go in clear: usage.
    pub(crate) fn keeps_secrets(&self) -> Result<(), Failure> {
        if self.in_clear {
            return Err(usage(format!("{}: secrets go by https, or with --insecure", self.place)));
        }
        Ok(())
    }

    /// A face of the unix socket there.
    #[cfg(test)]
    pub(crate) fn of(socket: &std::path::Path) -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            client: builder().unix_socket(socket.to_owned()).build().unwrap(),
            base: "http://localhost".to_owned(),
            place: socket.display().to_string(),
            credentials: HeaderMap::new(),
            caller: Caller::Nobody,
            local: true,
            session: false,
            in_clear: false,
        }
    }

    /// Comes by this session from now on.
    pub(crate) fn come_by(&mut self, token: &str) -> Result<(), Failure> {
        let mut cookie = HeaderValue::from_str(&format!("auth_token={token}"))?;
        cookie.set_sensitive(true);
        self.credentials = HeaderMap::from_iter([(COOKIE, cookie)]);
        self.session = true;
        Ok(())
    }

    /// Keeps the session alive as long as this is waited for: it ends when it is not used.
    pub(crate) async fn stay(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(STAY).await;
            if self.session {
                let _ = self.asked(Call::get("/auth/check")).await;
            }
        }
    }

    /// Sends a request; what is no success is a failure.
    pub(crate) async fn send(&self, call: Call) -> Result<Response, Failure> {
        let prefix = if call.raw || call.path.starts_with("/api/") { "" } else { "/api" };
        let url = format!("{}{prefix}{}", self.base, call.path);
        let mut request = self.client.request(call.method, url).headers(call.headers);
        if !call.anonymous {
            request = request.headers(self.credentials.clone());
        }
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        if let Some(body) = call.body {
            request = request.body(body);
        }
        if !call.patient {
            request = request.timeout(PATIENCE);
        }
        let mut response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let place = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // What it says is of use only when it says something.
        let body = self.read(&mut response, REFUSAL_BYTES).await.unwrap_or_default();
        Err(refusal(status, place.as_deref(), &body))
    }

    /// The body, which must not be longer.
    async fn read(&self, response: &mut Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > most {
                return Err(anyhow!("kvmd answers with more than {most} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The result of a call.
    pub(crate) fn ask(&self, call: Call) -> Result<Value, Failure> {
        self.runtime.block_on(self.asked(call))
    }

    /// The result of a call.
    pub(crate) async fn asked(&self, call: Call) -> Result<Value, Failure> {
        let mut response = self.send(call).await?;
        let body = self.read(&mut response, ANSWER_BYTES).await?;
        result(&body).ok_or_else(|| Failure::new(Exit::Unreachable, anyhow!("kvmd gave no proper answer")))
    }

    /// Hands the body on, piece by piece. Only the beginning of the answer has to come in time.
    pub(crate) fn copy(
        &self,
        call: Call,
        mut sink: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let patience = if call.patient { Duration::MAX } else { PATIENCE };
            let answered = tokio::time::timeout(patience, self.send(call.patient())).await;
            let late = || Failure::new(Exit::Unreachable, anyhow!("kvmd at {}: {LATE}", self.place));
            let mut response = answered.map_err(|_| late())??;
            while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
                sink(&chunk)?;
            }
            Ok(())
        })
    }

    /// Hands each line of the body on, which must be JSON.
    pub(crate) fn lines(
        &self,
        call: Call,
        mut sink: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut lines = Lines::default();
        self.copy(call, |piece| lines.take(piece, &mut sink))
    }

    /// Waits a while.
    pub(crate) fn pause(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// A connection that was not made or broke off.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> Failure {
        // The library says what it did; what went wrong is at the bottom.
        let mut bottom: &dyn std::error::Error = error;
        let mut denied = false;
        while let Some(source) = bottom.source() {
            bottom = source;
            let io = bottom.downcast_ref::<std::io::Error>();
            denied |= io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied);
        }
        let why = if error.is_timeout() { LATE.to_owned() } else { bottom.to_string() };
        let exit = if denied { Exit::Refused } else { Exit::Unreachable };
        Failure::new(exit, anyhow!("kvmd at {}: {why}", self.place))
    }
}

/// What is the same wherever it is.
fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        // Each request says who asks by a connection of its own.
        .pool_max_idle_per_host(0)
}

fn secured(
    builder: reqwest::ClientBuilder,
    reach: &Reach,
    url: &str,
) -> Result<reqwest::ClientBuilder, Failure> {
    if url.starts_with("http:") {
        return Ok(builder.tls_built_in_root_certs(false));
    }
    let builder = match reach.roots()? {
        None => builder,
        Some(roots) => roots
            .into_iter()
            .fold(builder.tls_built_in_root_certs(false), reqwest::ClientBuilder::add_root_certificate),
    };
    Ok(builder.danger_accept_invalid_certs(reach.insecure))
}

/// What shows who asks.
fn headers(caller: &Caller) -> Result<HeaderMap, Failure> {
    let secret = |text: &str| {
        let mut value =
            HeaderValue::from_str(text).map_err(|_| usage("the token or password has odd characters"))?;
        value.set_sensitive(true);
        Ok::<_, Failure>(value)
    };
    let mut headers = HeaderMap::new();
    match caller {
        Caller::Nobody => {}
        Caller::Token(token) => {
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?);
        }
        Caller::User { name, password } => {
            headers.insert(HeaderName::from_static("x-kvmd-user"), secret(name)?);
            headers.insert(HeaderName::from_static("x-kvmd-passwd"), secret(password)?);
        }
    }
    Ok(headers)
}

/// What stands in an answer: the envelope's result, or all of it where there is no envelope (Redfish).
fn result(body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return Some(Value::Object(serde_json::Map::new()));
    }
    let mut body: Value = serde_json::from_slice(body).ok()?;
    match body.get("ok").and_then(Value::as_bool).zip(body.get_mut("result")) {
        Some((_, result)) => Some(result.take()),
        None => Some(body),
    }
}

/// What a refusal says, and the status it came with.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    says: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.says)
    }
}

impl std::error::Error for Refusal {}

/// Why it was refused: class and message of the contract, or the status where there are none.
fn refusal(status: StatusCode, leads_to: Option<&str>, body: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Refused,
        StatusCode::SERVICE_UNAVAILABLE => Exit::NotReady,
        _ => Exit::Failed,
    };
    let says = told(&body).unwrap_or_else(|| match leads_to {
        Some(place) => format!("{status}: it leads to {}", crate::shown::tame(place)),
        None => status.to_string(),
    });
    Failure::new(exit, Refusal { status, says })
}

/// Class and message of an envelope.
pub(crate) fn told(body: &Value) -> Option<String> {
    let result = body.get("result")?;
    let text = |name: &str| result.get(name).and_then(Value::as_str).map(crate::shown::tame);
    let class = text("error")?;
    Some(text("error_msg").map_or_else(|| class.clone(), |message| format!("{class}: {message}")))
}

/// Pieces of a body put together to lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(
        &mut self,
        piece: &[u8],
        sink: &mut impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(part);
            if self.0.len() > LINE_BYTES {
                return Err(anyhow!("kvmd answers with a line of more than {LINE_BYTES} bytes").into());
            }
            if self.0.ends_with(b"\n") {
                let line = std::mem::take(&mut self.0);
                let line = line.trim_ascii();
                if !line.is_empty() {
                    let value = serde_json::from_slice(line);
                    sink(value.map_err(|_| anyhow!("kvmd answers with a line that is no JSON"))?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn every_answer_has_its_exit_code() {
        let bad =
            "{\"ok\":false,\"result\":{\"error\":\"MsdOfflineError\",\"error_msg\":\"no\\u001b[2J disk\"}}";
        let answer = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        for (answer, exit, says) in [
            (answer("200 OK", "{\"ok\":true,\"result\":{\"data\":\"\"}}"), Exit::Good, ""),
            (answer("204 No Content", ""), Exit::Good, ""),
            (answer("200 OK", "nonsense"), Exit::Unreachable, "no proper answer"),
            (answer("400 Bad", bad), Exit::Failed, "MsdOfflineError: no[2J disk"),
            (answer("503 No", "{}"), Exit::NotReady, "503"),
            (answer("403 No", ""), Exit::Refused, "403 Forbidden"),
            (answer("301 No\r\nLocation: https://kvm/", ""), Exit::Failed, "https://kvm/"),
            (String::new(), Exit::Unreachable, "kvmd at /"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kvmd.sock");
            let listener = UnixListener::bind(&path).unwrap();
            let sent = answer.clone();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                while reader.read_line(&mut String::new()).unwrap() > 2 {}
                stream.write_all(sent.as_bytes()).unwrap();
                first
            });
            let asked = Face::of(&path).ask(Call::post("/msd/remove").with("image", "a b&c"));
            let (got, text) = asked.map_or_else(
                |failure| (failure.exit, failure.error.to_string()),
                |_| (Exit::Good, String::new()),
            );
            assert_eq!(got, exit, "{answer:?}: {text}");
            assert!(text.contains(says), "{answer:?}: {text}");
            assert_eq!(server.join().unwrap(), "POST /api/msd/remove?image=a+b%26c HTTP/1.1\r\n");
        }
    }

    #[test]
    fn a_socket_that_is_not_there_cannot_be_reached() {
        let failure = Face::of(std::path::Path::new("/nonexistent/kvmd.sock")).ask(Call::get("/info"));
        let failure = failure.map_or_else(|failure| failure, |told| panic!("{told}"));
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.error.to_string().contains("kvmd at /nonexistent/kvmd.sock"), "{}", failure.error);
    }

    #[test]
    fn lines_come_whole_however_they_were_cut() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["{\"a\"", ":1}\r", "\n\r\n{\"a\":2}\n{\"a\"", ":3}\n", "{\"rest\""] {
            let mut sink = |value: Value| {
                seen.push(value["a"].as_u64().unwrap());
                Ok(())
            };
            assert!(lines.take(piece.as_bytes(), &mut sink).is_ok());
        }
        assert_eq!(seen, [1, 2, 3]);
        assert!(lines.take(b"nonsense\n", &mut |_| Ok(())).is_err());
        assert!(Lines::default().take(&vec![b'x'; LINE_BYTES + 1], &mut |_| Ok(())).is_err());
    }
}
