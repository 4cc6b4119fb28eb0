//! The owner of the monitor's socket: connects, matches answers to commands, follows the run state.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log::{debug, info, warn};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{self, Message, Refusal};
use super::{Command, Error, Event, QUEUE, RunState, Settings};

/// After these the run state may be another. It is asked for, not guessed: several come at once on a shutdown.
const STATE_EVENTS: [&str; 6] = ["RESUME", "STOP", "SHUTDOWN", "RESET", "POWERDOWN", "GUEST_PANICKED"];

/// A deadline that we notice this much too late says that the whole computer stood still, not that QEMU is silent.
const STANDSTILL: Duration = Duration::from_secs(1);

pub(super) struct Owner {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    pub(super) queue: mpsc::Receiver<Command>,
    pub(super) state: watch::Sender<RunState>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) connections: Arc<AtomicU64>,
}

/// Why a connection ended.
enum End {
    /// The last handle is gone.
    Unused,
    Lost(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl Owner {
    pub(super) async fn run(mut self) {
        let mut pause = self.settings.retry_min;
        loop {
            match self.open().await {
                Ok(link) => {
                    pause = self.settings.retry_min;
                    self.connections.fetch_add(1, Ordering::AcqRel);
                    let end = Session::new(link, &mut self).run().await;
                    self.publish(RunState::Unreachable);
                    match end {
                        End::Unused => return,
                        End::Lost(error) => {
                            warn!("lost the machine monitor {}: {error}", self.path.display());
                        }
                    }
                }
                // While there is no machine this happens for ever: no line in the log.
                Err(error) => debug!("no machine monitor at {}: {error}", self.path.display()),
            }
            let wake = Instant::now() + pause;
            pause = (pause * 2).min(self.settings.retry_max);
            loop {
                tokio::select! {
                    () = sleep_until(wake) => break,
                    command = self.queue.recv() => match command {
                        Some(command) => drop(command.answer.send(Err(Error::Unreachable))),
                        None => return,
                    }
                }
            }
        }
    }

    /// Connects and negotiates. Commands that arrive meanwhile are told the truth at once.
    async fn open(&mut self) -> io::Result<Link> {
        let negotiate = async {
            let mut link = Link::new(UnixStream::connect(&self.path).await?, self.settings.line_bytes);
            while link.read().await? != Message::Greeting {}
            link.write(0, "qmp_capabilities", Value::Null).await?;
            loop {
                match link.read().await? {
                    Message::Answer { id: 0, result: Ok(_) } => return Ok(link),
                    Message::Answer { id: 0, result: Err(_) } => {
                        return Err(io::Error::other("the monitor refuses to negotiate"));
                    }
                    _ => {}
                }
            }
        };
        let negotiate = timeout(self.settings.command_timeout, negotiate);
        tokio::pin!(negotiate);
        loop {
            tokio::select! {
                link = &mut negotiate => {
                    return link.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                }
                Some(command) = self.queue.recv() => {
                    drop(command.answer.send(Err(Error::Unreachable)));
                }
            }
        }
    }

    fn publish(&self, state: RunState) {
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            if changed {
                info!("the machine is {state:?}");
                *old = state;
            }
            changed
        });
    }
}

/// The socket as lines.
struct Link {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    line: Vec<u8>,
    limit: usize,
}

impl Link {
    fn new(stream: UnixStream, limit: usize) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, line: Vec::new(), limit }
    }

    /// The next message. Safe to cancel: a partial line stays in `self.line`.
    async fn read(&mut self) -> io::Result<Message> {
        let room = (self.limit + 1).saturating_sub(self.line.len());
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        (&mut self.reader).take(room).read_until(b'\n', &mut self.line).await?;
        if self.line.last() != Some(&b'\n') {
            let kind = if self.line.len() > self.limit {
                io::Error::other("a line is too long")
            } else {
                io::ErrorKind::UnexpectedEof.into()
            };
            return Err(kind);
        }
        let message = wire::parse(&self.line);
        self.line.clear();
        message.ok_or_else(|| io::Error::other("not a machine monitor"))
    }

    async fn write(&mut self, id: u64, name: &str, arguments: Value) -> io::Result<()> {
        self.writer.write_all(&wire::command(id, name, arguments)).await
    }
}

/// A command that QEMU has and has not answered.
struct Pending {
    id: u64,
    deadline: Instant,
    name: String,
    /// `None` for our own `query-status`.
    answer: Option<oneshot::Sender<Result<Value, Error>>>,
}

/// One connection from negotiation to its end.
struct Session<'a> {
    link: Link,
    owner: &'a mut Owner,
    next_id: u64,
    /// In the order of their deadlines, as all have the same time.
    pending: VecDeque<Pending>,
}

impl<'a> Session<'a> {
    fn new(link: Link, owner: &'a mut Owner) -> Self {
        Self { link, owner, next_id: 1, pending: VecDeque::new() }
    }

    async fn run(mut self) -> End {
        let end = match self.serve().await {
            Ok(()) => return End::Unused,
            Err(end) => end,
        };
        let silent = matches!(&end, End::Lost(error) if error.kind() == io::ErrorKind::TimedOut);
        for Pending { name, answer, .. } in self.pending {
            let error = if silent { Error::Timeout(name) } else { Error::Lost(name) };
            if let Some(answer) = answer {
                drop(answer.send(Err(error)));
            }
        }
        end
    }

    async fn serve(&mut self) -> Result<(), End> {
        self.ask_status().await?;
        loop {
            let deadline = self.pending.front().map(|pending| pending.deadline);
            tokio::select! {
                // An answer that lies there is not late, however late we look.
                biased;
                message = self.link.read() => self.take(message?).await?,
                () = at(deadline) => {
                    let stood_still = deadline.is_some_and(|deadline| deadline.elapsed() > STANDSTILL);
                    if !stood_still {
                        return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                    }
                    let limit = self.owner.settings.command_timeout;
                    self.pending.iter_mut().for_each(|pending| pending.deadline = Instant::now() + limit);
                }
                command = self.owner.queue.recv(), if self.pending.len() < QUEUE => match command {
                    Some(Command { name, arguments, answer }) => self.send(name, arguments, Some(answer)).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn ask_status(&mut self) -> Result<(), End> {
        self.send("query-status".to_owned(), Value::Null, None).await
    }

    async fn send(
        &mut self,
        name: String,
        arguments: Value,
        answer: Option<oneshot::Sender<Result<Value, Error>>>,
    ) -> Result<(), End> {
        let id = self.next_id;
        self.next_id += 1;
        let limit = self.owner.settings.command_timeout;
        // Known before it is written: if writing fails, the caller must still hear of it.
        self.pending.push_back(Pending { id, deadline: Instant::now() + limit, name: name.clone(), answer });
        // A monitor that reads nothing must not block us for ever either.
        timeout(limit, self.link.write(id, &name, arguments))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(())
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Event { name, data } => {
                let state = STATE_EVENTS.contains(&name.as_str());
                // Nobody listening is the usual case.
                drop(self.owner.events.send(Event { name, data }));
                if state {
                    self.ask_status().await?;
                }
            }
            Message::Answer { id, result } => self.answer(id, result),
            Message::Greeting | Message::Unknown => {}
        }
        Ok(())
    }

    fn answer(&mut self, id: u64, result: Result<Value, Refusal>) {
        let Some(index) = self.pending.iter().position(|pending| pending.id == id) else { return };
        let Some(Pending { name, answer, .. }) = self.pending.remove(index) else { return };
        match answer {
            None => {
                let status = result.ok().and_then(|value| Some(value.get("status")?.as_str()?.to_owned()));
                // An older answer must not overwrite what a newer question will say.
                let newest = !self.pending.iter().any(|pending| pending.answer.is_none());
                if let Some(name) = status.filter(|_| newest) {
                    self.owner.publish(RunState::from_name(&name));
                }
            }
            Some(answer) => {
                let result = result.map_err(|Refusal { class, description }| Error::Refused {
                    command: name,
                    class,
                    description,
                });
                // The caller may have given up waiting.
                drop(answer.send(result));
            }
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
