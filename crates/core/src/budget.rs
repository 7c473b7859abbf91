//! How many requests of a group may be tried again: a share of them, so that a group that is sick is not asked more
//! often than one that is well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a request counts.
const WINDOW: Duration = Duration::from_secs(10);

/// What a group may spend on trying again. The defaults are those of Finagle (`com.twitter.finagle.service.RetryBudget`)
/// and of linkerd's service profiles.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryTerms {
    /// Retries per request of the last ten seconds, 0.0 to 1.0.
    pub share: f64,
    /// Retries per second that there are besides, so that a group with few requests has some.
    pub per_second: u32,
}

impl Default for RetryTerms {
    fn default() -> Self {
        Self { share: 0.2, per_second: 10 }
    }
}

/// What is left to spend: a bucket that requests fill and time empties. All times are since any fixed start.
///
/// Filled when it is looked at and not with each request, so that requests pay nothing for it: those that came since
/// the last look are taken to have come evenly.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    terms: RetryTerms,
    retries: f64,
    looked_at: Duration,
    requests: u64,
}

impl RetryBudget {
    /// Begins with what there is without requests.
    pub fn new(terms: RetryTerms) -> Self {
        let retries = f64::from(terms.per_second) * WINDOW.as_secs_f64();
        Self { terms, retries, looked_at: Duration::ZERO, requests: 0 }
    }

    /// Goes by other terms from now on. What is left stays, as far as they fill it.
    pub fn set_terms(&mut self, terms: RetryTerms) {
        if self.terms != terms {
            *self = Self { looked_at: self.looked_at, requests: self.requests, ..Self::new(terms) };
        }
    }

    /// Returns whether a request may be tried again. `requests` is how many there have been in all.
    pub fn has(&mut self, now: Duration, requests: u64) -> bool {
        let elapsed = now.saturating_sub(self.looked_at);
        if !elapsed.is_zero() {
            let fresh = requests.saturating_sub(self.requests);
            #[expect(clippy::cast_precision_loss, reason = "a count of requests needs no more than 53 bits")]
            let per_second = fresh as f64 * self.terms.share / elapsed.as_secs_f64() + f64::from(self.terms.per_second);
            let kept = (-elapsed.as_secs_f64() / WINDOW.as_secs_f64()).exp();
            self.retries = self.retries * kept + per_second * WINDOW.as_secs_f64() * (1.0 - kept);
            (self.looked_at, self.requests) = (now, requests.max(self.requests));
        }
        self.retries >= 1.0
    }

    /// Spends one retry, where there is one.
    pub fn take(&mut self, now: Duration, requests: u64) -> bool {
        let has = self.has(now, requests);
        if has {
            self.retries -= 1.0;
        }
        has
    }

    /// Returns how many retries there were left when it was last looked at.
    pub fn left(&self) -> f64 {
        self.retries
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const TERMS: RetryTerms = RetryTerms { share: 0.2, per_second: 10 };

    /// Asks `per_second` for so long, each request failing and wanting a retry. Returns how many got one.
    fn retries(budget: &mut RetryBudget, from: u64, seconds: u64, per_second: u64) -> u64 {
        let mut granted = 0;
        for number in 0..seconds * per_second {
            let now = ms(from * 1_000 + number * 1_000 / per_second);
            granted += u64::from(budget.take(now, from * per_second + number));
        }
        granted
    }

    #[test]
    fn a_group_that_always_fails_gets_a_fifth_and_ten_per_second_more() {
        let mut budget = RetryBudget::new(TERMS);
        let at_first = retries(&mut budget, 0, 10, 500);
        // What there is at first, and what requests add.
        assert!((1_100..=1_250).contains(&at_first), "{at_first}");
        let later = retries(&mut budget, 10, 100, 500);
        assert!((10_900..=11_100).contains(&later), "{later} of 50,000");
    }

    #[test]
    fn a_group_with_few_requests_may_try_each_of_them_again() {
        let mut budget = RetryBudget::new(TERMS);
        assert_eq!(retries(&mut budget, 0, 60, 9), 540);
    }

    #[test]
    fn all_requests_of_a_client_that_dies_are_tried_again() {
        let mut budget = RetryBudget::new(TERMS);
        // Half of 500 per second, for the 2 s that it takes to notice.
        let granted = (0..500).filter(|_| budget.take(ms(60_000), 30_000)).count();
        assert_eq!(granted, 500);
    }

    #[test]
    fn what_is_not_spent_is_not_saved_up() {
        let mut budget = RetryBudget::new(TERMS);
        assert!(budget.has(ms(3_600_000), 3_600_000));
        // 200 per second and 10 besides, for ten seconds.
        assert!((2_090.0..2_110.0).contains(&budget.left()), "{}", budget.left());
        assert!(budget.has(ms(3_660_000), 3_600_000));
        assert!((99.0..106.0).contains(&budget.left()), "{}", budget.left());
    }

    #[test]
    fn no_share_and_none_per_second_is_none() {
        let mut budget = RetryBudget::new(RetryTerms { share: 0.0, per_second: 0 });
        assert!(!budget.take(ms(0), 0) && !budget.take(ms(10_000), 1_000_000));
        budget.set_terms(TERMS);
        assert!(budget.take(ms(10_000), 1_000_000));
    }

    proptest! {
        #[test]
        fn looking_more_often_changes_little(gaps in prop::collection::vec(1..3_000_u64, 1..50), per_second in 0..2_000_u64) {
            let (mut often, mut once) = (RetryBudget::new(TERMS), RetryBudget::new(TERMS));
            let mut now = 0;
            for gap in gaps {
                now += gap;
                often.has(ms(now), now * per_second / 1_000);
            }
            once.has(ms(now), now * per_second / 1_000);
            prop_assert!((often.left() - once.left()).abs() <= 2.0 + once.left() * 0.02, "{} and {}", often.left(), once.left());
        }

        #[test]
        fn it_is_never_in_debt(steps in prop::collection::vec((0..500_u64, 0..100_u64), 1..200)) {
            let mut budget = RetryBudget::new(TERMS);
            let (mut now, mut requests) = (0, 0);
            for (gap, fresh) in steps {
                (now, requests) = (now + gap, requests + fresh);
                budget.take(ms(now), requests);
                prop_assert!(budget.left() >= 0.0);
            }
        }
    }
}
