//! One run: everything is started, goes wrong, and is judged.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    director::Director,
    judge::{Court, Verdict},
    lag::Lag,
    load::Load,
    plan::{self, Purpose},
    process::Program,
    report,
    scene::Node,
    soak::Soak,
    stage::Stage,
};

/// After the last request, how long until no exchange is left: a dead link takes 20 s.
const QUIET_WITHIN: Duration = Duration::from_secs(40);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What decides about faults and requests; drawn where left out
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults happen
    #[arg(long, default_value_t = 5.0)]
    pub(crate) minutes: f64,
    /// How many requests come each second
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// The binary to test; this one where left out
    #[arg(long)]
    adit: Option<PathBuf>,
    /// Where configurations and logs go; a folder that is removed in the end where left out
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print which faults come when, and end
    #[arg(long)]
    plan: bool,
}

/// Runs to the end, and returns whether every promise was kept.
pub(crate) fn run(args: &Args, purpose: Purpose) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(happen(args, purpose)));
    match done {
        Ok(verdict) if verdict.breaches.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn happen(args: &Args, purpose: Purpose) -> anyhow::Result<Verdict> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(0..100_000));
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    let faults = plan::draw(seed, length, purpose);
    println!("seed {seed}: {} faults in {length:?}", faults.len());
    if args.plan {
        for planned in &faults {
            println!("{:>7.1?} {:?}", planned.at, planned.fault);
        }
        return Ok(Verdict::default());
    }
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let stage = Arc::new(Stage::start(dir, &program(args)?, seed).await?);

    let soak = if purpose == Purpose::Soak { Some(Soak::begin(&stage).await?) } else { None };
    let (lag, stop, start) = (Lag::watch(Arc::clone(&stage.pids)), CancellationToken::new(), Instant::now());
    let load = Load { per_second: args.rate, seed };
    let director = Arc::new(Director::new(Arc::clone(&stage)));
    let happen = async {
        let events = director.run(faults, start).await;
        sleep_until(start + length).await;
        stop.cancel();
        events
    };
    let (outcomes, events) = tokio::select! {
        both = async { tokio::join!(load.run(Arc::clone(&stage), start, stop.clone()), happen) } => both,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted");
        }
    };
    let (outcomes, events) = (outcomes?, events?);
    let court = Court { outcomes: &outcomes, events: &events, ledger: &stage.ledger, lag: &lag, start };
    let mut verdict = court.judge();
    for wrong in left_behind(&stage).await {
        verdict.complain("In the end".to_owned(), wrong);
    }
    if let Some(soak) = soak {
        println!("{}", soak.judge(start + length, &mut verdict).await);
    }
    println!("{}", report::table(&verdict));
    println!(
        "{} requests; processes waited {:.1?} for a processor",
        outcomes.len(),
        lag.between(start, Instant::now())
    );
    if !verdict.breaches.is_empty() {
        println!("\nbroken promises, with --seed {seed}:\n{}", report::breaches(&verdict));
    }
    Ok(verdict)
}

fn program(args: &Args) -> anyhow::Result<Program> {
    Ok(match &args.adit {
        Some(path) => Program { path: path.clone(), prefix: Vec::new() },
        None => Program { path: std::env::current_exe()?, prefix: vec!["adit".to_owned()] },
    })
}

/// Returns what is wrong with processes that have nothing left to do.
async fn left_behind(stage: &Stage) -> Vec<String> {
    let start = Instant::now();
    let mut wrong = Vec::new();
    for node in Node::ALL {
        loop {
            let metrics = admin::get(stage.admin(node), "/metrics").await;
            let in_flight = metrics.map(|metrics| admin::sum(&metrics, "adit_exchanges_in_flight"));
            match in_flight {
                Ok(0.0) => break,
                Ok(_) | Err(_) if start.elapsed() < QUIET_WITHIN => sleep(LOOK_EVERY).await,
                Ok(count) => {
                    wrong.push(format!("{count} exchanges are still in flight at {}", node.name()));
                    break;
                }
                Err(error) => {
                    wrong.push(format!("{}: {error:#}", node.name()));
                    break;
                }
            }
        }
        let mut process = stage.process(node).await;
        if !process.runs() {
            wrong.push(format!("{} does not run", node.name()));
        }
        wrong.extend(process.panics().into_iter().map(|line| format!("{}: {line}", node.name())));
    }
    wrong
}
