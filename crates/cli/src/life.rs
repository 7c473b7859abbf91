//! From the start of the process to its end: the runtime, descriptors, core dumps, signals.

use std::io;

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// The exit code of a process that was told twice to stop, and did so at once.
const EXIT_FORCED: i32 = 1;

/// Makes the runtime that a node lives on: one core.
///
/// A link's connection driver, its HTTP connections and the work on its streams then take turns on one thread:
/// datagrams are sent in batches, and no request wakes another core. Measured by `just bench-runtime`; the
/// figures are in `docs/speed.md`.
///
/// # Errors
///
/// When the system has no descriptors for it.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Raises the limit on open descriptors as far as the system lets us: every visitor takes one.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

/// Has a crash leave no core dump, which would have keys and tokens in it. On Linux that goes for the ones that a program
/// is piped to as well (core(5)), and other processes of the same user cannot read this one's memory either.
pub fn forbid_core_dumps() {
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    let limited = setrlimit(Resource::Core, limit);
    #[cfg(target_os = "linux")]
    let limited = limited.and(set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "a crash may leave a core dump, with keys in it");
    }
}

/// Runs `work` until it ends by itself or, after SIGINT or SIGTERM, has wound up what was in flight. The token
/// that it gets is cancelled at the first signal; a second one ends the process at once.
///
/// # Errors
///
/// When signals cannot be listened for.
pub async fn until_signal<T>(work: impl AsyncFnOnce(CancellationToken) -> T) -> io::Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let signals = async {
        for round in 1.. {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if round > 1 {
                tracing::warn!(signal = name, "stopping at once");
                telemetry::flush();
                std::process::exit(EXIT_FORCED);
            }
            tracing::info!(signal = name, "stopping; once more to stop at once");
            stop.cancel();
        }
    };
    Ok(tokio::select! {
        done = work(stop.clone()) => done,
        () = signals => unreachable!("it ends the process"),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_leaves_no_core_dump_is_closed_to_others_too() {
        forbid_core_dumps();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
