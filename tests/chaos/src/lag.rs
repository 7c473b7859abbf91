//! How late the machine itself is: on one that is busy, everything is.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::time::Instant;

use crate::scene::Node;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Less than this in one look is no lag.
const NOTICED: Duration = Duration::from_millis(5);

/// The processes that run, shared with who starts them.
pub(crate) type Pids = Arc<Mutex<HashMap<Node, u32>>>;

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Lag {
    seen: Arc<Mutex<Vec<(Instant, Duration)>>>,
    stop: Arc<AtomicBool>,
    _thread: JoinHandle<()>,
}

impl Lag {
    /// Watches this process and others.
    pub(crate) fn watch(pids: Pids) -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<(Instant, Duration)>>>::default(), Arc::<AtomicBool>::default());
        let (note, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut waits = Waits::default();
            while !until.load(Ordering::Relaxed) {
                let due = Instant::now() + LOOK_EVERY;
                std::thread::sleep(LOOK_EVERY);
                let pids: Vec<_> = pids.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect();
                let late = due.elapsed() + waits.since_last(pids.into_iter().chain([std::process::id()]));
                if late > NOTICED {
                    note.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), late));
                }
            }
        });
        Self { seen, stop, _thread: thread }
    }

    /// Returns how long, all together, processes waited for a processor between two times.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let first = seen.partition_point(|(at, _)| *at < from);
        seen[first..].iter().take_while(|(at, _)| *at < to + LOOK_EVERY).map(|(_, late)| *late).sum()
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How long each process has waited for a processor, as Linux counts it; elsewhere nothing is known.
#[derive(Debug, Default)]
struct Waits(HashMap<u32, Duration>);

impl Waits {
    fn since_last(&mut self, pids: impl Iterator<Item = u32>) -> Duration {
        let now: HashMap<_, _> = pids.map(|pid| (pid, waited(pid))).collect();
        let more =
            |(pid, waited): (&u32, &Duration)| waited.saturating_sub(self.0.get(pid).copied().unwrap_or(*waited));
        let sum = now.iter().map(more).sum();
        self.0 = now;
        sum
    }
}

/// Returns how long the threads of a process have waited for a processor since they began.
fn waited(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let waits = threads.flatten().filter_map(|thread| {
        // Time on a processor, time spent waiting for one, both in nanoseconds, and how often.
        let figures = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        figures.split_whitespace().nth(1)?.parse().map(Duration::from_nanos).ok()
    });
    waits.sum()
}
