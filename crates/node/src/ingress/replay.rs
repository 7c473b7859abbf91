//! A request body that can be sent again from its start, as long as little of it is gone.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// How much of a body is kept until the first reply, in bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// One reading of a body. All readings share what has come from the visitor so far; only the latest goes on.
#[derive(Debug)]
pub struct Replay<B> {
    shared: Option<Arc<Mutex<Shared<B>>>>,
    position: usize,
}

#[derive(Debug)]
struct Shared<B> {
    source: B,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// More has gone than is kept, or nothing is kept any more.
    gone: bool,
}

impl<B: Body> Replay<B> {
    /// Takes a body. One that is empty needs nothing kept.
    pub fn new(source: B) -> Self {
        if source.is_end_stream() {
            return Self { shared: None, position: 0 };
        }
        let shared = Shared { source, kept: Vec::new(), kept_bytes: 0, gone: false };
        Self { shared: Some(Arc::new(Mutex::new(shared))), position: 0 }
    }

    /// Returns another reading from the start, unless what was read before cannot be had again.
    pub fn again(&self) -> Option<Self> {
        let Some(shared) = &self.shared else { return Some(Self { shared: None, position: 0 }) };
        if lock(shared).gone {
            return None;
        }
        Some(Self { shared: Some(Arc::clone(shared)), position: 0 })
    }

    /// Returns whether there can be another reading from the start.
    pub fn can_go_again(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| !lock(shared).gone)
    }

    /// Keeps nothing from now on: there is a reply. What is to come of the body may be told so.
    pub fn settle(&self, tell: impl FnOnce(&mut B)) {
        if let Some(shared) = &self.shared {
            let mut shared = lock(shared);
            shared.gone = true;
            tell(&mut shared.source);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let position = self.position;
        let Some(shared) = &self.shared else { return Poll::Ready(None) };
        let mut shared = lock(shared);
        if let Some(data) = shared.kept.get(position).cloned() {
            drop(shared);
            self.position += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if shared.gone {
            shared.kept = Vec::new();
        }
        let frame = ready!(Pin::new(&mut shared.source).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            shared.keep(frame);
        }
        drop(shared);
        self.position += 1;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        let shared = lock(shared);
        self.position >= shared.kept.len() && shared.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(shared) = &self.shared else { return SizeHint::with_exact(0) };
        let shared = lock(shared);
        let unread: usize = shared.kept.iter().skip(self.position).map(Bytes::len).sum();
        let rest = shared.source.size_hint().exact();
        let total = rest.and_then(|rest| rest.checked_add(u64::try_from(unread).ok()?));
        total.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B> Shared<B> {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.gone {
            return;
        }
        match frame.data_ref() {
            Some(data) if self.kept_bytes + data.len() <= KEPT_BYTES_MAX => {
                self.kept_bytes += data.len();
                self.kept.push(data.clone());
            }
            // Too much, or trailers: whoever has read them has read it all.
            Some(_) | None => {
                self.gone = true;
                self.kept = Vec::new();
            }
        }
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    // What a panic left behind is still a body.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
