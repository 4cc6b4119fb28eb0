//! Which daemons are meant to run and do, as the supervisor tells: what extras and the fan are judged by.
//!
//! Asked for when somebody wants to know, at most once a second, and never waited for long: a supervisor that does not
//! answer leaves what was known before.

use client::supervisor::{ServiceState, Status, Supervisor};
use info::{Refresh, Services};
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, timeout},
};

/// An answer younger than this is good enough.
const FRESH: Duration = Duration::from_secs(1);
/// How long the supervisor may take. It answers from memory.
const PATIENCE: Duration = Duration::from_millis(300);

type Known = HashMap<String, info::ServiceState>;

/// The daemons of this appliance.
pub struct Daemons {
    supervisor: Supervisor,
    asked: Mutex<Option<Instant>>,
    known: watch::Sender<Known>,
}

impl Daemons {
    /// The daemons of that supervisor.
    pub fn new(supervisor: Supervisor) -> Self {
        Self { supervisor, asked: Mutex::default(), known: watch::Sender::new(Known::new()) }
    }
}

impl Services for Daemons {
    fn state(&self, daemon: &str) -> info::ServiceState {
        self.known.borrow().get(daemon).copied().unwrap_or_default()
    }

    fn refresh(&self) -> Refresh<'_> {
        Box::pin(async {
            // Held while asking, so that whoever comes meanwhile gets the same answer.
            let mut asked = self.asked.lock().await;
            if asked.is_some_and(|asked| asked.elapsed() < FRESH) {
                return;
            }
            match timeout(PATIENCE, self.supervisor.status()).await {
                Ok(Ok(status)) => drop(self.known.send_replace(read(status))),
                Ok(Err(why)) => log::debug!("cannot ask what runs: {why}"),
                Err(_) => log::debug!("the supervisor does not say what runs"),
            }
            *asked = Some(Instant::now());
        })
    }
}

/// Whom the supervisor knows is enabled: it starts them with the machine or on request.
fn read(status: Status) -> Known {
    let state = |state| info::ServiceState { enabled: true, started: state == ServiceState::Ready };
    status.services.into_iter().map(|service| (service.name, state(service.state))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::{
        line,
        supervisor::{Answer, Journal, MsdStorage, Request, ServiceStatus},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    use tokio::{io::BufReader, net::UnixListener};

    fn status() -> Status {
        let service = |name: &str, state| ServiceStatus {
            name: name.to_owned(),
            state,
            since_ms: 0,
            pid: None,
            restarts: 0,
            last_end: None,
            text: None,
        };
        Status {
            version: String::new(),
            pid: 1,
            ready: true,
            journal: Journal::None,
            msd: MsdStorage { path: "/".into(), mounted: false, rw: false },
            services: vec![
                service("kvmd", ServiceState::Ready),
                service("kvmd-streamer", ServiceState::Stopped),
                service("kvmd-vnc", ServiceState::Backoff),
            ],
        }
    }

    /// A supervisor that tells the same every time, and how often it was asked.
    fn supervisor(dir: &tempfile::TempDir) -> (Supervisor, Arc<AtomicU32>) {
        let path = dir.path().join("supervisor.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (from, mut to) = stream.split();
                let request = line::read(&mut BufReader::new(from)).await.unwrap();
                assert_eq!(request, Some(Request::Status));
                count.fetch_add(1, Ordering::SeqCst);
                line::write(&mut to, &Answer::Status { status: status() }).await.unwrap();
            }
        });
        (Supervisor::new(path), asked)
    }

    #[tokio::test]
    async fn whom_the_supervisor_knows_is_enabled_and_who_is_ready_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, _) = supervisor(&dir);
        let daemons = Daemons::new(supervisor);
        assert_eq!(daemons.state("kvmd"), info::ServiceState::default(), "nobody was asked yet");
        daemons.refresh().await;
        for (name, enabled, started) in [
            ("kvmd", true, true),
            ("kvmd-streamer", true, false),
            ("kvmd-vnc", true, false),
            ("kvmd-webterm", false, false),
            ("", false, false),
        ] {
            assert_eq!(daemons.state(name), info::ServiceState { enabled, started }, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_supervisor_is_asked_at_most_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let (supervisor, asked) = supervisor(&dir);
        let daemons = Daemons::new(supervisor);
        daemons.refresh().await;
        tokio::join!(daemons.refresh(), daemons.refresh());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(FRESH).await;
        tokio::join!(daemons.refresh(), daemons.refresh());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_that_hangs_is_not_waited_for_and_what_was_known_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.sock");
        let _deaf = UnixListener::bind(&path).unwrap();
        let daemons = Daemons::new(Supervisor::new(path));
        let known = info::ServiceState { enabled: true, started: true };
        daemons.known.send_replace([("kvmd-vnc".to_owned(), known)].into());
        let begin = Instant::now();
        daemons.refresh().await;
        assert!(begin.elapsed() <= PATIENCE + Duration::from_millis(1));
        assert_eq!(daemons.state("kvmd-vnc"), known);
    }
}
