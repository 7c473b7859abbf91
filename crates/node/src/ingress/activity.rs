//! What goes on on one HTTP/2 connection: whether anything is in flight, and how much of it is taken back.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::body::is_over;

/// How many requests a visitor may take back before their end without one that it lets finish: a browser that leaves
/// a page takes back what is in flight, which is as much as it may have in flight.
const CANCELLED_MAX: u32 = 512;

/// How often one more may be taken back.
const FORGIVE_EVERY: Duration = Duration::from_millis(20);

/// The exchanges of one connection.
#[derive(Clone, Debug)]
pub struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    abused: Notify,
}

#[derive(Debug)]
struct State {
    in_flight: usize,
    /// When the last exchange ended, or the connection began.
    idle_since: Instant,
    cancelled: u32,
    /// When `cancelled` was last made less.
    forgiven_at: Instant,
}

impl Activity {
    /// Begins with nothing in flight.
    pub fn begin() -> Self {
        let now = Instant::now();
        let state = State { in_flight: 0, idle_since: now, cancelled: 0, forgiven_at: now };
        Self(Arc::new(Shared { state: Mutex::new(state), abused: Notify::new() }))
    }

    /// Counts an exchange in.
    pub fn enter(&self) -> InFlight {
        self.lock().in_flight += 1;
        InFlight { activity: self.clone(), completed: false }
    }

    /// Waits until nothing has been in flight for `idle`, or at most twice as long. Cancel-safe.
    pub async fn idle(&self, idle: Duration) {
        loop {
            let now = Instant::now();
            let (in_flight, since) = {
                let state = self.lock();
                (state.in_flight, state.idle_since)
            };
            let next = if in_flight > 0 { now + idle } else { since + idle };
            if next <= now {
                return;
            }
            // Nobody wakes us at the end of an exchange: that would be once per request.
            sleep_until(next).await;
        }
    }

    /// Waits until the visitor takes back so many requests that they are the point. Cancel-safe.
    pub async fn abused(&self) {
        self.0.abused.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic left behind is still a count.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange in flight, until it is dropped; taken back by the visitor unless completed before.
#[derive(Debug)]
pub struct InFlight {
    activity: Activity,
    completed: bool,
}

impl InFlight {
    /// Takes note that there is an answer, complete or broken: the exchange was not taken back.
    pub fn completed(&mut self) {
        self.completed = true;
    }

    /// Has it last as long as the body of its answer.
    pub fn with<B: Body>(self, body: B) -> Lasting<B> {
        let mut lasting = Lasting { body, in_flight: self };
        lasting.note_end();
        lasting
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.activity.lock();
        state.in_flight -= 1;
        state.idle_since = now;
        if self.completed {
            state.cancelled = state.cancelled.saturating_sub(1);
            return;
        }
        let forgiven = (now - state.forgiven_at).as_nanos() / FORGIVE_EVERY.as_nanos();
        if let Ok(forgiven @ 1..) = u32::try_from(forgiven) {
            state.cancelled = state.cancelled.saturating_sub(forgiven);
            state.forgiven_at = now;
        }
        state.cancelled += 1;
        if state.cancelled > CANCELLED_MAX {
            drop(state);
            self.activity.0.abused.notify_one();
        }
    }
}

/// The body of an answer, and with it the note that its exchange is in flight.
#[derive(Debug)]
pub struct Lasting<B> {
    body: B,
    in_flight: InFlight,
}

impl<B: Body> Lasting<B> {
    fn note_end(&mut self) {
        if is_over(&self.body) {
            self.in_flight.completed();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lasting<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.in_flight.completed();
        }
        self.note_end();
        Poll::Ready(frame)
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
    use tokio::time::{advance, timeout};

    use super::*;

    async fn is_abused(activity: &Activity) -> bool {
        timeout(Duration::ZERO, activity.abused()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_nothing_is_in_flight_for_long_enough() {
        let (activity, idle) = (Activity::begin(), Duration::from_secs(60));
        let exchange = activity.enter();
        assert!(timeout(idle * 10, activity.idle(idle)).await.is_err());
        drop(exchange);
        let ended = Instant::now();
        activity.idle(idle).await;
        assert!((idle..=idle * 2).contains(&ended.elapsed()), "{:?}", ended.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_that_does_nothing_but_take_back_abuses_its_connection() {
        let activity = Activity::begin();
        for _ in 0..CANCELLED_MAX {
            drop(activity.enter());
        }
        assert!(!is_abused(&activity).await);
        drop(activity.enter());
        assert!(is_abused(&activity).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_lets_requests_finish_or_takes_its_time_may_take_back_as_many_others() {
        let activity = Activity::begin();
        for _ in 0..CANCELLED_MAX * 4 {
            drop(activity.enter());
            activity.enter().completed();
        }
        for _ in 0..CANCELLED_MAX * 4 {
            drop(activity.enter());
            advance(FORGIVE_EVERY).await;
        }
        assert!(!is_abused(&activity).await);
    }
}
