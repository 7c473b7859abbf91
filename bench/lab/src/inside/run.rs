//! All of it, once.

use std::{
    io,
    time::{Duration, Instant},
};

use bench_emulator::{Direction, Path};
use rustix::process::{self, getpid, set_child_subreaper, set_parent_process_death_signal};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    emulator::Emulator,
    namespace::{self, Missing, Namespace},
    program::Program,
    report::{Ended, distrust, report},
};
use crate::{
    outcome::{Outcome, Tcp},
    spec::{ADDRESS_A, ADDRESS_B, Spec},
};

/// How often it is looked whether B's program listens.
const LISTENS_EVERY: Duration = Duration::from_millis(10);

/// Runs the programs over the path.
///
/// The process must have a single thread, and does nothing else afterwards: it stays in what it made.
pub(crate) fn run(spec: &Spec, a: &str, b: Option<&str>) -> Outcome {
    match try_run(spec, a, b) {
        Ok(outcome) => outcome,
        Err(Broken::Missing(missing)) => Outcome::Impossible { why: missing.to_string() },
        Err(broken) => Outcome::Failed { why: broken.to_string() },
    }
}

/// Why a run broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
    #[error("A's program ran longer than {0:?}")]
    TimeLimit(Duration),
    #[error("interrupted")]
    Interrupted,
    #[error("the emulator ended before the programs")]
    NoEmulator,
}

impl Broken {
    fn at(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io(what, error)
    }
}

fn try_run(spec: &Spec, a: &str, b: Option<&str>) -> Result<Outcome, Broken> {
    namespace::become_able()?;
    let namespaced = |own, peer| Namespace::new(own, peer, &spec.tun, spec.congestion.as_deref());
    let (namespace_a, device_a) = namespaced(ADDRESS_A, ADDRESS_B)?;
    let (namespace_b, device_b) = namespaced(ADDRESS_B, ADDRESS_A)?;
    let namespaces = [namespace_a, namespace_b];
    let tcp = tcp(&namespaces).map_err(Broken::at("asking what is in force for TCP"))?;
    if spec.end_with_parent {
        // After the namespaces: the kernel forgets it when a process changes what it may do.
        set_parent_process_death_signal(Some(process::Signal::TERM)).ok();
    }
    // So that what a program leaves behind can be waited for.
    set_child_subreaper(Some(getpid())).ok();
    let (ended, emulator_ended) = oneshot::channel();
    let path = Path::new(spec.path.clone(), spec.seed, Direction::There);
    let path_back = Path::new(spec.path_back.clone(), spec.seed, Direction::Back);
    let emulator = Emulator::start([(device_a, path), (device_b, path_back)], ended);
    let emulator = emulator.map_err(Broken::at("starting the emulator"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Broken::at("starting a runtime"))?;
    let ended = runtime.block_on(programs(spec, &namespaces, a, b, emulator_ended));
    // While there are devices: they go with the emulator.
    let dropped = dropped(&namespaces).map_err(Broken::at("reading what was dropped"));
    let traffic = emulator.stop().map_err(Broken::at("the emulator"));
    // What the emulator says comes first: the programs only say that it is gone.
    let (traffic, ended) = (traffic?, ended?);
    let report = report(spec, tcp, &ended, &traffic, dropped?);
    Ok(match distrust(&report) {
        None => Outcome::Done(report),
        Some(why) => Outcome::ThrownAway { why, report },
    })
}

fn tcp([a, b]: &[Namespace; 2]) -> io::Result<Tcp> {
    let no_metrics_save = a.no_metrics_save()? && b.no_metrics_save()?;
    Ok(Tcp { congestion_a: a.congestion()?, congestion_b: b.congestion()?, no_metrics_save })
}

fn dropped([a, b]: &[Namespace; 2]) -> io::Result<[u64; 2]> {
    Ok([a.dropped()?, b.dropped()?])
}

async fn programs(
    spec: &Spec,
    [namespace_a, namespace_b]: &[Namespace; 2],
    a: &str,
    b: Option<&str>,
    emulator_ended: oneshot::Receiver<()>,
) -> Result<Ended, Broken> {
    let mut interrupts = Interrupts::new().map_err(Broken::at("catching signals"))?;
    let b = b.map(|command| Program::start(namespace_b, command)).transpose();
    let mut b = b.map_err(Broken::at("starting B's program"))?;
    if let Some(b) = &mut b {
        let listening = until_listening(namespace_b, b);
        timeout(spec.listen_within, listening).await.ok();
    }
    let start = Instant::now();
    let mut a = Program::start(namespace_a, a).map_err(Broken::at("starting A's program"))?;
    let ended = tokio::select! {
        ended = a.ended() => ended.map_err(Broken::at("waiting for A's program")),
        () = sleep(spec.time_limit) => Err(Broken::TimeLimit(spec.time_limit)),
        () = interrupts.next() => Err(Broken::Interrupted),
        _ = emulator_ended => Err(Broken::NoEmulator),
    };
    let took = start.elapsed();
    let b_status = b.as_mut().and_then(|b| b.status().ok().flatten());
    let end_b = async {
        if let Some(b) = b {
            b.end().await;
        }
    };
    tokio::join!(a.end(), end_b);
    Ok(Ended { a: ended?, b: b_status, took })
}

/// The signals that end a run early; caught from the start, so that no program outlives it.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Waits until a program listens, or has ended.
async fn until_listening(namespace: &Namespace, program: &mut Program) {
    while let (Ok(false), Ok(None)) = (namespace.listens(), program.status()) {
        sleep(LISTENS_EVERY).await;
    }
}
