//! `RUN/streamer.sock`: what `kvmd-streamer` tells of itself, and what may be set while it runs.
//!
//! The streamer sends its whole [`State`] as a line when somebody connects, and again whenever something in it has
//! changed (the measured figures once a second). The other side may send a [`Command`] a line at any time. Settings have
//! no answer but the state that follows; an order about the EDID has an [`Answer`] of its own, between states. A line
//! that is no command ends the connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::line;

/// What the streamer of this release can do, by name: told to clients, and what its settings offer follows from it.
pub const FEATURES: [(&str, bool); 5] =
    [("JPEG", true), ("H264", false), ("SOURCE_VM", true), ("SOURCE_PATTERN", true), ("SOURCE_V4L2", true)];

/// Whether it can do `name`.
#[must_use]
pub fn can(name: &str) -> bool {
    FEATURES.contains(&(name, true))
}

/// Pause between attempts to reach a streamer that is not there.
const RETRY: Duration = Duration::from_millis(300);

/// Everything the streamer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where the pictures come from.
    pub source: Source,
    /// What makes them small.
    pub encoder: Encoder,
    /// What is handed on.
    pub stream: Stream,
    /// Time spent by stage over the last second; `None` when no new picture came in it.
    pub latency: Option<Latency>,
}

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Size of the newest picture.
    pub resolution: Resolution,
    /// Pictures are the target's own (not a generated "no signal").
    pub online: bool,
    /// Wanted pictures a second, 0 = as many as come.
    pub desired_fps: u32,
    /// New pictures taken in the last second.
    pub captured_fps: u32,
    /// The named state.
    pub state: SourceState,
}

/// The named states of a source. The wire's spelling; the streamer converts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Pictures come, or the picture is known to be unchanged.
    Live,
    /// Nothing is connected.
    NoCable,
    /// Connected, but no signal.
    NoSync,
    /// A signal that the hardware cannot take.
    UnsupportedMode,
    /// Pictures come but cannot be encoded.
    EncoderFault,
}

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// What makes the pictures small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoder {
    /// `CPU`, as streamers of this wire call it.
    #[serde(rename = "type")]
    pub kind: String,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

/// What is handed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Frames published in the last second, repeated ones included.
    pub queued_fps: u32,
}

/// Time by stage, of new pictures only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// From capture to the beginning of encoding.
    pub capture: Spread,
    /// Encoding.
    pub encode: Spread,
    /// From the end of encoding until readers could see it.
    pub publish: Spread,
    /// From capture until readers could see it.
    pub total: Spread,
}

/// The middle, the bad end and the worst of a second's figures, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// Half were faster, microseconds.
    pub p50_us: u64,
    /// 99 of 100 were faster, microseconds.
    pub p99_us: u64,
    /// The slowest, microseconds. Not told by the first release.
    #[serde(default)]
    pub max_us: u64,
}

/// What may be asked of the streamer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Change settings, from the next picture on.
    Set(Set),
    /// Something about the monitor that the target sees.
    Edid(Order),
}

/// What may be asked about the monitor that a capture device shows the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Tell what it is.
    Show,
    /// Show another one on trial: it is taken back unless [`Order::Confirm`] follows in time.
    Try {
        /// In hexadecimal.
        data: String,
    },
    /// Keep what is on trial, for good.
    Confirm,
    /// Take back what is on trial, at once.
    Undo,
}

/// The line that answers an [`Order`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// How it went.
    pub edid: Outcome,
}

/// How an [`Order`] went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done; this is how things are now.
    Done(Monitor),
    /// It is not.
    Refused {
        /// What kind of refusal.
        reason: Refusal,
        /// For people.
        text: String,
    },
}

/// The monitor that the target sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monitor {
    /// In hexadecimal; empty when none is shown.
    pub data: String,
    /// Milliseconds until what is on trial is taken back; `None` when nothing is.
    pub trial_ms: Option<u64>,
    /// What was confirmed last, in hexadecimal; `None` when nothing was.
    pub saved: Option<String>,
}

/// Why an [`Order`] is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The source shows the target no monitor.
    NotSupported,
    /// There is no device at the moment.
    NoDevice,
    /// What was given is no EDID, or the device has no room for it.
    Invalid,
    /// Nothing is on trial.
    NoTrial,
    /// It did not work.
    Failed,
}

/// Gives the streamer at that socket an order and waits for the answer, for as long as the streamer takes: a streamer
/// that does not run yet answers when it does.
///
/// # Errors
///
/// When there is no such socket, or the streamer ends before it has answered.
pub async fn order(path: &Path, order: Order) -> Result<Outcome, line::Error> {
    let mut stream = UnixStream::connect(path).await?;
    let (from, mut to) = stream.split();
    line::write(&mut to, &Command::Edid(order)).await?;
    let mut from = BufReader::new(from);
    while let Some(news) = line::read::<serde_json::Value>(&mut from).await? {
        if news.get("edid").is_some() {
            return Ok(serde_json::from_value::<Answer>(news)?.edid);
        }
    }
    Err(line::Error::Torn)
}

/// New settings; what is `None` stays. A value out of range is taken to the nearest by the streamer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// JPEG quality, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// Pictures a second, 0 = as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_fps: Option<u32>,
    /// Size, where the source can choose it; ignored where it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Size>,
}

impl Set {
    /// Takes over what `newer` says.
    fn merge(&mut self, newer: Self) {
        self.quality = newer.quality.or(self.quality);
        self.desired_fps = newer.desired_fps.or(self.desired_fps);
        self.resolution = newer.resolution.or(self.resolution);
    }
}

/// A size as people write it: `1920x1080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Size {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Not of the form `1920x1080`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size is written like 1920x1080")]
pub struct NotASize;

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let side = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(NotASize)
        };
        let (width, height) = text.split_once('x').ok_or(NotASize)?;
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

impl TryFrom<String> for Size {
    type Error = NotASize;

    fn try_from(text: String) -> Result<Self, NotASize> {
        text.parse()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

/// The other side: follows the streamer's state and keeps its settings, across restarts of the streamer.
///
/// Cheap to clone; the connection ends with the last clone.
#[derive(Debug, Clone)]
pub struct Streamer {
    state: watch::Receiver<Option<State>>,
    wanted: watch::Sender<Set>,
    _task: Arc<Follower>,
}

/// Ends the task with the last handle.
#[derive(Debug)]
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Streamer {
    /// Follows the streamer at that socket, whether it runs or not. Must be called inside a tokio runtime.
    #[must_use]
    pub fn follow(path: impl Into<PathBuf>) -> Self {
        let (state_to, state) = watch::channel(None);
        let (wanted, wanted_from) = watch::channel(Set::default());
        let path = path.into();
        let task = tokio::spawn(async move { follow(&path, &state_to, wanted_from).await });
        Self { state, wanted, _task: Arc::new(Follower(task)) }
    }

    /// The streamer's state; `None` while it is not reachable.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<State>> {
        self.state.clone()
    }

    /// Wants these settings from now on; what is `None` stays. Applied at once when the streamer runs, else as soon as
    /// it does. Never blocks.
    pub fn set(&self, set: Set) {
        self.wanted.send_if_modified(|wanted| {
            let before = *wanted;
            wanted.merge(set);
            *wanted != before
        });
    }
}

async fn follow(path: &Path, state: &watch::Sender<Option<State>>, mut wanted: watch::Receiver<Set>) {
    let mut complained = false;
    loop {
        if let Ok(stream) = UnixStream::connect(path).await {
            match talk(stream, state, &mut wanted).await {
                Ok(()) => complained = false,
                Err(error) if !complained => {
                    complained = true;
                    log::warn!("streamer at {}: {error}", path.display());
                }
                Err(_) => {}
            }
            state.send_if_modified(|state| state.take().is_some());
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One connection, until either side is done with it.
async fn talk(
    mut stream: UnixStream,
    state: &watch::Sender<Option<State>>,
    wanted: &mut watch::Receiver<Set>,
) -> Result<(), line::Error> {
    let (from, mut to) = stream.split();
    let mut from = BufReader::new(from);
    let listen = async {
        while let Some(news) = line::read::<State>(&mut from).await? {
            state.send_replace(Some(news));
        }
        Ok(())
    };
    let tell = async {
        wanted.mark_changed(); // a streamer that has just started knows nothing of what was set before
        while wanted.changed().await.is_ok() {
            let set = *wanted.borrow_and_update();
            if set != Set::default() {
                line::write(&mut to, &Command::Set(set)).await?;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        done = listen => done,
        done = tell => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::net::UnixListener;

    fn state(quality: u8) -> State {
        let spread = Spread { p50_us: 1, p99_us: 2, max_us: 3 };
        State {
            source: Source {
                resolution: Resolution { width: 1920, height: 1080 },
                online: true,
                desired_fps: 30,
                captured_fps: 29,
                state: SourceState::Live,
            },
            encoder: Encoder { kind: "CPU".into(), quality },
            stream: Stream { queued_fps: 29 },
            latency: Some(Latency { capture: spread, encode: spread, publish: spread, total: spread }),
        }
    }

    /// Frozen: the streamer and kvmd may be of different releases for the length of an update.
    #[test]
    fn states_and_commands_keep_their_spelling() {
        let spread = r#"{"p50_us":1,"p99_us":2,"max_us":3}"#;
        let of_the_first_release = serde_json::from_str::<Spread>(r#"{"p50_us":1,"p99_us":2}"#).unwrap();
        assert_eq!(of_the_first_release.max_us, 0);
        let text = format!(
            concat!(
                r#"{{"source":{{"resolution":{{"width":1920,"height":1080}},"online":true,"desired_fps":30,"#,
                r#""captured_fps":29,"state":"live"}},"encoder":{{"type":"CPU","quality":80}},"#,
                r#""stream":{{"queued_fps":29}},"#,
                r#""latency":{{"capture":{0},"encode":{0},"publish":{0},"total":{0}}}}}"#
            ),
            spread
        );
        assert_eq!(serde_json::to_string(&state(80)).unwrap(), text);
        let set =
            Set { quality: Some(1), desired_fps: Some(0), resolution: Some("640x480".parse().unwrap()) };
        let text = r#"{"set":{"quality":1,"desired_fps":0,"resolution":"640x480"}}"#;
        assert_eq!(serde_json::to_string(&Command::Set(set)).unwrap(), text);
        assert_eq!(serde_json::from_str::<Command>(text).unwrap(), Command::Set(set));
        assert_eq!(serde_json::from_str::<Command>(r#"{"set":{}}"#).unwrap(), Command::Set(Set::default()));
        for (order, text) in [
            (Order::Show, r#"{"edid":"show"}"#),
            (Order::Try { data: "00FF".into() }, r#"{"edid":{"try":{"data":"00FF"}}}"#),
            (Order::Confirm, r#"{"edid":"confirm"}"#),
            (Order::Undo, r#"{"edid":"undo"}"#),
        ] {
            assert_eq!(serde_json::to_string(&Command::Edid(order.clone())).unwrap(), text);
            assert_eq!(serde_json::from_str::<Command>(text).unwrap(), Command::Edid(order));
        }
        let monitor = Monitor { data: "00".into(), trial_ms: Some(5), saved: None };
        let text = r#"{"edid":{"done":{"data":"00","trial_ms":5,"saved":null}}}"#;
        assert_eq!(serde_json::to_string(&Answer { edid: Outcome::Done(monitor) }).unwrap(), text);
        let refused = Outcome::Refused { reason: Refusal::NoTrial, text: "no".into() };
        let text = r#"{"edid":{"refused":{"reason":"no_trial","text":"no"}}}"#;
        assert_eq!(serde_json::to_string(&Answer { edid: refused }).unwrap(), text);
        for bad in [r#"{"set":{"quality":300}}"#, r#"{"set":{"resolution":"big"}}"#, r#"{"stop":{}}"#, "[]"] {
            assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_digits_and_one_x_are_a_size() {
        assert_eq!("1920x1080".parse(), Ok(Size { width: 1920, height: 1080 }));
        for bad in ["", "x", "1920x", "x1080", "+1x1", "1 x1", "1X1", "1x1x1", "4294967296x1", "١x1"] {
            assert_eq!(bad.parse::<Size>(), Err(NotASize), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_size_is_read_as_it_is_written(width: u32, height: u32) {
            let size = Size { width, height };
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn settings_are_sent_again_to_a_streamer_that_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let streamer = Streamer::follow(&path);
        let mut news = streamer.subscribe();
        streamer.set(Set { quality: Some(50), ..Set::default() });
        streamer.set(Set { desired_fps: Some(5), ..Set::default() });
        let all = Command::Set(Set { quality: Some(50), desired_fps: Some(5), resolution: None });
        for _ in 0..2 {
            let listener = UnixListener::bind(&path).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            assert_eq!(line::read::<Command>(&mut stream).await.unwrap().unwrap(), all);
            line::write(stream.get_mut(), &state(50)).await.unwrap();
            assert_eq!(*news.wait_for(Option::is_some).await.unwrap(), Some(state(50)));
            drop((stream, listener));
            std::fs::remove_file(&path).unwrap();
            news.wait_for(Option::is_none).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_is_found_among_the_states() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let streamer = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let asked = line::read::<Command>(&mut stream).await.unwrap().unwrap();
            assert_eq!(asked, Command::Edid(Order::Show));
            line::write(stream.get_mut(), &state(1)).await.unwrap();
            let refused = Outcome::Refused { reason: Refusal::NotSupported, text: "no".into() };
            line::write(stream.get_mut(), &Answer { edid: refused }).await.unwrap();
            listener.accept().await.unwrap();
        });
        let outcome = order(&path, Order::Show).await.unwrap();
        assert!(matches!(outcome, Outcome::Refused { reason: Refusal::NotSupported, .. }));
        assert!(order(&path, Order::Show).await.is_err(), "it ended without an answer");
        streamer.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_streamer_that_talks_nonsense_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let streamer = Streamer::follow(&path);
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"{}\n").await.unwrap();
        let (_again, _) = listener.accept().await.unwrap();
        assert_eq!(*streamer.subscribe().borrow(), None);
    }
}
