//! The machine monitor: a client that connects again by itself.
//!
//! One task owns the socket. Callers send it commands and wait for answers; the run state is published to a
//! watch, events go to whoever listens. A QEMU that stays silent over a command loses the connection, so
//! that the state says `Unreachable` instead of what was true before.

mod connection;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// What the machine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// No QEMU answers on the socket.
    Unreachable,
    /// The guest executes.
    Running,
    /// Stopped by a command (which is how a hard power-off is played).
    Paused,
    /// The guest powered off.
    Shutdown,
    /// Any other state, by QEMU's name.
    Other(String),
}

impl RunState {
    fn from_name(name: &str) -> Self {
        match name {
            "running" => Self::Running,
            "paused" => Self::Paused,
            "shutdown" => Self::Shutdown,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether the target counts as switched on.
    #[must_use]
    pub fn powered(&self) -> bool {
        *self == Self::Running
    }
}

/// Why a command had no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// QEMU is not there, or not yet. It is tried again in the background.
    #[error("the virtual machine is not reachable")]
    Unreachable,
    /// The connection ended before the answer. The command may have had its effect.
    #[error("the virtual machine went away during `{0}`")]
    Lost(String),
    /// No answer in time. The command may still have its effect.
    #[error("the virtual machine did not answer `{0}` in time")]
    Timeout(String),
    /// QEMU refused the command.
    #[error("the virtual machine refused `{command}`: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's error class, such as `GenericError` or `DeviceNotFound`.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// The answer has another shape than expected.
    #[error("the virtual machine's answer to `{command}` is not understood: {reason}")]
    Answer {
        /// The command.
        command: String,
        /// What was expected.
        reason: String,
    },
    /// A path that cannot be told to QEMU, whose commands are text.
    #[error("the path {0:?} is not UTF-8")]
    Path(PathBuf),
}

impl Error {
    /// Whether QEMU said that the device does not exist.
    #[must_use]
    pub fn is_device_not_found(&self) -> bool {
        matches!(self, Self::Refused { class, .. } if class == "DeviceNotFound")
    }
}

/// Something that happened in the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// QEMU's name, such as `DEVICE_DELETED`.
    pub name: String,
    /// Its data; `Null` if it has none.
    pub data: Value,
}

/// Times and sizes of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long an answer may take, the greeting included.
    pub command_timeout: Duration,
    /// Pause before the first new attempt to connect; it doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest pause between attempts.
    pub retry_max: Duration,
    /// Longest line accepted, in bytes. A longer one ends the connection.
    pub line_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            command_timeout: Duration::from_secs(5),
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(2),
            line_bytes: 1 << 20,
        }
    }
}

struct Command {
    name: String,
    arguments: Value,
    answer: oneshot::Sender<Result<Value, Error>>,
}

/// Commands waiting for the owner; a sender beyond that waits too.
const QUEUE: usize = 64;
/// Events kept for a slow listener; it then misses the oldest.
const EVENTS: usize = 64;

/// A handle on a machine monitor. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Qmp {
    commands: mpsc::Sender<Command>,
    run_state: watch::Receiver<RunState>,
    events: broadcast::Sender<Event>,
    connections: Arc<AtomicU64>,
}

impl Qmp {
    /// Starts the owner of the connection as a task, which ends with `stop` or with the last handle. Must be
    /// called inside a tokio runtime. The socket need not exist yet.
    #[must_use]
    pub fn connect(path: impl Into<PathBuf>, stop: CancellationToken) -> Self {
        Self::connect_with(path, Settings::default(), stop)
    }

    /// The same with other times and sizes.
    #[must_use]
    pub fn connect_with(path: impl Into<PathBuf>, settings: Settings, stop: CancellationToken) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let (state, run_state) = watch::channel(RunState::Unreachable);
        let events = broadcast::Sender::new(EVENTS);
        let connections = Arc::new(AtomicU64::new(0));
        let owner = connection::Owner {
            path: path.into(),
            settings,
            queue,
            state,
            events: events.clone(),
            connections: Arc::clone(&connections),
        };
        tokio::spawn(async move {
            stop.run_until_cancelled(owner.run()).await;
        });
        Self { commands, run_state, events, connections }
    }

    /// Runs a command. `arguments` is an object, or `Null` for none.
    ///
    /// # Errors
    /// See [`Error`]. While QEMU is not reachable the answer is immediate.
    pub async fn execute<T: DeserializeOwned>(&self, command: &str, arguments: Value) -> Result<T, Error> {
        let (request, answer) = request(command, arguments);
        self.commands.send(request).await.map_err(|_| Error::Unreachable)?;
        decode(command, answer.await)
    }

    /// [`Qmp::execute`] for a thread outside the runtime. Inside one it panics.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn execute_blocking<T: DeserializeOwned>(&self, command: &str, arguments: Value) -> Result<T, Error> {
        let (request, answer) = request(command, arguments);
        self.commands.blocking_send(request).map_err(|_| Error::Unreachable)?;
        decode(command, answer.blocking_recv())
    }

    /// The machine's run state, `Unreachable` until the first connection.
    #[must_use]
    pub fn run_state(&self) -> watch::Receiver<RunState> {
        self.run_state.clone()
    }

    /// How many connections there were. While it stays the same, every command went to the same QEMU; when it grew,
    /// what is known from before may be of another. Counted before anything is sent on the new one.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Acquire)
    }

    /// Events from now on. A listener slower than 64 events misses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}

fn request(name: &str, arguments: Value) -> (Command, oneshot::Receiver<Result<Value, Error>>) {
    let (answer, receiver) = oneshot::channel();
    (Command { name: name.to_owned(), arguments, answer }, receiver)
}

fn decode<T: DeserializeOwned>(
    command: &str,
    answer: Result<Result<Value, Error>, oneshot::error::RecvError>,
) -> Result<T, Error> {
    // The owner dropped the command: it was stopped.
    let value = answer.map_err(|_| Error::Unreachable)??;
    serde_json::from_value(value)
        .map_err(|error| Error::Answer { command: command.to_owned(), reason: error.to_string() })
}
