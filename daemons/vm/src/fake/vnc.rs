//! The fake screen.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    size: (u16, u16),
    pixel: [u8; 4],
    leds: u8,
}

/// A running fake: one colour everywhere, sent again in full after each change. Dropping it closes the socket and
/// its connections.
#[derive(Debug)]
pub struct Vnc {
    look: watch::Sender<Look>,
    hang_up: broadcast::Sender<()>,
    _stop: DropGuard,
}

impl Vnc {
    /// A black screen of this size in pixels, listening at `path`, whose old socket is replaced. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// The path cannot be listened at.
    pub fn listen(path: &Path, width: u16, height: u16) -> io::Result<Self> {
        drop(std::fs::remove_file(path));
        let listener = UnixListener::bind(path)?;
        let look = watch::Sender::new(Look { size: (width, height), pixel: [0; 4], leds: 0 });
        let hang_up = broadcast::Sender::new(1);
        let stop = CancellationToken::new();
        let accept = accept(listener, look.clone(), hang_up.clone(), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept));
        Ok(Self { look, hang_up, _stop: stop.drop_guard() })
    }

    /// Shows another colour: blue, green, red.
    pub fn paint(&self, [b, g, r]: [u8; 3]) {
        self.look.send_modify(|look| look.pixel = [b, g, r, 0]);
    }

    /// Changes the size, in pixels.
    pub fn resize(&self, width: u16, height: u16) {
        self.look.send_modify(|look| look.size = (width, height));
    }

    /// Sets the keyboard lights: scroll 1, num 2, caps 4.
    pub fn set_leds(&self, leds: u8) {
        self.look.send_modify(|look| look.leds = leds);
    }

    /// Ends every connection; the fake accepts new ones.
    pub fn hang_up(&self) {
        drop(self.hang_up.send(()));
    }
}

async fn accept(
    listener: UnixListener,
    look: watch::Sender<Look>,
    hang_up: broadcast::Sender<()>,
    stop: CancellationToken,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (look, mut hang_up) = (look.subscribe(), hang_up.subscribe());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            tokio::select! {
                // A client that leaves is no news.
                result = serve(stream, look) => drop(result),
                _ = hang_up.recv() => {}
            }
        }));
    }
}

async fn serve(mut stream: UnixStream, mut look: watch::Receiver<Look>) -> io::Result<()> {
    stream.write_all(b"RFB 003.008\n").await?;
    stream.read_exact(&mut [0; 12]).await?;
    stream.write_all(&[1, 1]).await?;
    stream.read_exact(&mut [0; 1]).await?;
    stream.write_all(&[0; 4]).await?;
    stream.read_exact(&mut [0; 1]).await?;
    let mut sent = *look.borrow_and_update();
    let mut init = size_bytes(sent.size).to_vec();
    init.extend_from_slice(&[0; 16]);
    init.extend_from_slice(&[0, 0, 0, 4, b'f', b'a', b'k', b'e']);
    stream.write_all(&init).await?;
    stream.write_all(&lights(sent.leds)).await?;
    // Whether a full picture, a change, or one pixel was asked for and not sent yet.
    let (mut full, mut change) = (false, false);
    loop {
        let now = *look.borrow_and_update();
        if now.leds != sent.leds {
            stream.write_all(&lights(now.leds)).await?;
            sent.leds = now.leds;
        }
        if full || (change && now != sent) {
            stream.write_all(&picture(now, now.size != sent.size)).await?;
            (full, change, sent) = (false, false, now);
        }
        tokio::select! {
            kind = stream.read_u8() => match kind? {
                0 => drop(stream.read_exact(&mut [0; 19]).await?),
                2 => {
                    stream.read_u8().await?;
                    let count = stream.read_u16().await?;
                    for _ in 0..count {
                        stream.read_i32().await?;
                    }
                }
                3 => {
                    let incremental = stream.read_u8().await? != 0;
                    stream.read_exact(&mut [0; 8]).await?;
                    full |= !incremental;
                    change |= incremental;
                }
                4 => drop(stream.read_exact(&mut [0; 7]).await?),
                5 => drop(stream.read_exact(&mut [0; 5]).await?),
                6 => {
                    stream.read_exact(&mut [0; 3]).await?;
                    for _ in 0..stream.read_u32().await? {
                        stream.read_u8().await?;
                    }
                }
                _ => return Err(io::ErrorKind::InvalidData.into()),
            },
            changed = look.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

fn size_bytes((width, height): (u16, u16)) -> [u8; 4] {
    let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
    [w[0], w[1], h[0], h[1]]
}

fn rect(size: (u16, u16), encoding: i32) -> Vec<u8> {
    [&[0; 4][..], &size_bytes(size), &encoding.to_be_bytes()].concat()
}

fn lights(leds: u8) -> Vec<u8> {
    [&[0, 0, 0, 1][..], &rect((0, 0), -261), &[leds]].concat()
}

fn picture(look: Look, resized: bool) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 1 + u8::from(resized)];
    if resized {
        bytes.extend(rect(look.size, -223));
    }
    bytes.extend(rect(look.size, 0));
    bytes.extend(look.pixel.repeat(usize::from(look.size.0) * usize::from(look.size.1)));
    bytes
}
