//! What a group spends on asking again.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use adit_core::budget::{RetryBudget, RetryTerms};
use tokio::time::Instant;

use crate::meter::Meter;

/// The retry budget of a group. Only what is tried again looks at it.
#[derive(Debug)]
pub struct Retries {
    started: Instant,
    budget: Mutex<RetryBudget>,
    granted: AtomicU64,
    refused: AtomicU64,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            budget: Mutex::new(RetryBudget::new(RetryTerms::default())),
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(super) fn set_terms(&self, terms: RetryTerms) {
        self.lock().set_terms(terms);
    }

    /// Returns whether there is one to spend. `asked` counts the requests that there have been.
    pub fn has(&self, asked: &Meter) -> bool {
        self.lock().has(self.started.elapsed(), asked.begun())
    }

    /// Spends one, where there is one.
    pub fn take(&self, asked: &Meter) -> bool {
        let taken = self.lock().take(self.started.elapsed(), asked.begun());
        if taken { &self.granted } else { &self.refused }.fetch_add(1, Relaxed);
        taken
    }

    /// Returns how many were spent.
    pub fn granted(&self) -> u64 {
        self.granted.load(Relaxed)
    }

    /// Returns how often there was none.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Returns how many there are left. `asked` as for [`Retries::has`].
    pub fn left(&self, asked: &Meter) -> f64 {
        let mut budget = self.lock();
        budget.has(self.started.elapsed(), asked.begun());
        budget.left()
    }

    fn lock(&self) -> MutexGuard<'_, RetryBudget> {
        // What a panic left behind is still a budget.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
