//! What a client of the media WebSocket is sent: WebSocket frames, made here so that pictures are shared and not copied.

use crate::streamer::frames::{Frames, Shot, Viewer};
use auth::{Access, Hold};
use bytes::Bytes;
use futures_util::{Stream, stream};
use model::{
    event::BINARY_PONG,
    media::{self, FRAME, Format},
};
use std::{collections::VecDeque, convert::Infallible};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the reader found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// The client wants frames.
    Start,
    /// It wants an answer.
    Pong,
    /// It sent a ping of the protocol.
    Echo(Bytes),
    /// It has been silent for long.
    Ask,
}

/// Kinds of WebSocket frames (RFC 6455).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// One client's side.
pub(super) struct Outgoing {
    frames: Frames,
    viewer: Option<Viewer>,
    /// Every message is a frame, and there is nothing else.
    raw: bool,
    orders: mpsc::Receiver<Order>,
    access: Option<Access>,
    _hold: Option<Hold>,
    stop: CancellationToken,
    pending: VecDeque<Bytes>,
    over: bool,
}

impl Outgoing {
    pub(super) fn new(
        frames: Frames,
        raw: Option<Format>,
        orders: mpsc::Receiver<Order>,
        (access, hold): (Option<Access>, Option<Hold>),
        stop: CancellationToken,
    ) -> Self {
        let viewer = (raw == Some(Format::Jpeg)).then(|| frames.watch());
        let raw = raw.is_some();
        let pending = VecDeque::new();
        let mut outgoing =
            Self { frames, viewer, raw, orders, access, _hold: hold, stop, pending, over: false };
        if !raw {
            outgoing.push(Kind::Text, &[], media::hello().text().into());
        }
        outgoing
    }

    /// The body of the answer. It ends with the client, with its session or token, or with the daemon.
    pub(super) fn body(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, async |mut outgoing| {
            while outgoing.pending.is_empty() {
                if outgoing.over {
                    return None;
                }
                outgoing.next().await;
            }
            outgoing.pending.pop_front().map(|piece| (Ok(piece), outgoing))
        })
    }

    async fn next(&mut self) {
        let ended = async {
            match &self.access {
                Some(access) => access.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => self.close(1001),
            () = ended => self.close(1008),
            order = self.orders.recv() => match order {
                Some(order) => self.obey(order),
                None => self.close(1000),
            },
            shot = next_of(&mut self.viewer) => match shot {
                Some(shot) if self.raw => self.push(Kind::Binary, &[], shot.data.clone()),
                // The flag tells key frames; the contract's server leaves it off for JPEG.
                Some(shot) => self.push(Kind::Binary, &[FRAME, 0], shot.data.clone()),
                // There will be no more, ever: but there is still somebody to answer.
                None => self.viewer = None,
            },
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start => {
                if self.viewer.is_none() {
                    self.viewer = Some(self.frames.watch());
                }
            }
            Order::Pong => self.push(Kind::Binary, &[], Bytes::from_static(BINARY_PONG)),
            Order::Echo(payload) => self.push(Kind::Pong, &[], payload),
            Order::Ask => self.push(Kind::Ping, &[], Bytes::new()),
        }
    }

    fn close(&mut self, code: u16) {
        self.push(Kind::Close, &code.to_be_bytes(), Bytes::new());
        self.over = true;
    }

    fn push(&mut self, kind: Kind, begin: &[u8], rest: Bytes) {
        let mut head = head(kind, begin.len() as u64 + rest.len() as u64);
        head.extend_from_slice(begin);
        self.pending.push_back(head.into());
        if !rest.is_empty() {
            self.pending.push_back(rest);
        }
    }
}

/// The next frame; never, for who wants none.
async fn next_of(viewer: &mut Option<Viewer>) -> Option<std::sync::Arc<Shot>> {
    match viewer {
        Some(viewer) => viewer.next().await,
        None => std::future::pending().await,
    }
}

/// The head of a whole, unmasked WebSocket frame.
#[expect(clippy::cast_possible_truncation, reason = "each arm holds what it is given")]
fn head(kind: Kind, len: u64) -> Vec<u8> {
    let mut head = vec![0x80 | kind as u8];
    match len {
        0..126 => head.push(len as u8),
        126..=0xFFFF => {
            head.push(126);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&len.to_be_bytes());
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streamer::{bench, frames::FramesThread};
    use futures_util::StreamExt;
    use proptest::prelude::*;
    use tungstenite::{Message, WebSocket, protocol::Role};

    struct Bench {
        writer: frames::Writer,
        frames: Frames,
        _thread: FramesThread,
        stop: CancellationToken,
    }

    fn begin() -> Bench {
        let ring = frames::create(2, 1 << 18).unwrap();
        let writer = frames::Writer::attach(&ring).unwrap();
        let (frames, thread) = Frames::start(&ring).unwrap();
        Bench { writer, frames, _thread: thread, stop: CancellationToken::new() }
    }

    impl Bench {
        fn client(&self, raw: Option<Format>) -> (Outgoing, mpsc::Sender<Order>) {
            let (orders, inbox) = mpsc::channel(ORDERS_IN_TESTS);
            (Outgoing::new(self.frames.clone(), raw, inbox, (None, None), self.stop.clone()), orders)
        }

        fn publish(&mut self, data: &[u8]) {
            self.writer.publish(&bench::meta(true), data).unwrap();
        }
    }

    const ORDERS_IN_TESTS: usize = 16;

    /// As another implementation reads it.
    fn decode(bytes: &[u8]) -> Message {
        let stream = std::io::Cursor::new(bytes.to_vec());
        WebSocket::from_raw_socket(stream, Role::Client, None).read().unwrap()
    }

    /// The next message, whatever it is made of.
    async fn message(body: &mut (impl Stream<Item = Result<Bytes, Infallible>> + Unpin)) -> Message {
        let mut bytes = Vec::new();
        loop {
            bytes.extend_from_slice(&body.next().await.unwrap().unwrap());
            let len = match bytes[1] {
                126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
                127 => 10 + usize::try_from(u64::from_be_bytes(bytes[2..10].try_into().unwrap())).unwrap(),
                len => 2 + usize::from(len),
            };
            if bytes.len() == len {
                return decode(&bytes);
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_asks_for_frames_gets_each_behind_its_two_bytes() {
        let mut bench = begin();
        let (outgoing, orders) = bench.client(None);
        let mut body = Box::pin(outgoing.body());
        assert_eq!(message(&mut body).await, Message::text(media::hello().text()));
        orders.send(Order::Pong).await.unwrap();
        assert_eq!(message(&mut body).await, Message::binary(&[0xFF_u8][..]));
        bench.publish(b"JPEG");
        orders.send(Order::Start).await.unwrap();
        assert_eq!(message(&mut body).await, Message::binary(&b"\x01\x00JPEG"[..]));
        orders.send(Order::Start).await.unwrap();
        bench.publish(&[7; 70_000]);
        assert_eq!(message(&mut body).await.len(), 70_002, "and starting twice is starting once");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_raw_client_gets_nothing_but_frames() {
        let mut bench = begin();
        bench.publish(b"JPEG");
        let (outgoing, _orders) = bench.client(Some(Format::Jpeg));
        let mut body = Box::pin(outgoing.body());
        assert_eq!(message(&mut body).await, Message::binary(&b"JPEG"[..]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_does_not_read_gets_the_newest_frame_then() {
        let mut bench = begin();
        let (outgoing, orders) = bench.client(None);
        let mut body = Box::pin(outgoing.body());
        message(&mut body).await;
        orders.send(Order::Start).await.unwrap();
        bench.publish(b"first");
        assert_eq!(message(&mut body).await, Message::binary(&b"\x01\x00first"[..]));
        let mut other = bench.frames.watch();
        for number in 0..100 {
            bench.publish(format!("{number}").as_bytes());
        }
        while other.next().await.unwrap().data != "99" {}
        assert_eq!(message(&mut body).await, Message::binary(&b"\x01\x0099"[..]));
    }

    #[tokio::test]
    async fn a_client_is_told_goodbye_when_it_left_and_when_the_daemon_stops() {
        let frames = Frames::none();
        for stops in [false, true] {
            let (orders, inbox) = mpsc::channel(1);
            let stop = CancellationToken::new();
            let mut body = Box::pin(
                Outgoing::new(frames.clone(), Some(Format::H264), inbox, (None, None), stop.clone()).body(),
            );
            if stops {
                stop.cancel();
            } else {
                drop(orders);
            }
            assert!(matches!(message(&mut body).await, Message::Close(Some(_))));
            assert!(body.next().await.is_none());
        }
    }

    proptest! {
        #[test]
        fn another_implementation_reads_every_length(len in prop_oneof![0_usize..300, 65_000_usize..66_000]) {
            let mut bytes = head(Kind::Binary, len as u64);
            bytes.resize(bytes.len() + len, 7);
            prop_assert_eq!(decode(&bytes), Message::binary(vec![7; len]));
        }
    }
}
