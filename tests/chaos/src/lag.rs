//! How late the machine itself is: on one that is busy, everything is.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::time::Instant;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Less than this is no lag.
const NOTICED: Duration = Duration::from_millis(10);

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Lag {
    seen: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    _thread: JoinHandle<()>,
}

impl Lag {
    pub(crate) fn watch() -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<(Instant, Duration)>>>::default(), Arc::<AtomicBool>::default());
        let (note, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let due = Instant::now() + LOOK_EVERY;
                std::thread::sleep(LOOK_EVERY);
                let late = due.elapsed();
                if late > NOTICED {
                    note.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), late));
                }
            }
        });
        Self { seen, stop, _thread: thread }
    }

    /// Returns how late the machine was, all together, between two times.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.partition_point(|(at, _)| *at < from);
        seen[first..].iter().take_while(|(at, late)| *at < to + *late).map(|(_, late)| *late).sum()
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
