//! Whose turn it is on an HTTP/1.1 connection: ours while a request is in flight, and the visitor's otherwise.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The requests of one connection, one after another.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: AtomicU64,
    ended: AtomicU64,
    drain: CancellationToken,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Shared>);

impl Turns {
    /// Begins with the visitor's turn. Once `drain` is cancelled, the next answer is the last one.
    pub fn begin(drain: CancellationToken) -> Self {
        Self(Arc::new(Shared { begun: AtomicU64::new(0), ended: AtomicU64::new(0), drain }))
    }

    /// Counts a request in.
    pub fn take(&self) -> Turn {
        self.0.begun.fetch_add(1, Relaxed);
        Turn(Arc::clone(&self.0))
    }

    /// Returns whether there never was a request.
    pub fn are_untouched(&self) -> bool {
        self.0.begun.load(Relaxed) == 0
    }

    /// Waits until `drain` is cancelled, and then until no request has been in flight for as long as `patience` says, or
    /// at most twice as long. Cancel-safe.
    ///
    /// A connection that is closed while its visitor sends the next request loses it, and the visitor cannot know
    /// whether it was done (RFC 9112 §9.3.1).
    pub async fn over(&self, patience: impl FnOnce() -> Duration) {
        self.0.drain.cancelled().await;
        let patience = patience();
        let mut seen = self.0.begun.load(Relaxed);
        loop {
            // Nobody wakes us at the end of a request: that would be once per request.
            sleep(patience).await;
            let begun = self.0.begun.load(Relaxed);
            let was_idle = begun == seen && begun == self.0.ended.load(Relaxed);
            if was_idle {
                return;
            }
            seen = begun;
        }
    }
}

impl Turn {
    /// Has it last as long as the body of its answer, and says with the answer whether another request may follow.
    pub fn with<B>(self, response: Response<B>) -> Response<Taken<B>> {
        let is_last = self.0.drain.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS;
        let mut response = response.map(|body| Taken { body, _turn: self });
        if is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

/// The body of an answer, and with it the turn.
#[derive(Debug)]
pub struct Taken<B> {
    body: B,
    _turn: Turn,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Taken<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn draining() -> Turns {
        let drain = CancellationToken::new();
        drain.cancel();
        Turns::begin(drain)
    }

    #[tokio::test(start_paused = true)]
    async fn turns_go_on_for_ever_without_a_drain() {
        let turns = Turns::begin(CancellationToken::new());
        assert!(timeout(PATIENCE * 1000, turns.over(|| PATIENCE)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_over_once_none_was_taken_for_long_enough() {
        let (turns, start) = (draining(), Instant::now());
        let turn = turns.take();
        let over = turns.over(|| PATIENCE);
        tokio::pin!(over);
        assert!(timeout(PATIENCE * 10, &mut over).await.is_err(), "a request is in flight");
        drop(turn);
        let ended = Instant::now();
        assert!(timeout(PATIENCE / 2, &mut over).await.is_err(), "it has just ended");
        over.await;
        assert!(start.elapsed() >= PATIENCE * 10 && ended.elapsed() <= PATIENCE * 2, "{:?}", ended.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_came_and_went_counts() {
        let turns = draining();
        let over = turns.over(|| PATIENCE);
        tokio::pin!(over);
        assert!(timeout(PATIENCE / 2, &mut over).await.is_err());
        drop(turns.take());
        assert!(timeout(PATIENCE, &mut over).await.is_err());
        over.await;
    }

    #[test]
    fn the_answer_after_a_drain_is_the_last_one_unless_it_switches() {
        let connection = |turns: &Turns, status: u16| {
            let response = Response::builder().status(status).body(()).unwrap();
            turns.take().with(response).headers().get(header::CONNECTION).cloned()
        };
        let drain = CancellationToken::new();
        let turns = Turns::begin(drain.clone());
        assert_eq!(connection(&turns, 200), None);
        drain.cancel();
        assert_eq!(connection(&turns, 200).unwrap(), "close");
        assert_eq!(connection(&turns, 101), None);
    }
}
