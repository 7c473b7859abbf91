//! Bodies on their way to and from a stream.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use adit_core::{
    http::headers,
    limits::{CHUNK_BYTES_MAX, Limits},
    wire::{
        codec::{DecodeError, EncodeError},
        exchange::{self, BodyFrame, BodyKind, Reply, RequestHead},
    },
};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::{
    access::Tally,
    progress::Progress,
    stream::{RecvStream, SendStream, StreamError},
    unread::{Held, Kept, Unread, Who},
};

/// A body as it comes off a stream, chunk by chunk and without a copy.
///
/// Flow control is the only back-pressure: what is not polled is not read, and what is not read the peer may
/// not send. Dropped before its end it stops the stream with [`Failure::Cancelled`](adit_core::failure::Failure::Cancelled).
#[derive(Debug)]
pub struct RecvBody {
    /// Gone where there is no body.
    stream: Option<Held>,
    limits: Limits,
    state: RecvState,
    /// Bytes still to come, where the head said how many.
    remaining: Option<u64>,
    /// Read ahead of whoever polls: what comes after the last byte.
    ahead: Option<Result<Frame<Bytes>, StreamError>>,
    tally: Option<Tally>,
    progress: Option<Arc<Progress>>,
    /// Tells whoever sends it to begin, where they wait for that.
    wanted: Option<Arc<Notify>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecvState {
    /// The next bytes are a frame.
    Frame,
    /// The next bytes are this much data.
    Data(u32),
    /// The body is complete, or broken and said so.
    Ended,
}

impl RecvBody {
    /// Reads a body of `kind` from a stream whose head has been read.
    pub fn new(stream: RecvStream, kind: BodyKind, limits: Limits) -> Self {
        let (state, remaining) = match kind {
            BodyKind::None => (RecvState::Ended, Some(0)),
            BodyKind::Length(length) => (RecvState::Frame, Some(length)),
            BodyKind::Stream => (RecvState::Frame, None),
        };
        Self { stream: Some(Held::Own(stream)), state, remaining, ..Self::none(limits) }
    }

    /// Makes a body that is over, of a request whose stream goes on as something else.
    pub fn none(limits: Limits) -> Self {
        Self {
            stream: None,
            limits,
            state: RecvState::Ended,
            remaining: Some(0),
            ahead: None,
            tally: None,
            progress: None,
            wanted: None,
        }
    }

    /// Has its reader stopped when it is too slow.
    pub fn watch(&mut self, unread: &Unread, who: Who) {
        self.watch_with(unread, who, || None);
    }

    /// [`RecvBody::watch`], and `kept` let go with the stream. A body that is over asks for neither.
    pub fn watch_with(&mut self, unread: &Unread, who: Who, kept: impl FnOnce() -> Kept) {
        if self.state != RecvState::Ended {
            self.stream = self.stream.take().map(|stream| stream.watched(unread, who, self.remaining, kept));
        }
    }

    /// Has its bytes counted as they are read.
    pub fn counted(mut self, tally: Tally) -> Self {
        self.tally = Some(tally);
        self
    }

    /// Has it taken down how it gets on.
    pub fn observed(mut self, progress: &Arc<Progress>) -> Self {
        self.progress = Some(Arc::clone(progress));
        self
    }

    /// Has whoever sends it wait for a word.
    pub fn wanted_by(mut self, wanted: Option<Arc<Notify>>) -> Self {
        self.wanted = wanted;
        self
    }

    /// Returns what gives that word, where they wait for it: RFC 9110 §10.1.1.
    pub fn wanted(&self) -> Option<Arc<Notify>> {
        self.wanted.clone()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(ahead));
        }
        loop {
            match self.state {
                RecvState::Ended => return Poll::Ready(None),
                RecvState::Data(0) => self.state = RecvState::Frame,
                RecvState::Data(left) => {
                    let data = ready!(self.stream()?.poll_data(cx, usize::try_from(left).unwrap_or(usize::MAX)))?;
                    // At most `left` bytes came, so this cannot wrap.
                    self.state = RecvState::Data(left - u32::try_from(data.len()).unwrap_or(left));
                    if let Some(tally) = &self.tally {
                        tally.add(data.len());
                    }
                    self.look_ahead(cx);
                    self.note_left();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                RecvState::Frame => {
                    if let Some(trailers) = ready!(self.poll_structure(cx))? {
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
            }
        }
    }

    fn stream(&mut self) -> Result<&mut Held, StreamError> {
        self.stream.as_mut().ok_or(StreamError::Truncated)
    }

    /// Tells whoever looks after the stream how much is to come.
    fn note_left(&self) {
        if let Some(stream) = &self.stream {
            stream.left(if self.state == RecvState::Ended { Some(0) } else { self.size_hint().exact() });
        }
    }

    /// Reads one frame: the length of the next data, the end, or trailers.
    fn poll_structure(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, StreamError>> {
        let limit = self.limits.head_frame_bytes_max();
        let frame = ready!(self.stream()?.poll_frame(cx, limit))?.ok_or(StreamError::Truncated)?;
        let trailers = match exchange::decode_body_frame(&frame, &self.limits)? {
            // Nothing waits for one, so a stream of them would never let anybody else run.
            BodyFrame::Data(0) => return Poll::Ready(Err(DecodeError::Invalid("an empty piece of a body").into())),
            BodyFrame::Data(length) => {
                if let Some(remaining) = &mut self.remaining {
                    *remaining = remaining.checked_sub(length.into()).ok_or(DecodeError::Invalid("the body length"))?;
                }
                self.state = RecvState::Data(length);
                return Poll::Ready(Ok(None));
            }
            BodyFrame::End => None,
            BodyFrame::Trailers(trailers) => Some(trailers),
        };
        if self.remaining.is_some_and(|remaining| remaining > 0) {
            return Poll::Ready(Err(StreamError::Truncated));
        }
        self.state = RecvState::Ended;
        self.note_left();
        self.stream()?.poll_end(cx)?;
        Poll::Ready(Ok(trailers))
    }

    /// Takes the end together with the last byte when it has arrived.
    ///
    /// hyper drops a body of known length after its last byte without asking for its end; unread, the end
    /// would be taken for a cancellation.
    fn look_ahead(&mut self, cx: &mut Context<'_>) {
        if self.state != RecvState::Data(0) || self.remaining != Some(0) {
            return;
        }
        self.state = RecvState::Frame;
        match self.poll_structure(cx) {
            Poll::Ready(Ok(Some(trailers))) => self.ahead = Some(Ok(Frame::trailers(trailers))),
            Poll::Ready(Err(error)) => self.ahead = Some(Err(error)),
            Poll::Ready(Ok(None)) | Poll::Pending => {}
        }
    }
}

impl Body for RecvBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let next = self.poll_next(cx);
        if let Some(progress) = &self.progress {
            if next.is_pending() {
                progress.starves();
            } else {
                progress.is_fed();
                progress.step();
            }
        }
        let next = ready!(next);
        if let Some(Err(error)) = &next {
            self.state = RecvState::Ended;
            if let Some(stream) = &self.stream {
                stream.judge(error);
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.state == RecvState::Ended && self.ahead.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let unread = if let RecvState::Data(left) = self.state { u64::from(left) } else { 0 };
        self.remaining.map_or_else(SizeHint::default, |remaining| SizeHint::with_exact(remaining + unread))
    }
}

/// Returns whether nothing more comes of a body, as hyper sees it: it does not ask for the end of one whose length it
/// knows.
pub fn is_over(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// Returns how a body is framed, from what it says of itself.
pub fn kind<B: Body>(body: &B) -> BodyKind {
    if body.is_end_stream() {
        return BodyKind::None;
    }
    body.size_hint().exact().map_or(BodyKind::Stream, BodyKind::Length)
}

/// A body whose bytes are counted as they are read.
#[derive(Debug)]
pub struct Counted<B> {
    body: B,
    tally: Option<Tally>,
}

impl<B: Body> Counted<B> {
    /// Counts a body; one that is empty costs nothing.
    pub fn new(body: B, tally: impl FnOnce() -> Tally) -> Self {
        let tally = (!body.is_end_stream()).then(tally);
        Self { body, tally }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let (Some(Ok(frame)), Some(tally)) = (&frame, &self.tally) {
            tally.add(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a body did not make it to the end of a stream.
#[derive(Debug)]
pub enum SendError<E> {
    /// It ended early where it came from.
    Source(E),
    /// It cannot be framed: trailers over the limits.
    Unencodable(EncodeError),
    /// The stream it goes to ended.
    Stream(StreamError),
}

/// A head and a body on their way to a stream, gathered so that what is ready leaves in one write.
///
/// Holds at most one chunk from the body and what of it did not fit into the last write.
#[derive(Debug)]
pub struct Outbox {
    limits: Limits,
    /// Frames and small data, back to back.
    small: BytesMut,
    /// What is to be written, in order, before `small`.
    ready: Vec<Bytes>,
    ready_bytes: usize,
    /// The rest of a chunk larger than one write.
    rest: Bytes,
}

/// Data up to this many bytes is copied behind its frame; larger data is passed on by reference.
const COPIED_BYTES_MAX: usize = 1024;

impl Outbox {
    /// Makes an empty one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, small: BytesMut::with_capacity(1024), ready: Vec::new(), ready_bytes: 0, rest: Bytes::new() }
    }

    /// Adds a request head.
    ///
    /// # Errors
    ///
    /// When it is over the limits.
    pub fn request(&mut self, head: &RequestHead) -> Result<(), EncodeError> {
        exchange::encode_request(head, &self.limits, &mut self.small)
    }

    /// Adds a reply.
    ///
    /// # Errors
    ///
    /// When its head is over the limits.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), EncodeError> {
        exchange::encode_reply(reply, &self.limits, &mut self.small)
    }

    /// Writes everything added so far as one piece.
    ///
    /// # Errors
    ///
    /// When the stream ended.
    pub async fn flush(&mut self, stream: &mut SendStream) -> Result<(), StreamError> {
        self.seal();
        stream.write(&mut self.ready).await?;
        self.ready.clear();
        self.ready_bytes = 0;
        Ok(())
    }

    /// Adds what the body has ready. Waits for the body only when there is nothing to write. Returns whether the body
    /// is complete.
    ///
    /// # Errors
    ///
    /// When the body ended early.
    pub async fn fill<B>(&mut self, body: &mut B) -> Result<bool, SendError<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        poll_fn(|cx| self.poll_fill(cx, body)).await
    }

    fn poll_fill<B>(&mut self, cx: &mut Context<'_>, body: &mut B) -> Poll<Result<bool, SendError<B::Error>>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        loop {
            self.take_rest()?;
            if self.len() >= CHUNK_BYTES_MAX {
                return Poll::Ready(Ok(false));
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending if self.len() == 0 => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(false)),
                Poll::Ready(None) => {
                    self.frame(&BodyFrame::End)?;
                    return Poll::Ready(Ok(true));
                }
                Poll::Ready(Some(frame)) => frame.map_err(SendError::Source)?,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    headers::strip_forbidden_trailers(&mut trailers);
                    self.frame(&BodyFrame::Trailers(trailers))?;
                    return Poll::Ready(Ok(true));
                }
            }
        }
    }

    /// Adds as much of the chunk in hand as fits into this write.
    fn take_rest<E>(&mut self) -> Result<(), SendError<E>> {
        let room = CHUNK_BYTES_MAX.saturating_sub(self.len());
        let length = self.rest.len().min(room);
        if length == 0 {
            return Ok(());
        }
        // At most CHUNK_BYTES_MAX.
        self.frame(&BodyFrame::Data(u32::try_from(length).unwrap_or(0)))?;
        let data = self.rest.split_to(length);
        if length <= COPIED_BYTES_MAX {
            self.small.extend_from_slice(&data);
        } else {
            self.seal();
            self.ready_bytes += length;
            self.ready.push(data);
        }
        Ok(())
    }

    fn frame<E>(&mut self, frame: &BodyFrame) -> Result<(), SendError<E>> {
        exchange::encode_body_frame(frame, &self.limits, &mut self.small).map_err(SendError::Unencodable)
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.ready_bytes += self.small.len();
            self.ready.push(self.small.split().freeze());
        }
    }

    fn len(&self) -> usize {
        self.ready_bytes + self.small.len()
    }
}
