//! The fan: what a fan daemon says on its socket, or the fan the kernel drives itself.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::{hwmon, system};

/// Longest answer of a fan daemon.
const LONGEST: u64 = 64 * 1024;
/// Drivers of fans that the kernel turns by the temperature.
const DRIVERS: &[&str] = &["pwmfan", "gpio_fan", "rpipoefan"];
/// No failure ever.
const NEVER: f64 = -1.0;

/// What the daemon behind the socket says, within `limit`.
///
/// # Errors
/// That it did not, and why.
pub(crate) async fn ask(socket: &Path, limit: Duration) -> io::Result<Value> {
    let asking = async {
        let mut stream = UnixStream::connect(socket).await?;
        // The old protocol: the answer ends with the connection and comes in one piece.
        stream.write_all(b"GET /state HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        parse(&answer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not say how the fan is"))
    };
    timeout(limit, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The state in an answer: `{"ok": true, "result": {…}}` with status 200.
fn parse(answer: &[u8]) -> Option<Value> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = answer.split_at(end);
    let status = head.split(|byte| *byte == b' ').nth(1)?;
    if status != b"200" {
        return None;
    }
    let mut answer: Value = serde_json::from_slice(body.get(4..)?).ok()?;
    let state = answer.get_mut("result").map(Value::take)?;
    state.is_object().then_some(state)
}

/// The kernel's own fan, in the words of a fan daemon; `None` where there is none.
pub(crate) fn of_kernel(root: &Path) -> Option<Value> {
    let fan = hwmon::named(root, DRIVERS)?;
    let pwm = hwmon::number(&fan, "pwm1");
    let rpm = hwmon::number(&fan, "fan1_input");
    let temperature = system::cpu_temperature(root).unwrap_or(0.0);
    // Percent, of a cycle in 256 steps.
    let speed = pwm.map_or(0.0, |pwm| f64::from(pwm.min(255)) * 100.0 / 255.0);
    // A fan that is to turn and does not.
    let stands = pwm.is_some_and(|pwm| pwm > 0) && rpm == Some(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Some(json!({
        "service": {"now_ts": now},
        "temp": {"real": temperature, "fixed": temperature},
        "fan": {"speed": (speed * 10.0).round() / 10.0, "pwm": pwm.unwrap_or(0), "ok": !stands, "last_fail_ts": if stands { now } else { NEVER }},
        "hall": {"available": rpm.is_some(), "rpm": rpm.unwrap_or(0)},
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::UnixListener;

    use super::*;

    const STATE: &str =
        r#"{"ok": true, "result": {"fan": {"speed": 35.0, "pwm": 358, "ok": true, "last_fail_ts": -1}}}"#;

    async fn daemon(answer: Option<String>) -> io::Result<Value> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("fan.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 256];
            let len = stream.read(&mut question).await.unwrap();
            assert!(question[..len].starts_with(b"GET /state HTTP/1.0\r\n"));
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                None => std::future::pending().await,
            }
        });
        let said = ask(&socket, Duration::from_secs(5)).await;
        serving.abort();
        said
    }

    #[tokio::test]
    async fn a_daemon_s_state_is_passed_on() {
        let answer = format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{STATE}");
        let state = daemon(Some(answer)).await.unwrap();
        assert_eq!((&state["fan"]["pwm"], &state["fan"]["last_fail_ts"]), (&json!(358), &json!(-1)));
    }

    #[tokio::test]
    async fn what_is_no_state_is_none() {
        for answer in [
            "",
            "HTTP/1.0 500 No\r\n\r\n{}",
            "HTTP/1.0 200 OK\r\n\r\n{\"result\": 1}",
            "HTTP/1.0 200 OK\r\n\r\n[",
        ] {
            let error = daemon(Some(answer.to_owned())).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{answer:?}");
        }
        assert!(ask(Path::new("/nowhere/fan.sock"), Duration::from_secs(5)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_says_nothing_is_given_up() {
        assert_eq!(daemon(None).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(answer in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&answer);
        }
    }
}
