//! `kvmctl logs`: what `/api/log` gives, read from `kvmd`'s unix socket; from the journal itself when `kvmd` does not
//! answer, because that is when a log is wanted most.
//!
//! Asked in HTTP/1.0, so that the body is the rest of the connection and nothing has to be decoded.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use journal::{Place, Query, Reader, SystemJournal};

use crate::{Console, Exit, Failure};

/// The longest line of an answer's head, in bytes.
const MAX_HEAD_LINE: u64 = 8192;

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Waits for new lines.
    #[arg(short, long)]
    follow: bool,
    /// Only the last N seconds; 0 = all since the machine started.
    #[arg(long, value_name = "N", default_value_t = 0)]
    since: u32,
}

pub(crate) fn run(
    config: &config::Config,
    layout: &config::Layout,
    logs: &Logs,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    match ask(&config.kvmd.server.unix, logs) {
        Ok(answer) => copy(answer, console),
        Err(failure) if failure.exit == Exit::Unreachable => {
            writeln!(console.err, "{:#}: reading the journal", failure.error)?;
            from_journal(layout, logs, console)
        }
        Err(failure) => Err(failure),
    }
}

/// Shows pieces as they come: a line has no bound of its own here.
fn copy(mut answer: BufReader<UnixStream>, console: &mut Console<'_>) -> Result<Exit, Failure> {
    loop {
        let piece = answer.fill_buf()?;
        if piece.is_empty() {
            return Ok(Exit::Good);
        }
        console.out.write_all(piece)?;
        console.out.flush()?;
        let count = piece.len();
        answer.consume(count);
    }
}

fn from_journal(layout: &config::Layout, logs: &Logs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let settings = journal::Settings { place: place(layout), ..journal::Settings::default() };
    let reader = Reader::new(Arc::new(SystemJournal::new(settings)), 1);
    let query = Query { since: Duration::from_secs(logs.since.into()), follow: logs.follow };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let opened = reader.read(query).await;
        let mut records = opened.map_err(|error| Failure::new(Exit::Unreachable, error))?;
        while let Some(record) = records.next().await {
            writeln!(console.out, "{}", journal::format_line(&record?))?;
        }
        Ok(Exit::Good)
    })
}

/// The journal the supervisor started, when there is one; else the machine's.
fn place(layout: &config::Layout) -> Place {
    match Place::from_env() {
        Place::System => {
            let own = layout.state.as_ref().unwrap_or(&layout.var).join("journal");
            if own.is_dir() { Place::Directory(own) } else { Place::System }
        }
        named => named,
    }
}

/// The answer's body.
fn ask(socket: &Path, logs: &Logs) -> Result<BufReader<UnixStream>, Failure> {
    let unreachable = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Refused,
            _ => Exit::Unreachable,
        };
        Failure::new(exit, anyhow::anyhow!("kvmd at {}: {error}", socket.display()))
    };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let follow = u8::from(logs.follow);
    let request = format!("GET /log?seek={}&follow={follow} HTTP/1.0\r\nHost: localhost\r\n\r\n", logs.since);
    stream.write_all(request.as_bytes()).map_err(unreachable)?;

    let mut reader = BufReader::new(stream);
    let status = head_line(&mut reader)?;
    let code = status.split(' ').nth(1).unwrap_or_default().to_owned();
    while !head_line(&mut reader)?.is_empty() {}
    reader.get_ref().set_read_timeout(None)?;
    match code.as_str() {
        "200" => Ok(reader),
        "401" | "403" => {
            Err(Failure::new(Exit::Refused, anyhow::anyhow!("kvmd refuses its log to this user")))
        }
        "" => Err(Failure::new(Exit::Unreachable, anyhow::anyhow!("kvmd gave no proper answer"))),
        code => {
            Err(Failure::new(Exit::Failed, anyhow::anyhow!("kvmd answered {code}: {}", body(&mut reader))))
        }
    }
}

fn head_line(reader: &mut BufReader<UnixStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    std::io::Read::take(reader, MAX_HEAD_LINE).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// The beginning of an answer that explains itself, without control characters.
fn body(reader: &mut BufReader<UnixStream>) -> String {
    let mut bytes = Vec::new();
    let _ = std::io::Read::read_to_end(&mut std::io::Read::take(reader, 1024), &mut bytes);
    String::from_utf8_lossy(&bytes).chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    /// What is shown of a server that gives this answer, and what it was asked.
    fn talk(answer: &'static str) -> (Result<String, Exit>, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvmd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut request).unwrap() > 2 {}
            stream.write_all(answer.as_bytes()).unwrap();
            request
        });
        let shown = ask(&path, &Logs { follow: true, since: 60 }).map_err(|failure| failure.exit).map(
            |mut reader| {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                text
            },
        );
        (shown, server.join().unwrap())
    }

    #[test]
    fn the_lines_are_the_rest_of_the_connection() {
        let (shown, request) =
            talk("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n[a] --- b\n[c] --- d\n");
        assert_eq!(shown, Ok("[a] --- b\n[c] --- d\n".to_owned()));
        assert!(request.starts_with("GET /log?seek=60&follow=1 HTTP/1.0\r\n"), "{request}");
    }

    #[test]
    fn every_other_answer_has_its_exit_code() {
        for (answer, exit) in [
            ("HTTP/1.0 401 Unauthorized\r\n\r\n", Exit::Refused),
            ("HTTP/1.0 403 Forbidden\r\n\r\n", Exit::Refused),
            ("HTTP/1.0 500 Oh\r\n\r\n{}", Exit::Failed),
            ("", Exit::Unreachable),
        ] {
            assert_eq!(talk(answer).0, Err(exit), "{answer:?}");
        }
    }
}
