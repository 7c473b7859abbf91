//! What is counted: plain atomics that requests add to and that the admin interface reads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_core::{failure::Failure, id::Group};
use http::StatusCode;

/// Which end of an exchange is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The request came in over HTTP and was asked over a link.
    Asked,
    /// The request came in over a link and was answered by an upstream.
    Answered,
}

impl Side {
    /// Returns its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Answered => "answered",
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a complete response.
    Response(StatusCode),
    /// Without one.
    Failure(Failure),
}

/// What is counted of the exchanges of one group on one side.
///
/// Whoever handles requests holds on to it, so that counting is an addition and no look-up.
#[derive(Debug)]
pub struct Meter {
    side: Side,
    group: Option<Group>,
    in_flight: AtomicU64,
    /// By class: 1xx to 5xx.
    responses: [AtomicU64; 5],
    /// In wire order.
    failures: [AtomicU64; Failure::ALL.len()],
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    response_head: Histogram,
}

impl Meter {
    fn new(side: Side, group: Option<Group>) -> Self {
        Self {
            side,
            group,
            in_flight: AtomicU64::new(0),
            responses: Default::default(),
            failures: Default::default(),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            response_head: Histogram::default(),
        }
    }

    /// Returns which end of the exchanges is counted.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Returns whose exchanges are counted; none for those that no rule took.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// Counts an exchange as in flight.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Takes back an [`enter`](Self::enter).
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Counts how an exchange ended.
    pub fn ended(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Response(status) => self.responses.get(usize::from(status.as_u16() / 100).saturating_sub(1)),
            Outcome::Failure(failure) => self.failures.get(failure as usize),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts bytes of request bodies.
    pub fn add_request_bytes(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes of response bodies.
    pub fn add_response_bytes(&self, bytes: u64) {
        self.response_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts how long a response head took.
    pub fn response_head_after(&self, elapsed: Duration) {
        self.response_head.observe(elapsed);
    }

    /// Returns how many exchanges are in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Returns how many exchanges there have been, those in flight included.
    pub fn begun(&self) -> u64 {
        let ended = self.responses.iter().chain(&self.failures).map(|counter| counter.load(Relaxed));
        ended.sum::<u64>() + self.in_flight()
    }

    /// Returns how many responses were complete, by class: 1xx to 5xx.
    pub fn responses(&self) -> [u64; 5] {
        self.responses.each_ref().map(|counter| counter.load(Relaxed))
    }

    /// Returns how many exchanges failed, by code.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        let mut by_code = BTreeMap::new();
        for (failure, counter) in Failure::ALL.iter().zip(&self.failures) {
            // Several failures share a code.
            *by_code.entry(failure.code()).or_default() += counter.load(Relaxed);
        }
        by_code
    }

    /// Returns the bytes of request and of response bodies.
    pub fn body_bytes(&self) -> (u64, u64) {
        (self.request_bytes.load(Relaxed), self.response_bytes.load(Relaxed))
    }

    /// Returns how long response heads took.
    pub fn response_head(&self) -> &Histogram {
        &self.response_head
    }
}

/// The upper bounds of a [`Histogram`]'s buckets, in microseconds; the last bucket has none.
pub const BUCKET_BOUNDS_US: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// How durations are distributed.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKET_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKET_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BUCKET_BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Returns how many durations fell into each bucket; not cumulative.
    pub fn counts(&self) -> [u64; BUCKET_BOUNDS_US.len() + 1] {
        self.buckets.each_ref().map(|bucket| bucket.load(Relaxed))
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.load(Relaxed))
    }
}

/// Every meter of a node. Groups come from configuration, so there are no more meters than that names.
#[derive(Debug, Default)]
pub struct Meters(Mutex<BTreeMap<Key, Arc<Meter>>>);

type Key = (Side, Option<Group>);

impl Meters {
    /// Returns the meter of a group, which is there from its first mention on. Takes a lock: not for requests.
    pub fn meter(&self, side: Side, group: Option<&Group>) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = meters.entry((side, group.cloned())).or_insert_with(|| Arc::new(Meter::new(side, group.cloned())));
        Arc::clone(meter)
    }

    /// Returns all of them.
    pub fn all(&self) -> Vec<Arc<Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_and_every_class_is_counted_once() {
        let meter = Meters::default().meter(Side::Asked, None);
        for failure in Failure::ALL {
            meter.ended(Outcome::Failure(failure));
        }
        for status in [200, 204, 404, 599] {
            meter.ended(Outcome::Response(StatusCode::from_u16(status).unwrap()));
        }
        assert_eq!(meter.responses(), [0, 2, 0, 1, 1]);
        meter.enter();
        assert_eq!(meter.begun(), Failure::ALL.len() as u64 + 5);
        let failures = meter.failures();
        assert_eq!(failures.values().sum::<u64>(), Failure::ALL.len() as u64);
        assert_eq!(failures["too-large"], 3);
        assert_eq!(failures["timeout"], 1);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for us in [0, 1_000, 1_001, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut expected = [0; BUCKET_BOUNDS_US.len() + 1];
        (expected[0], expected[1], expected[13], expected[14]) = (2, 1, 1, 1);
        assert_eq!(histogram.counts(), expected);
        assert_eq!(histogram.sum(), Duration::from_micros(60_002_002));
    }
}
