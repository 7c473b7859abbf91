//! One stream of a link, byte by byte.

use std::net::Ipv4Addr;

use adit_core::{
    failure::Failure,
    limits::{CONTROL_FRAME_BYTES_MAX, Limits},
    wire::{
        codec,
        exchange::{self, BodyKind, Reply, RequestHead, Scheme},
    },
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Version, uri::PathAndQuery};
use quinn::{ReadError, RecvStream, SendStream, VarInt};

use crate::{visitor::HOST, wait::within};

/// One bidirectional stream, as quinn has it.
#[derive(Debug)]
pub struct Stream {
    /// What is written.
    pub send: SendStream,
    /// What is read.
    pub recv: RecvStream,
}

impl Stream {
    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within("room on a stream", self.send.write_all(bytes.as_ref())).await.expect("a stream that is open");
    }

    /// Says that this was all. The other end may not want it.
    pub fn finish(&mut self) {
        let _ = self.send.finish();
    }

    /// Resets what is written, with any code.
    pub fn abandon(&mut self, code: u32) {
        self.send.reset(VarInt::from_u32(code)).expect("a stream that is open");
    }

    /// Wants no more of what is read, with any code.
    pub fn unwant(&mut self, code: u32) {
        self.recv.stop(VarInt::from_u32(code)).expect("a stream that is open");
    }

    /// Answers with a reply, and possibly more.
    pub async fn answer(&mut self, reply: &Reply, rest: impl AsRef<[u8]>) {
        let mut bytes = BytesMut::new();
        exchange::encode_reply(reply, &Limits::default(), &mut bytes).unwrap();
        bytes.extend_from_slice(rest.as_ref());
        self.write(bytes).await;
    }

    /// Reads the message of the next frame; `None` at the end, and when the stream breaks.
    pub async fn try_frame(&mut self) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        loop {
            if let Some(length) = codec::frame_length(&bytes, CONTROL_FRAME_BYTES_MAX * 2).ok()?
                && bytes.len() == length.prefix + length.message
            {
                return Some(bytes.freeze().slice(length.prefix..));
            }
            let mut byte = [0];
            self.recv.read(&mut byte).await.ok()??;
            bytes.extend_from_slice(&byte);
        }
    }

    /// Reads the message of the next frame, or `None` at the end.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let mut bytes = BytesMut::new();
        loop {
            if let Some(length) = codec::frame_length(&bytes, CONTROL_FRAME_BYTES_MAX * 2).unwrap()
                && bytes.len() == length.prefix + length.message
            {
                return Some(bytes.freeze().slice(length.prefix..));
            }
            // One byte at a time reads nothing of what comes after the frame.
            let mut byte = [0];
            let read = within("the next byte of a frame", self.recv.read(&mut byte)).await;
            read.expect("a stream that is open")?;
            bytes.extend_from_slice(&byte);
        }
    }

    /// Reads the head of a request.
    pub async fn request(&mut self) -> RequestHead {
        let frame = self.frame().await.expect("a request");
        exchange::decode_request(&frame, &Limits::default()).unwrap()
    }

    /// Reads a reply.
    pub async fn reply(&mut self) -> Reply {
        let frame = self.frame().await.expect("a reply");
        exchange::decode_reply(&frame, &Limits::default()).unwrap()
    }

    /// Waits until the other end resets what it sends, and returns for what failure.
    pub async fn reset(&mut self) -> Option<Failure> {
        match within("the stream to be reset", self.recv.read_to_end(usize::MAX)).await {
            Err(quinn::ReadToEndError::Read(ReadError::Reset(code))) => failure(code),
            other => panic!("{other:?} instead of a reset"),
        }
    }

    /// Waits until the other end wants no more of what is sent to it, and returns for what failure.
    pub async fn stopped(&mut self) -> Option<Failure> {
        let code = within("the stream to be stopped", self.send.stopped()).await.expect("a connection that is open");
        failure(code.expect("a stream that is stopped"))
    }
}

fn failure(code: VarInt) -> Option<Failure> {
    Failure::from_reset_code(code.into_inner())
}

/// Encodes a request without a body.
pub fn request(path: &str) -> Bytes {
    encoded(Method::GET, path, BodyKind::None)
}

/// Encodes a request whose body follows.
pub fn upload(path: &str) -> Bytes {
    encoded(Method::POST, path, BodyKind::Stream)
}

fn encoded(method: Method, path: &str, body: BodyKind) -> Bytes {
    let mut bytes = BytesMut::new();
    exchange::encode_request(&head(method, path, body), &Limits::default(), &mut bytes).unwrap();
    bytes.freeze()
}

/// Makes the head of a request.
pub fn head(method: Method, path: &str, body: BodyKind) -> RequestHead {
    RequestHead {
        method,
        scheme: Scheme::Http,
        authority: HOST.to_owned(),
        target: PathAndQuery::try_from(path).unwrap(),
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        upgrade: None,
        body,
        visitor: (Ipv4Addr::LOCALHOST, 1).into(),
        remaining_ms: 60_000,
    }
}
