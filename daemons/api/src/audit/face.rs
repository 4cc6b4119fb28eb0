//! `GET /audit`: the lines as JSON, a page at a time, or as they come.
//!
//! | Parameter | Means |
//! |---|---|
//! | `seek` | only lines of the last so many seconds, as of `/log` |
//! | `after` | only lines with a higher number: the `next` of the page before |
//! | `limit` | so many lines, 1 to 1000, by default 100: the first after `after`, else the last |
//! | `follow` | 1: no page but `application/x-ndjson`, a line each, and every new one, until somebody hangs up |

use super::{Book, Line, store::Wanted};
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
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[Entry::get("/audit", || web::to(get)).by(Role::Admin)];

const PAGE: i64 = 100;
const LONGEST_PAGE: i64 = 1000;
/// Lines that are read at once for who follows.
const WHOLE_PAGE: usize = 256;

fn parse(query: &Query) -> Result<(Wanted, bool), Failure> {
    let after = query.optional("after", |raw| check::int_at_least(raw, 0))?;
    let limit = query.optional("limit", |raw| check::int_between(raw, 1, LONGEST_PAGE))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seek = query.optional("seek", check::log_seek)?.filter(|seconds| *seconds > 0);
    let wanted = Wanted {
        since: seek.map(|seconds| now.as_secs_f64() - seconds as f64),
        after: after.map(i64::unsigned_abs),
        limit: usize::try_from(limit.unwrap_or(PAGE)).unwrap_or(1),
    };
    Ok((wanted, query.flag("follow")?))
}

async fn get(
    request: HttpRequest,
    book: Data<Book>,
    auth: Data<Auth>,
    stop: Data<Stop>,
    query: Query,
) -> Answer {
    let (wanted, follow) = parse(&query)?;
    // Before the files are read: no line falls in between.
    let news = book.lines.subscribe();
    let lines = book.page(wanted).await?;
    if !follow {
        return Ok(answer::ok(&shown(&lines, wanted.after)));
    }
    let access = request.extensions().get::<Access>().cloned();
    let book = book.get_ref().clone();
    let following = Following::new(wanted, lines, book, news, (auth, access), stop.0.clone());
    let body = stream::unfold(following, async |mut all| Some((Ok::<_, Failure>(all.next().await?), all)));
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(body))
}

fn shown(lines: &VecDeque<Line>, after: Option<u64>) -> Value {
    let records: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(&line.text).ok()).collect();
    json!({ "records": records, "next": lines.back().map_or(after.unwrap_or(0), |line| line.seq) })
}

struct Following {
    wanted: Wanted,
    lines: VecDeque<Line>,
    last: u64,
    /// There may be lines in the files that are neither here nor among the news.
    behind: bool,
    book: Book,
    news: broadcast::Receiver<Line>,
    auth: Data<Auth>,
    access: Option<Access>,
    stop: CancellationToken,
}

impl Following {
    fn new(
        wanted: Wanted,
        lines: VecDeque<Line>,
        book: Book,
        news: broadcast::Receiver<Line>,
        (auth, access): (Data<Auth>, Option<Access>),
        stop: CancellationToken,
    ) -> Self {
        let last = wanted.after.unwrap_or(0);
        let behind = wanted.after.is_some() && lines.len() >= wanted.limit;
        Self { wanted, lines, last, behind, book, news, auth, access, stop }
    }

    /// The next line; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let (stop, access) = (self.stop.clone(), self.access.clone());
        let ended = async {
            match &access {
                Some(access) => access.ended().await,
                None => std::future::pending().await,
            }
        };
        let line = tokio::select! {
            () = stop.cancelled() => return None,
            () = ended => return None,
            line = self.line() => line?,
        };
        // Roles change while somebody reads.
        if self.access.as_ref().is_some_and(|access| !self.auth.may(access, Role::Admin, "audit")) {
            return None;
        }
        Some(format!("{}\n", line.text).into())
    }

    /// From the files, a page at a time, until only news are missing; who reads slowly goes back to the files.
    async fn line(&mut self) -> Option<Line> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.last = self.last.max(line.seq);
                return Some(line);
            }
            if self.behind {
                let wanted = Wanted { after: Some(self.last), limit: WHOLE_PAGE, ..self.wanted };
                self.lines = self.book.page(wanted).await.ok()?;
                self.behind = self.lines.len() >= wanted.limit;
                continue;
            }
            match self.news.recv().await {
                Ok(line) if line.seq > self.last => self.lines.push_back(line),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{BEHIND, record::Record},
        *,
    };

    /// Has so many lines written. Nobody's budget ends before.
    async fn write(book: &Book, name: &str, count: usize) {
        for number in 0..count {
            let mut record = Record::input();
            record.who.user = Some(format!("{name} {}", number / 50));
            book.take(record);
            if number % 64 == 63 {
                book.settle().await;
            }
        }
        book.settle().await;
    }

    async fn following(book: &Book, query: &str) -> Following {
        let (wanted, follow) = parse(&Query::parse(query)).unwrap();
        assert!(follow);
        let (news, lines) = (book.lines.subscribe(), book.page(wanted).await.unwrap());
        let auth = Data::new(Auth::disabled());
        Following::new(wanted, lines, book.clone(), news, (auth, None), CancellationToken::new())
    }

    #[tokio::test]
    async fn who_follows_misses_no_line_however_many_there_are_and_however_slowly_they_read() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::start(dir.path().to_owned()).unwrap();
        write(&book, "early", 2 * WHOLE_PAGE + 10).await;
        let mut following = following(&book, "follow=1&after=1&limit=2").await;
        let old = 2 * WHOLE_PAGE as u64 + 10;
        for expected in 2..=old {
            assert_eq!(following.line().await.unwrap().seq, expected);
        }
        // More than are kept for who is behind.
        write(&book, "late", 2 * BEHIND).await;
        for expected in old + 1..=old + 2 * BEHIND as u64 {
            assert_eq!(following.line().await.unwrap().seq, expected);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for query in ["limit=0", "limit=1001", "limit=x", "after=-1", "seek=-1", "follow=maybe"] {
            assert!(parse(&Query::parse(query)).is_err(), "{query}");
        }
    }
}
