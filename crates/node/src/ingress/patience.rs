//! A request body that the visitor has to keep sending.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use adit_core::failure::Failure;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// Fails with [`Failure::RequestTimeout`] when nothing of the body comes for `patience` while somebody waits for it.
#[derive(Debug)]
pub struct Patient<B> {
    body: B,
    patience: Duration,
    /// Runs while somebody waits; made at the first wait, since most bodies come with their heads.
    silence: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl<B> Patient<B> {
    /// Takes a body.
    pub fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, silence: None, waiting: false }
    }

    /// Has other patience from now on, and starts to wait anew.
    pub fn go_on_with(&mut self, patience: Duration) {
        self.patience = patience;
        self.waiting = false;
    }

    /// Waits for more, for as long as there is patience.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waiting {
            silence.as_mut().reset(Instant::now() + patience);
            self.waiting = true;
        }
        silence.as_mut().poll(cx)
    }
}

impl<B: Body<Data = Bytes, Error = Failure> + Unpin> Body for Patient<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = false;
            return Poll::Ready(frame);
        }
        ready!(self.poll_silence(cx));
        Poll::Ready(Some(Err(Failure::RequestTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
