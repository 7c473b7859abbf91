//! How a server is doing: its load and its health, to be read without a lock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use adit_core::{
    balance::{latency::Latency, policy::Load},
    health::{Attempt, Change, Gate, Health},
};

/// [`Gate::Open`] in the atomic; anything else is a time in milliseconds.
const OPEN: u64 = 0;

/// [`Gate::ClosedUntilChecked`] in the atomic.
const UNTIL_CHECKED: u64 = u64::MAX;

/// The load and the health of one server. All times are since the start of its upstream.
///
/// Choosing a server reads atomics. The lock is for those who have something new to say about a server's
/// health: failures, probes and recoveries.
#[derive(Debug, Default)]
pub struct Standing {
    in_flight: AtomicU32,
    /// [`Latency`]; 0 while unknown.
    latency: AtomicU64,
    /// What `health` says of it; written under its lock.
    gate: AtomicU64,
    health: Mutex<Health>,
}

impl Standing {
    /// Returns whether the server is healthy.
    pub fn is_open(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == OPEN
    }

    /// Takes the turn to probe the server, when it is set aside, due, and nobody else has.
    pub fn take_probe(&self, now: Duration) -> bool {
        let gate = self.gate.load(Ordering::Relaxed);
        if gate == OPEN || gate == UNTIL_CHECKED || gate > millis(now) {
            return false;
        }
        self.change(|health| health.take_probe(now))
    }

    /// Returns when it last failed, or 0 when it has not since it was last healthy.
    pub fn failed_at(&self) -> Duration {
        self.lock().failed_at().unwrap_or_default()
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

    /// Takes in that a request failed in a way that is the server's fault.
    pub fn failed(&self, attempt: Attempt, now: Duration) -> Change {
        self.change(|health| health.failed(attempt, now, fastrand::u64(..)))
    }

    /// Takes in that a request was answered. Takes no lock while the server is healthy.
    pub fn succeeded(&self, attempt: Attempt, now: Duration) -> Change {
        if self.is_open() { Change::None } else { self.change(|health| health.succeeded(attempt, now)) }
    }

    /// Takes in how an active check went.
    pub fn checked(&self, passed: bool, now: Duration) -> Change {
        self.change(|health| if passed { health.check_passed(now) } else { health.check_failed(now) })
    }

    fn move_latency(&self, moved: impl FnOnce(Option<Latency>) -> Option<Latency>) {
        let bits = self.latency.load(Ordering::Relaxed);
        let moved = moved(Latency::from_bits(bits)).map_or(0, Latency::to_bits);
        // An update that another one overtakes is lost; the next sample is as good.
        let _ = self.latency.compare_exchange(bits, moved, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        let mut health = self.lock();
        let changed = change(&mut health);
        let gate = match health.gate() {
            Gate::Open => OPEN,
            // Rounded up, so that whoever finds it due finds it due in `health` too.
            Gate::ClosedUntil(until) => millis(until).saturating_add(1),
            Gate::ClosedUntilChecked => UNTIL_CHECKED,
        };
        self.gate.store(gate, Ordering::Relaxed);
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        // What a panic left behind is still a state of health.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}
