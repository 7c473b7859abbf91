//! Which runs are to be made.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;

use crate::{
    bulk,
    cell::{Cell, Loss, Scenario},
    contender::Contender,
    near,
    store::Key,
};

/// Seeds count from here.
const FIRST_SEED: u64 = 101;

/// What a run takes beside its load: namespaces, programs, their connection, and requests that are late.
const AROUND: Duration = Duration::from_millis(1500);

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// A few runs within two minutes; what they show is indicative
    #[arg(long)]
    pub(crate) quick: bool,
    /// Runs per contender and path [default: 5, or 1 with --quick]
    #[arg(long)]
    seeds: Option<u64>,
    /// What to compare [default: adit, the baseline, TCP, and every other tunnel on PATH]
    #[arg(long, value_delimiter = ',', value_name = "CONTENDER")]
    only: Vec<Contender>,
    /// What the load is [default: all]
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Round-trip times in milliseconds [default: 20,60,150]
    #[arg(long, value_delimiter = ',', value_name = "MS")]
    rtt: Vec<u32>,
    /// Lost packets in percent, each way [default: 0,0.5,1,2,5, and 0,2 where there are downloads]
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    loss: Vec<Loss>,
    /// How long small requests are counted, per run [default: 10, or 9 with --quick]
    #[arg(long)]
    seconds: Option<u64>,
    /// How often a run is tried that the lab throws away
    #[arg(long, default_value_t = 5)]
    pub(crate) attempts: u32,
    /// The lab throws a run away when one packet in a hundred comes later than this, in milliseconds
    #[arg(long, default_value_t = 1.0, value_name = "MS")]
    pub(crate) late_max: f64,
    /// Where results and plots go; runs whose results are there are not made again
    /// [default: docs/bench, or a new temporary directory with --quick]
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Forget the results that are there
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Take over the results in other files
    #[arg(long, value_name = "JSON", num_args = 1..)]
    pub(crate) merge: Vec<PathBuf>,
    /// Make no runs, only tables and plots of the results that are there
    #[arg(long)]
    pub(crate) report: bool,
    /// Where `adit` and `baseline-grpc` are [default: beside this program]
    #[arg(long)]
    pub(crate) bin: Option<PathBuf>,
}

impl Args {
    /// Returns how long small requests are counted.
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 9 } else { 10 })
    }

    /// Returns all runs, so ordered that what changes on the machine over time hits all contenders alike, and that
    /// whatever is done when it is stopped can be compared.
    pub(crate) fn plan(&self, installed: impl Fn(Contender) -> bool) -> Vec<Key> {
        let seeds = self.seeds.unwrap_or(if self.quick { 1 } else { 5 });
        let contenders = self.contenders(installed);
        let mut plan = Vec::new();
        for seed in FIRST_SEED..FIRST_SEED + seeds {
            for (scenario, cell) in self.cells() {
                let of_cell = contenders.iter().filter(|contender| self.takes(scenario, cell, **contender));
                plan.extend(of_cell.map(|contender| Key { scenario, cell, contender: *contender, seed }));
            }
        }
        plan
    }

    fn contenders(&self, installed: impl Fn(Contender) -> bool) -> Vec<Contender> {
        if !self.only.is_empty() {
            return self.only.clone();
        }
        if self.quick {
            return vec![Contender::Adit, Contender::GrpcBbr, Contender::Direct];
        }
        let all = Contender::value_variants().iter().copied();
        all.filter(|contender| contender.by_default() && installed(*contender)).collect()
    }

    fn cells(&self) -> Vec<(Scenario, Cell)> {
        let or = |given: &[u32], default: &[u32]| if given.is_empty() { default.to_vec() } else { given.to_vec() };
        let scenarios = match (self.scenario.as_slice(), self.quick) {
            ([], true) => vec![Scenario::Small, Scenario::Bulk],
            ([], false) => vec![Scenario::Small, Scenario::Bulk, Scenario::Mixed],
            (given, _) => given.to_vec(),
        };
        let mut cells = Vec::new();
        for scenario in scenarios {
            let losses: &[u32] = match (scenario, self.quick) {
                (Scenario::Small, true) => &[0, 20],
                (Scenario::Bulk, true) => &[20],
                (Scenario::Small, false) => &[0, 5, 10, 20, 50],
                (Scenario::Bulk | Scenario::Mixed, _) => &[0, 20],
            };
            let losses =
                if self.loss.is_empty() { losses.iter().copied().map(Loss).collect() } else { self.loss.clone() };
            for rtt_ms in or(&self.rtt, if self.quick { &[20, 60] } else { &[20, 60, 150] }) {
                cells.extend(
                    losses.iter().map(|loss_permille| (scenario, Cell { rtt_ms, loss_permille: *loss_permille })),
                );
            }
        }
        cells
    }

    /// Whether a run belongs to the plan. The quick one leaves out what judges no target, unless it was asked for.
    fn takes(&self, scenario: Scenario, cell: Cell, contender: Contender) -> bool {
        if !self.quick || !self.only.is_empty() || !self.rtt.is_empty() || !self.loss.is_empty() {
            return true;
        }
        match scenario {
            Scenario::Small => match (cell.rtt_ms, cell.loss_permille) {
                (20, Loss(0)) => contender != Contender::GrpcBbr,
                (20, _) => true,
                (_, Loss(0)) => false,
                _ => contender != Contender::Direct,
            },
            Scenario::Mixed => true,
            Scenario::Bulk => cell.rtt_ms == 60 && contender == Contender::Adit,
        }
    }
}

/// Returns how long a run will take, roughly.
pub(crate) fn expected(scenario: Scenario, seconds: u64) -> Duration {
    let load = match scenario {
        Scenario::Small | Scenario::Mixed => near::WARM_UP + Duration::from_secs(seconds),
        // What fills the link is done in less than half of the limit; what does not takes all of it.
        Scenario::Bulk => bulk::ALONE_LIMIT * 3 / 4,
    };
    load + AROUND
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    const PEERS: [Contender; 6] = [
        Contender::Rathole,
        Contender::FrpTcp,
        Contender::FrpQuic,
        Contender::Bore,
        Contender::Wstunnel,
        Contender::Chisel,
    ];

    fn plan(arguments: &str) -> Vec<Key> {
        let arguments = std::iter::once("bench-loss").chain(arguments.split_whitespace());
        Command::parse_from(arguments).args.plan(|contender| !PEERS.contains(&contender))
    }

    #[test]
    fn the_whole_plan_has_every_path_and_contender_once_per_seed() {
        let whole = plan("");
        let small = whole.iter().filter(|key| key.scenario == Scenario::Small).count();
        assert_eq!(small, 5 * 3 * 5 * 5, "losses × round-trip times × contenders × seeds");
        let mut once = whole.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), whole.len());
        assert!(whole.iter().all(|key| !PEERS.contains(&key.contender)));
    }

    #[test]
    fn parts_of_the_plan_put_together_are_the_whole() {
        let mut parts: Vec<Key> = ["20", "60", "150"].iter().flat_map(|rtt| plan(&format!("--rtt {rtt}"))).collect();
        let mut whole = plan("");
        parts.sort_unstable();
        whole.sort_unstable();
        assert_eq!(parts, whole);
    }

    #[test]
    fn what_is_named_is_run_even_where_it_would_not_be() {
        let named = plan("--only adit-cubic,rathole --rtt 20 --loss 0.5 --scenario small --seeds 2");
        assert_eq!(named.len(), 4);
        assert_eq!(named[0].cell, Cell { rtt_ms: 20, loss_permille: Loss(5) });
        assert_eq!((named[0].seed, named[3].seed), (101, 102));
    }

    #[test]
    fn the_quick_plan_fits_into_two_minutes() {
        let quick = plan("--quick");
        assert!(quick.iter().any(|key| key.contender == Contender::GrpcBbr));
        let takes: Duration = quick.iter().map(|key| expected(key.scenario, 9)).sum();
        assert!(takes < Duration::from_secs(105), "{takes:?}");
    }
}
