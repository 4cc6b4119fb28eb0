//! `RUN/supervisor.sock`: what the other daemons and `kvmctl` may ask of the supervisor.
//!
//! One request a line, one answer a line, in order. The supervisor knows the asking user by the socket's peer
//! credentials and decides per verb; a refusal is an [`Answer::Refused`], never a closed connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::{line, system, update};

/// Longest wait for an answer. Stopping a child takes as long as its deadline, so this is longer than that.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How everything is.
    Status,
    /// The streamer is needed: answered when it is asked to run, not when it is ready.
    StartStreamer,
    /// The streamer is needed no more.
    StopStreamer,
    /// Stop a service and start it again, its crash count forgotten; one that nobody wants stays stopped.
    Restart {
        /// The service's name as in [`ServiceStatus::name`].
        service: String,
    },
    /// Remount the drive's storage; answered when done.
    RemountMsd {
        /// Writable or read-only.
        rw: bool,
    },
    /// How the USB gadget is.
    Gadget,
    /// Show the target nothing but a boot keyboard, or everything again; remembered. Answered when done.
    SetBiosSafe {
        /// Nothing but a boot keyboard.
        on: bool,
    },
    /// Plug the USB gadget in or pull it; answered when done.
    ConnectGadget {
        /// Plugged in.
        on: bool,
    },
    /// Pull the USB gadget and plug it in again, if it is plugged in, so that the target looks at it anew; answered when
    /// done.
    ReplugGadget,
    /// About the system itself.
    System {
        /// What.
        ask: system::Ask,
    },
    /// About updates.
    Update {
        /// What.
        ask: update::Ask,
    },
    /// Whoever looks whether the streamer works needs it, or does so no more; viewers are not disturbed.
    HoldStreamer {
        /// Needs it.
        on: bool,
    },
    /// Stop everything, the supervisor included.
    Stop,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Done, or on its way.
    Done,
    /// How everything is.
    Status {
        /// The whole of it.
        status: Status,
    },
    /// How the USB gadget is.
    Gadget {
        /// The whole of it; `None` where none is to be made.
        gadget: Option<Gadget>,
    },
    /// About the system itself.
    System {
        /// What.
        told: system::Told,
    },
    /// About updates.
    Update {
        /// What.
        told: update::Told,
    },
    /// This user may not ask that.
    Refused,
    /// No service of that name.
    Unknown {
        /// The name asked for.
        service: String,
    },
    /// It was tried and did not work.
    Failed {
        /// Why, in one line for people.
        reason: String,
    },
    /// The line was not a request.
    Malformed {
        /// Why, in one line for people.
        reason: String,
    },
}

/// How everything is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's version.
    pub version: String,
    /// The supervisor's process id as it sees itself.
    pub pid: u32,
    /// Every service that is not on demand is ready.
    pub ready: bool,
    /// Where log lines go.
    pub journal: Journal,
    /// The drive's storage.
    pub msd: MsdStorage,
    /// In starting order.
    pub services: Vec<ServiceStatus>,
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Journal {
    /// A journald that was there before us.
    Host,
    /// A journald that the supervisor runs.
    Own,
    /// No journal: standard error.
    None,
}

/// The drive's storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsdStorage {
    /// Its directory.
    pub path: PathBuf,
    /// A file system of its own (else a plain directory, where a remount does nothing).
    pub mounted: bool,
    /// Writable at the moment.
    pub rw: bool,
}

/// The USB gadget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gadget {
    /// Its name in configfs.
    pub name: String,
    /// The controller it is on or shall be on; `None` while there is none.
    pub controller: Option<String>,
    /// `unbound`, `not attached`, `attached`, `powered`, `default`, `addressed`, `configured` or `suspended`.
    pub state: String,
    /// Whether it shall be plugged in, as far as the supervisor was told.
    pub connected: bool,
    /// Whether the target is shown nothing but a boot keyboard.
    pub bios_safe: bool,
    /// Endpoints there are.
    pub endpoints: u32,
    /// Endpoints the shown functions take.
    pub used: u32,
    /// Why it is not as it should be, for people.
    pub fault: Option<String>,
    /// Every function, in the order of their making.
    pub functions: Vec<GadgetFunction>,
}

/// One function of the USB gadget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GadgetFunction {
    /// Its name in configfs.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Endpoints it takes.
    pub endpoints: u32,
    /// What becomes of it.
    pub fate: GadgetFate,
    /// For one that does not fit: settings to switch off so that it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turn_off: Vec<String>,
}

/// What becomes of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GadgetFate {
    /// The target sees it.
    Shown,
    /// The settings say that it is not started.
    NotStarted,
    /// BIOS-safe mode hides it.
    BiosSafe,
    /// There are not enough endpoints.
    DoesNotFit,
    /// The kernel has no such function.
    Missing,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `kvmd`, `kvmd-streamer`, `vm`, `journald`.
    pub name: String,
    /// Where it is in its life.
    pub state: ServiceState,
    /// How long it has been in that state, in milliseconds.
    pub since_ms: u64,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// How many times it was started again after it had ended by itself, since the supervisor started.
    pub restarts: u64,
    /// How it ended the last time, for people: `exit status 1`, `killed by SIGKILL`, `watchdog`.
    pub last_end: Option<String>,
    /// What the service says of itself (sd_notify `STATUS=`).
    pub text: Option<String>,
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Not running, and nobody asked for it.
    Stopped,
    /// Started, not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Asked to end.
    Stopping,
    /// Ended by itself; will be started again soon.
    Backoff,
    /// Ended again and again; still started every so often.
    CrashLoop,
}

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or the connection broke.
    #[error("supervisor at {path}: {source}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No answer within [`PATIENCE`].
    #[error("the supervisor did not answer in {} s", PATIENCE.as_secs())]
    Timeout,
    /// The answer was cut off or not what was expected.
    #[error("the supervisor's answer: {0}")]
    Line(line::Error),
    /// The supervisor closed without an answer, or answered another question.
    #[error("the supervisor gave no proper answer")]
    NoAnswer,
    /// This user may not ask that.
    #[error("the supervisor refuses that to this user")]
    Refused,
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
}

/// The asking side. Cheap to clone; every call makes its own connection.
#[derive(Debug, Clone)]
pub struct Supervisor {
    path: PathBuf,
}

impl Supervisor {
    /// Asks at that socket.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket asked at.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks one thing.
    ///
    /// # Errors
    ///
    /// Those of the connection; an answer of any kind is not an error here.
    pub async fn request(&self, request: &Request) -> Result<Answer, Error> {
        let talk = async {
            let unreachable = |source| Error::Unreachable { path: self.path.clone(), source };
            let mut stream = UnixStream::connect(&self.path).await.map_err(unreachable)?;
            line::write(&mut stream, request).await.map_err(Error::Line)?;
            let mut reader = BufReader::new(stream);
            line::read(&mut reader).await.map_err(Error::Line)?.ok_or(Error::NoAnswer)
        };
        tokio::time::timeout(PATIENCE, talk).await.map_err(|_| Error::Timeout)?
    }

    /// How everything is.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        match self.request(&Request::Status).await? {
            Answer::Status { status } => Ok(status),
            other => Err(failed(other)),
        }
    }

    /// Has the streamer run.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn start_streamer(&self) -> Result<(), Error> {
        self.done(&Request::StartStreamer).await
    }

    /// Has the streamer stop.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn stop_streamer(&self) -> Result<(), Error> {
        self.done(&Request::StopStreamer).await
    }

    /// Stops a service and starts it again.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn restart(&self, service: &str) -> Result<(), Error> {
        self.done(&Request::Restart { service: service.to_owned() }).await
    }

    /// Remounts the drive's storage.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn remount_msd(&self, rw: bool) -> Result<(), Error> {
        self.done(&Request::RemountMsd { rw }).await
    }

    /// How the USB gadget is; `None` where none is to be made.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn gadget(&self) -> Result<Option<Gadget>, Error> {
        match self.request(&Request::Gadget).await? {
            Answer::Gadget { gadget } => Ok(gadget),
            other => Err(failed(other)),
        }
    }

    /// Shows the target nothing but a boot keyboard, or everything again.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn set_bios_safe(&self, on: bool) -> Result<(), Error> {
        self.done(&Request::SetBiosSafe { on }).await
    }

    /// Plugs the USB gadget in or pulls it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn connect_gadget(&self, on: bool) -> Result<(), Error> {
        self.done(&Request::ConnectGadget { on }).await
    }

    /// Pulls the USB gadget and plugs it in again, if it is plugged in.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn replug_gadget(&self) -> Result<(), Error> {
        self.done(&Request::ReplugGadget).await
    }

    /// Asks about the system itself.
    ///
    /// # Errors
    ///
    /// See [`Error`]; what the system tells, be it a refusal, is none.
    pub async fn system(&self, ask: system::Ask) -> Result<system::Told, Error> {
        match self.request(&Request::System { ask }).await? {
            Answer::System { told } => Ok(told),
            other => Err(failed(other)),
        }
    }

    /// Asks about updates.
    ///
    /// # Errors
    ///
    /// See [`Error`]; what is told, be it a refusal, is none.
    pub async fn update(&self, ask: update::Ask) -> Result<update::Told, Error> {
        match self.request(&Request::Update { ask }).await? {
            Answer::Update { told } => Ok(told),
            other => Err(failed(other)),
        }
    }

    /// Has the streamer run for whoever looks whether it works, or no more.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn hold_streamer(&self, on: bool) -> Result<(), Error> {
        self.done(&Request::HoldStreamer { on }).await
    }

    async fn done(&self, request: &Request) -> Result<(), Error> {
        match self.request(request).await? {
            Answer::Done => Ok(()),
            other => Err(failed(other)),
        }
    }
}

fn failed(answer: Answer) -> Error {
    match answer {
        Answer::Refused => Error::Refused,
        Answer::Failed { reason } | Answer::Malformed { reason } => Error::Failed(reason),
        Answer::Unknown { service } => Error::Failed(format!("no service {service:?}")),
        Answer::Done
        | Answer::Status { .. }
        | Answer::Gadget { .. }
        | Answer::System { .. }
        | Answer::Update { .. } => Error::NoAnswer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// Frozen: the supervisor and kvmd may be of different releases for the length of an update.
    #[test]
    fn requests_and_answers_keep_their_spelling() {
        for (request, text) in [
            (Request::Status, r#"{"verb":"status"}"#),
            (Request::StartStreamer, r#"{"verb":"start_streamer"}"#),
            (Request::StopStreamer, r#"{"verb":"stop_streamer"}"#),
            (Request::Restart { service: "kvmd".into() }, r#"{"verb":"restart","service":"kvmd"}"#),
            (Request::RemountMsd { rw: true }, r#"{"verb":"remount_msd","rw":true}"#),
            (Request::Gadget, r#"{"verb":"gadget"}"#),
            (Request::SetBiosSafe { on: true }, r#"{"verb":"set_bios_safe","on":true}"#),
            (Request::ConnectGadget { on: false }, r#"{"verb":"connect_gadget","on":false}"#),
            (Request::ReplugGadget, r#"{"verb":"replug_gadget"}"#),
            (Request::System { ask: system::Ask::Show }, r#"{"verb":"system","ask":{"do":"show"}}"#),
            (Request::Update { ask: update::Ask::Show }, r#"{"verb":"update","ask":{"do":"show"}}"#),
            (Request::HoldStreamer { on: true }, r#"{"verb":"hold_streamer","on":true}"#),
            (Request::Stop, r#"{"verb":"stop"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        assert_eq!(serde_json::to_string(&Answer::Done).unwrap(), r#"{"answer":"done"}"#);
        assert_eq!(
            serde_json::to_string(&Answer::Failed { reason: "x".into() }).unwrap(),
            r#"{"answer":"failed","reason":"x"}"#
        );
    }

    async fn asked(answer: &'static str) -> Result<(), Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut reader = BufReader::new(stream);
            let request: Request = line::read(&mut reader).await.unwrap().unwrap();
            assert_eq!(request, Request::StartStreamer);
            tokio::io::AsyncWriteExt::write_all(reader.get_mut(), answer.as_bytes()).await.unwrap();
        });
        let result = Supervisor::new(&path).start_streamer().await;
        server.await.unwrap();
        result
    }

    #[tokio::test]
    async fn every_kind_of_answer_becomes_its_result() {
        assert!(asked("{\"answer\":\"done\"}\n").await.is_ok());
        assert!(matches!(asked("{\"answer\":\"refused\"}\n").await, Err(Error::Refused)));
        assert!(matches!(asked("").await, Err(Error::NoAnswer)));
        assert!(matches!(asked("{\"answer\":\"done\"}").await, Err(Error::Line(line::Error::Torn))));
        assert!(matches!(asked("nonsense\n").await, Err(Error::Line(line::Error::Json(_)))));
    }

    #[tokio::test]
    async fn nobody_there_says_where() {
        let error = Supervisor::new("/nonexistent/s.sock").status().await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/s.sock"), "{error}");
    }
}
