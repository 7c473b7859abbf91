//! Peers that do not take what is to go over a link.

use std::{future::poll_fn, pin::pin, sync::atomic::Ordering, task::Poll};

use super::{Open, Unread, WAITING, Watched, Who};
use crate::stream::StreamError;

/// What is held for a peer that takes nothing of a response: what was read ahead of it, and what is to be written next.
const RESPONSE_BYTES: u64 = 320 * 1024;

/// Whoever is to take what is written, looked after as soon as it does not.
#[derive(Debug)]
pub struct Taker<'a> {
    unread: &'a Unread,
    who: Who,
    watched: Option<Watched>,
}

impl<'a> Taker<'a> {
    /// Nobody has to wait for it yet.
    pub fn new(unread: &'a Unread, who: Who) -> Self {
        Self { unread, who, watched: None }
    }

    /// Waits until it has taken what is written. As cancel-safe as the write.
    ///
    /// # Errors
    ///
    /// [`StreamError::TooSlow`] when it was stopped; those of the write.
    pub async fn takes<T>(&mut self, write: impl Future<Output = Result<T, StreamError>>) -> Result<T, StreamError> {
        let mut write = pin!(write);
        let mut waits = false;
        let written = poll_fn(|cx| {
            if let Poll::Ready(written) = write.as_mut().poll(cx) {
                return Poll::Ready(written);
            }
            let Watched { reader, unread, .. } = self
                .watched
                .get_or_insert_with(|| Watched::new(self.unread, self.who, Some(RESPONSE_BYTES), Open::Write(None)));
            let Some(Open::Write(waker)) = &mut *reader.lock() else { return Poll::Ready(Err(StreamError::TooSlow)) };
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            if !waits {
                waits = true;
                reader.took_at_ms.store(unread.now_ms(), Ordering::Relaxed);
            }
            Poll::Pending
        });
        let written = written.await;
        if let Some(watched) = self.watched.as_ref().filter(|_| waits) {
            watched.reader.took_at_ms.store(WAITING, Ordering::Relaxed);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use adit_core::{
        id::SessionId,
        limits::{Limits, Timeouts},
    };
    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_stopped_in_the_end_and_whoever_waits_for_it_told() {
        let unread = Unread::new(&Limits::default(), &Timeouts::default());
        let mut taker = Taker::new(&unread, Who::Peer(SessionId(7)));
        assert!(taker.takes(async { Ok(()) }).await.is_ok());
        assert!(unread.lock().places.is_empty(), "nobody waited");
        let mut write = pin!(taker.takes(pending::<Result<(), StreamError>>()));
        for (after, stopped) in [(0, 0), (599, 0), (2, 1), (1, 0)] {
            advance(Duration::from_secs(after)).await;
            let waits = timeout(Duration::ZERO, write.as_mut()).await.is_err();
            assert!(waits);
            assert_eq!(unread.sweep(unread.now_ms()), stopped, "{after}");
            if stopped > 0 {
                break;
            }
        }
        assert!(matches!(write.await, Err(StreamError::TooSlow)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_something_now_and_then_counts_only_while_a_write_waits() {
        let limits = Limits { unread_bytes_max: 1, ..Limits::default() };
        let unread = Unread::new(&limits, &Timeouts::default());
        let mut taker = Taker::new(&unread, Who::Peer(SessionId(7)));
        for _ in 0..3 {
            let slow = async {
                tokio::time::sleep(Duration::from_millis(900)).await;
                Ok(())
            };
            assert!(taker.takes(slow).await.is_ok());
            advance(Duration::from_secs(100)).await;
            assert_eq!(unread.sweep(unread.now_ms()), 0);
        }
    }
}
