//! Where clients wait until they have registered: what they may cost before anybody knows who they are.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use adit_core::{
    handshakes::{HalfOpen, Outcome, Verdict},
    limits::Limits,
};
use quinn::Incoming;

/// Counts handshakes: those that are not done, and what became of the others.
#[derive(Debug, Default)]
pub struct Doorway {
    unvalidated: AtomicUsize,
    validated: AtomicUsize,
    /// The log has said that addresses have to be proven, or that clients are not answered.
    told: AtomicBool,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

/// A place among the handshakes that are not done. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    doorway: Arc<Doorway>,
    validated: bool,
}

impl Doorway {
    /// Decides about a client's first packet, and answers it unless its handshake is to begin.
    pub fn knock(self: &Arc<Self>, incoming: Incoming, limits: &Limits) -> Option<(Incoming, Place)> {
        let validated = incoming.remote_address_validated();
        match self.half_open().decide(validated, limits) {
            Verdict::Accept => return Some((incoming, Place::new(Arc::clone(self), validated))),
            Verdict::Retry => {
                // Where all of them have to, it says nothing.
                if limits.handshakes_unvalidated_max > 0 {
                    self.tell("many handshakes are not done: clients have to prove their addresses first");
                }
                self.note(Outcome::Retry);
                // Fails only where the address is proven.
                let _ = incoming.retry();
            }
            Verdict::Ignore => {
                self.tell("too many handshakes are not done: new clients are not answered for now");
                self.note(Outcome::Ignored);
                incoming.ignore();
            }
        }
        None
    }

    /// Counts what became of a client.
    pub fn note(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Returns how often each came of it.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().zip(&self.outcomes).map(|(outcome, counter)| (outcome, counter.load(Relaxed)))
    }

    /// Returns how many handshakes are not done.
    pub fn half_open(&self) -> HalfOpen {
        HalfOpen { unvalidated: self.unvalidated.load(Relaxed), validated: self.validated.load(Relaxed) }
    }

    /// Says it once until no handshake is open any more: a flood must not flood the log.
    fn tell(&self, what: &str) {
        if !self.told.swap(true, Relaxed) {
            let HalfOpen { unvalidated, validated } = self.half_open();
            tracing::warn!(unvalidated, validated, "{what}");
        }
    }

    fn count(&self, validated: bool) -> &AtomicUsize {
        if validated { &self.validated } else { &self.unvalidated }
    }
}

impl Place {
    fn new(doorway: Arc<Doorway>, validated: bool) -> Self {
        doorway.count(validated).fetch_add(1, Relaxed);
        Self { doorway, validated }
    }

    /// Notes that the client has answered from its address.
    pub fn proven(&mut self) {
        self.doorway.count(true).fetch_add(1, Relaxed);
        self.doorway.count(self.validated).fetch_sub(1, Relaxed);
        self.validated = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.doorway.count(self.validated).fetch_sub(1, Relaxed);
        if self.doorway.half_open() == HalfOpen::default() {
            self.doorway.told.store(false, Relaxed);
        }
    }
}
