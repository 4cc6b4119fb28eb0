//! One line: who, from where, what, what came of it. What may be in it and what not is decided here.

use crate::{gate, query::Query, routes::Entry};
use actix_web::{HttpMessage, HttpRequest};
use auth::{Access, Via};
use model::ErrorClass;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Bytes of a path or of a parameter that are kept, as they are written; and of all parameters of the query together.
const LONGEST: usize = 200;
const LONGEST_TOGETHER: usize = 1200;
/// Parameters that are kept.
const MOST: usize = 24;

/// Parameters whose values say what was done and are nobody's secret. Of any other only the name is kept: a parameter that
/// comes later is not in the log before somebody has put it here.
const TELLING: &[&str] = &[
    "action",
    "allow_offline",
    "bios_safe",
    "button",
    "cdrom",
    "channel",
    "client",
    "compress",
    "connected",
    "delay",
    "desired_fps",
    "expire",
    "h264_bitrate",
    "h264_gop",
    "id",
    "image",
    "jiggler",
    "keyboard_output",
    "keymap",
    "limit",
    "load",
    "mouse_output",
    "name",
    "node",
    "patterns",
    "port",
    "prefix",
    "quality",
    "remove_incomplete",
    "resolution",
    "role",
    "rw",
    "save",
    "scopes",
    "sha256",
    "size",
    "slow",
    "state",
    "stream",
    "timeout",
    "timezone",
    "user",
    "wait",
];

/// Who did something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The user; null where nobody is known.
    pub user: Option<String>,
    /// The name of the API token; null without one.
    pub token: Option<String>,
    /// How they are known: `session`, `password`, `token`, `unix`, `open` (nobody has to log in), `unknown`.
    pub by: &'static str,
    /// The network address; null on the unix socket.
    pub address: Option<IpAddr>,
}

impl Who {
    /// Who sent a request, as the gate has found.
    #[must_use]
    pub fn asks(request: &HttpRequest) -> Self {
        let extensions = request.extensions();
        let access = extensions.get::<Access>();
        let (by, token) = match access {
            None => ("unknown", None),
            Some(Access::Open) => ("open", None),
            Some(Access::Password { via: Via::XHeader | Via::Basic, .. }) => ("password", None),
            Some(Access::Session(_)) => ("session", None),
            Some(Access::Token(token)) => ("token", Some(token.name.to_string())),
            Some(Access::Peer(_)) => ("unix", None),
        };
        let user = access.and_then(Access::user).map(str::to_owned);
        Self { user, token, by, address: gate::address(request) }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum What {
    /// An HTTP request.
    Call {
        method: String,
        /// Without `/api`.
        path: String,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        status: u16,
        /// The class of the failure.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
        /// How often the same happened again since the line before this.
        #[serde(skip_serializing_if = "Option::is_none")]
        repeated: Option<u64>,
    },
    /// Somebody began to use keyboard or mouse by a WebSocket.
    InputBegin,
    /// Somebody has not used them for a while, or is gone.
    InputEnd {
        #[serde(flatten)]
        counts: super::input::Counts,
        /// From the first to the last.
        seconds: u64,
    },
    /// So many more of somebody who did too much for a line each.
    More { count: u64 },
    /// Lines are missing here.
    Lost { count: u64 },
}

/// One line to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Seconds since 1970.
    time: f64,
    #[serde(flatten)]
    pub(super) who: Who,
    #[serde(flatten)]
    pub(super) what: What,
}

impl Record {
    pub(super) fn new(who: Who, what: What) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        // Milliseconds are enough.
        Self { time: (time.as_secs_f64() * 1000.0).round() / 1000.0, who, what }
    }

    /// Whether nobody is known to have tried it: then there may be many. A login that was good is its user's.
    pub(super) fn is_stranger_s(&self) -> bool {
        self.who.by == "unknown" && matches!(self.what, What::Call { .. })
    }

    /// Whether somebody known may not do it.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.what, What::Call { status: 401 | 403, .. })
    }

    pub(super) fn more(who: Who, count: u64) -> Self {
        Self::new(who, What::More { count })
    }

    pub(super) fn lost(count: u64) -> Self {
        Self::new(Who { by: "unknown", ..Who::default() }, What::Lost { count })
    }

    #[cfg(test)]
    pub(super) fn call(method: &str, path: &str, status: u16) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        let what = What::Call { method, path, params: BTreeMap::new(), status, error: None, repeated: None };
        Self::new(Who { by: "session", user: Some("admin".to_owned()), ..Who::default() }, what)
    }

    #[cfg(test)]
    pub(super) fn input() -> Self {
        Self::new(Who { by: "session", user: Some("admin".to_owned()), ..Who::default() }, What::InputBegin)
    }

    /// The line with its number, without an end.
    pub(super) fn text(&self, seq: u64) -> String {
        #[derive(Serialize)]
        struct Numbered<'a> {
            seq: u64,
            #[serde(flatten)]
            record: &'a Record,
        }
        serde_json::to_string(&Numbered { seq, record: self }).unwrap_or_default()
    }
}

/// What a handler wants to be told beside the query: parameters of a body that are no secret.
#[derive(Default)]
struct Notes(BTreeMap<String, String>);

/// Has a parameter written down that is not in the query. Never one that may be a secret.
pub fn note(request: &HttpRequest, name: &str, value: &str) {
    let mut extensions = request.extensions_mut();
    if extensions.get::<Notes>().is_none() {
        extensions.insert(Notes::default());
    }
    if let Some(notes) = extensions.get_mut::<Notes>() {
        notes.0.insert(name.to_owned(), bounded(value));
    }
}

/// The line of a call, with what came of it. What was refused, and what strangers fail at, keeps nothing of the client's
/// choice.
pub fn of_call(row: &Entry, request: &HttpRequest, status: u16, class: Option<ErrorClass>) -> Record {
    let (mut who, extensions) = (Who::asks(request), request.extensions());
    let notes = extensions.get::<Notes>();
    // Who has just logged in.
    if let (true, Some(user)) =
        (who.by == "unknown" && status < 400, notes.and_then(|notes| notes.0.get("user")))
    {
        (who.user, who.by) = (Some(user.clone()), "password");
    }
    let theirs = !matches!(status, 401 | 403) && who.by != "unknown";
    let path = if theirs { request.path() } else { row.path };
    let path = path.strip_prefix("/api").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let mut params = match theirs && !types_something(row.path) {
        true => told(&Query::parse(request.query_string())),
        false => BTreeMap::new(),
    };
    if let Some(notes) = notes.filter(|_| theirs) {
        params.extend(notes.0.clone());
    }
    let what = What::Call {
        method: row.method.to_owned(),
        path: bounded(path),
        params,
        status,
        error: class.map(ErrorClass::name),
        repeated: None,
    };
    Record::new(who, what)
}

/// Whether a row types: what a person types is nobody's business, parameters included.
#[must_use]
pub fn types_something(path: &str) -> bool {
    path.starts_with("/hid/events/") || path == "/hid/print"
}

fn told(query: &Query) -> BTreeMap<String, String> {
    let told = |(name, value): (&str, &str)| {
        let value = match name {
            _ if TELLING.contains(&name) => bounded(value),
            "url" => without_secrets(value),
            _ => "…".to_owned(),
        };
        (bounded(name), value)
    };
    let mut room = LONGEST_TOGETHER;
    let fits = |(name, value): &(String, String)| {
        let size = escaped(name) + escaped(value);
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    query.pairs().take(MOST).map(told).take_while(fits).collect()
}

fn bounded(text: &str) -> String {
    let mut room = LONGEST;
    let fits = |c: &char| {
        let size = escaped_char(*c);
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Bytes in the file, at most.
fn escaped(text: &str) -> usize {
    text.chars().map(escaped_char).sum()
}

fn escaped_char(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c.is_control() => "\\u0000".len(),
        c => c.len_utf8(),
    }
}

/// An address without who asks and what is asked.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or("");
    let Some((scheme, rest)) = url.split_once("://") else { return "…".to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or("");
    bounded(&format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(query: &str) -> Vec<(String, String)> {
        told(&Query::parse(query)).into_iter().collect()
    }

    #[test]
    fn what_says_what_was_done_is_kept_and_what_nobody_has_looked_at_is_not() {
        let expected = [("action", "off"), ("passwd", "…"), ("wait", "1")];
        let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        assert_eq!(of("wait=1&action=off&passwd=hunter2"), expected);
    }

    #[test]
    fn an_address_loses_its_password_and_its_query() {
        for (url, kept) in [
            ("https://u:hunter2@files.example/a.iso?key=hunter2#x", "https://files.example/a.iso"),
            ("http://files.example", "http://files.example"),
            ("http://a:hunter2@b@files.example/", "http://files.example/"),
            ("hunter2", "…"),
            ("", "…"),
        ] {
            assert_eq!(without_secrets(url), kept, "{url}");
        }
    }

    #[test]
    fn what_is_typed_is_not_in_it() {
        for path in ["/hid/events/send_key", "/hid/events/send_shortcut", "/hid/print"] {
            assert!(types_something(path), "{path}");
        }
        assert!(!types_something("/hid/set_params"));
    }

    #[test]
    fn the_list_of_what_is_kept_is_sorted_and_has_no_secret() {
        assert!(TELLING.is_sorted());
        for secret in ["passwd", "password", "key", "keys", "token", "code", "secret", "url", "data", "text"]
        {
            assert!(!TELLING.contains(&secret), "{secret}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_and_bounded(query in "\\PC{0,2000}", path in "\\PC{0,1000}") {
            let what = What::Call {
                method: "POST".into(), path: bounded(&path), params: told(&Query::parse(&query)),
                status: 200, error: None, repeated: None,
            };
            let text = Record::new(Who::default(), what).text(1);
            prop_assert!(!text.contains(['\n', '\r']));
            prop_assert!(text.len() < 2048, "{}", text.len());
        }

        #[test]
        fn no_value_of_an_unknown_parameter_is_kept(name in "[a-z]{1,10}", value in "[A-Z]{8,20}") {
            prop_assume!(!TELLING.contains(&name.as_str()));
            let line = format!("{:?}", of(&format!("{name}={value}")));
            prop_assert!(!line.contains(&value));
        }
    }
}
