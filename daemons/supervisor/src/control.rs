//! The control socket: who asks, whether they may, one request a line, one answer a line.

use std::sync::Arc;
use std::time::Duration;

use client::line;
use client::supervisor::{Answer, Request};
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::account::Accounts;

/// Connections at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 16;
/// A connection that says nothing for this long is closed.
const SILENCE: Duration = Duration::from_secs(60);

/// A request that was let in, and where its answer goes.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks, for the log.
    pub uid: u32,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// Who may ask what.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Our own user, who may everything, as root may.
    pub own: u32,
    /// The API daemon.
    pub kvmd: u32,
    /// The group that may look.
    pub socket_gid: u32,
    /// Whether the API daemon may say who comes in by SSH.
    pub ssh_by_web: bool,
}

impl Policy {
    /// The rules for these accounts.
    #[must_use]
    pub fn new(accounts: &Accounts, settings: &config::Supervisor) -> Self {
        let own = nix::unistd::Uid::effective().as_raw();
        let (kvmd, socket_gid) = (accounts.kvmd.uid, accounts.socket_gid);
        Self { own, kvmd, socket_gid, ssh_by_web: settings.ssh_by_web }
    }

    /// Whether this user may ask that.
    #[must_use]
    pub fn allows(&self, uid: u32, gid: u32, request: &Request) -> bool {
        if uid == 0 || uid == self.own {
            return true;
        }
        match request {
            Request::Status | Request::Gadget => uid == self.kvmd || gid == self.socket_gid,
            Request::StartStreamer
            | Request::StopStreamer
            | Request::RemountMsd { .. }
            | Request::SetBiosSafe { .. }
            | Request::ConnectGadget { .. }
            | Request::ReplugGadget => uid == self.kvmd,
            // The streamer may be reset through the API; nothing else may.
            Request::Restart { service } => uid == self.kvmd && service == crate::STREAMER,
            // It lets people in, and carries out what its administrators wish.
            Request::System { ask } => {
                let theirs = self.ssh_by_web || !ask.opens_ssh();
                (uid == self.kvmd && theirs) || (ask.looks() && gid == self.socket_gid)
            }
            // It is the face of updates; what is root's, it may not.
            Request::Update { ask } => {
                (uid == self.kvmd && !ask.is_roots()) || (ask.looks() && gid == self.socket_gid)
            }
            Request::HoldStreamer { .. } | Request::Stop => false,
        }
    }
}

/// Answers connections until the listener fails, which it does not.
pub async fn serve(listener: UnixListener, policy: Policy, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let calls = calls.clone();
                tokio::spawn(async move {
                    if let Err(error) = talk(stream, policy, &calls).await {
                        log::debug!("control connection: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("control socket: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(stream: UnixStream, policy: Policy, calls: &mpsc::Sender<Call>) -> Result<(), line::Error> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (peer.uid(), peer.gid());
    let mut stream = BufReader::new(stream);
    loop {
        let request = match tokio::time::timeout(SILENCE, line::read::<Request>(&mut stream)).await {
            Err(_) | Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(request))) => request,
            Ok(Err(line::Error::Json(error))) => {
                line::write(stream.get_mut(), &Answer::Malformed { reason: error.to_string() }).await?;
                continue;
            }
            Ok(Err(error)) => return Err(error),
        };
        let answer = if policy.allows(uid, gid, &request) {
            // Looking is not worth a line, doing is.
            let looks = match &request {
                Request::System { ask } => ask.is_quiet(),
                Request::Update { ask } => ask.looks(),
                _ => false,
            };
            let quiet = matches!(request, Request::Status | Request::Gadget | Request::HoldStreamer { .. });
            let opens = matches!(&request, Request::System { ask } if ask.opens_ssh());
            if opens {
                log::warn!("user {uid} asks: {request:?}");
            } else if !looks && !quiet {
                log::info!("user {uid} asks: {request:?}");
            }
            ask(request, uid, calls).await
        } else {
            log::warn!("user {uid} may not ask: {request:?}");
            Answer::Refused
        };
        tokio::time::timeout(SILENCE, line::write(stream.get_mut(), &answer)).await.unwrap_or(Ok(()))?;
    }
}

async fn ask(request: Request, uid: u32, calls: &mpsc::Sender<Call>) -> Answer {
    let (sender, receiver) = oneshot::channel();
    let stopping = || Answer::Failed { reason: "the supervisor is stopping".to_owned() };
    if calls.send(Call { request, uid, answer: sender }).await.is_err() {
        return stopping();
    }
    receiver.await.unwrap_or_else(|_| stopping())
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::system::Ask;
    use client::update;

    const POLICY: Policy = Policy { own: 0, kvmd: 960, socket_gid: 960, ssh_by_web: true };

    fn restart(service: &str) -> Request {
        Request::Restart { service: service.to_owned() }
    }

    #[test]
    fn each_verb_is_for_whom_it_is_for() {
        let all = [
            Request::Status,
            Request::StartStreamer,
            Request::StopStreamer,
            Request::RemountMsd { rw: true },
            restart(crate::STREAMER),
            restart("kvmd"),
            Request::Gadget,
            Request::SetBiosSafe { on: true },
            Request::ConnectGadget { on: true },
            Request::ReplugGadget,
            Request::System { ask: Ask::Show },
            Request::System { ask: Ask::Reboot },
            Request::Update { ask: update::Ask::Show },
            Request::Update { ask: update::Ask::Restart },
            Request::Update { ask: update::Ask::MarkGood },
            Request::HoldStreamer { on: true },
            Request::Stop,
        ];
        let allowed = |uid, gid| all.iter().filter(|request| POLICY.allows(uid, gid, request)).count();
        assert_eq!(allowed(0, 0), 17);
        assert_eq!(
            allowed(960, 960),
            13,
            "kvmd: all but restarting itself, judging releases, and stopping everything"
        );
        assert_eq!(allowed(1000, 960), 4, "a member of the group: how everything is");
        assert_eq!(allowed(961, 961), 0, "the streamer: nothing");
    }

    #[test]
    fn who_comes_by_ssh_may_be_left_to_root_alone() {
        let closed = Policy { ssh_by_web: false, ..POLICY };
        let asks = [Ask::SetSshKeys { keys: Vec::new() }, Ask::AllowSshPassword { on: true }, Ask::Reboot];
        let allowed =
            |policy: Policy, uid| asks.clone().map(|ask| policy.allows(uid, 960, &Request::System { ask }));
        assert_eq!(allowed(POLICY, 960), [true, true, true]);
        assert_eq!(allowed(closed, 960), [false, false, true]);
        assert_eq!(allowed(closed, 0), [true, true, true]);
    }

    #[tokio::test]
    async fn nonsense_is_answered_and_the_connection_goes_on() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (calls, mut called) = mpsc::channel(1);
        let own = nix::unistd::Uid::effective().as_raw();
        let policy = Policy { own, ..POLICY };
        let server = tokio::spawn(async move { talk(theirs, policy, &calls).await });
        let loops = tokio::spawn(async move {
            let call = called.recv().await.unwrap();
            assert_eq!((call.request, call.uid), (Request::StartStreamer, own));
            call.answer.send(Answer::Done).unwrap();
        });
        let mut ours = BufReader::new(ours);
        line::write(ours.get_mut(), &serde_json::json!({"verb": "explode"})).await.unwrap();
        let answer: Answer = line::read(&mut ours).await.unwrap().unwrap();
        assert!(matches!(answer, Answer::Malformed { .. }));
        line::write(ours.get_mut(), &Request::StartStreamer).await.unwrap();
        assert_eq!(line::read::<Answer>(&mut ours).await.unwrap(), Some(Answer::Done));
        drop(ours);
        server.await.unwrap().unwrap();
        loops.await.unwrap();
    }
}
