//! How the two ends of a link behave: what the peer does is judged, what this node does is held back.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_core::conduct::{Act, Misconduct, Restraint};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::clock::millis;

/// The record of one link, on one of its ends. Cloning makes another handle.
///
/// An exchange that goes well costs two additions; whatever else happens takes a lock that nobody holds for long.
#[derive(Clone, Debug)]
pub struct Conduct(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    peer: Mutex<adit_core::conduct::Conduct>,
    /// Exchanges of the peer's that were answered.
    answered: AtomicU64,
    verdict: OnceLock<Misconduct>,
    judged: Notify,
    own: Mutex<Restraint>,
    /// Exchanges of this node's that ended as they should.
    ended: AtomicU64,
    /// Whether the next exchange may have to wait.
    hasty: AtomicBool,
}

impl Default for Conduct {
    fn default() -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            peer: Mutex::default(),
            answered: AtomicU64::new(0),
            verdict: OnceLock::new(),
            judged: Notify::new(),
            own: Mutex::default(),
            ended: AtomicU64::new(0),
            hasty: AtomicBool::new(false),
        }))
    }
}

impl Conduct {
    /// Takes down what the peer did.
    pub fn note(&self, act: Act) {
        let noted = lock(&self.0.peer).note(act, self.now_ms(), self.0.answered.load(Relaxed));
        if let Err(misconduct) = noted {
            // The first reason stands.
            let _ = self.0.verdict.set(misconduct);
            self.0.judged.notify_one();
        }
    }

    /// Returns why the peer is to lose its link, where it has gone too far.
    pub fn verdict(&self) -> Option<Misconduct> {
        self.0.verdict.get().copied()
    }

    /// Takes down that an exchange of the peer's was answered.
    pub fn answered(&self) {
        self.0.answered.fetch_add(1, Relaxed);
    }

    /// Waits until the peer has gone too far. For one task; cancel-safe.
    pub async fn misconduct(&self) -> Misconduct {
        loop {
            if let Some(misconduct) = self.verdict() {
                return misconduct;
            }
            self.0.judged.notified().await;
        }
    }

    /// Takes down that an exchange of this node's came to its end.
    pub fn ended(&self) {
        self.0.ended.fetch_add(1, Relaxed);
    }

    /// Takes down that this node gave up an exchange that it had asked.
    pub fn gave_up(&self) {
        if lock(&self.0.own).gave_up(self.now_ms(), self.0.ended.load(Relaxed)) {
            self.0.hasty.store(true, Relaxed);
        }
    }

    /// Returns whether this node has given up so much that the next exchange may have to wait.
    pub fn is_hasty(&self) -> bool {
        self.0.hasty.load(Relaxed)
    }

    /// Waits until this node may ask again. Cancel-safe.
    pub async fn restrained(&self) {
        loop {
            let wait_ms = lock(&self.0.own).wait_ms(self.now_ms(), self.0.ended.load(Relaxed));
            if wait_ms == 0 {
                self.0.hasty.store(false, Relaxed);
                return;
            }
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.0.started.elapsed())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left behind still counts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_goes_too_far_is_judged_whoever_noticed() {
        let conduct = Conduct::default();
        let seen = conduct.clone();
        let judge = async { seen.misconduct().await };
        let offend = async {
            for _ in 0..1_000 {
                conduct.note(Act::BrokeStream);
            }
        };
        let (misconduct, ()) = tokio::join!(judge, offend);
        assert_eq!(misconduct, Misconduct::BrokenStreams);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_too_much_waits_and_then_goes_on() {
        let conduct = Conduct::default();
        assert!(!conduct.is_hasty());
        for _ in 0..2_000 {
            conduct.gave_up();
        }
        assert!(conduct.is_hasty());
        let started = Instant::now();
        conduct.restrained().await;
        assert!(started.elapsed() >= Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(!conduct.is_hasty());
    }

    #[tokio::test(start_paused = true)]
    async fn exchanges_that_end_make_up_for_those_that_are_given_up() {
        let conduct = Conduct::default();
        for _ in 0..10_000 {
            conduct.ended();
            conduct.gave_up();
        }
        assert!(!conduct.is_hasty());
    }
}
