//! What a backend remembers of each request.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// All that backends saw, by the id of the request.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<HashMap<u64, Seen>>);

/// What backends saw of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How often it came.
    pub(crate) times: u32,
    /// How often its body came otherwise than it was sent, and yet as if it were whole.
    pub(crate) wrong: u32,
    /// How often its response was broken off on purpose.
    pub(crate) broken: u32,
}

impl Ledger {
    /// Notes something about a request.
    pub(crate) fn note(&self, id: u64, note: impl FnOnce(&mut Seen)) {
        note(self.entries().entry(id).or_default());
    }

    /// Returns what was seen of a request so far.
    pub(crate) fn seen(&self, id: u64) -> Seen {
        self.entries().get(&id).copied().unwrap_or_default()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
