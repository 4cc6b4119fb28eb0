//! Images on their way in and out (section 8.6), and uploads that go on after a break.
//!
//! **Going on.** An upload that broke off leaves its image marked as incomplete, with `written` in the state. The same call
//! with `Content-Range: bytes FIRST-LAST/SIZE` goes on at FIRST, which is at most `written`; LAST before the end leaves it
//! incomplete again. Why this and not tus: `docs/decisions/0020-uploads-that-resume.md`.
//!
//! **Checking.** `sha256=HEX` in the query or `Repr-Digest: sha-256=:BASE64:` (RFC 9530) in the head says what the whole
//! image should be; one that is something else stays incomplete. What it is is told at the end in any case.

use super::pace::{Pace, TooSlow};
use crate::{
    answer::{self, Answer},
    body,
    failure::Failure,
    query::Query,
};
use actix_web::{
    HttpRequest, HttpResponse,
    error::PayloadError,
    http::header::{self, HeaderMap},
    web::{self, Data},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Stream, stream};
use model::check;
use msd::{Msd, Sha256, Written};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

/// Gives an image out.
pub async fn read(msd: Data<Msd>, query: Query) -> Answer {
    let image = query.required("image", check::image_name)?;
    let compression =
        query.optional("compress", check::Compression::parse)?.unwrap_or(check::Compression::None);
    let packed = match compression {
        check::Compression::None => msd::Compression::None,
        check::Compression::Lzma => msd::Compression::Lzma,
        check::Compression::Zstd => msd::Compression::Zstd,
    };
    let read = msd.begin_read(&image, packed).await?;
    let name = percent_encode(format!("{image}{}", compression.suffix()).as_bytes(), UNRESERVED).to_string();
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "application/octet-stream"))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{name}")));
    if compression == check::Compression::None {
        response.no_chunking(read.size());
    }
    // A failure in the middle breaks the answer off: the status is long gone.
    Ok(response.streaming(stream::try_unfold(read, async |mut read| {
        Ok::<_, Failure>(read.chunk().await?.map(|chunk| (chunk, read)))
    })))
}

/// What stays as it is in a percent-encoded file name.
const UNRESERVED: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Takes an image in, or the rest of one.
pub async fn write(msd: Data<Msd>, query: Query, request: HttpRequest, body: web::Payload) -> Answer {
    let name = under(&query, query.required("image", check::image_name)?)?;
    let remove_incomplete = query.flag("remove_incomplete")?;
    let part = Part::of(request.headers())?;
    let wanted = digest(&query, request.headers())?;
    let write = msd.resume_write(&name, part.size, part.first..part.end, remove_incomplete).await?;
    Ok(answer::ok(&show(&receive(write, body, wanted).await?)))
}

/// The image's name in the directory that the query may give.
pub(super) fn under(query: &Query, image: String) -> Result<String, Failure> {
    let prefix = query.optional("prefix", check::image_prefix)?.unwrap_or_default();
    Ok(if prefix.is_empty() { image } else { format!("{prefix}/{image}") })
}

/// What a write came to.
pub(super) fn show(written: &Written) -> Value {
    let Written { name, size, written, sha256 } = written;
    let mut image = json!({"name": name, "size": size, "written": written});
    if let Some(sha256) = sha256 {
        image["sha256"] = sha256.to_string().into();
    }
    json!({"image": image})
}

/// Takes an upload until its end. Dropping `write` is what ends one that broke off, or whose sender does nothing.
async fn receive<S>(mut write: msd::Write, mut body: S, wanted: Option<Sha256>) -> Result<Written, Failure>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let mut pace = Pace::new();
    while let Some(chunk) = body::next(&mut body).await {
        let chunk = chunk.map_err(|why| Failure::invalid(format!("the upload broke off: {why}")))?;
        pace.passed(chunk.len()).map_err(|TooSlow| Failure::invalid("the upload is too slow"))?;
        write.chunk(chunk).await?;
    }
    Ok(write.finish(wanted).await?)
}

/// Which part of the image a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// Its first byte.
    first: u64,
    /// The byte behind its last one.
    end: u64,
    /// Bytes of the whole image.
    size: u64,
}

impl Part {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let length: u64 = length.ok_or_else(|| Failure::invalid("Content-Length: missing"))?;
        if !headers.contains_key(header::CONTENT_RANGE) {
            return Ok(Self { first: 0, end: length, size: length });
        }
        let range = text(header::CONTENT_RANGE).and_then(Self::parse);
        match range {
            Some(part) if part.end - part.first == length => Ok(part),
            Some(_) => Err(Failure::invalid("Content-Range: not of the length that Content-Length says")),
            None => Err(Failure::invalid("Content-Range: not of the form 'bytes FIRST-LAST/SIZE'")),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let number =
            |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let (range, size) = text.strip_prefix("bytes ")?.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, size) = (number(first)?, number(last)?, number(size)?);
        (first <= last && last < size).then(|| Self { first, end: last + 1, size })
    }
}

/// What the query says the whole image is.
pub(super) fn wanted(query: &Query) -> Result<Option<Sha256>, Failure> {
    let Some(text) = query.get("sha256") else { return Ok(None) };
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes)
        .map_err(|_| Failure::invalid("sha256: not 64 hexadecimal digits"))?;
    Ok(Some(Sha256(bytes)))
}

/// What the client says the whole image is.
fn digest(query: &Query, headers: &HeaderMap) -> Result<Option<Sha256>, Failure> {
    if let Some(wanted) = wanted(query)? {
        return Ok(Some(wanted));
    }
    let bad = || Failure::invalid("Repr-Digest: not of the form 'sha-256=:BASE64:'");
    // Over several lines or in one: they are one list.
    let lines: Result<Vec<&str>, _> =
        headers.get_all("Repr-Digest").map(header::HeaderValue::to_str).collect();
    let lines = lines.map_err(|_| bad())?;
    // Other algorithms may stand beside ours: they are not looked at.
    let members = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let Some(ours) = members.filter_map(|member| member.strip_prefix("sha-256=")).next_back() else {
        return Ok(None);
    };
    let ours = ours.strip_prefix(':').and_then(|text| text.strip_suffix(':')).ok_or_else(bad)?;
    let bytes = STANDARD.decode(ours).ok().and_then(|bytes| bytes.try_into().ok());
    Ok(Some(Sha256(bytes.ok_or_else(bad)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};
    use futures_util::StreamExt as _;
    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn part(length: &str, range: Option<&str>) -> Option<(u64, u64)> {
        let mut pairs = vec![("content-length", length)];
        pairs.extend(range.map(|range| ("content-range", range)));
        Part::of(&headers(&pairs)).ok().map(|part| (part.first, part.size))
    }

    #[test]
    fn a_part_is_what_both_headers_agree_on() {
        assert_eq!(part("10", None), Some((0, 10)));
        assert_eq!(part("0", None), Some((0, 0)));
        assert_eq!(part("6", Some("bytes 4-9/10")), Some((4, 10)));
        assert_eq!(part("1", Some("bytes 4-4/10")), Some((4, 10)), "and more to come");
        for (length, range) in [
            ("5", "bytes 4-9/10"),
            ("7", "bytes 4-10/10"),
            ("6", "bytes 9-4/10"),
            ("6", "bytes 4-9/*"),
            ("6", "bytes */10"),
            ("6", "bytes +4-9/10"),
            ("6", "items 4-9/10"),
            ("6", ""),
            ("x", "bytes 4-9/10"),
        ] {
            assert_eq!(part(length, Some(range)), None, "{length} {range}");
        }
        assert!(Part::of(&headers(&[("content-range", "bytes 0-1/2")])).is_err(), "a length must be there");
    }

    #[test]
    fn a_digest_is_taken_from_the_query_or_the_head() {
        let zeros = "0".repeat(64);
        let base64 = format!("sha-256=:{}:", STANDARD.encode([0; 32]));
        let of = |query: &str, head: &[(&str, &str)]| digest(&Query::parse(query), &headers(head));
        assert_eq!(of("", &[]), Ok(None));
        assert_eq!(of(&format!("sha256={zeros}"), &[]), Ok(Some(Sha256([0; 32]))));
        assert_eq!(of("", &[("repr-digest", &base64)]), Ok(Some(Sha256([0; 32]))));
        assert_eq!(of("", &[("repr-digest", &format!("md5=:AA==:, {base64}"))]), Ok(Some(Sha256([0; 32]))));
        assert_eq!(of("", &[("repr-digest", "sha-512=:AA==:")]), Ok(None));
        let lines = [("repr-digest", "md5=:AA==:"), ("repr-digest", base64.as_str())];
        assert_eq!(of("", &lines), Ok(Some(Sha256([0; 32]))), "a list may stand in several lines");
        for (query, head) in [("sha256=", ""), ("sha256=00", ""), ("", "sha-256=:AA==:"), ("", "sha-256=AA")]
        {
            let head = [("repr-digest", head)];
            assert!(of(query, if head[0].1.is_empty() { &[] } else { &head }).is_err(), "{query} {head:?}");
        }
    }

    proptest! {
        #[test]
        fn no_range_leads_out_of_the_image(text in "bytes [0-9]{0,21}-[0-9]{0,21}/[0-9*]{0,21}|.{0,40}") {
            if let Some(part) = Part::parse(&text) {
                prop_assert!(part.first < part.end && part.end <= part.size);
            }
        }
    }

    /// A drive with an upload of ten bytes, which its sender sends like this.
    async fn gives_back(body: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin) -> String {
        let dir = tempfile::tempdir().unwrap();
        let settings = msd::Settings { root: dir.path().to_owned(), ..msd::Settings::default() };
        let stop = CancellationToken::new();
        let (msd, task) = msd::spawn(settings, msd::Fake::new().drive(), msd::Plain, stop.clone());
        let mut state = msd.subscribe();
        state.wait_for(|state| state.online && !state.busy).await.unwrap();
        let write = msd.begin_write("x.iso", 10_000, true).await.unwrap();
        assert!(msd.subscribe().borrow().busy);
        let failure = receive(write, body, None).await.unwrap_err();
        assert_eq!(failure.class.name(), "ValidatorError");
        let idle = state.wait_for(|state| !state.busy).await.unwrap().clone();
        assert!(!idle.storage.unwrap().images.contains_key("x.iso"), "and the rest is removed, as was asked");
        stop.cancel();
        task.await.unwrap();
        failure.message
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_stalls_gives_the_drive_back() {
        let why = gives_back(stream::iter([Ok(Bytes::from_static(b"abc"))]).chain(stream::pending())).await;
        assert!(why.contains("broke off"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_drips_gives_the_drive_back() {
        let drops = stream::iter(0..10_000).then(async |_| {
            tokio::time::sleep(std::time::Duration::from_secs(50)).await;
            Ok(Bytes::from_static(b"x"))
        });
        let why = gives_back(Box::pin(drops)).await;
        assert!(why.contains("too slow"), "{why}");
    }
}
