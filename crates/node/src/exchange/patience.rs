//! How long whoever asks waits on a link.

use std::{pin::pin, time::Duration};

use adit_core::failure::Failure;
use tokio::time::{Instant, timeout_at};

/// How soon it is looked whether the link is still worth waiting on. What waits long looks less often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How far an exchange has come when it is to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing has left this node.
    Nothing,
    /// The other end may be at work on it.
    Something,
}

/// How long an exchange waits for its response head, and what else ends the wait.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// When the response head has to be there.
    pub deadline: Instant,
    /// Returns whether to give up now, as another link would do better. Asked a few times a second, and only of
    /// exchanges that wait.
    pub leave: &'a (dyn Fn(Sent) -> bool + Sync),
}

impl Patience<'_> {
    /// Waits for `future` up to the deadline. Cancel-safe where the future is.
    ///
    /// # Errors
    ///
    /// [`Failure::Timeout`] at the deadline, [`Failure::LinkLost`] when the exchange is given up.
    pub(super) async fn wait<T>(&self, sent: Sent, future: impl Future<Output = T>) -> Result<T, Failure> {
        self.wait_until(self.deadline, sent, future).await
    }

    /// [`Patience::wait`], with a deadline of its own.
    pub(super) async fn wait_until<T>(
        &self,
        deadline: Instant,
        sent: Sent,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut future = pin!(future);
        let start = Instant::now();
        let mut look_at = start + LOOK_EVERY;
        // One timer for both: exchanges that are answered soon pay for no more.
        loop {
            if let Ok(output) = timeout_at(look_at.min(deadline), future.as_mut()).await {
                return Ok(output);
            }
            if look_at >= deadline {
                return Err(Failure::Timeout);
            }
            if (self.leave)(sent) {
                return Err(Failure::LinkLost);
            }
            look_at += LOOK_EVERY.max(start.elapsed() / 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicU32, Ordering},
    };

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_kept_to_the_millisecond() {
        let start = Instant::now();
        for after in [100, 250, 1_000, 10_100] {
            let patience = Patience { deadline: Instant::now() + Duration::from_millis(after), leave: &|_| false };
            assert_eq!(patience.wait(Sent::Nothing, pending::<()>()).await, Err(Failure::Timeout));
        }
        assert_eq!(start.elapsed().as_millis(), 11_450);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_given_up_soon_and_what_waits_long_looks_seldom() {
        let looks = AtomicU32::new(0);
        let leave = |sent| {
            assert_eq!(sent, Sent::Something);
            looks.fetch_add(1, Ordering::Relaxed);
            false
        };
        let start = Instant::now();
        let patience = Patience { deadline: start + Duration::from_secs(30), leave: &leave };
        let late = sleep(Duration::from_secs(29));
        assert_eq!(patience.wait(Sent::Something, late).await, Ok(()));
        assert!((10..40).contains(&looks.load(Ordering::Relaxed)), "{looks:?}");
        let gone = Patience { deadline: Instant::now() + Duration::from_secs(30), leave: &|_| true };
        let start = Instant::now();
        assert_eq!(gone.wait(Sent::Nothing, pending::<()>()).await, Err(Failure::LinkLost));
        assert_eq!(start.elapsed(), LOOK_EVERY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_is_taken_even_when_it_is_late() {
        let patience = Patience { deadline: Instant::now(), leave: &|_| true };
        assert_eq!(patience.wait(Sent::Nothing, ready(7)).await, Ok(7));
    }
}
