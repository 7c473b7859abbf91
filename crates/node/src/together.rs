//! Futures that share one task, so that however many there are, they have one turn in the queue of the runtime.
//!
//! The runtime polls tasks in the order in which they were woken. With a task for each exchange, a peer with a thousand
//! at once would have a thousand turns where another has one.

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    thread,
};

use futures_util::{FutureExt, StreamExt, future::CatchUnwind, stream::FuturesUnordered};
use pin_project_lite::pin_project;

/// How many of the futures are polled in one turn: with fewer, others have theirs sooner; with more, there is less to
/// do between turns.
const POLLS_PER_TURN: u32 = 8;

/// Futures that are polled in one task, a few in each turn. Dropped, it drops them.
#[derive(Debug)]
pub struct Together<F> {
    members: FuturesUnordered<Member<F>>,
    polls: Arc<AtomicU32>,
}

type Member<F> = CatchUnwind<AssertUnwindSafe<InTurn<F>>>;

impl<F> Default for Together<F> {
    fn default() -> Self {
        Self { members: FuturesUnordered::new(), polls: Arc::default() }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Together<F> {
    /// Adds one. It is polled with the others, by [`Together::next`].
    pub fn push(&self, future: F) {
        let member = InTurn { future, polls: Arc::clone(&self.polls) };
        self.members.push(AssertUnwindSafe(member).catch_unwind());
    }

    /// Returns how many have not ended.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Waits until one of them ends, and returns what it left behind where it panicked; for ever where there is none.
    /// Cancel-safe.
    pub async fn next(&mut self) -> thread::Result<()> {
        poll_fn(|cx| {
            if self.is_turn_over() {
                self.polls.store(0, Ordering::Relaxed);
            }
            match self.members.poll_next_unpin(cx) {
                Poll::Ready(Some(ended)) => Poll::Ready(ended),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Lets others have their turn, where this one is over.
    pub async fn let_others_run(&mut self) {
        if self.is_turn_over() {
            tokio::task::yield_now().await;
        }
    }

    fn is_turn_over(&self) -> bool {
        self.polls.load(Ordering::Relaxed) >= POLLS_PER_TURN
    }
}

pin_project! {
    /// One of the futures.
    #[derive(Debug)]
    struct InTurn<F> {
        #[pin]
        future: F,
        polls: Arc<AtomicU32>,
    }
}

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let member = self.project();
        if member.polls.fetch_add(1, Ordering::Relaxed) >= POLLS_PER_TURN {
            // In the next turn, behind those that waited already.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        member.future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinSet;

    use super::*;

    /// Waits behind all that the runtime has to do. tokio's `yield_now` waits until there is nothing to do.
    async fn one_turn() {
        let mut woken = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Has work whenever it is polled, and counts how often that is.
    async fn work(done: Arc<AtomicU32>) {
        poll_fn(|cx| {
            done.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    async fn poll_all(mut together: Together<impl Future<Output = ()> + Send + 'static>) {
        loop {
            let _ = together.next().await;
            together.let_others_run().await;
        }
    }

    /// Runs them beside somebody who has a turn now and then, and sees how many polls they had until then.
    async fn seen_each_turn(together: Together<impl Future<Output = ()> + Send + 'static>, turns: usize) -> Vec<u32> {
        let polls = Arc::clone(&together.polls);
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            poll_all(together).await;
            Vec::new()
        });
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..turns {
                seen.push(polls.load(Ordering::Relaxed));
                one_turn().await;
            }
            seen
        });
        tasks.join_next().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_thousand_have_a_few_polls_in_a_turn_and_each_has_its_own() {
        let together = Together::default();
        let done: Vec<_> = std::iter::repeat_with(Arc::<AtomicU32>::default).take(1_000).collect();
        done.iter().for_each(|done| together.push(work(Arc::clone(done))));
        let seen = seen_each_turn(together, 2_000).await;
        assert!(seen.iter().all(|polls| *polls <= POLLS_PER_TURN), "{seen:?}");
        let done: Vec<_> = done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        assert!(done.iter().all(|done| *done >= 2), "{done:?}");
    }

    #[tokio::test]
    async fn a_thousand_that_are_new_are_not_polled_in_one_turn() {
        let together = Together::default();
        (0..1_000).for_each(|_| together.push(pending()));
        let seen = seen_each_turn(together, 1_000).await;
        assert!(seen.iter().all(|polls| *polls <= POLLS_PER_TURN + 2), "{seen:?}");
    }

    #[tokio::test]
    async fn those_that_end_at_once_do_not_prolong_a_turn() {
        let together = Together::default();
        let done = Arc::<AtomicU32>::default();
        for _ in 0..100 {
            let done = Arc::clone(&done);
            together.push(async move {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let seen = seen_each_turn(together, 1_000).await;
        assert_eq!(seen[0], POLLS_PER_TURN);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_along() {
        let mut together = Together::default();
        let reached = Arc::<AtomicU32>::default();
        for nth in 0..3 {
            let reached = Arc::clone(&reached);
            together.push(async move {
                assert_ne!(nth, 1, "this one panics");
                reached.fetch_add(1, Ordering::Relaxed);
            });
        }
        let ended = [together.next().await, together.next().await, together.next().await];
        assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), 1);
        assert_eq!(reached.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn dropped_they_are_dropped() {
        let together = Together::default();
        let held = Arc::new(());
        let theirs = Arc::clone(&held);
        together.push(async move {
            let _held = theirs;
            pending().await
        });
        drop(together);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
