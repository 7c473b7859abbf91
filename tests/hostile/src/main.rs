//! Hostile clients and servers against real processes of adit, beside a visitor who should notice nothing.
//!
//! Each attack runs beside a canary, a visitor of an honest client who asks 50 times a second; then as much legitimate
//! load as the attack was (links, exchanges and bytes a second) runs beside the same canary for as long. An attack is
//! borne when no request of the canary fails, its p99 is at most twice that beside the legitimate load, the node under
//! attack needs at most little more memory in the second half of the time than in the first, and nothing panicked.

#![expect(clippy::print_stdout, reason = "it prints its table")]

mod canary;
mod ground;
mod hostility;
mod process;
mod report;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use adit_tests::attack::{ATTACKS, By, stranger::APPROACHES};
use clap::Parser;

use crate::{
    ground::Ground,
    hostility::{Hostility, Side, legitimate},
    report::Row,
};

/// How long an attack has run before memory counts: what a node needs at its first requests it keeps.
const WARM_UP: Duration = Duration::from_secs(5);

#[derive(Debug, Parser)]
#[command(about = "Hostile peers against real processes, beside a visitor who should notice nothing")]
struct Args {
    /// The program under attack
    #[arg(long, default_value = "target/debug/adit")]
    adit: PathBuf,
    /// Which attack; may be repeated
    #[arg(long = "attack", value_name = "NAME")]
    attacks: Vec<String>,
    /// Attacks of clients, of servers, or of both
    #[arg(long)]
    by: Option<Side>,
    /// How long each attack lasts, and the load that it is compared with
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many rounds of an attack there are each second
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// One attack after the other; otherwise those of one side take turns
    #[arg(long)]
    each: bool,
    /// Lists the attacks
    #[arg(long)]
    list: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let chosen = chosen(&args)?;
    if args.list {
        chosen.iter().for_each(|hostility| println!("{hostility}"));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", report::head());
    let mut broken = 0;
    for hostility in chosen {
        let row = runtime.block_on(run(&args, hostility))?;
        println!("{row}");
        broken += usize::from(!row.is_borne());
    }
    println!("\n{broken} broken");
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one attack, and then as much legitimate load.
async fn run(args: &Args, hostility: Hostility) -> anyhow::Result<Row> {
    let length = Duration::from_secs(args.seconds.max(1));
    let ground = Ground::start(&args.adit, hostility.side()).await?;
    let attack = hostility.clone().start(&ground, args.rounds);
    tokio::time::sleep(WARM_UP.min(length)).await;
    let before = ground.victim().usage()?;
    let (beside_attack, memory) = tokio::join!(canary::ask(ground.entry, length), ground.victim().memory(length));
    let after = ground.victim().usage()?;
    let volume = attack.end();
    let panics = ground.panics()?;
    let ended = ground.victim().ended_links()?;
    drop(ground);

    let ground = Ground::start(&args.adit, hostility.side()).await?;
    let load = legitimate(&ground, volume.per_second());
    tokio::time::sleep(WARM_UP.min(length)).await;
    let beside_load = canary::ask(ground.entry, length).await;
    load.end();
    Ok(Row { hostility, volume, beside_attack, beside_load, before, after, memory: memory?, panics, ended, length })
}

/// Finds what was asked for.
fn chosen(args: &Args) -> anyhow::Result<Vec<Hostility>> {
    let known = |name: &String| {
        ATTACKS.iter().any(|attack| attack.name == name) || APPROACHES.iter().any(|approach| approach.name == name)
    };
    for name in &args.attacks {
        anyhow::ensure!(known(name), "there is no attack {name}; see --list");
    }
    let wanted = |name: &str| args.attacks.is_empty() || args.attacks.iter().any(|wanted| wanted == name);
    let approaches: Vec<_> = APPROACHES.iter().filter(|approach| wanted(approach.name)).collect();
    let attacks = |not: By| ATTACKS.iter().filter(|attack| attack.by != not && wanted(attack.name)).collect::<Vec<_>>();
    let (clients, servers) = (attacks(By::Server), attacks(By::Client));
    let mut all = if args.each || args.list || !args.attacks.is_empty() {
        let strangers = approaches.into_iter().map(|approach| Hostility::Stranger(vec![approach]));
        let clients = clients.into_iter().map(|attack| Hostility::Client(vec![attack]));
        let servers = servers.into_iter().map(|attack| Hostility::Server(vec![attack]));
        strangers.chain(clients).chain(servers).collect()
    } else {
        vec![Hostility::Stranger(approaches), Hostility::Client(clients), Hostility::Server(servers)]
    };
    all.retain(|hostility| args.by.is_none_or(|side| side == hostility.side()));
    Ok(all)
}
