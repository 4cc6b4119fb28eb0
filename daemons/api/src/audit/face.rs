//! `GET /audit`: the lines as JSON, a page at a time, or as they come.
//!
//! | Parameter | Means |
//! |---|---|
//! | `seek` | only lines of the last so many seconds, as of `/log` |
//! | `after` | only lines with a higher number: the `next` of the page before |
//! | `limit` | so many lines, 1 to 1000, by default 100: the first after `after`, else the last |
//! | `follow` | 1: no page but `application/x-ndjson`, a line each, and every new one, until somebody hangs up |

use super::{Book, Line, store};
use crate::{
    answer::{self, Answer},
    failure::Failure,
    query::Query,
    routes::Entry,
    streamer::Stop,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    web::{self, Data},
};
use auth::{Access, Auth, Role};
use bytes::Bytes;
use futures_util::stream;
use model::check;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[Entry::get("/audit", || web::to(get)).by(Role::Admin)];

const PAGE: i64 = 100;
const LONGEST_PAGE: i64 = 1000;

struct Wanted {
    since: Option<f64>,
    after: Option<u64>,
    limit: usize,
    follow: bool,
}

impl Wanted {
    fn parse(query: &Query) -> Result<Self, Failure> {
        let after = query.optional("after", |raw| check::int_at_least(raw, 0))?;
        let limit = query.optional("limit", |raw| check::int_between(raw, 1, LONGEST_PAGE))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seek = query.optional("seek", check::log_seek)?.filter(|seconds| *seconds > 0);
        Ok(Self {
            since: seek.map(|seconds| now.as_secs_f64() - seconds as f64),
            after: after.map(i64::unsigned_abs),
            limit: usize::try_from(limit.unwrap_or(PAGE)).unwrap_or(1),
            follow: query.flag("follow")?,
        })
    }

    /// The page of all lines after `after`.
    fn page(&self, mut lines: VecDeque<Line>) -> VecDeque<Line> {
        let time = |line: &Line| serde_json::from_str::<Value>(&line.text).ok()?.get("time")?.as_f64();
        if let Some(since) = self.since {
            lines.retain(|line| time(line).is_some_and(|time| time >= since));
        }
        match self.after {
            Some(_) => lines.truncate(self.limit),
            None => drop(lines.drain(..lines.len().saturating_sub(self.limit))),
        }
        lines
    }
}

async fn get(
    request: HttpRequest,
    book: Data<Book>,
    auth: Data<Auth>,
    stop: Data<Stop>,
    query: Query,
) -> Answer {
    let wanted = Wanted::parse(&query)?;
    // Before the files are read: no line falls in between.
    let news = book.lines.subscribe();
    let lines = wanted.page(known(&book, wanted.after.unwrap_or(0)).await?);
    if !wanted.follow {
        return Ok(answer::ok(&shown(&lines, wanted.after)));
    }
    let last = lines.back().map_or(wanted.after.unwrap_or(0), |line| line.seq);
    let access = request.extensions().get::<Access>().cloned();
    let following = Following { lines, last, news, auth, access, stop: stop.0.clone() };
    let body = stream::unfold(following, async |mut all| Some((Ok::<_, Failure>(all.next().await?), all)));
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(body))
}

/// Everything there is, on the disk and not yet.
async fn known(book: &Book, after: u64) -> Result<VecDeque<Line>, Failure> {
    let waiting = book.settle().await;
    let dir = book.dir.clone();
    let mut lines = web::block(move || store::read(&dir, after)).await.map_err(Failure::internal)?;
    let last = lines.last().map_or(after, |line| line.seq);
    lines.extend(waiting.into_iter().filter(|line| line.seq > last));
    Ok(lines.into())
}

fn shown(lines: &VecDeque<Line>, after: Option<u64>) -> Value {
    let records: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect();
    json!({ "records": records, "next": lines.back().map_or(after.unwrap_or(0), |line| line.seq) })
}

struct Following {
    lines: VecDeque<Line>,
    last: u64,
    news: broadcast::Receiver<Line>,
    auth: Data<Auth>,
    access: Option<Access>,
    stop: CancellationToken,
}

impl Following {
    /// The next line; none at the end, which is also that of who falls too far behind: they know where to go on.
    async fn next(&mut self) -> Option<Bytes> {
        let ended = async {
            match &self.access {
                Some(access) => access.ended().await,
                None => std::future::pending().await,
            }
        };
        let (old, last, news) = (self.lines.pop_front(), self.last, &mut self.news);
        let next = async {
            match old {
                Some(line) => Some(line),
                None => loop {
                    let line = news.recv().await.ok()?;
                    if line.seq > last {
                        break Some(line);
                    }
                },
            }
        };
        let line = tokio::select! {
            () = self.stop.cancelled() => return None,
            () = ended => return None,
            line = next => line?,
        };
        // Roles change while somebody reads.
        if self.access.as_ref().is_some_and(|access| !self.auth.may(access, Role::Admin, "audit")) {
            return None;
        }
        self.last = self.last.max(line.seq);
        Some(format!("{}\n", line.text).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: u64) -> VecDeque<Line> {
        (1..=count)
            .map(|seq| Line { seq, text: format!("{{\"seq\":{seq},\"time\":{seq}.5}}").into() })
            .collect()
    }

    fn seqs(query: &str, count: u64) -> Vec<u64> {
        let wanted = Wanted::parse(&Query::parse(query)).unwrap();
        wanted.page(lines(count)).into_iter().map(|line| line.seq).collect()
    }

    #[test]
    fn a_page_is_the_last_lines_or_the_first_after_the_page_before() {
        assert_eq!(seqs("limit=2", 9), [8, 9]);
        assert_eq!(seqs("limit=2&after=0", 9), [1, 2]);
        assert_eq!(seqs("", 250).len(), 100);
        assert_eq!(seqs("seek=60", 9), Vec::<u64>::new(), "they are from 1970");
        assert_eq!(seqs("seek=0", 2), [1, 2]);
    }

    #[test]
    fn nonsense_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=x", "after=-1", "seek=-1", "follow=maybe"] {
            assert!(Wanted::parse(&Query::parse(query)).is_err(), "{query}");
        }
    }
}
