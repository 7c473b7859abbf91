//! What a request costs on a `current_thread` runtime and on tokio's default one.
//!
//! Server and client run as processes of their own, so that their CPU time can be told from that of the load
//! and the upstream, which share this process. Rounds of the flavours alternate: on a shared machine only the
//! ratio within one run means something.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod load;
mod node;
mod upstream;

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about)]
struct Args {
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long each round takes, in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Rounds per flavour
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Be one of the two processes that are measured
    #[command(hide = true)]
    Node { side: Side, config: std::path::PathBuf, flavour: Flavour },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Side {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Flavour {
    /// `Builder::new_current_thread`
    CurrentThread,
    /// `Builder::new_multi_thread`
    MultiThread,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(Role::Node { side, config, flavour }) = args.role {
        return node::run(side, &config, flavour);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(compare(&args))
}

async fn compare(args: &Args) -> anyhow::Result<()> {
    let upstream = upstream::start().await?;
    println!("{} connections, 64-byte responses, {} s a round", args.connections, args.seconds);
    println!("{:<15} {:>12} {:>18}", "runtime", "requests/s", "CPU µs a request");
    for _ in 0..args.rounds {
        for flavour in [Flavour::CurrentThread, Flavour::MultiThread] {
            let nodes = node::Nodes::start(flavour, upstream).await.context("starting the nodes")?;
            let cpu_before = nodes.cpu()?;
            let done = load::run(nodes.entry, args.connections, Duration::from_secs(args.seconds)).await?;
            let cpu = nodes.cpu()? - cpu_before;
            let name = flavour.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            println!("{name:<15} {:>12.0} {:>18.1}", done.per_second(), done.micros_each(cpu));
        }
    }
    Ok(())
}
