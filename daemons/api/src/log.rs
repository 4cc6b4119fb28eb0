//! `/log`: the system journal as text (section 8.2).

use crate::{
    answer::{self, Answer},
    failure::Failure,
    query::Query,
    routes::Entry,
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    web::{self, Data},
};
use auth::{Access, Auth, Role};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use journal::{Reader, Records, format_line};
use model::{ErrorClass, check};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows of this subsystem.
pub const ROUTES: &[Entry] = &[Entry::get("/log", || web::to(get)).by(Role::Operator)];

/// Where the log is read, if it may be read at all.
#[derive(Clone)]
pub struct LogReader(pub Option<Reader>);

/// Lines that are there already are sent together up to this size.
const CHUNK: usize = 32 * 1024;

async fn get(
    request: HttpRequest,
    reader: Data<LogReader>,
    auth: Data<Auth>,
    stop: Data<crate::streamer::Stop>,
    query: Query,
) -> Answer {
    let reader = reader.0.as_ref().ok_or(journal::Error::Disabled)?;
    let since = Duration::from_secs(query.optional("seek", check::log_seek)?.unwrap_or(0));
    let follow = query.flag("follow")?;
    let records = reader.read(journal::Query { since, follow }).await?;
    let access = request.extensions().get::<Access>().cloned();
    let log = Log { records, auth, access, stop: stop.0.clone() };
    let body = stream::unfold(log, async |mut log| Some((Ok::<_, Failure>(log.chunk().await?), log)));
    Ok(HttpResponse::Ok().insert_header(answer::text_plain()).streaming(body))
}

struct Log {
    records: Records,
    auth: Data<Auth>,
    access: Option<Access>,
    stop: CancellationToken,
}

impl Log {
    /// Waits for a line and takes along those that are ready behind it.
    async fn chunk(&mut self) -> Option<Bytes> {
        let ended = async {
            match &self.access {
                Some(access) => access.ended().await,
                None => std::future::pending().await,
            }
        };
        let first = tokio::select! {
            () = self.stop.cancelled() => return None,
            () = ended => return None,
            first = self.records.next() => first?,
        };
        // Roles change while somebody reads.
        if self.access.as_ref().is_some_and(|access| !self.auth.may(access, Role::Operator, "log")) {
            return None;
        }
        let mut text = line(first)?;
        while text.len() < CHUNK
            && let Some(Some(next)) = self.records.next().now_or_never()
            && let Some(next) = line(next)
        {
            text.push_str(&next);
        }
        Some(text.into())
    }
}

/// One line of the answer; a journal that breaks off ends it.
fn line(record: Result<journal::Record, journal::Error>) -> Option<String> {
    match record {
        Ok(record) => Some(format_line(&record) + "\r\n"),
        Err(why) => {
            log::warn!("reading the log broke off: {why}");
            None
        }
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        match error {
            journal::Error::Disabled | journal::Error::Unavailable(_) => {
                Self::new(ErrorClass::LogReaderDisabled, error.to_string())
            }
            journal::Error::Busy => Self::new(ErrorClass::Unavailable, error.to_string()),
            journal::Error::Broken(_) => Self::internal(error),
        }
    }
}
