//! `streamer.sock`: tells the state, takes commands. The protocol is `client::streamer`'s.

use std::sync::Arc;

use client::line;
use client::streamer::{Answer, Command, Order, Outcome, Set, State};
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Connections at a time; more are closed at once.
const CONNECTIONS: usize = 16;

/// What the work is asked.
#[derive(Debug)]
pub enum Request {
    /// New settings.
    Set(Set),
    /// Something about the monitor, and where the answer goes.
    Edid(Order, oneshot::Sender<Outcome>),
}

/// Serves the socket until told to stop. Who may connect is decided by the socket's mode.
pub async fn serve(
    listener: UnixListener,
    state: watch::Receiver<State>,
    commands: mpsc::Sender<Request>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, say; without a pause this would be a busy loop.
                log::warn!("streamer socket: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (state, commands, stop) = (state.clone(), commands.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                done = talk(stream, state, &commands) => if let Err(error) = done {
                    log::debug!("a connection ended: {error}");
                },
                () = stop.cancelled() => {}
            }
            drop(permit);
        });
    }
}

/// One connection, until either side is done with it.
async fn talk(
    mut stream: UnixStream,
    mut state: watch::Receiver<State>,
    commands: &mpsc::Sender<Request>,
) -> Result<(), line::Error> {
    let (from, mut to) = stream.split();
    let mut from = BufReader::new(from);
    // One answer at a time: the next order is read when the last one is answered.
    let (answer, mut answers) = mpsc::channel(1);
    let listen = async {
        while let Some(command) = line::read(&mut from).await? {
            let sent = match command {
                Command::Set(set) => commands.send(Request::Set(set)).await.is_ok(),
                Command::Edid(order) => match ask(commands, order).await {
                    Some(edid) => answer.send(Answer { edid }).await.is_ok(),
                    None => false,
                },
            };
            if !sent {
                break;
            }
        }
        Ok(())
    };
    let tell = async {
        state.mark_changed();
        loop {
            tokio::select! {
                changed = state.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let news = state.borrow_and_update().clone();
                    line::write(&mut to, &news).await?;
                }
                Some(answer) = answers.recv() => line::write(&mut to, &answer).await?,
            }
        }
    };
    tokio::select! {
        done = listen => done,
        done = tell => done,
    }
}

/// Has an order carried out; `None` when the work has ended.
async fn ask(commands: &mpsc::Sender<Request>, order: Order) -> Option<Outcome> {
    let (answer, outcome) = oneshot::channel();
    commands.send(Request::Edid(order, answer)).await.ok()?;
    outcome.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::streamer::{Encoder, Resolution, Source, SourceState, Stream, Streamer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn state(captured_fps: u32) -> State {
        State {
            source: Source {
                resolution: Resolution { width: 1, height: 1 },
                online: true,
                desired_fps: 30,
                captured_fps,
                state: SourceState::Live,
            },
            encoder: Encoder { kind: "CPU".into(), quality: 80 },
            stream: Stream { queued_fps: 0 },
            latency: None,
        }
    }

    struct Served {
        dir: tempfile::TempDir,
        state: watch::Sender<State>,
        commands: mpsc::Receiver<Request>,
        stop: CancellationToken,
    }

    fn served() -> Served {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let (state, from) = watch::channel(state(0));
        let (to, commands) = mpsc::channel(4);
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, from, to, stop.clone()));
        Served { dir, state, commands, stop }
    }

    impl Served {
        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.dir.path().join("s")).await.unwrap()
        }
    }

    #[tokio::test]
    async fn the_state_is_told_on_connection_and_on_every_change_and_commands_arrive() {
        let mut served = served();
        let streamer = Streamer::follow(served.dir.path().join("s"));
        let mut news = streamer.subscribe();
        news.wait_for(|told| *told == Some(state(0))).await.unwrap();
        served.state.send_replace(state(7));
        news.wait_for(|told| *told == Some(state(7))).await.unwrap();
        let set = Set { quality: Some(3), ..Set::default() };
        streamer.set(set);
        assert!(matches!(served.commands.recv().await, Some(Request::Set(got)) if got == set));
    }

    #[tokio::test]
    async fn an_order_is_answered_to_whom_it_came_from_and_to_nobody_else() {
        let mut served = served();
        let mut other = BufReader::new(served.connect().await);
        let path = served.dir.path().join("s");
        let asked = tokio::spawn(async move { client::streamer::order(&path, Order::Undo).await.unwrap() });
        let Some(Request::Edid(Order::Undo, answer)) = served.commands.recv().await else {
            panic!("no order")
        };
        let refused = Outcome::Refused { reason: client::streamer::Refusal::NoTrial, text: "no".into() };
        answer.send(refused.clone()).unwrap();
        assert_eq!(asked.await.unwrap(), refused);
        served.state.send_replace(state(9));
        loop {
            let told = line::read::<State>(&mut other).await.unwrap().unwrap(); // an answer would be no state
            if told == state(9) {
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_line_that_is_no_command_ends_the_connection_and_only_that() {
        let served = served();
        let mut other = BufReader::new(served.connect().await);
        line::read::<State>(&mut other).await.unwrap().unwrap();
        for bad in [&b"{\"set\":{\"quality\":\"high\"}}\n"[..], b"{}\n", b"\n", &[b'x'; line::LONGEST + 1]] {
            let mut stream = served.connect().await;
            let _ = stream.write_all(bad).await; // the server may close before it has read all of it
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        served.state.send_replace(state(9));
        assert_eq!(line::read::<State>(&mut other).await.unwrap(), Some(state(9)));
    }

    #[tokio::test]
    async fn no_more_connections_than_there_is_room_for_and_none_after_the_stop() {
        let served = served();
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = BufReader::new(served.connect().await);
            assert!(line::read::<State>(&mut stream).await.unwrap().is_some());
            open.push(stream);
        }
        let mut refused = BufReader::new(served.connect().await);
        assert!(!matches!(line::read::<State>(&mut refused).await, Ok(Some(_))));
        served.stop.cancel();
        for mut stream in open {
            assert!(matches!(line::read::<State>(&mut stream).await, Ok(None)));
        }
    }
}
