//! What a hostile peer does on a link, step by step: bytes in any order on any stream.

use std::time::Duration;

use adit_core::{
    limits::Limits,
    wire::exchange::{self, BodyKind, RequestHead, Scheme},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Version, uri::PathAndQuery};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::{sleep, timeout};

/// Enough to keep a few exchanges going, and less than a peer may have open at once.
const STREAMS_MAX: usize = 24;

/// Steps beyond these are left out: a script is to be short, so that many are tried.
const STEPS_MAX: usize = 64;

/// How long a write may wait for room, which it always has, and a read for bytes that may never come.
const PATIENCE: Duration = Duration::from_millis(2);

/// The hostile end of a link.
#[derive(Debug)]
pub struct Hostile {
    quic: Connection,
    control: (SendStream, RecvStream),
    streams: Vec<(SendStream, RecvStream)>,
    /// Whether anything was said that concerns the whole link.
    touched_link: bool,
}

/// What the script wants the node to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To ask an exchange without a body.
    Get,
    /// To ask one with a body.
    Post,
}

/// One step. A stream is named by a number, which stands for one of those that are open.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Open,
    Accept,
    Write(u8, &'a [u8]),
    Finish(u8),
    Reset(u8, u8),
    Stop(u8, u8),
    Read(u8, u8),
    Request,
    Control(&'a [u8]),
    FinishControl,
    Push(&'a [u8]),
    Datagram(&'a [u8]),
    Wait(u8),
    Ask(Ask),
    Close(u8),
}

impl Hostile {
    /// Takes over a connection and its control stream.
    pub fn new(quic: Connection, control: (SendStream, RecvStream)) -> Self {
        Self { quic, control, streams: Vec::new(), touched_link: false }
    }

    /// Returns whether only exchanges were disturbed.
    pub fn left_the_link_alone(&self) -> bool {
        !self.touched_link
    }

    /// Does what the script says. `ask` makes the node ask.
    pub async fn play(&mut self, script: &[u8], mut ask: impl FnMut(Ask)) {
        let mut rest = script;
        for _ in 0..STEPS_MAX {
            let Some(step) = next(&mut rest) else { return };
            // What a step fails with is the node's answer to an earlier one.
            self.take(step, &mut ask).await;
        }
    }

    /// Asks as a well-behaved peer does, and returns whether there is an answer.
    pub async fn is_answered(&self) -> bool {
        let asked = async {
            let (mut send, mut recv) = self.quic.open_bi().await.ok()?;
            send.write_all(&request()).await.ok()?;
            send.finish().ok()?;
            recv.read_to_end(64 * 1024).await.ok().filter(|answer| !answer.is_empty())
        };
        timeout(Duration::from_secs(1), asked).await.is_ok_and(|answer| answer.is_some())
    }

    /// Returns why the connection is closed, where it is.
    pub fn closed(&self) -> Option<quinn::ConnectionError> {
        self.quic.close_reason()
    }

    async fn take(&mut self, step: Step<'_>, ask: &mut impl FnMut(Ask)) {
        match step {
            Step::Open => self.open(&[]).await,
            Step::Request => self.open(&request()).await,
            Step::Accept => {
                if let Ok(Ok(stream)) = timeout(PATIENCE, self.quic.accept_bi()).await {
                    self.streams.push(stream);
                }
            }
            Step::Write(number, bytes) => {
                if let Some((send, _)) = self.stream(number) {
                    let _ = timeout(PATIENCE, send.write_all(bytes)).await;
                }
            }
            Step::Finish(number) => {
                let _ = self.stream(number).map(|(send, _)| send.finish());
            }
            Step::Reset(number, code) => {
                let _ = self.stream(number).map(|(send, _)| send.reset(VarInt::from(code)));
            }
            Step::Stop(number, code) => {
                let _ = self.stream(number).map(|(_, recv)| recv.stop(VarInt::from(code)));
            }
            Step::Read(number, most) => {
                if let Some((_, recv)) = self.stream(number) {
                    let _ = timeout(PATIENCE, recv.read_chunk(usize::from(most), true)).await;
                }
            }
            Step::Control(bytes) => {
                self.touched_link = true;
                let _ = timeout(PATIENCE, self.control.0.write_all(bytes)).await;
            }
            Step::FinishControl => {
                self.touched_link = true;
                let _ = self.control.0.finish();
            }
            Step::Push(bytes) => {
                self.touched_link = true;
                if let Ok(Ok(mut push)) = timeout(PATIENCE, self.quic.open_uni()).await {
                    let _ = timeout(PATIENCE, push.write_all(bytes)).await;
                    let _ = push.finish();
                }
            }
            Step::Datagram(bytes) => {
                // One of more than a byte is against what was agreed on.
                self.touched_link = true;
                let _ = self.quic.send_datagram(Bytes::copy_from_slice(bytes));
            }
            Step::Wait(length) => sleep(Duration::from_micros(100) * u32::from(length % 64)).await,
            Step::Ask(what) => ask(what),
            Step::Close(code) => {
                self.touched_link = true;
                self.quic.close(VarInt::from(code), b"enough");
            }
        }
    }

    async fn open(&mut self, bytes: &[u8]) {
        if self.streams.len() >= STREAMS_MAX {
            return;
        }
        if let Ok(Ok(mut stream)) = timeout(PATIENCE, self.quic.open_bi()).await {
            let _ = timeout(PATIENCE, stream.0.write_all(bytes)).await;
            self.streams.push(stream);
        }
    }

    fn stream(&mut self, number: u8) -> Option<&mut (SendStream, RecvStream)> {
        let count = self.streams.len().max(1);
        self.streams.get_mut(usize::from(number) % count)
    }
}

/// Takes the next step off a script.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Step<'a>> {
    let step = match byte(rest)? % 16 {
        0 => Step::Open,
        1 => Step::Accept,
        2 | 3 => Step::Write(byte(rest)?, bytes(rest)?),
        4 => Step::Finish(byte(rest)?),
        5 => Step::Reset(byte(rest)?, byte(rest)?),
        6 => Step::Stop(byte(rest)?, byte(rest)?),
        7 => Step::Read(byte(rest)?, byte(rest)?),
        8 => Step::Request,
        9 => Step::Control(bytes(rest)?),
        10 => Step::FinishControl,
        11 => Step::Push(bytes(rest)?),
        12 => Step::Datagram(bytes(rest)?),
        13 => Step::Wait(byte(rest)?),
        14 => Step::Ask(if byte(rest)? % 2 == 0 { Ask::Get } else { Ask::Post }),
        _ => Step::Close(byte(rest)?),
    };
    Some(step)
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, behind) = rest.split_first()?;
    *rest = behind;
    Some(*first)
}

/// One byte of length, then so many bytes, or what is left.
fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(byte(rest)?).min(rest.len());
    let (bytes, behind) = rest.split_at(length);
    *rest = behind;
    Some(bytes)
}

/// A request without a body, that nothing is wrong with.
pub fn head() -> RequestHead {
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: "a.example".to_owned(),
        target: PathAndQuery::from_static("/"),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        body: BodyKind::None,
        upgrade: None,
        visitor: ([192, 0, 2, 1], 9).into(),
        remaining_ms: 1_000,
    }
}

fn request() -> Bytes {
    let mut bytes = BytesMut::new();
    exchange::encode_request(&head(), &Limits::default(), &mut bytes).expect("a request within the limits");
    bytes.freeze()
}
