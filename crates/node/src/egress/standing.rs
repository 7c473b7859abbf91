//! How a server is doing: its load and its health, to be read without a lock.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use adit_core::balance::{latency::Latency, policy::Load};

use crate::aside::Aside;

/// The load and the health of one server. All times are since the start of its upstream.
#[derive(Debug, Default)]
pub struct Standing {
    in_flight: AtomicU32,
    /// [`Latency`]; 0 while unknown.
    latency: AtomicU64,
    aside: Aside,
}

impl Standing {
    /// Returns whether it is set aside.
    pub fn aside(&self) -> &Aside {
        &self.aside
    }

    /// Returns what it has to do.
    pub fn load(&self, now: Duration) -> Load {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let latency = Latency::from_bits(self.latency.load(Ordering::Relaxed));
        // A server that hangs must not look faster the longer it hangs.
        let latency = latency.map(|latency| if in_flight == 0 { latency.estimate(now) } else { latency.average() });
        Load { in_flight, latency }
    }

    /// Counts a request.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request no more.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in how long an answer took.
    pub fn observe(&self, sample: Duration, now: Duration) {
        self.move_latency(|known| {
            Some(known.map_or_else(|| Latency::first(sample, now), |latency| latency.observe(sample, now)))
        });
    }

    /// Takes in how long was waited for an answer that did not come.
    pub fn waited(&self, wait: Duration, now: Duration) {
        self.move_latency(|known| Latency::waited(known, wait, now));
    }

    fn move_latency(&self, moved: impl FnOnce(Option<Latency>) -> Option<Latency>) {
        let bits = self.latency.load(Ordering::Relaxed);
        let moved = moved(Latency::from_bits(bits)).map_or(0, Latency::to_bits);
        // An update that another one overtakes is lost; the next sample is as good.
        let _ = self.latency.compare_exchange(bits, moved, Ordering::Relaxed, Ordering::Relaxed);
    }
}
