//! How often each visitor may ask.

use std::{
    hash::RandomState,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use adit_core::gate::RateLimit;
use dashmap::DashMap;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

use crate::{clock::millis, turns};

/// How many visitors are remembered; the rest share one allowance until some of these are forgotten.
const VISITORS_MAX: usize = 65_536;

/// How often to look for visitors that can be forgotten, while there are too many.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// The pace of each visitor, by the generic cell rate algorithm. Whoever has an IPv6 address has 2^64 of them: a network
/// of 64 bits is one visitor.
#[derive(Debug)]
pub struct Pace {
    each: RateLimiter<IpAddr, Known, Tokio, NoOpMiddleware<Duration>>,
    rest: RateLimiter<NotKeyed, InMemoryState, Tokio, NoOpMiddleware<Duration>>,
    visitors_max: usize,
    /// When was last looked for visitors that can be forgotten, in milliseconds.
    forgot_ms: AtomicU64,
}

type Known = DashMap<IpAddr, InMemoryState, RandomState>;

/// A clock that tests can stop.
#[derive(Clone, Debug)]
struct Tokio(Instant);

impl Clock for Tokio {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Pace {
    /// Begins with nobody known. `None` where the limit is one that nobody can keep.
    pub fn new(limit: &RateLimit) -> Option<Self> {
        let quota = Quota::with_period(limit.interval())?.allow_burst(limit.burst);
        let clock = Tokio(Instant::now());
        Some(Self {
            each: RateLimiter::new(quota, Known::default(), clock.clone()),
            rest: RateLimiter::direct_with_clock(quota, clock),
            visitors_max: VISITORS_MAX,
            forgot_ms: AtomicU64::new(0),
        })
    }

    /// Counts a request of a visitor.
    ///
    /// # Errors
    ///
    /// How long it is until it may ask again, when it may not now.
    pub fn ask(&self, visitor: Option<IpAddr>) -> Result<(), Duration> {
        let now = self.each.clock().now();
        let checked = match visitor.map(turns::visitor) {
            Some(who) if self.has_room(now) => self.each.check_key(&who),
            Some(_) | None => self.rest.check(),
        };
        checked.map_err(|until| until.wait_time_from(now))
    }

    fn has_room(&self, now: Duration) -> bool {
        if self.each.len() < self.visitors_max {
            return true;
        }
        let (now_ms, every_ms) = (millis(now), millis(FORGET_EVERY));
        let last = self.forgot_ms.load(Relaxed);
        let is_due = last == 0 || now_ms.saturating_sub(last) >= every_ms;
        if is_due && self.forgot_ms.compare_exchange(last, now_ms.max(1), Relaxed, Relaxed).is_ok() {
            self.each.retain_recent();
        }
        self.each.len() < self.visitors_max
    }
}

/// Returns a limit of one in each `interval`, and of `burst` at once.
pub(super) fn one_in(interval: Duration, burst: u32) -> RateLimit {
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    RateLimit { requests: NonZeroU32::MIN, per: interval, burst }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn visitor(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_has_a_burst_and_then_its_pace_and_others_have_their_own() {
        let pace = Pace::new(&one_in(Duration::from_secs(10), 3)).unwrap();
        for _ in 0..3 {
            assert_eq!(pace.ask(visitor(1)), Ok(()));
        }
        let wait = pace.ask(visitor(1)).unwrap_err();
        assert!(wait > Duration::from_secs(9) && wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(pace.ask(visitor(2)), Ok(()));
        advance(wait).await;
        assert_eq!(pace.ask(visitor(1)), Ok(()));
        assert!(pace.ask(visitor(1)).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_64_bits_is_one_visitor() {
        let pace = Pace::new(&one_in(Duration::from_secs(1), 1)).unwrap();
        let ask = |address: &str| pace.ask(Some(address.parse().unwrap()));
        assert!(ask("2001:db8::1").is_ok());
        assert!(ask("2001:db8::ffff:2").is_err());
        assert!(ask("2001:db8:0:1::1").is_ok());
        assert!(ask("192.0.2.1").is_ok());
        assert!(ask("::ffff:192.0.2.1").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn visitors_are_remembered_up_to_a_number_and_forgotten_in_time() {
        let mut pace = Pace::new(&one_in(Duration::from_secs(10), 1)).unwrap();
        pace.visitors_max = 4;
        advance(Duration::from_millis(5)).await;
        let let_in = (0..100).filter(|number| pace.ask(visitor(*number)).is_ok()).count();
        // Four of their own, and one of all the rest.
        assert_eq!((let_in, pace.each.len()), (5, 4));
        advance(Duration::from_secs(20)).await;
        assert!(pace.ask(visitor(1000)).is_ok());
        assert_eq!(pace.each.len(), 1);
    }
}
