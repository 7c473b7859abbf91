//! Whether something is set aside because it fails, to be read without a lock.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adit_core::health::{Attempt, Change, Gate, Health};

/// [`Gate::Open`] in the atomic; anything else is a time in milliseconds.
const OPEN: u64 = 0;

/// [`Gate::ClosedUntilChecked`] in the atomic.
const UNTIL_CHECKED: u64 = u64::MAX;

/// The health of a server or of the other end of a link. All times are since any fixed start.
///
/// Choosing reads an atomic. The lock is for those who have something new to say: failures, probes and recoveries.
#[derive(Debug, Default)]
pub struct Aside {
    /// What `health` says; written under its lock.
    gate: AtomicU64,
    health: Mutex<Health>,
}

impl Aside {
    /// Returns whether it is not set aside.
    pub fn is_open(&self) -> bool {
        self.gate.load(Ordering::Relaxed) == OPEN
    }

    /// Takes the turn to probe it, when it is set aside, due, and nobody else has.
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

    /// Takes in that a request failed in a way that is its fault.
    pub fn failed(&self, attempt: Attempt, now: Duration) -> Change {
        self.change(|health| health.failed(attempt, now, fastrand::u64(..)))
    }

    /// Takes in that a request was answered. Takes no lock while it is healthy.
    pub fn succeeded(&self, attempt: Attempt, now: Duration) -> Change {
        if self.is_open() { Change::None } else { self.change(|health| health.succeeded(attempt, now)) }
    }

    /// Takes in how an active check went.
    pub fn checked(&self, passed: bool, now: Duration) -> Change {
        self.change(|health| if passed { health.check_passed(now) } else { health.check_failed(now) })
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

    fn lock(&self) -> MutexGuard<'_, Health> {
        // What a panic left behind is still a state of health.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}
