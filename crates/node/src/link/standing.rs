//! How the other end of a link is doing, compared with other members of its group.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use adit_core::{
    balance::pace::Pace,
    health::{Attempt, Change},
};

use crate::aside::Aside;

/// How many exchanges have to fail in a row before a member is set aside, as with Envoy's `consecutive_gateway_failure`:
/// it may have many upstreams behind it, and one that is broken is broken for all members.
const FAILED_IN_A_ROW: u32 = 5;

/// The pace and the health of one end. All times are since the start of its group.
#[derive(Debug, Default)]
pub struct Standing {
    /// [`Pace`]; 0 while unknown.
    pace: AtomicU64,
    failed_in_a_row: AtomicU32,
    aside: Aside,
}

impl Standing {
    /// Returns whether it is not set aside.
    pub fn is_open(&self) -> bool {
        self.aside.is_open()
    }

    /// Takes the turn to probe it, when it is set aside, due, and nobody else has.
    pub fn take_probe(&self, now: Duration) -> bool {
        self.aside.take_probe(now)
    }

    /// Returns what a new exchange would cost beside so many.
    pub fn cost(&self, in_flight: u32, now: Duration) -> f32 {
        Pace::cost(Pace::from_bits(self.pace.load(Relaxed)), in_flight, now)
    }

    /// Takes in that an exchange was answered. Takes no lock while it is healthy.
    pub fn answered(&self, attempt: Attempt, now: Duration) -> Change {
        if self.failed_in_a_row.load(Relaxed) != 0 {
            self.failed_in_a_row.store(0, Relaxed);
        }
        self.aside.succeeded(attempt, now)
    }

    /// Takes in how long an exchange took to be answered, or has been waited for.
    pub fn took(&self, sample: Duration, now: Duration) {
        let bits = self.pace.load(Relaxed);
        let moved = Pace::observe(Pace::from_bits(bits), sample, now).to_bits();
        // An update that another one overtakes is lost; the next sample is as good.
        let _ = self.pace.compare_exchange(bits, moved, Relaxed, Relaxed);
    }

    /// Takes in that an exchange failed in a way that is its fault.
    pub fn failed(&self, attempt: Attempt, now: Duration) -> Change {
        let in_a_row = self.failed_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        if in_a_row >= FAILED_IN_A_ROW || attempt.probe || !self.aside.is_open() {
            return self.aside.failed(attempt, now);
        }
        Change::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn request() -> Attempt {
        Attempt { chosen_at: NOW, probe: false }
    }

    #[test]
    fn one_that_fails_five_times_in_a_row_is_set_aside_and_a_probe_brings_it_back() {
        let standing = Standing::default();
        for _ in 0..4 {
            assert_eq!(standing.failed(request(), NOW), Change::None);
        }
        assert_eq!(standing.failed(request(), NOW), Change::SetAside);
        assert!(!standing.is_open() && !standing.take_probe(NOW));
        let later = NOW * 3;
        assert!(standing.take_probe(later));
        assert_eq!(standing.answered(Attempt { chosen_at: later, probe: true }, later), Change::Recovered);
        assert_eq!(standing.failed(request(), later), Change::None, "the count begins anew");
    }

    #[test]
    fn one_that_fails_now_and_then_stays() {
        let standing = Standing::default();
        for number in 0..1_000 {
            let change =
                if number % 4 == 0 { standing.answered(request(), NOW) } else { standing.failed(request(), NOW) };
            assert_eq!(change, Change::None);
        }
        assert!(standing.is_open());
    }
}
