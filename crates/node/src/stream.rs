//! The two halves of a QUIC stream. The only file that names quinn's stream types.
//!
//! quinn finishes a send stream that is dropped, which would make a cut body look complete, and stops a
//! receive stream with code 0, which tells nobody why. Both halves here say why instead: a
//! [`Failure`] code, [`Failure::Cancelled`] unless told otherwise.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use adit_core::{
    conduct::Act,
    failure::Failure,
    limits::CHUNK_BYTES_MAX,
    wire::codec::{self, DecodeError},
};
use bytes::{Bytes, BytesMut};
use quinn::VarInt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{conduct::Conduct, tail::Tail};

/// Why a stream ended early.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer gave up and said why.
    #[error("the peer gave up: {0}")]
    Peer(Failure),
    /// The peer gave up with a code that no version of adit sends.
    #[error("the peer gave up without a reason (code {0})")]
    PeerUnexplained(u64),
    /// The link was lost.
    #[error("the link was lost")]
    LinkLost,
    /// Whoever reads it took nothing for too long, and was stopped.
    #[error("the body was not read for too long")]
    TooSlow,
    /// The stream ended before what it carries was complete.
    #[error("the stream ended too early")]
    Truncated,
    /// What the peer sent is not the protocol.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl StreamError {
    /// Returns what the failure of the stream means for the exchange on it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Peer(failure) => *failure,
            Self::PeerUnexplained(_) => Failure::Protocol,
            Self::LinkLost => Failure::LinkLost,
            Self::TooSlow => Failure::SlowReader,
            Self::Truncated => Failure::Protocol,
            Self::Malformed(_) => Failure::Protocol,
        }
    }

    fn from_code(code: VarInt) -> Self {
        match Failure::from_reset_code(code.into_inner()) {
            Some(failure) => Self::Peer(failure),
            None => Self::PeerUnexplained(code.into_inner()),
        }
    }
}

/// How many bytes of bodies one link may have under way, sent and not acknowledged or waiting for their turn: what the
/// peer's windows allow for all streams together is more than a machine has.
const UNDER_WAY_BYTES_MIN: usize = 64 * 1024 * 1024;

/// How much of a stream does not count, so that small exchanges wait for no large one.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// The room for what the streams of one link have under way.
#[derive(Clone, Debug)]
pub struct Sending(Arc<Semaphore>);

impl Sending {
    /// Makes room for at least 64 MiB, and for two writes of each of `streams`: a stream whose reader is blocked keeps
    /// the room for one.
    pub fn new(streams: u32) -> Self {
        let writes = usize::try_from(streams).unwrap_or(usize::MAX).saturating_mul(2 * CHUNK_BYTES_MAX);
        Self(Arc::new(Semaphore::new(writes.clamp(UNDER_WAY_BYTES_MIN, Semaphore::MAX_PERMITS))))
    }

    /// Waits for room for `chunk`, which takes it until the peer has acknowledged all of it. Cancel-safe.
    pub(crate) async fn room_for(&self, chunk: Bytes) -> Bytes {
        let bytes = u32::try_from(chunk.len().min(UNDER_WAY_BYTES_MIN)).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).acquire_many_owned(bytes).await {
            Ok(room) => Bytes::from_owner(UnderWay { chunk, _room: room }),
            // Nobody closes it.
            Err(_) => chunk,
        }
    }
}

/// A chunk, and the room that it takes.
struct UnderWay {
    chunk: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for UnderWay {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

/// The half that is written. Resets the stream when dropped before [`SendStream::finish`].
#[derive(Debug)]
pub struct SendStream {
    inner: quinn::SendStream,
    tail: Option<Tail>,
    sending: Option<Sending>,
    /// Bytes written, until they are no longer few.
    written: usize,
    finished: bool,
}

impl SendStream {
    /// Takes over a stream that was opened or accepted.
    pub fn new(inner: quinn::SendStream) -> Self {
        Self { inner, tail: None, sending: None, written: 0, finished: false }
    }

    /// Has it share the room for what is under way.
    #[must_use]
    pub fn within(mut self, sending: Sending) -> Self {
        self.sending = Some(sending);
        self
    }

    /// Has what is written followed by probes.
    #[must_use]
    pub fn with_tail(mut self, tail: Tail) -> Self {
        self.tail = Some(tail);
        self
    }

    /// Returns the number that both ends of the link know the stream by.
    pub fn id(&self) -> u64 {
        VarInt::from(self.inner.id()).into_inner()
    }

    /// Writes all of `chunks` as one piece, as far as flow control allows, without copying them. Waits for room on the
    /// link as well, once the stream has carried more than a little.
    ///
    /// Not cancel-safe: dropped early, some chunks may have been written.
    ///
    /// # Errors
    ///
    /// When the peer stopped the stream or the link is lost.
    pub async fn write(&mut self, chunks: &mut [Bytes]) -> Result<(), StreamError> {
        if let Some(sending) = &self.sending {
            for chunk in &mut *chunks {
                self.written = self.written.saturating_add(chunk.len());
                if self.written > SMALL_BYTES_MAX {
                    *chunk = sending.room_for(std::mem::take(chunk)).await;
                }
            }
        }
        let written = self.inner.write_all_chunks(chunks).await.map_err(from_write);
        self.wrote();
        written
    }

    /// Writes some raw bytes.
    ///
    /// # Errors
    ///
    /// When the peer stopped the stream or the link is lost.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamError>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes));
        self.wrote();
        Poll::Ready(written.map_err(from_write))
    }

    /// Tells the peer that the stream is complete. Does not wait until the peer has it all.
    pub fn finish(mut self) {
        self.end();
    }

    /// [`SendStream::finish`] for those who keep it.
    pub fn end(&mut self) {
        // Fails only on a stream that the peer has stopped: then there is nothing to tell.
        let _ = self.inner.finish();
        self.finished = true;
        self.wrote();
    }

    fn wrote(&self) {
        if let Some(tail) = &self.tail {
            tail.wrote();
        }
    }

    /// Gives up, and tells the peer why.
    pub fn reset(mut self, why: Failure) {
        // As above.
        let _ = self.inner.reset(VarInt::from_u32(why.reset_code()));
        self.finished = true;
    }

    /// Returns a future that waits until the peer wants no more of this stream, or the link is lost. Cancel-safe.
    ///
    /// It never ends for a peer that has received everything up to the end.
    pub fn stopped(&self) -> impl Future<Output = StreamError> + Send + use<> {
        let stopped = self.inner.stopped();
        async move {
            match stopped.await {
                Ok(Some(code)) => StreamError::from_code(code),
                Ok(None) => std::future::pending().await,
                Err(_) => StreamError::LinkLost,
            }
        }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.finished {
            // Fails only on a stream that is closed already.
            let _ = self.inner.reset(VarInt::from_u32(Failure::Cancelled.reset_code()));
        }
    }
}

/// The half that is read. Stops the stream when dropped before its end.
#[derive(Debug)]
pub struct RecvStream {
    inner: quinn::RecvStream,
    /// Read from quinn and not yet used.
    buffer: Bytes,
    ended: bool,
    part: Option<Part>,
}

/// Which part this node has in the exchange on a stream.
#[derive(Debug)]
enum Part {
    /// It asks, and has no answer yet.
    Asks(Conduct),
    /// It asked, and was answered.
    Asked(Conduct),
    /// It answers.
    Answers(Conduct),
}

impl RecvStream {
    /// Takes over a stream that was opened or accepted.
    pub fn new(inner: quinn::RecvStream) -> Self {
        Self { inner, buffer: Bytes::new(), ended: false, part: None }
    }

    /// Has it take down how this node behaves, who asks, and how the peer answers.
    #[must_use]
    pub fn asking(mut self, conduct: Conduct) -> Self {
        self.part = Some(Part::Asks(conduct));
        self
    }

    /// Has it take down how the peer behaves, who asks.
    #[must_use]
    pub fn answering(mut self, conduct: Conduct) -> Self {
        self.part = Some(Part::Answers(conduct));
        self
    }

    /// Returns where the peer's conduct is taken down.
    pub fn conduct(&self) -> Option<Conduct> {
        match &self.part {
            Some(Part::Asks(conduct) | Part::Asked(conduct) | Part::Answers(conduct)) => Some(conduct.clone()),
            None => None,
        }
    }

    /// Takes down that the peer has answered what this node asked.
    pub fn answered(&mut self) {
        if let Some(Part::Asks(conduct)) = &self.part {
            conduct.ended();
            self.part = Some(Part::Asked(conduct.clone()));
        }
    }

    /// Takes down that what the peer sent is no exchange.
    pub fn broke(&self) {
        self.note(Act::BrokeStream);
    }

    /// Takes down what an error says of the peer.
    pub fn judge(&self, error: &StreamError) {
        match error {
            // Limits may differ, and a visitor's head be within one and over the other.
            StreamError::Malformed(DecodeError::TooLong { .. }) => self.note(Act::AbandonedExchange),
            StreamError::Malformed(_) | StreamError::Truncated => self.broke(),
            StreamError::Peer(_) | StreamError::PeerUnexplained(_) => {
                if let Some(Part::Answers(_)) = &self.part {
                    self.note(Act::AbandonedExchange);
                }
            }
            StreamError::LinkLost | StreamError::TooSlow => {}
        }
    }

    fn note(&self, act: Act) {
        if let Some(conduct) = self.conduct() {
            conduct.note(act);
        }
    }

    /// Reads the message of the next frame, or `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    ///
    /// When the frame is over `limit` bytes, the stream ends within it, or the link is lost.
    pub async fn frame(&mut self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        std::future::poll_fn(|cx| self.poll_frame(cx, limit)).await
    }

    /// [`RecvStream::frame`] for those who poll.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        loop {
            let length = codec::frame_length(&self.buffer, limit)?;
            if let Some(length) = length.filter(|length| self.buffer.len() >= length.prefix + length.message) {
                let frame = self.buffer.split_to(length.prefix + length.message);
                return Poll::Ready(Ok(Some(frame.slice(length.prefix..))));
            }
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(if self.buffer.is_empty() { Ok(None) } else { Err(StreamError::Truncated) });
            }
        }
    }

    /// Reads raw bytes: at least one and at most `max`. Cancel-safe, and without a copy.
    ///
    /// # Errors
    ///
    /// When the stream ends or the link is lost.
    pub fn poll_data(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Bytes, StreamError>> {
        self.poll_some(cx, max).map(|data| data?.ok_or(StreamError::Truncated))
    }

    /// [`RecvStream::poll_data`], or `None` at the end of the stream.
    pub fn poll_some(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        while self.buffer.is_empty() {
            if !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(None));
            }
        }
        let taken = self.buffer.len().min(max);
        Poll::Ready(Ok(Some(self.buffer.split_to(taken))))
    }

    /// Looks whether the stream has ended, after what it carries was complete.
    ///
    /// An end that has already arrived is taken note of, so that nothing needs to be stopped.
    ///
    /// # Errors
    ///
    /// When there is more.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        if !self.buffer.is_empty() {
            return Err(DecodeError::TrailingBytes(self.buffer.len()).into());
        }
        match self.poll_fill(cx) {
            Poll::Ready(Ok(true)) => Err(DecodeError::TrailingBytes(self.buffer.len()).into()),
            Poll::Ready(Ok(false) | Err(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Wants no more of this stream, and tells the peer why.
    pub fn stop(mut self, why: Failure) {
        self.stop_with(why);
    }

    fn stop_with(&mut self, why: Failure) {
        if !self.ended {
            self.ended = true;
            if let Some(Part::Asks(conduct)) = &self.part {
                conduct.gave_up();
            }
            // Fails only on a stream that is closed already.
            let _ = self.inner.stop(VarInt::from_u32(why.reset_code()));
        }
    }

    /// Reads what has arrived into the buffer. Returns whether there was anything before the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, StreamError>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        // `read_chunk` is cancel-safe, so a fresh future for every poll loses nothing and needs no box.
        let chunk = ready!(pin!(self.inner.read_chunk(usize::MAX, true)).poll(cx));
        match chunk {
            Ok(Some(chunk)) if self.buffer.is_empty() => self.buffer = chunk.bytes,
            Ok(Some(chunk)) => {
                // A head that was split over datagrams. The buffer is ours alone from the second time on, so
                // growing it copies only what is new.
                let mut joined = BytesMut::from(std::mem::take(&mut self.buffer));
                joined.extend_from_slice(&chunk.bytes);
                self.buffer = joined.freeze();
            }
            Ok(None) => {
                self.ended = true;
                return Poll::Ready(Ok(false));
            }
            Err(error) => {
                self.ended = true;
                return Poll::Ready(Err(from_read(error)));
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.stop_with(Failure::Cancelled);
    }
}

fn from_write(error: quinn::WriteError) -> StreamError {
    match error {
        quinn::WriteError::Stopped(code) => StreamError::from_code(code),
        quinn::WriteError::ConnectionLost(_) => StreamError::LinkLost,
        quinn::WriteError::ClosedStream => StreamError::LinkLost,
        quinn::WriteError::ZeroRttRejected => StreamError::LinkLost,
    }
}

fn from_read(error: quinn::ReadError) -> StreamError {
    match error {
        quinn::ReadError::Reset(code) => StreamError::from_code(code),
        quinn::ReadError::ConnectionLost(_) => StreamError::LinkLost,
        quinn::ReadError::ClosedStream => StreamError::LinkLost,
        quinn::ReadError::IllegalOrderedRead => StreamError::LinkLost,
        quinn::ReadError::ZeroRttRejected => StreamError::LinkLost,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_waits_for_what_was_acknowledged() {
        let sending = Sending::new(1);
        let chunk = Bytes::from(vec![0; CHUNK_BYTES_MAX]);
        let mut under_way = Vec::new();
        for _ in 0..UNDER_WAY_BYTES_MIN / CHUNK_BYTES_MAX {
            under_way.push(sending.room_for(chunk.clone()).await);
        }
        let patience = Duration::from_secs(60);
        assert!(timeout(patience, sending.room_for(chunk.clone())).await.is_err());
        // A part of it keeps all of its room, as long as it is there.
        let part = under_way.pop().unwrap().split_off(1);
        assert!(timeout(patience, sending.room_for(chunk.clone())).await.is_err());
        drop(part);
        assert_eq!(timeout(patience, sending.room_for(chunk.clone())).await, Ok(chunk));
    }

    #[tokio::test]
    async fn there_is_room_for_a_write_of_every_stream_and_as_much_again() {
        let streams = 10_000;
        let sending = Sending::new(streams);
        let chunk = Bytes::from(vec![0; CHUNK_BYTES_MAX]);
        for _ in 0..2 * streams {
            // Forgotten, as by streams whose readers are blocked.
            std::mem::forget(timeout(Duration::from_secs(20), sending.room_for(chunk.clone())).await.unwrap());
        }
    }
}
