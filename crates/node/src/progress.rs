//! Whether a body gets on, for those who wait for something else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How a body gets on.
#[derive(Debug, Default)]
pub struct Progress {
    steps: AtomicU64,
    starving: AtomicBool,
}

impl Progress {
    /// Takes down that somebody waits for more of the body.
    pub fn starves(&self) {
        self.starving.store(true, Ordering::Relaxed);
    }

    /// Takes down that what was waited for is here.
    pub fn is_fed(&self) {
        self.starving.store(false, Ordering::Relaxed);
    }

    /// Takes down that it has got on.
    pub fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often it has got on.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Returns whether somebody waits for whoever sends the body.
    pub fn is_starving(&self) -> bool {
        self.starving.load(Ordering::Relaxed)
    }
}
