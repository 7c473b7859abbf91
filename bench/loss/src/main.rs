//! How fast requests stay when the network loses packets.
//!
//! Every run is one contender over one path of the loss lab: visitors and the tunnel's server in one network
//! namespace, the tunnel's client and the backend in the other, and only the tunnel crosses the lossy path.
//!
//! ```text
//!  namespace A                              lossy path             namespace B
//!  near: load → entry of the tunnel's server ═════════ the tunnel's client → backend: far
//!        load ════════════════════════ (direct TCP) ════════════════════════▶ backend
//! ```
//!
//! Load is open loop: requests come at random times that do not depend on responses, and latency counts from the
//! time a request was to be sent, so that a stall costs what it would cost visitors.
//!
//! Layers, lowest first:
//!
//! 1. [`cell`] what is varied: path, scenario
//! 2. [`contender`] what is compared
//! 3. [`bound`] what no retransmitting transport can beat
//! 4. [`statistics`] quantiles, medians and spreads
//! 5. [`content`] bodies that show whether they arrived as they were sent
//! 6. [`schedule`] when requests come
//! 7. [`connection`] HTTP/1.1 from the load to an entry
//! 8. [`small`] and [`bulk`] the two kinds of load
//! 9. [`backend`] what answers
//! 10. [`programs`] and [`peers`] how each contender is started
//! 11. [`far`] and [`near`] the two ends of a run
//! 12. [`store`] the results, as JSON
//! 13. [`summary`] results of several seeds as one
//! 14. [`targets`], [`table`] and [`plot`] what is shown
//! 15. [`plan`], [`progress`] and [`campaign`] one run after the other

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its table")]

mod cell;
mod contender;
mod bound;
mod statistics;
mod content;
mod schedule;
mod connection;
mod small;
mod bulk;
mod backend;
mod programs;
mod peers;
mod far;
mod near;
mod store;
mod summary;
mod targets;
mod table;
mod plot;
mod plan;
mod progress;
mod campaign;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    campaign: plan::Args,
    #[command(subcommand)]
    end: Option<End>,
}

/// The ends of a run; the benchmark starts itself as either.
#[derive(Debug, Subcommand)]
enum End {
    /// Visitors and the tunnel's server
    #[command(hide = true)]
    Near(near::Args),
    /// The backend and the tunnel's client
    #[command(hide = true)]
    Far(far::Args),
}

fn main() -> ExitCode {
    // A lab can be built only while there is one thread.
    if let Some(code) = bench_lab::take_over() {
        return code;
    }
    let args = Args::parse();
    let done = match args.end {
        Some(End::Near(args)) => near::run(&args),
        Some(End::Far(args)) => far::run(&args),
        None => campaign::run(&args.campaign),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-loss: {error:#}");
            ExitCode::FAILURE
        }
    }
}
