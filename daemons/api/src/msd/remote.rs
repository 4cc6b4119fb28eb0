//! `/msd/write_remote`: an image fetched from elsewhere (section 8.6), and our own `/msd/probe_remote`, which says in five
//! seconds whether that would work.
//!
//! The answer is NDJSON: a line after the first second, one every two seconds, one at the end. What is fetched within that
//! second is told in one line, which some clients (aiopikvm) take the whole answer for. A failure under way is one more line
//! of progress, then one that says what failed, and then the answer is broken off. A client that leaves ends the transfer.
//!
//! `sha256=HEX` says what the whole image should be (ours, as with an upload): another one is not taken.
//!
//! It follows redirects (from https to https only, and without a `Referer`: signed addresses are secrets) and verifies
//! certificates by the system's roots, unless told not to. It fetches whatever an
//! operator names, in the appliance's own network too: that is what it is for; but not from the appliance itself (module
//! `near`). Proxies of the environment are not used.

use super::{
    near::{Near, TooNear},
    pace::{Pace, TooSlow},
    transfer::{show, under, wanted},
};
use crate::{
    answer::{self, Answer},
    body::SILENCE,
    failure::Failure,
    query::Query,
};
use actix_web::{HttpResponse, http::header, web::Data};
use bytes::Bytes;
use futures_util::{Stream, stream};
use model::{ErrorClass, check, envelope};
use msd::{Msd, Sha256, Write, Written};
use percent_encoding::percent_decode_str;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::HeaderMap,
    redirect::{Attempt, Policy},
};
use serde_json::{Value, json};
use std::{collections::VecDeque, io, time::Duration};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, Interval, interval_at, sleep, timeout},
};

/// How long a connection may take to be made, unless the client says otherwise.
const CONNECT: f64 = 10.0;
/// When progress is told first.
const FIRST: Duration = Duration::from_secs(1);
/// How often it is told from then on.
const PROGRESS: Duration = Duration::from_secs(2);
/// How long a probe may take as a whole.
const PROBE: Duration = Duration::from_secs(5);
/// How long the last lines of a transfer that failed may take to go out, before the answer is broken off.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Redirects that are followed.
const REDIRECTS: usize = 10;

/// Fetches an image into the storage.
pub async fn write(msd: Data<Msd>, near: Data<Near>, query: Query) -> Answer {
    let url = query.required("url", check::url)?;
    let given = query.optional("image", check::image_name)?;
    // Before anybody is bothered: a bad prefix is refused like any bad parameter.
    under(&query, String::new())?;
    let remove_incomplete = query.flag("remove_incomplete")?;
    let wanted = wanted(&query)?;
    let connect = query.optional("timeout", |raw| check::float_at_least(raw, 0.1))?.unwrap_or(CONNECT);
    let connect = Duration::try_from_secs_f64(connect).unwrap_or(SILENCE).min(SILENCE);
    let client = client(**near, query.flag("insecure")?, connect).await?;
    let (source, response) = Source::open(&client, &address(**near, &url)?).await?;
    let size = source.fetchable()?;
    let name = under(&query, given.map_or_else(|| source.image(), Ok)?)?;
    let write = msd.begin_write(&name, size, remove_incomplete).await?;
    let job = Job::start(write, response, source.show(), wanted);
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/x-ndjson"))
        .streaming(job.lines()))
}

/// Says what a source answers, how long the image is, and whether a broken transfer could go on.
pub async fn probe(near: Data<Near>, query: Query) -> Answer {
    let url = query.required("url", check::url)?;
    let client = client(**near, query.flag("insecure")?, PROBE).await?;
    let asked = client.get(address(**near, &url)?).header(header::RANGE.as_str(), "bytes=0-0").send();
    let late = || Failure::new(ErrorClass::ClientConnector, "no answer in five seconds");
    let response = timeout(PROBE, asked).await.map_err(|_| late())?.map_err(|why| refused(&why))?;
    Ok(answer::ok(&json!({"remote": Source::of(&response, true).show()})))
}

/// Made anew for each source: the system's roots may have changed since the last one. Reading them blocks.
async fn client(near: Near, insecure: bool, connect: Duration) -> Result<Client, Failure> {
    let client = Client::builder()
        .no_proxy()
        .dns_resolver(near.resolver())
        .redirect(Policy::custom(move |attempt| follow(attempt, near, insecure)))
        // An address may be signed, and is nobody's business where the source leads to.
        .referer(false)
        .connect_timeout(connect)
        .read_timeout(SILENCE)
        .danger_accept_invalid_certs(insecure);
    let client = tokio::task::spawn_blocking(move || client.build()).await.map_err(Failure::internal)?;
    client.map_err(Failure::internal)
}

/// A source's address, which has been looked at as the contract says.
fn address(near: Near, url: &str) -> Result<Url, Failure> {
    let url: Url = url.parse().map_err(|why| Failure::invalid(format!("url: {why}")))?;
    let too_near = |why: TooNear| Failure::new(ErrorClass::ClientConnector, format!("the source: {why}"));
    near.check(&url).map_err(too_near)?;
    Ok(url)
}

fn follow(attempt: Attempt<'_>, near: Near, insecure: bool) -> reqwest::redirect::Action {
    if let Err(why) = near.check(attempt.url()) {
        return attempt.error(why);
    }
    match leads_astray(attempt.previous(), attempt.url(), insecure) {
        Some(why) => attempt.error(why),
        None => attempt.follow(),
    }
}

/// Why a redirect is not followed, if so. What a certificate vouched for must not be swapped on the way: a machine will
/// boot it.
fn leads_astray(previous: &[Url], next: &Url, insecure: bool) -> Option<&'static str> {
    let vouched_for = !insecure && previous.iter().any(|url| url.scheme() == "https");
    if previous.len() > REDIRECTS {
        Some("it leads on and on")
    } else if vouched_for && next.scheme() != "https" {
        Some("it leads from https to http")
    } else {
        None
    }
}

/// What a source says before the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    /// Where the answer came from in the end.
    url: Url,
    status: StatusCode,
    /// Bytes of the whole image.
    size: Option<u64>,
    /// Parts of it can be asked for.
    ranges: bool,
    /// What it would be called.
    name: Option<String>,
    /// Packed for the way, so that the size says nothing.
    packed: bool,
}

impl Source {
    async fn open(client: &Client, url: &Url) -> Result<(Self, Response), Failure> {
        let response = timeout(SILENCE, client.get(url.clone()).send());
        let late = || Failure::new(ErrorClass::ClientConnector, "the source does not answer");
        let response = response.await.map_err(|_| late())?.map_err(|why| refused(&why))?;
        Ok((Self::of(&response, false), response))
    }

    /// `part`: only a part was asked for.
    fn of(response: &Response, part: bool) -> Self {
        Self::read(response.url().clone(), response.status(), response.headers(), part)
    }

    fn read(url: Url, status: StatusCode, headers: &HeaderMap, part: bool) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |text: &str| text.parse::<u64>().ok();
        let (status, size, ranges) = if part && status == StatusCode::PARTIAL_CONTENT {
            // We asked for a part, and were understood.
            let whole = text("content-range").and_then(|range| number(range.rsplit_once('/')?.1));
            (StatusCode::OK, whole, true)
        } else {
            let accepts = text("accept-ranges").is_some_and(|units| units.eq_ignore_ascii_case("bytes"));
            (status, text("content-length").and_then(number), accepts)
        };
        let named = text("content-disposition").and_then(file_name);
        let name = named.or_else(|| last_segment(&url)).filter(|name| check::image_name(name).is_ok());
        let packed = text("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"));
        Self { url, status, size, ranges, name, packed }
    }

    /// The size of what can be fetched.
    fn fetchable(&self) -> Result<u64, Failure> {
        if self.status != StatusCode::OK {
            return Err(Failure::new(
                ErrorClass::ClientResponse,
                format!("the source answers {}", self.status),
            ));
        }
        let size = self.size.filter(|_| !self.packed);
        size.ok_or_else(|| Failure::new(ErrorClass::Client, "the source does not say how long the image is"))
    }

    fn image(&self) -> Result<String, Failure> {
        let name = self.name.as_deref().map(check::image_name).transpose()?;
        name.ok_or_else(|| Failure::invalid("image: missing, and the source gives no name"))
    }

    fn show(&self) -> Value {
        json!({
            "url": self.url.as_str(),
            "status": self.status.as_u16(),
            "size": self.size.filter(|_| !self.packed),
            "ranges": self.ranges,
            "name": self.name,
        })
    }
}

/// The last part of the path: `a b.iso` of `http://host/dir/a%20b.iso?x=1`.
fn last_segment(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    without_directory(&percent_decode_str(segment).decode_utf8_lossy())
}

/// The file's name of a `Content-Disposition`: `filename*` before `filename` (RFC 6266), without directories.
fn file_name(value: &str) -> Option<String> {
    let all = parameters(value);
    let parameter =
        |wanted: &str| all.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let encoded = parameter("filename*").and_then(|value| {
        let (charset, rest) = value.split_once('\'')?;
        let (_, text) = rest.split_once('\'')?;
        let text =
            percent_decode_str(text).decode_utf8().ok().filter(|_| charset.eq_ignore_ascii_case("utf-8"))?;
        Some(text.into_owned())
    });
    without_directory(&encoded.or_else(|| parameter("filename").map(str::to_owned))?)
}

/// What is behind the last separator of any system.
fn without_directory(name: &str) -> Option<String> {
    name.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// The parameters of a header, names in lower case; in quotes `;` and `=` are of the text, and a backslash is before what
/// means itself.
fn parameters(value: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut chars) = (false, value.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => parts.push(String::new()),
            c => {
                let c = if quoted && c == '\\' { chars.next().unwrap_or(c) } else { c };
                parts.last_mut().into_iter().for_each(|part| part.push(c));
            }
        }
    }
    let pair = |part: &String| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    parts.iter().skip(1).filter_map(pair).collect()
}

fn refused(why: &reqwest::Error) -> Failure {
    let class = if why.is_connect() || why.is_timeout() {
        ErrorClass::ClientConnector
    } else if why.is_body() || why.is_decode() {
        ErrorClass::ClientPayload
    } else {
        ErrorClass::Client
    };
    // The library says what it did; what went wrong is at the bottom.
    let mut bottom: &dyn std::error::Error = why;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    Failure::new(class, format!("the source: {bottom}"))
}

/// A transfer under way. Dropping it ends the transfer.
struct Job {
    name: String,
    size: u64,
    /// Told in the first line.
    source: Option<Value>,
    written: watch::Receiver<u64>,
    copy: JoinSet<Result<Written, Failure>>,
    progress: Interval,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Everything is said; broken off, if it failed.
    Over {
        failed: bool,
    },
}

impl Job {
    fn start(write: Write, response: Response, source: Value, wanted: Option<Sha256>) -> Self {
        let (tell, written) = watch::channel(0);
        let (name, size) = (write.name().to_owned(), write.size());
        let mut copy = JoinSet::new();
        copy.spawn(fetch(write, response, tell, wanted));
        let progress = interval_at(Instant::now() + FIRST, PROGRESS);
        Self { name, size, source: Some(source), written, copy, progress, stage: Stage::Running }
    }

    fn lines(self) -> impl Stream<Item = Result<Bytes, io::Error>> {
        stream::unfold((self, VecDeque::new()), async |(mut job, mut lines)| {
            while lines.is_empty() {
                match job.stage {
                    Stage::Over { failed: false } => return None,
                    Stage::Over { failed: true } => {
                        job.stage = Stage::Over { failed: false };
                        // What is written when a body fails is thrown away: the last lines have to be out by then.
                        sleep(LAST_WORDS).await;
                        return Some((Err(io::ErrorKind::ConnectionAborted.into()), (job, lines)));
                    }
                    Stage::Running => job.next(&mut lines).await,
                }
            }
            lines.pop_front().map(|line| (Ok(line), (job, lines)))
        })
    }

    async fn next(&mut self, lines: &mut VecDeque<Bytes>) {
        tokio::select! {
            done = self.copy.join_next() => match done.and_then(Result::ok).unwrap_or_else(|| Err(msd::Error::Stopped.into())) {
                Ok(written) => {
                    self.stage = Stage::Over { failed: false };
                    lines.push_back(self.good(show(&written)));
                }
                Err(failure) => {
                    self.stage = Stage::Over { failed: true };
                    lines.push_back(self.good(self.state()));
                    lines.push_back(line(envelope::failed_line(failure.class, &failure.message)));
                }
            },
            _ = self.progress.tick() => lines.push_back(self.good(self.state())),
        }
    }

    fn good(&mut self, mut told: Value) -> Bytes {
        if let Some(source) = self.source.take() {
            told["remote"] = source;
        }
        line(envelope::ok_line(&told))
    }

    fn state(&self) -> Value {
        let written = *self.written.borrow();
        json!({"image": {"name": self.name, "size": self.size, "written": written}})
    }
}

fn line(text: String) -> Bytes {
    (text + "\r\n").into()
}

async fn fetch(
    mut write: Write,
    mut response: Response,
    tell: watch::Sender<u64>,
    wanted: Option<Sha256>,
) -> Result<Written, Failure> {
    let mut pace = Pace::new();
    while let Some(chunk) = response.chunk().await.map_err(|why| refused(&why))? {
        let too_slow = |TooSlow| Failure::new(ErrorClass::ClientPayload, "the source is too slow");
        pace.passed(chunk.len()).map_err(too_slow)?;
        write.chunk(chunk).await?;
        tell.send_replace(write.written());
    }
    let written = write.finish(wanted).await?;
    if written.written < written.size {
        return Err(Failure::new(ErrorClass::ClientPayload, "the source ended before the image did"));
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(url: &str, status: u16, headers: &[(&'static str, &str)]) -> Source {
        asked(url, status, headers, false)
    }

    fn asked(url: &str, status: u16, headers: &[(&'static str, &str)], part: bool) -> Source {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        Source::read(url.parse().unwrap(), status, &headers.collect(), part)
    }

    #[test]
    fn a_source_says_how_long_the_image_is_and_whether_parts_can_be_had() {
        let whole = source("http://h/x.iso", 200, &[("content-length", "10"), ("accept-ranges", "bytes")]);
        assert_eq!((whole.size, whole.ranges, whole.fetchable()), (Some(10), true, Ok(10)));
        let headers = [("content-length", "1"), ("content-range", "bytes 0-0/10")];
        let part = asked("http://h/x.iso", 206, &headers, true);
        assert_eq!((part.status.as_u16(), part.size, part.ranges), (200, Some(10), true));
        let class = |source: Source| source.fetchable().map_err(|failure| failure.class.name());
        assert_eq!(class(source("http://h/x.iso", 206, &headers)), Err("ClientResponseError"), "unasked");
        assert_eq!(class(source("http://h/x", 404, &[("content-length", "3")])), Err("ClientResponseError"));
        assert_eq!(class(source("http://h/x", 200, &[])), Err("ClientError"));
        let packed = source("http://h/x", 200, &[("content-length", "3"), ("content-encoding", "gzip")]);
        assert_eq!(packed.show()["size"], Value::Null, "nobody knows");
        assert_eq!(class(packed), Err("ClientError"));
    }

    #[test]
    fn a_source_that_is_vouched_for_leads_to_no_other() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let (plain, sure) = (url("http://h/x"), url("https://h/x"));
        let both = [plain.clone(), sure.clone()];
        assert_eq!(leads_astray(&both[1..], &plain, false), Some("it leads from https to http"));
        assert_eq!(leads_astray(&both, &plain, false), Some("it leads from https to http"));
        for (previous, next, insecure) in [
            (&both[1..], &plain, true),
            (&both[1..], &sure, false),
            (&both[..1], &plain, false),
            (&both[..1], &sure, false),
        ] {
            assert_eq!(leads_astray(previous, next, insecure), None, "{previous:?} {next}");
        }
        assert_eq!(leads_astray(&vec![plain.clone(); 10], &plain, false), None);
        assert!(leads_astray(&vec![plain.clone(); 11], &plain, false).is_some());
    }

    #[test]
    fn an_image_is_called_what_the_source_says_or_what_its_address_ends_with() {
        for (url, disposition, name) in [
            ("http://h/dir/a%20b.iso?x=1", None, Some("a b.iso")),
            ("http://h/", None, None),
            ("http://h/.hidden", None, None),
            ("http://h/parts%2Fx.iso", None, Some("x.iso")),
            ("http://h/..%5c..%2f", None, None),
            ("http://h/x", Some("attachment; filename=\"a;b.iso\""), Some("a;b.iso")),
            ("http://h/x", Some("attachment; filename=\"a\\\"=b.iso\"; size=3"), Some("a\"=b.iso")),
            ("http://h/x", Some("attachment; filename=\"given name.iso\""), Some("given name.iso")),
            ("http://h/x", Some("attachment; filename=a.iso; filename*=UTF-8''%D1%84.iso"), Some("ф.iso")),
            ("http://h/x", Some("attachment; filename=\"../../etc/passwd\""), Some("passwd")),
            ("http://h/x", Some("inline"), Some("x")),
        ] {
            let headers: Vec<_> =
                disposition.map(|value| ("content-disposition", value)).into_iter().collect();
            assert_eq!(source(url, 200, &headers).name.as_deref(), name, "{url} {disposition:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_directory(value in ".{0,60}|attachment; ?filename\\*?=.{0,40}") {
            if let Some(name) = file_name(&value) {
                prop_assert!(!name.contains(['/', '\\']) && !name.is_empty());
            }
        }
    }
}
