//! How long to wait before the next try.

use std::time::Duration;

/// Exponential back-off with jitter.
///
/// The n-th delay is drawn evenly between half of `first × 2ⁿ` and all of it, and never more than `max`, so
/// that clients that lost their server together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts at `first` and grows to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, tries: 0 }
    }

    /// Returns the next delay; `random` is 64 random bits.
    pub fn next(&mut self, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        self.tries = self.tries.saturating_add(1).min(31);
        let full = self.first.saturating_mul(factor).min(self.max);
        let fraction = u32::try_from(random >> 32).unwrap_or(u32::MAX);
        full.mul_f64(0.5 + 0.5 * f64::from(fraction) / f64::from(u32::MAX))
    }

    /// Goes by other bounds from the next delay on.
    pub fn set(&mut self, first: Duration, max: Duration) {
        (self.first, self.max) = (first, max);
    }

    /// Starts over: the try has succeeded.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_never_end() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        let delays: Vec<_> = (0..8).map(|_| backoff.next(u64::MAX).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        for _ in 0..100 {
            assert_eq!(backoff.next(u64::MAX), Duration::from_secs(10));
        }
        backoff.reset();
        assert_eq!(backoff.next(0), Duration::from_millis(125));
    }

    #[test]
    fn other_bounds_are_for_the_next_delay() {
        let mut backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3_600));
        backoff.next(u64::MAX);
        backoff.set(Duration::from_millis(100), Duration::from_millis(250));
        let delays: Vec<_> = (0..3).map(|_| backoff.next(u64::MAX).as_millis()).collect();
        assert_eq!(delays, [200, 250, 250]);
    }

    proptest::proptest! {
        #[test]
        fn jitter_keeps_at_least_half(random: u64, tries in 0..20) {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
            let mut delay = Duration::ZERO;
            for _ in 0..=tries {
                delay = backoff.next(random);
            }
            proptest::prop_assert!(delay >= Duration::from_millis(125) && delay <= Duration::from_secs(10));
        }
    }
}
