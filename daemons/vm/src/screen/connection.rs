//! The owner of the screen's socket: connects, asks for updates in step, paints.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use log::{debug, info, warn};
use rfb_wire::message::{self, Area};
use rfb_wire::{Client, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::painter::Painter;
use super::{Leds, Settings};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Silence after which the server is asked for a sign of life.
const PROBE: Duration = Duration::from_secs(1);

pub(super) struct Owner {
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    pub(super) leds: watch::Sender<Option<Leds>>,
    /// `None` where only the lights are wanted.
    pub(super) painter: Option<Painter>,
}

impl Owner {
    pub(super) async fn run(mut self) {
        let mut pause = self.settings.retry_min;
        loop {
            match self.open().await {
                Ok(link) => {
                    info!("the machine's screen is connected");
                    pause = self.settings.retry_min;
                    let error = self.serve(link).await;
                    self.leds.send_if_modified(|leds| leds.take().is_some());
                    if let Some(painter) = &mut self.painter {
                        painter.disconnected();
                    }
                    match error {
                        Ok(()) => return,
                        Err(error) => warn!("lost the machine's screen: {error}"),
                    }
                }
                Err(error) => debug!("no screen at {}: {error}", self.path.display()),
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.leds.closed() => return,
            }
            pause = (pause * 2).min(self.settings.retry_max);
        }
    }

    async fn open(&mut self) -> io::Result<Link> {
        let handshake = async {
            let mut link = Link {
                stream: UnixStream::connect(&self.path).await?,
                client: Client::new(self.settings.limits),
                buffer: vec![0; CHUNK].into_boxed_slice(),
            };
            let mut connected = false;
            while !connected {
                link.receive(|event| {
                    connected |= matches!(event, Event::Connected { .. });
                    // The lights may come in the same breath.
                    take(&event, &self.leds, None);
                })
                .await?;
                link.flush().await?;
            }
            Ok(link)
        };
        timeout(self.settings.handshake, handshake).await?
    }

    /// Serves the connection until it fails; `Ok` when nobody wants it any more.
    async fn serve(&mut self, mut link: Link) -> io::Result<()> {
        if let Some(painter) = &mut self.painter {
            painter.resize(link.client.size());
            link.client.request_update(false);
        }
        let (mut asked, mut heard, mut probed) = (Instant::now(), Instant::now(), Instant::now());
        // An update is on its way: asking again before it came would only queue work in QEMU.
        let mut waiting = self.painter.is_some();
        loop {
            timeout(self.settings.handshake, link.flush()).await??;
            let nudge = self.settings.nudge;
            let wake = asked + if waiting { nudge } else { self.settings.interval };
            let timed = self.painter.is_some() && !(waiting && nudge.is_zero());
            let mut complete = false;
            tokio::select! {
                received = link.receive(|event| complete |= take(&event, &self.leds, self.painter.as_mut())) => {
                    received?;
                    heard = Instant::now();
                    waiting &= !complete;
                }
                () = sleep_until(wake), if timed => {
                    if waiting {
                        link.client.send(&message::cut_text_empty());
                        if heard.elapsed() > self.settings.handshake {
                            return Err(io::ErrorKind::TimedOut.into());
                        }
                        // One pixel, changed or not, is answered at once: silence means that QEMU hangs.
                        if heard.elapsed() > PROBE && probed.elapsed() > PROBE {
                            probed = Instant::now();
                            link.client.request_area(false, Area { x: 0, y: 0, width: 1, height: 1 });
                        }
                    } else {
                        link.client.request_update(true);
                    }
                    asked = Instant::now();
                    waiting = true;
                }
                () = self.leds.closed() => return Ok(()),
            }
        }
    }
}

/// Applies an event; whether it ended an update.
fn take(event: &Event<'_>, leds: &watch::Sender<Option<Leds>>, painter: Option<&mut Painter>) -> bool {
    if let Event::Leds(byte) = event {
        let new = Some(Leds::from_byte(*byte));
        leds.send_if_modified(|old| std::mem::replace(old, new) != new);
    }
    if let Some(painter) = painter {
        painter.paint(event);
    }
    *event == Event::UpdateDone
}

struct Link {
    stream: UnixStream,
    client: Client,
    buffer: Box<[u8]>,
}

impl Link {
    /// Reads once. Safe to cancel: bytes are taken by the machine in the same step as they are read.
    async fn receive(&mut self, sink: impl FnMut(Event<'_>)) -> io::Result<()> {
        let len = self.stream.read(&mut self.buffer).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.client.feed(&self.buffer[..len], sink).map_err(io::Error::other)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.client.take_output()).await
    }
}
