//! Bodies in any shape: empty, whole, in chunks, driven by hand.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::wait::within;

/// A body of any shape, for requests and responses alike.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// The error of a body that breaks off on purpose.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the test cut this body")
    }
}

impl std::error::Error for Cut {}

/// Makes a body of no bytes.
pub fn empty() -> Body {
    Empty::new().map_err(impossible).boxed_unsync()
}

/// Makes a body whose length is known before it is sent.
pub fn full(data: impl Into<Bytes>) -> Body {
    Full::new(data.into()).map_err(impossible).boxed_unsync()
}

/// Makes a body whose length nobody knows before its end.
pub fn chunked(chunks: impl IntoIterator<Item = Bytes>) -> Body {
    streamed(chunks, None)
}

/// Makes a body of unknown length that has fields after its end.
pub fn with_trailers(chunks: impl IntoIterator<Item = Bytes>, trailers: &[(&'static str, &'static str)]) -> Body {
    streamed(chunks, Some(fields(trailers)))
}

/// Makes a body of unknown length that has any fields after its end.
pub fn with_trailer_fields(chunks: impl IntoIterator<Item = Bytes>, trailers: HeaderMap) -> Body {
    streamed(chunks, Some(trailers))
}

fn streamed(chunks: impl IntoIterator<Item = Bytes>, trailers: Option<HeaderMap>) -> Body {
    let frames = chunks.into_iter().map(Frame::data).chain(trailers.map(Frame::trailers));
    Frames(frames.collect()).boxed_unsync()
}

/// Makes a body whose chunks the test sends one by one.
pub fn by_hand() -> (Chunks, Body) {
    let (chunks, frames) = mpsc::channel(1);
    (Chunks(chunks), ByHand(frames).boxed_unsync())
}

/// Passes on a body that is being received.
pub fn received(body: Incoming) -> Body {
    body.map_err(|_| Cut).boxed_unsync()
}

/// Makes bytes that look like noise and are the same every time.
pub fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut data = Vec::with_capacity(length + 8);
    while data.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(length);
    data.into()
}

/// Cuts bytes into chunks of at most `length`.
pub fn chunks_of(data: &Bytes, length: usize) -> Vec<Bytes> {
    let starts = (0..data.len()).step_by(length);
    starts.map(|start| data.slice(start..data.len().min(start + length))).collect()
}

/// Makes header fields.
pub fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter();
    fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn impossible(never: Infallible) -> Cut {
    match never {}
}

struct Frames(VecDeque<Frame<Bytes>>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

struct ByHand(mpsc::Receiver<Result<Frame<Bytes>, Cut>>);

impl HttpBody for ByHand {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.poll_recv(cx)
    }
}

/// The hand that drives a body. Dropping it ends the body.
#[derive(Debug)]
pub struct Chunks(mpsc::Sender<Result<Frame<Bytes>, Cut>>);

impl Chunks {
    /// Sends one chunk.
    ///
    /// # Panics
    ///
    /// When nobody reads the body.
    pub async fn send(&self, chunk: impl Into<Bytes>) {
        let sent = within("somebody to take a chunk", self.0.send(Ok(Frame::data(chunk.into())))).await;
        assert!(sent.is_ok(), "nobody reads the body any more");
    }

    /// Sends one chunk, and returns whether anybody reads the body.
    pub async fn try_send(&self, chunk: impl Into<Bytes>) -> bool {
        within("somebody to take a chunk", self.0.send(Ok(Frame::data(chunk.into())))).await.is_ok()
    }

    /// Sends one chunk, however long that takes, and returns whether anybody reads the body.
    pub async fn try_send_patiently(&self, chunk: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(chunk.into()))).await.is_ok()
    }

    /// Breaks the body off.
    pub async fn cut(self) {
        // Who has gone already does not need to be told.
        let _ = within("somebody to take the end of a body", self.0.send(Err(Cut))).await;
    }

    /// Waits until nobody wants the body any more.
    pub async fn unwanted(&self) {
        within("a body to be unwanted", self.0.closed()).await;
    }
}
